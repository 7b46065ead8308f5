"""A capacity search's result, made by hand: five runs of every outcome but broken."""

from typing import Any

from fanlab.analysis.cost import Prices
from fanlab.capacity.result import make_result
from fanlab.capacity.search import Axis, End, Wanted
from support.accounts import make_scenario

PARTS = [
    {"kind": "node", "name": "node-1", "use": 0.97, "figures": "0.19 of 0.2 cores that it may use"},
    {"kind": "redis", "name": "redis", "use": 0.31, "figures": "0.31 of one core"},
]
SATURATION = {"sentence": "Node-1's core: 97%.", "named": PARTS[0], "next": PARTS[1], "parts": PARTS}
LOADS = (
    (100, "met", 8.0),
    (200, "missed", 900.0),
    (150, "unsteady", 80.0),
    (120, "generator", 9.0),
    (110, "met", None),
)


def a_probe(number: int, load: float, outcome: str, p99_ms: float | None) -> dict[str, Any]:
    return {
        "number": number,
        "load": load,
        "reason": "",
        "run": f"runs/{number:03}",
        "outcome": outcome,
        "why": f"because of <b>{number}</b>",
        "published_per_s": load,
        "owed_per_s": 4 * load,
        "delivered_per_s": 3.9 * load,
        "lost": 0,
        "p50_ms": p99_ms,
        "p99_ms": p99_ms,
        "saturation": SATURATION,
    }


def a_document(end: End, *, axis: Axis = "rate", probes: int = len(LOADS), **changes: Any) -> dict[str, Any]:
    records = [a_probe(number, *each) for number, each in enumerate(LOADS[:probes], start=1)]
    wanted = Wanted(axis, start=100, least=1, most=1000)
    prices = Prices("EUR", 0.05, 0.1, 0.09)
    slo = "latency.p99 < 50ms"
    made = make_result(make_scenario(), wanted, end, records, slo=slo, backend="process", prices=prices)
    return {**made, **changes}


ANSWER = End("answer", "", 120, 110, 130, 0.9, 100, 150)
