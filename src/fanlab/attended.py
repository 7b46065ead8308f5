"""Runs with somebody waiting for them: progress, report, exit code, and the cells of a matrix as one result."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from fanlab.beyond import Beyond
from fanlab.errors import FanlabError
from fanlab.exits import Exit
from fanlab.outputs import Outputs
from fanlab.places import new_place
from fanlab.progress import Listener, View, view_for
from fanlab.redaction import Secrets, hide_setting
from fanlab.run import Request
from fanlab.run import run as run_scenario
from fanlab.rundir import RunDir
from fanlab.scenario.loader import Loaded
from fanlab.terminal import console, echo_json, interruptible, nobody_reads, printable
from fanlab.topology.choose import BackendName

if TYPE_CHECKING:
    from rich.table import Table

Runner = Callable[[Request, Listener], Coroutine[Any, Any, None]]  # fills the run directory of a request
VERDICT_EXITS = {"pass": Exit.OK, "fail": Exit.GATE_FAILED, "invalid": Exit.INVALID}
# Of several runs in one command the worst counts: no result at all before a doubtful one before a bad one.
_WORST_FIRST = (Exit.BUG, Exit.INTERRUPTED, Exit.ENVIRONMENT, Exit.SCENARIO, Exit.INVALID, Exit.GATE_FAILED, Exit.OK)


class _End(NamedTuple):
    """How one run ended; without a summary if it never got as far as publishing."""

    code: Exit
    summary: dict[str, Any] | None


def run_all(
    loadeds: Sequence[Loaded],
    *,
    out: Path | None,
    workers: int,
    redis_url: str | None,
    backend: BackendName,
    beyond: Beyond,
    trace: bool,
    as_json: bool,
    no_progress: bool,
    outputs: Outputs,
    model: Path | None = None,
) -> Exit:
    """Run each cell of a scenario in turn, print its result, and say how it went over all.

    `model` is what a simulated run is simulated from; None: the default one.
    `out` is the run directory of a single run, and the folder of `cell-1`, `cell-2` … of a matrix.
    Raises FanlabError where a run could not begin.
    """
    base = out or new_place(loadeds[0].scenario.name)
    rundirs = [RunDir(base if len(loadeds) == 1 else base / f"cell-{number + 1}") for number in range(len(loadeds))]
    for rundir in rundirs:
        rundir.create()  # refuses one that holds another run, before that run's evidence is taken for this one's
    run_it: Runner = run_scenario if backend != "simulate" else _simulator(model)
    told = console(stderr=True)
    ends: list[_End] = []
    for number, (loaded, rundir) in enumerate(zip(loadeds, rundirs, strict=True), start=1):
        if loaded.cell:
            told.print(f"run {number} of {len(loadeds)}: {_cell(loaded)}", markup=False, highlight=False)
        command = ["fanlab", *sys.argv[1:], *(word for axis in loaded.cell.items() for word in _as_set(*axis))]
        request = Request(loaded, rundir, command, redis_url=redis_url, workers=workers, backend=backend, beyond=beyond)
        ends.append(_run_once(request, view_for(told, wanted=not no_progress), run_it, trace=trace, quiet=as_json))
        if ends[-1].code is Exit.INTERRUPTED:
            break
    outputs.tell(
        [
            (end.summary, rundir.read_manifest())
            for end, rundir in zip(ends, rundirs, strict=False)
            if end.summary is not None
        ]
    )
    summaries = [end.summary for end in ends if end.summary is not None]
    if as_json and summaries:
        echo_json(summaries[0] if len(loadeds) == 1 else summaries)
    elif len(loadeds) > 1:
        console().print(_matrix_table(loadeds, ends))
    return min((end.code for end in ends), key=_WORST_FIRST.index)


def _simulator(model: Path | None) -> Runner:
    from fanlab.simulate.model import read_model
    from fanlab.simulate.run import simulate

    known = read_model(model)
    return lambda request, notify: simulate(request, notify, known)


def _run_once(request: Request, view: View, run_it: Runner, *, trace: bool, quiet: bool) -> _End:
    ended: Exit | None = None  # by something other than its verdict
    try:
        with view:
            interruptible(run_it(request, view))
    except asyncio.CancelledError:
        ended = Exit.INTERRUPTED
    except FanlabError as error:
        if not _has_evidence(request.rundir):
            raise
        click.echo(printable(f"fanlab: {error}"), err=True)
        ended = error.exit_code
    if ended is not None and not _has_evidence(request.rundir):
        click.echo("interrupted before anything was published: there is nothing to report", err=True)
        return _End(ended, None)
    if trace:
        from fanlab.trace import trace as trace_run  # late, as all that a run needs only when it is over

        trace_run(request.rundir)
    summary = make_report(request.rundir.path, quiet=quiet)
    return _End(ended or VERDICT_EXITS[summary["verdict"]], summary)


def _has_evidence(rundir: RunDir) -> bool:
    """Whether the run got as far as publishing: then even what is left of it is worth a report."""
    return rundir.manifest.exists() and rundir.read_manifest()["phases"]["zero_ns"] is not None


def make_report(path: Path, *, quiet: bool) -> dict[str, Any]:
    """Make the report of a run directory, and print its table unless `quiet`."""
    from fanlab.report.terminal import table  # late: matplotlib takes its time, and a run needs none of it
    from fanlab.report.write import write_report

    rundir = RunDir(path)
    summary: dict[str, Any] = dict(write_report(rundir))
    if not quiet:
        try:
            console().print(table(summary, rundir.read_manifest(), path / "report.html"))
        except BrokenPipeError:  # `fanlab run … | head`: that nobody reads on changes no verdict
            nobody_reads(sys.stdout)
    return summary


def show_gates(summary: dict[str, Any], manifest: dict[str, Any]) -> None:
    """Print the gates, the verdict and its reasons."""
    from rich.console import Group

    from fanlab.report.terminal import outcome

    try:
        console().print(Group(*outcome(summary, manifest)))
    except BrokenPipeError:
        nobody_reads(sys.stdout)


def _cell(loaded: Loaded) -> str:
    shown = ", ".join(f"{path}={hide_setting(path, value, Secrets())}" for path, value in loaded.cell.items())
    return " ".join(printable(shown).split())


def _as_set(path: str, value: Any) -> tuple[str, str]:
    """A cell's axis as an option: with it, the command repeats this cell alone (JSON is YAML)."""
    return "--set", f"{path}={json.dumps(value)}"


def _matrix_table(loadeds: Sequence[Loaded], ends: Sequence[_End]) -> "Table":
    """One line per cell, to compare them."""
    from rich.table import Table
    from rich.text import Text

    table = Table("cell", "verdict", "owed", "lost", "p50 ms", "p99 ms", box=None, pad_edge=False)
    for loaded, end in zip(loadeds, ends, strict=False):
        cells = [_cell(loaded)]
        if end.summary is None:
            cells += [end.code.name.lower(), "", "", "", ""]
        else:
            ledger, latency = end.summary["ledger"], end.summary["latency_ms"]
            times = ["-" if latency[key] is None else f"{latency[key]:.3g}" for key in ("p50", "p99")]
            cells += [end.summary["verdict"], str(ledger["owed"]), str(ledger["lost"]), *times]
        table.add_row(*map(Text, cells))
    return table
