"""`fanlab capacity`: from the options to a search, its report, and the exit code."""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from fanlab import clock
from fanlab.capacity.loads import least_load, load_of, refuse_axis, with_load
from fanlab.capacity.prices import read_prices
from fanlab.capacity.scaling import FEWEST, Over, scaling, search_each, searches
from fanlab.capacity.search import Axis, Wanted, shown
from fanlab.capacity.session import Job, search
from fanlab.capacity.slo import parse_slo
from fanlab.errors import ScenarioError
from fanlab.exits import Exit
from fanlab.places import new_place
from fanlab.scenario.loader import Loaded, load
from fanlab.terminal import echo_json, printable
from fanlab.topology.choose import BackendName
from fanlab.units import parse_duration_ns

_DOUBLINGS = 10  # of the file's own load: how far a search goes when nobody says how far
_MOST_NODES = 64


def capacity(
    path: Path,
    base: Loaded,
    *,
    overrides: Sequence[str],
    slo: str,
    axis: Axis,
    backend: BackendName,
    out: Path | None,
    prices: Path | None,
    start: float | None,
    most: float | None,
    budget: str | None,
    workers: int,
    redis_url: str | None,
    over_nodes: Sequence[int],
    foretell: Sequence[int],
    force: bool,
    as_json: bool,
    no_progress: bool,
    **how: Any,
) -> Exit:
    """Search, write DIR's report, print what was found. `how`: precision, repeats, max_runs and confidence."""
    refuse_axis(base.scenario, axis, base.source)
    over = _over(base, axis, over_nodes, foretell, force=force)
    job = Job(
        path=path,
        base=base,
        slo_text=slo,
        slo=parse_slo(slo, base.scenario),
        wanted=_wanted(path, base, axis, start, most, slo=slo, overrides=overrides, **how),
        overrides=overrides,
        backend=backend,
        workers=workers,
        redis_url=redis_url,
        budget_ns=_budget(budget),
        prices=None if prices is None else read_prices(prices),
        out=out or new_place(f"{base.scenario.name}-capacity"),  # last: what is refused leaves no folder
    )

    def tell(said: str) -> None:
        click.echo(printable(said), err=as_json)

    tell(f"searching in {job.out}")
    began_ns = clock.now_ns()
    ended, document = search(job, tell, quiet=no_progress)
    code = ended.exit_code
    if over is not None and code is Exit.OK:
        left_ns = None if job.budget_ns is None else max(0, job.budget_ns - (clock.now_ns() - began_ns))
        code, document = _scale(job, over, document, tell, budget_ns=left_ns, quiet=no_progress, how=how)
    if as_json:
        echo_json(document)
    tell(document["headline"])
    if document["saturation"] is not None:
        tell(f"what saturates: {document['saturation']['sentence']}")
    tell(f"report: {job.out / 'capacity.html'}")
    return code


def _over(base: Loaded, axis: Axis, others: Sequence[int], foretell: Sequence[int], *, force: bool) -> Over | None:
    """What is to be measured over nodes, if anything; raises UsageError where no law can come of it."""
    if not others:
        if foretell or force:
            raise click.UsageError("--foretell and --force go with --over-nodes: what is foretold rests on it")
        return None
    if axis == "nodes":
        raise click.UsageError("--over-nodes searches with each number of nodes: give --axis rate or clients")
    refuse_axis(base.scenario, "nodes", base.source)
    own = round(load_of(base.scenario, "nodes"))
    counts = sorted({*others} - {own})
    if len(counts) + 1 < FEWEST:
        raise click.UsageError(
            f"--over-nodes: the law takes {FEWEST} numbers of nodes or more, the file's own ({own}) among them"
        )
    return Over(own, counts, sorted(set(foretell)), force)


