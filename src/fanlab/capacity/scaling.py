"""How what is carried grows with the nodes: a search for each number of them, and the scalability law over their knees.

The search of the file's own number of nodes is the main one; the others lie in folders beside its runs. What they come
to is two parts of its capacity.json: `model`, the fit with the point that was held out, and `forecast`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Final

from fanlab import clock
from fanlab.analysis.usl import FAR, Band, Fit, fit, held_out
from fanlab.capacity.session import Ended, Job, search
from fanlab.exits import Exit

FEWEST: Final = 3  # numbers of nodes: as many as the law has parameters
_SUREST: Final = 0.005  # of a knee: loads are told in three digits
_CURVE: Final = 40  # points of the law, to be drawn

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Over:
    """What to measure and what to foretell, in nodes. `force`: also what is past twice the most that is measured."""

    own: int
    others: Sequence[int]
    foretold: Sequence[int] = ()
    force: bool = False


def searches(job: Job, over: Over, document: Mapping[str, Any], job_of: Callable[[int, float], Job]) -> Iterator[Job]:
    """The searches beside the main one, each made by `job_of(nodes, start)`, to begin where a straight line goes."""
    for nodes in over.others:
        start = float(f"{document['load'] * nodes / over.own:.3g}")
        other = job_of(nodes, start)
        yield replace(other, out=job.out / f"nodes-{nodes}")


def search_each(
    jobs: Iterator[Job], over: Over, tell: Tell, *, budget_ns: int | None, quiet: bool
) -> tuple[Ended | None, list[tuple[int, Mapping[str, Any]]]]:
    """Search them in turn: what was found, by nodes, and the end of the one that had no answer, which is the last."""
    found: list[tuple[int, Mapping[str, Any]]] = []
    until_ns = None if budget_ns is None else clock.now_ns() + budget_ns
    for nodes, job in zip(over.others, jobs, strict=True):
        left_ns = None if until_ns is None else max(0, until_ns - clock.now_ns())
        tell(f"with {_nodes(nodes)}: searching in {job.out}")
        ended, document = search(replace(job, budget_ns=left_ns), tell, quiet=quiet)
        tell(f"with {_nodes(nodes)}: {document['headline']}")
        found.append((nodes, document))
        if ended.exit_code is not Exit.OK:
            return ended, found
    return None, found


def scaling(found: Sequence[tuple[int, Mapping[str, Any]]], over: Over) -> dict[str, Any]:
    """`model` and `forecast` from capacity.json of each number of nodes. Raises ValueError for fewer than FEWEST."""
    known = sorted((each for each in found if each[1]["status"] == "answer"), key=lambda each: each[0])
    nodes = [count for count, _ in known]
    loads = [float(document["load"]) for _, document in known]
    errors = [standard_error(document) for _, document in known]
    law = fit(nodes, loads, sure=errors)
    most = max(count for count in (*nodes, *over.foretold) if over.force or not law.far(count))
    points = [_point(count, document, law, over) for count, document in known]
    return {
        "model": {
            "law": "universal scalability law",
            "axis": known[0][1]["axis"],
            "unit": known[0][1]["unit"],
            "one_node": law.law.per_s,
            "contention": law.law.contention,
            "crosstalk": law.law.crosstalk,
            "peak": None if law.peak is None else _band(law.peak),
            "points": points,
            "curve": [{"nodes": at, **_band(law.at(at))} for at in _steps(most)],
            "held_out": _held_out(nodes, loads, errors, known[-1][1]),
        },
        "forecast": {"rows": [_foretold(count, law, force=over.force) for count in over.foretold]},
    }


def standard_error(document: Mapping[str, Any]) -> float:
    """How sure a search is of its knee, as a share of it: its interval taken for that of a logarithmic normal."""
    low, high, confidence = document["low"], document["high"], document["confidence"] or 0.9
    if not 0 < low < high:
        return _SUREST
    return max(_SUREST, math.log(high / low) / (2 * NormalDist().inv_cdf((1 + confidence) / 2)))


def _point(nodes: int, document: Mapping[str, Any], law: Fit, over: Over) -> dict[str, Any]:
    saturation = document["saturation"]
    busy = saturation["named"] if saturation else None
    return {
        "nodes": nodes,
        **{key: document[key] for key in ("load", "low", "high")},
        "fitted": law.law(nodes),
        "saturates": busy["name"] if busy else None,
        "search": "." if nodes == over.own else f"nodes-{nodes}",
    }


def _held_out(
    nodes: Sequence[int], loads: Sequence[float], errors: Sequence[float], last: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What the others foretell of the most nodes that were measured; None where they are too few to."""
    if len(nodes) <= FEWEST:
        return None
    band, truth = held_out(nodes, loads, sure=errors)
    return {
        "nodes": max(nodes),
        **_band(band),
        "found": truth,
        "found_low": last["low"],
        "found_high": last["high"],
        "inside": band.low <= truth <= band.high,
    }


def _foretold(nodes: int, law: Fit, *, force: bool) -> dict[str, Any]:
    if law.far(nodes) and not force:
        why = f"past {FAR:g} times the {law.measured} nodes that were measured: measure more, or --force a guess"
        return {"nodes": nodes, "refused": why}
    return {"nodes": nodes, **_band(law.at(nodes)), "guess": law.far(nodes)}


def _band(band: Band) -> dict[str, float]:
    return {"value": band.value, "low": band.low, "high": band.high}


def _steps(most: int) -> list[float]:
    return [1 + (most - 1) * step / (_CURVE - 1) for step in range(_CURVE)]


def _nodes(count: int) -> str:
    return f"{count} nodes" if count != 1 else "1 node"
