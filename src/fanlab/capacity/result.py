"""capacity.json: the search's end, its probes, and what follows from them for sizing and cost. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from fanlab.analysis.cost import Prices, per_million
from fanlab.capacity.assumptions import assumptions
from fanlab.capacity.loads import load_of
from fanlab.capacity.search import Axis, End, Wanted, shown
from fanlab.scenario.model import Scenario

SCHEMA_VERSION: Final = 1
_UNITS: Final[Mapping[Axis, str]] = {"rate": "messages per second", "clients": "clients", "nodes": "nodes"}
_LEVELS: Final = ("low", "load", "high")


def make_result(
    scenario: Scenario,
    wanted: Wanted,
    end: End,
    records: Sequence[Mapping[str, Any]],
    *,
    slo: str,
    backend: str,
    prices: Prices | None,
) -> dict[str, Any]:
    """The document. `records` are the journal's, in order."""
    too_much = _too_much(wanted, end, records)
    sizing = _sizing(scenario, wanted, end, records)
    return {
        "schema_version": SCHEMA_VERSION,
        "scenario": scenario.name,
        "question": scenario.question,
        "axis": wanted.axis,
        "unit": _UNITS[wanted.axis],
        "slo": slo,
        "backend": backend,
        "status": end.status,
        "headline": headline(wanted, end),
        "why": end.why,
        "load": end.load,
        "low": end.low,
        "high": end.high,
        "confidence": end.confidence,
        "carried": end.carried,
        "refused": end.refused,
        "saturation": None if too_much is None else too_much["saturation"],
        "saturated_in": None if too_much is None else too_much["run"],
        "sizing": sizing,
        "prices": None if prices is None else asdict(prices),
        "cost": [] if prices is None else _cost(scenario, sizing, prices),
        "search": asdict(wanted),
        "assumptions": assumptions(scenario, wanted, prices=prices is not None),
        "probes": list(records),
        "model": None,  # the Universal Scalability Law's fit over nodes, where one was made
        "forecast": None,
    }


def headline(wanted: Wanted, end: End) -> str:
    """The end in one sentence."""
    axis = wanted.axis

    def say(load: float | None) -> str:
        return "?" if load is None else shown(axis, load)

    if end.status == "none":
        return f"No answer: {end.why}."
    if end.status == "bound":
        return f"No answer, but a bound: {_bound(wanted, end)}; {end.why}."
    if end.confidence is None:
        return f"{say(end.load)} carries the load; {end.why}."
    between = f"{end.confidence:.0%} interval: {_plain(axis, end.low)} to {say(end.high)}"
    if axis == "nodes":
        return f"{say(end.load)} are the fewest that carry the load ({between})."
    return f"The system carries {say(end.load)} ({between})."


def _bound(wanted: Wanted, end: End) -> str:
    low, high = (None if load is None else shown(wanted.axis, load) for load in (end.low, end.high))
    if wanted.axis == "nodes":
        if low and high:
            return f"{low} are too few and {high} are enough"
        return f"{low} are too few" if low else f"{high} are enough"
    if low and high:
        return f"{low} is carried and {high} is not"
    return f"at least {low}" if low else f"less than {high}"


def _plain(axis: Axis, load: float | None) -> str:
    return "?" if load is None else shown(axis, load).split(" ", maxsplit=1)[0]


def _too_much(wanted: Wanted, end: End, records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The run to ask what saturated: of the easiest load past the knee that was not carried, else of any such load.

    A miss on the easy side of the knee is a run gone astray. Where nothing was missed, the generator's limit is asked.
    """
    hard = -1 if wanted.axis == "nodes" else 1
    asked = [each for each in records if each.get("saturation")]
    missed = [each for each in asked if each["outcome"] in ("missed", "unsteady")]
    past = [each for each in missed if end.load is None or hard * each["load"] >= hard * end.load]
    generator = [each for each in asked if each["outcome"] == "generator"]
    return min(past or missed or generator, key=lambda each: hard * each["load"], default=None)


def _sizing(scenario: Scenario, wanted: Wanted, end: End, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the system and each node of it carry at the interval's ends and the knee; empty without an answer.

    Deliveries are those owed: a message to each client that listens, as measured at the load that was carried.
    """
    measured = next((each for each in records if each["load"] == end.carried and each["outcome"] == "met"), None)
    if end.status != "answer" or measured is None or end.carried is None:
        return []
    rows = []
    for level in _LEVELS:
        load: float = getattr(end, level)
        factor = 1.0 if wanted.axis == "nodes" else load / end.carried
        nodes = round(load) if wanted.axis == "nodes" else round(load_of(scenario, "nodes"))
        clients = load if wanted.axis == "clients" else load_of(scenario, "clients")
        messages = measured["published_per_s"] * (factor if wanted.axis == "rate" else 1.0)
        deliveries = measured["owed_per_s"] * factor
        rows.append({
            "level": level,
            "load": load,
            "nodes": nodes,
            "messages_per_s": messages,
            "clients": clients,
            "deliveries_per_s": deliveries,
            "clients_per_node": clients / nodes,
            "deliveries_per_s_per_node": deliveries / nodes,
        })  # fmt: skip
    return rows


def _cost(scenario: Scenario, sizing: Sequence[Mapping[str, Any]], prices: Prices) -> list[dict[str, Any]]:
    """The cost of a million deliveries at each row of the sizing table."""
    sent = [(load_of_one, each.payload_bytes) for each, load_of_one in _sent(scenario)]
    payload = sum(rate * size for rate, size in sent) / sum(rate for rate, _ in sent)
    rows = []
    for row in sizing:
        cost = per_million(
            prices, nodes=row["nodes"], deliveries_per_s=row["deliveries_per_s"], bytes_per_delivery=payload
        )
        rows.append({"level": row["level"], **asdict(cost), "total": cost.total, "bytes_per_delivery": payload})
    return rows


def _sent(scenario: Scenario) -> list[tuple[Any, float]]:
    """Each publisher, with the messages a second that it alone sends."""
    alone = [scenario.model_copy(update={"publishers": [each]}) for each in scenario.publishers]
    return [(each, load_of(one, "rate")) for each, one in zip(scenario.publishers, alone, strict=True)]
