"""A search with somebody waiting for it: run after run, a line for each, and whatever is known at the end."""

import asyncio
import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanlab import __version__, clock
from fanlab.analysis.cost import Prices
from fanlab.analysis.saturation import saturation
from fanlab.analysis.steady import steadiness
from fanlab.capacity.journal import Journal
from fanlab.capacity.loads import settings, with_load
from fanlab.capacity.outcome import judged, record
from fanlab.capacity.result import make_result
from fanlab.capacity.search import End, Try, Wanted, conclude, next_step, shown
from fanlab.errors import EnvironmentFailure, FanlabError, MeasurementError
from fanlab.exits import Exit
from fanlab.progress import Listener, Silence, view_for
from fanlab.provenance import host
from fanlab.resources import code_digest
from fanlab.run import Request
from fanlab.run import run as run_scenario
from fanlab.rundir import RunDir, write_json
from fanlab.scenario.gates import Gate
from fanlab.scenario.loader import Loaded
from fanlab.terminal import console, interruptible
from fanlab.topology.choose import BackendName
from fanlab.topology.redis import redact


@dataclass(frozen=True, slots=True)
class Job:
    """What to search, and with what means. `base` is the scenario of `path` as it is, with `overrides` and `seed`."""

    path: Path
    base: Loaded
    wanted: Wanted
    slo_text: str
    slo: Sequence[Gate]
    out: Path
    overrides: Sequence[str] = ()
    backend: BackendName = "process"
    workers: int = 1
    redis_url: str | None = None
    budget_ns: int | None = None
    prices: Prices | None = None

    def identity(self) -> dict[str, Any]:
        """What makes a search in a directory this one. More runs or more time make no other search of it.

        Another machine does, another fanlab, and nodes whose code has changed: their runs are not of one system.
        """
        kinds = sorted({group.kind for group in self.base.scenario.topology.nodes})
        wanted = dataclasses.asdict(self.wanted)
        del wanted["max_runs"]
        return {
            "scenario_sha256": self.base.sha256,
            "slo": " and ".join(gate.expr for gate in self.slo),
            **wanted,
            "backend": self.backend,
            "workers": self.workers,
            "redis_url": None if self.redis_url is None else redact(self.redis_url),
            "host": {key: value for key, value in host().items() if key != "kernel"},
            "fanlab": __version__,
            "nodes_sha256": {kind: code_digest(kind) for kind in kinds},
        }


@dataclass(slots=True)
class Ended:
    """How a search ended: what is known, and the exit code if something other than that decides it."""

    end: End
    code: Exit | None = None

    @property
    def exit_code(self) -> Exit:
        """0 for an answer; a bound is none."""
        if self.code is not None:
            return self.code
        return Exit.OK if self.end.status == "answer" else Exit.INVALID


def search(job: Job, tell: Callable[[str], None], *, quiet: bool) -> tuple[Ended, dict[str, Any]]:
    """Make the runs that are still needed, tell a line for each, and return the end and capacity.json's content.

    Raises ScenarioError, EnvironmentFailure and MeasurementError where there is nothing to go on with.
    """
    journal = Journal(job.out, job.identity())
    runs = len(journal.probes)
    if runs:
        tell("1 run was made before, and counts" if runs == 1 else f"{runs} runs were made before, and count")
    for one in journal.records:
        tell(line(job.wanted, one))
    ended = _loop(job, journal, tell, quiet=quiet)
    document = make_result(
        job.base.scenario,
        job.wanted,
        ended.end,
        journal.records,
        slo=job.slo_text,
        backend=job.backend,
        prices=job.prices,
    )
    from fanlab.report.capacity.write import write_capacity  # late: matplotlib takes its time

    return ended, write_capacity(job.out, document)


def line(wanted: Wanted, found: dict[str, Any]) -> str:
    """A probe as one line."""
    p99 = found.get("p99_ms")
    late = "" if p99 is None else f"p99 {p99:.4g} ms"
    load, outcome = shown(wanted.axis, found["load"]), found["outcome"]
    return f"{found['number']:3}  {load:>16}  {outcome:9}  {late:>14}  {found['why']}"


def _loop(job: Job, journal: Journal, tell: Callable[[str], None], *, quiet: bool) -> Ended:
    began_ns = clock.now_ns()
    failure: FanlabError | None = None  # of the newest run
    while True:
        step = next_step(job.wanted, journal.probes)
        if isinstance(step, End):
            broken = step.status == "none" and failure is not None
            return Ended(step, failure.exit_code if broken and failure is not None else None)
        if job.budget_ns is not None and clock.now_ns() - began_ns >= job.budget_ns:
            return Ended(conclude(job.wanted, journal.probes, "the time given is over"))
        failure = None
        try:
            found = _probe(job, journal, step, quiet=quiet)
        except (asyncio.CancelledError, KeyboardInterrupt):
            return Ended(conclude(job.wanted, journal.probes, "it was interrupted"), Exit.INTERRUPTED)
        except (EnvironmentFailure, MeasurementError) as error:
            failure = error
            found = journal.end(step.load, step.why, {"outcome": "broken", "why": error.message})
        tell(line(job.wanted, found))


def _probe(job: Job, journal: Journal, step: Try, *, quiet: bool) -> dict[str, Any]:
    """One run: made, accounted for, and noted."""
    seed = job.base.scenario.seed + journal.begun
    sets = settings(job.base.scenario, job.wanted.axis, step.load)
    loaded = with_load(job.path, job.base, job.wanted.axis, step.load, overrides=job.overrides, seed=seed)
    rundir = RunDir(journal.begin(step.load, step.why))
    rundir.create()
    given = [*job.overrides, *(f"{key}={json.dumps(value)}" for key, value in sets)]
    options = [word for each in given for word in ("--set", each)]
    command = ["fanlab", "run", str(job.path), *options, "--seed", str(seed), "--backend", job.backend]
    request = Request(loaded, rundir, command, redis_url=job.redis_url, workers=job.workers, backend=job.backend)
    told = console(stderr=True)
    view = view_for(told, wanted=True) if told.is_terminal and not quiet else Silence()
    with view:
        interruptible(_run(request, view))
    return journal.end(step.load, step.why, examined(rundir, job.slo))


async def _run(request: Request, listener: Listener) -> None:
    await run_scenario(request, listener)


def examined(rundir: RunDir, slo: Sequence[Gate]) -> dict[str, Any]:
    """What a run that has ended says of its load; its summary is written on the way, as `fanlab report` would."""
    from fanlab.ledger.account import account as account_of  # late, as numpy takes its time
    from fanlab.report.summary import make_summary
    from fanlab.report.write import read_samples

    manifest = rundir.read_manifest()
    account = account_of(rundir)
    summary = make_summary(account, manifest)
    write_json(rundir.summary, summary)
    steady = steadiness(account, manifest["scenario"]["phases"]["measure_ns"])
    judgement = judged(account, manifest, summary, slo, steady)
    saturated = saturation(read_samples(rundir.samples), manifest, summary)
    return record(account, manifest, summary, judgement=judgement, steady=steady, saturated=saturated)
