"""A capacity search as tables of plain text, once for every format. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fanlab.report import text
from fanlab.report.tables import Cell, Table, Tone

_TONES: Final[Mapping[str, Tone]] = {"met": "good", "missed": "bad", "unsteady": "bad"}
_LEVELS: Final = {"low": "interval, lower end", "load": "the knee", "high": "interval, upper end"}


def load(axis: str, value: object) -> str:
    """A load without its unit: whole numbers but for rates."""
    if not text.is_number(value):
        return text.NONE
    return f"{float(f'{value:.4g}'):,.10g}" if axis == "rate" else text.count(value)


def probes(document: Mapping[str, Any]) -> Table:
    """Every run, in the order in which it was made."""
    rows = tuple(
        (
            Cell(str(each["number"])),
            Cell(load(document["axis"], each["load"])),
            Cell(each["outcome"], _TONES.get(each["outcome"], "muted")),
            Cell(text.count(each.get("delivered_per_s"))),
            Cell(text.ms(each.get("p50_ms"))),
            Cell(text.ms(each.get("p99_ms"))),
            Cell(text.count(each.get("lost"))),
            Cell(text.clean(each["why"], 300)),
        )
        for each in document["probes"]
    )
    columns = (
        *(("Run", True), (text.clean(document["unit"]), True), ("Outcome", False)),
        *(("deliveries/s", True), ("p50", True), ("p99", True), ("Lost", True), ("Why", False)),
    )
    note = "" if rows else "No run was made."
    return Table("Every run", columns, rows, note)


def sizing(document: Mapping[str, Any]) -> Table:
    """What the system and each node carry."""
    rows = tuple(
        (
            Cell(_LEVELS[each["level"]]),
            Cell(load("rate", each["messages_per_s"])),
            Cell(text.count(each["clients"])),
            Cell(text.count(each["nodes"])),
            Cell(text.count(each["deliveries_per_s"])),
            Cell(text.count(each["clients_per_node"])),
            Cell(text.count(each["deliveries_per_s_per_node"])),
        )
        for each in document["sizing"]
    )
    columns = (
        *(("", False), ("messages/s", True), ("clients", True), ("nodes", True), ("deliveries/s", True)),
        *(("clients per node", True), ("deliveries/s per node", True)),
    )
    note = "" if rows else "There is no answer, so there is nothing to size by."
    return Table("Sizing", columns, rows, note)


def cost(document: Mapping[str, Any]) -> Table | None:
    """What a million deliveries cost; None where nobody gave prices."""
    prices = document["prices"]
    if prices is None:
        return None
    rows = tuple(
        (Cell(_LEVELS[each["level"]]), *(Cell(money(each[part])) for part in ("nodes", "redis", "egress", "total")))
        for each in document["cost"]
    )
    columns = (("", False), ("nodes", True), ("Redis", True), ("egress", True), ("in all", True))
    currency = text.clean(prices["currency"], 12)
    given = ", ".join(
        f"{words} {prices[key]:g}"
        for key, words in (
            ("node_per_hour", "a node for an hour"),
            ("redis_per_hour", "Redis for an hour"),
            ("egress_per_gb", "a GB out"),
        )
    )
    note = (
        f"In {currency}, at the prices given: {given}." if rows else "There is no answer, so there is no load to price."
    )
    return Table(f"Cost of a million deliveries, {currency}", columns, rows, note)


def parts(document: Mapping[str, Any]) -> Table | None:
    """How busy each part was where the load was too much."""
    found = document["saturation"]
    if found is None:
        return None
    rows = tuple(
        (
            Cell(text.clean(each["name"])),
            Cell(each["kind"]),
            Cell(text.ratio(each["use"]), "bad" if named(found, each) else ""),
            Cell(each["figures"]),
        )
        for each in found["parts"]
    )
    columns = (("Part", False), ("Kind", False), ("Use", True), ("Figures", False))
    return Table("How busy each part was", columns, rows, f"Of the run {document['saturated_in']}.")


def named(found: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    """Whether a part is the one that saturated."""
    return bool(found["named"]) and found["named"]["name"] == part["name"]


def money(value: float) -> str:
    """An amount in three digits, however small."""
    return text.digits(value) if not value or value >= 1e-5 else f"{value:.2e}"  # noqa: PLR2004


def facts(document: Mapping[str, Any]) -> Sequence[tuple[str, str, str]]:
    """The key figures: label, value, note."""
    axis, unit = document["axis"], document["unit"]
    if document["status"] == "answer":
        share = document["confidence"]
        between = f"{load(axis, document['low'])} to {load(axis, document['high'])}"
        interval = (f"{share:.0%} interval" if share else "Interval", between if share else text.NONE, unit)
        first = (("Knee", load(axis, document["load"]), unit), interval)
    else:
        first = (
            ("At least", load(axis, document["low"]), unit),
            ("At most", load(axis, document["high"]), unit),
        )
    found = document["saturation"]
    busy = found["named"] if found else None
    saturates = (busy["name"], f"{text.ratio(busy['use'])} used") if busy else (text.NONE, "nothing that was measured")
    return (
        *first,
        ("Saturates", text.clean(saturates[0], 40), saturates[1]),
        ("Runs", str(len(document["probes"])), f"{document['backend']} backend"),
    )