def _scale(
    job: Job,
    over: Over,
    document: dict[str, Any],
    tell: Callable[[str], None],
    *,
    budget_ns: int | None,
    quiet: bool,
    how: Mapping[str, Any],
) -> tuple[Exit, dict[str, Any]]:
    """The searches of the other numbers of nodes, and the law over all: in the main one's report."""

    def job_of(nodes: int, start: float) -> Job:
        overrides = [*job.overrides, f"topology.nodes.count={nodes}"]
        (base,) = load(job.path, overrides=overrides, seed=job.base.scenario.seed, source=job.base.source)
        axis = job.wanted.axis
        least = least_load(base.scenario, axis)
        begin = max(least, start if axis == "rate" else float(round(start)))
        most = max(begin, _furthest(job.path, base, axis, begin, overrides))
        wanted = Wanted(axis, begin, float(least), float(most), **how)
        return replace(job, base=base, wanted=wanted, overrides=overrides, slo=parse_slo(job.slo_text, base.scenario))

    ended, found = search_each(searches(job, over, document, job_of), over, tell, budget_ns=budget_ns, quiet=quiet)
    code = Exit.OK if ended is None else ended.exit_code
    try:
        told = scaling([(over.own, document), *found], over)
    except ValueError as error:
        tell(f"no law over nodes: {error}")
        return code, document
    from fanlab.report.capacity.scaling import sections  # late: matplotlib takes its time
    from fanlab.report.capacity.write import write_capacity

    models = sections(told)
    for each in models:
        tell(each.lead)
    for row in told["forecast"]["rows"]:
        tell(f"foretold of {row['nodes']} nodes: {_foretold(job.wanted.axis, row)}")
    return code, write_capacity(job.out, document, models)


def _foretold(axis: Axis, row: Mapping[str, Any]) -> str:
    if "refused" in row:
        return f"no number, {row['refused']}"
    value, low, high = (shown(axis, row[key]) for key in ("value", "low", "high"))
    return f"{value} (95% band: {low.split(' ', maxsplit=1)[0]} to {high})" + (", a guess" if row["guess"] else "")


def _wanted(
    path: Path,
    base: Loaded,
    axis: Axis,
    start: float | None,
    most: float | None,
    *,
    slo: str,
    overrides: Sequence[str],
    **how: Any,
) -> Wanted:
    """The search's limits. The loads that the user gives must be runnable: the loader's errors say what is wrong."""
    least = least_load(base.scenario, axis)
    if axis == "nodes":
        least = _fewest_nodes(path, base, slo, overrides)
    begin = load_of(base.scenario, axis) if start is None else _given("--from", start, axis)
    limit = _furthest(path, base, axis, begin, overrides) if most is None else _given("--max", most, axis)
    if not least <= begin <= limit:
        raise click.UsageError(f"--from and --max: it is to begin at {begin:g}, which is not in {least:g} to {limit:g}")
    for end in (begin, limit) if most is not None else (begin,):
        with_load(path, base, axis, end, overrides=overrides)
    return Wanted(axis, float(begin), float(least), float(limit), **how)


def _fewest_nodes(path: Path, base: Loaded, slo: str, overrides: Sequence[str]) -> int:
    """The least number with which the file, and the objective, name no node that is not there."""

    def runs(nodes: int) -> bool:
        try:
            parse_slo(slo, with_load(path, base, "nodes", nodes, overrides=overrides).scenario)
        except ScenarioError:
            return False
        return True

    own = round(load_of(base.scenario, "nodes"))
    return bisect_left(range(own), 1, lo=1, key=runs)  # of `own` it is known


def _furthest(path: Path, base: Loaded, axis: Axis, begin: float, overrides: Sequence[str]) -> float:
    """What a search without --max goes to: the highest that the loader takes of a few doublings, or of 64 nodes."""
    if axis == "nodes":
        tried = [float(nodes) for nodes in range(_MOST_NODES, round(begin), -1)]
    else:
        tried = [float(begin * 2**doublings) for doublings in range(_DOUBLINGS, 0, -1)]
    for high in tried:
        try:
            with_load(path, base, axis, high, overrides=overrides)
        except ScenarioError:
            continue
        return high
    return begin


def _given(option: str, given: float, axis: Axis) -> float:
    if not 0 < given < math.inf or (axis != "rate" and given != round(given)):
        what = "a number above 0" if axis == "rate" else "a whole number, 1 or more"
        raise click.UsageError(f"{option} takes {what} on the axis {axis}")
    return given


def _budget(text: str | None) -> int | None:
    try:
        return None if text is None else parse_duration_ns(text)
    except ValueError as error:
        raise click.UsageError(f"--budget: {error}") from None
