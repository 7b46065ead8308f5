"""`fanlab capacity`: from the options to a search, its report, and the exit code."""

import math
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
        wanted=_wanted(path, base, axis, start, most, overrides=overrides, **how),
        slo_text=slo,
        slo=parse_slo(slo, base.scenario),
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
    overrides: Sequence[str],
    **how: Any,
) -> Wanted:
    """The search's limits. The loads that the user gives must be runnable: the loader's errors say what is wrong."""
    least = least_load(base.scenario, axis)
    begin = load_of(base.scenario, axis) if start is None else _given("--from", start, axis)
    limit = _furthest(path, base, axis, begin, overrides) if most is None else _given("--max", most, axis)
    if not least <= begin <= limit:
        raise click.UsageError(f"--from and --max: it is to begin at {begin:g}, which is not in {least:g} to {limit:g}")
    for load in (begin, limit) if most is not None else (begin,):
        with_load(path, base, axis, load, overrides=overrides)
    return Wanted(axis, float(begin), float(least), float(limit), **how)


def _furthest(path: Path, base: Loaded, axis: Axis, begin: float, overrides: Sequence[str]) -> float:
    """The highest of a few doublings of the load that the loader takes: what a search without --max goes to."""
    if axis == "nodes":
        return max(begin, _MOST_NODES)
    for doublings in range(_DOUBLINGS, 0, -1):
        try:
            with_load(path, base, axis, begin * 2**doublings, overrides=overrides)
        except ScenarioError:
            continue
        return float(begin * 2**doublings)
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
