"""`fanlab run FILE --backend simulate`: the same run directory, without a system. Same seed, same bytes.

Its clock is simulated and says so (`clock` in the manifest, `boot_id` of the stripes): it begins at 0, and no time in
it is any machine's. What a real run gathers beside the journals of publishers, clients and nodes is not there.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final, Protocol

from fanlab import __version__, clock, provenance
from fanlab.errors import EnvironmentFailure
from fanlab.faults.timeline import PlannedFault, resolve
from fanlab.planned import expected, publishing_ns
from fanlab.predict import predict
from fanlab.progress import Listener, PhaseBegan
from fanlab.redaction import Secrets
from fanlab.rundir import RunDir, write_json
from fanlab.scenario.loader import Loaded
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import Plan, make_plan
from fanlab.scenario.redacted import redacted, secrets_of
from fanlab.simulate.fate import Fate, fate_of, refuse_unmodelled
from fanlab.simulate.journals import BOOT, Journal, base_ns_of, run_tag_of
from fanlab.simulate.model import Model, to_json
from fanlab.simulate.parts import generator
from fanlab.simulate.samples import write_samples
from fanlab.simulate.world import World

MOST_DELIVERIES: Final = 5_000_000  # a record of 32 bytes each, and what the account makes of it
_EXITS: Final = {"crash": -9, "stop": 0, "restart": 0}


class Told(Protocol):
    """What is simulated, and where to; fanlab.run.Request is one."""

    @property
    def loaded(self) -> Loaded: ...
    @property
    def rundir(self) -> RunDir: ...


async def simulate(request: Told, notify: Listener, model: Model) -> None:
    """Fill the run directory. Raises ScenarioError for what is not modelled, EnvironmentFailure for what is too big."""
    scenario = _without_gathering(request.loaded.scenario)
    plan = make_plan(scenario)
    timeline = resolve(scenario, plan)
    refuse_unmodelled(scenario, timeline, scenario.name)
    owed = sum(stream.deliveries for stream in expected(scenario, plan))
    if owed > MOST_DELIVERIES:
        raise EnvironmentFailure(
            f"{owed:,} deliveries are expected; a simulated run directory takes at most {MOST_DELIVERIES:,}",
            hint="`fanlab simulate FILE` keeps account of cohorts, at any size",
        )
    notify(PhaseBegan("simulate", f"{len(plan.nodes)} nodes, some {owed:,} deliveries"))
    fate = fate_of(scenario, plan, timeline, model.delays, generator(scenario.seed, "fate"))
    journal = Journal(scenario, plan, run_tag_of(scenario.seed), base_ns_of(scenario))
    world = World(scenario, plan, model, fate, journal, told_apart=True)
    journal.world = world
    world.run()
    deliveries, written = journal.deliveries()
    last_ns = float(deliveries["recv_ns"].max(initial=0)) - journal.base_ns
    end_ns, ended_by = drained(scenario, max(last_ns, journal.last_life_ns))
    journal.write(request.rundir, end_ns=end_ns, deliveries=deliveries, written=written)
    write_samples(request.rundir.samples, journal, zero_ns=scenario.phases.warm_up_ns, end_ns=end_ns)
    _write_stamps(request.rundir, journal, fate, timeline)
    manifest = _manifest(request.loaded, scenario=scenario, plan=plan, timeline=timeline, journal=journal, model=model)
    manifest["phases"] |= {"drain_end_ns": journal.base_ns + round(end_ns), "drain_ended_by": ended_by}
    write_json(request.rundir.manifest, manifest)


def drained(scenario: Scenario, last_ns: float) -> tuple[float, str]:
    """When the drain ends, in ns since publishing began, and by what, if the last thing happens at `last_ns`."""
    published_ns, drain = publishing_ns(scenario), scenario.phases.drain
    quiet_ns, deadline_ns = max(published_ns, last_ns) + drain.quiet_ns, published_ns + drain.deadline_ns
    return (float(deadline_ns), "deadline") if quiet_ns > deadline_ns else (float(quiet_ns), "quiet")


def _without_gathering(scenario: Scenario) -> Scenario:
    """Nobody watches a simulated Redis, and there is no generator to probe: the manifest says so."""
    nothing = {"witness": False, "redis_watch": False, "probes": 0}
    return scenario.model_copy(update={"evidence": scenario.evidence.model_copy(update=nothing)})


def _write_stamps(rundir: RunDir, journal: Journal, fate: Fate, timeline: Sequence[PlannedFault]) -> None:
    lines = []
    for stamp in fate.stamps:
        fault = timeline[stamp.fault]
        t = round(stamp.at_ns) + journal.base_ns
        lines.append({"id": fault.id, "kind": fault.kind, "target": fault.target, "stamp": stamp.name, "t": t})
    rundir.faults.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _manifest(
    loaded: Loaded, *, scenario: Scenario, plan: Plan, timeline: Sequence[PlannedFault], journal: Journal, model: Model
) -> dict[str, Any]:
    """As fanlab.run writes it, without what only a real run has."""
    secrets = Secrets(secrets_of(loaded.scenario))
    shown = redacted(replace(loaded, scenario=scenario), secrets)
    ends = [
        {"unit": fault.target, "t_s": fault.at_ns / clock.NS_PER_S, "status": _EXITS[fault.kind], "fault": fault.id}
        for fault in timeline
        if fault.kind in _EXITS
    ]
    start_ns = journal.base_ns
    zero_ns = start_ns + scenario.phases.warm_up_ns
    return {
        "schema_version": 1,
        "fanlab_version": __version__,
        "status": "complete",
        "started_utc": clock.utc_stamp(),
        "command": [],
        "scenario": shown.scenario.model_dump(mode="json"),
        "scenario_source": secrets.hide(shown.source),
        "scenario_sha256": loaded.sha256,
        "matrix_cell": shown.cell,
        "seed": scenario.seed,
        "backend": "simulate",
        "workers": 0,
        "run_tag": journal.run_tag,
        "plan": asdict(make_plan(shown.scenario)),
        "predictions": [asdict(prediction) for prediction in predict(scenario, plan)],
        "faults": [asdict(fault) for fault in timeline],
        "fault_failures": [],
        "unplanned_exits": [],
        "expected_exits": ends,
        "phases": {
            "publish_start_ns": start_ns,
            "zero_ns": zero_ns,
            "measure_end_ns": zero_ns + scenario.phases.measure_ns,
        },
        "redis": {"url": "", "source": "simulated", "version": ""},
        "journaling_nodes": [node.id for node in plan.nodes if node.journal],
        "caching_nodes": [],
        "backend_facts": {"model": to_json(model)},
        "host": provenance.host(),
        "versions": provenance.versions(),
        "limits": provenance.limits(),
        "clock": {"name": "simulated", "boot_id": BOOT},
    }
