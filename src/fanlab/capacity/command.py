"""`fanlab capacity`: from the options to a search, its report, and the exit code."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fanlab.capacity.loads import least_load, load_of, refuse_axis, with_load
from fanlab.capacity.prices import read_prices
from fanlab.capacity.search import Axis, Wanted
from fanlab.capacity.session import Job, search
from fanlab.capacity.slo import parse_slo
from fanlab.errors import ScenarioError
from fanlab.exits import Exit
from fanlab.places import new_place
from fanlab.scenario.loader import Loaded
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
    as_json: bool,
    no_progress: bool,
    **how: Any,
) -> Exit:
    """Search, write DIR's report, print what was found. `how`: precision, repeats, max_runs and confidence."""
    refuse_axis(base.scenario, axis, base.source)
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
    ended, document = search(job, tell, quiet=no_progress)
    if as_json:
        echo_json(document)
    tell(document["headline"])
    if document["saturation"] is not None:
        tell(f"what saturates: {document['saturation']['sentence']}")
    tell(f"report: {job.out / 'capacity.html'}")
    return ended.exit_code


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
    for load in (begin, limit) if most is not None else (begin,):
        with_load(path, base, axis, load, overrides=overrides)
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
    for load in tried:
        try:
            with_load(path, base, axis, load, overrides=overrides)
        except ScenarioError:
            continue
        return load
    return begin


def _given(option: str, load: float, axis: Axis) -> float:
    if not 0 < load < math.inf or (axis != "rate" and load != round(load)):
        what = "a number above 0" if axis == "rate" else "a whole number, 1 or more"
        raise click.UsageError(f"{option} takes {what} on the axis {axis}")
    return load


def _budget(text: str | None) -> int | None:
    try:
        return None if text is None else parse_duration_ns(text)
    except ValueError as error:
        raise click.UsageError(f"--budget: {error}") from None
