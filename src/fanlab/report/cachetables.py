"""What became of the nodes' caches, as tables. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from fanlab.report import text, words
from fanlab.report.tables import Cell, Table, Tone

_COUNTS: Final = (
    ("updates", "updates published", False),
    ("owed", "refreshes owed: updates × nodes", False),
    ("refreshed", "refreshed", False),
    ("missed", "missed", True),
    ("indeterminate", "nobody can tell", True),
    ("wrong_for_good", "entries wrong for good", True),
    ("empty_at_end", "entries empty at the end", False),
    ("reads", "reads", False),
    ("stale_reads", "stale reads", True),
    ("stale_reads_lost", "of these, after a lost update", True),
    ("stale_reads_withheld", "of these, though the node had a newer one", True),
    ("reads_failed", "reads that failed", True),
)
_MISS_HOPS: Final = {
    "publisher_redis": "publisher → Redis",
    "redis_node": "Redis → node",
    "node_cache": "node → cache",
    "unknown": "hop unknown",
}


def caches(summary: Mapping[str, Any]) -> list[Table]:
    """Totals, misses by hop and by cause, and each node; empty for a run without caches."""
    block = summary["cache"]
    if block is None:
        return []
    return [_totals(block), _misses(block, "by_hop", "Missed by hop"), _misses(block, "by_cause", "Missed by cause")]


def cache_nodes(summary: Mapping[str, Any]) -> Table | None:
    """Each node's cache; None for a run without caches."""
    block = summary["cache"]
    if block is None:
        return None
    rows = tuple(
        (
            Cell(text.clean(node, 60)),
            Cell(text.count(of["owed"])),
            Cell(text.count(of["missed"]), _bad(of["missed"])),
            Cell(text.count(of["wrong_for_good"]), _bad(of["wrong_for_good"])),
            Cell(text.count(of["reads"])),
            Cell(text.count(of["stale_reads"]), _bad(of["stale_reads"])),
            Cell(text.ms(of["refresh_ms"]["p50"])),
            Cell(text.ms(of["refresh_ms"]["p99"])),
            Cell(text.ms(of["refresh_ms"]["max"])),
        )
        for node, of in block["by_node"].items()
    )
    columns = (
        ("Node", False), ("Owed", True), ("Missed", True), ("Wrong for good", True), ("Reads", True), ("Stale", True),
        ("Refresh p50", True), ("p99", True), ("max", True),
    )  # fmt: skip
    stale = block["staleness_ms"]
    note = "Refresh: from the intended send of an update to the node's cache having it."
    if stale["n"]:
        note += f" A stale read got a value that had been out of date for {text.ms(stale['p50'])} in the middle,"
        note += f" {text.ms(stale['max'])} at most, n = {text.count(stale['n'])}."
    if words.clock_if_apart(summary["clock"]):
        note += f" Each clock is taken as it is: all these times are {words.UNCOMPARED}."
    return Table("Caches by node", columns, rows, note)


def _totals(block: Mapping[str, Any]) -> Table:
    rows = tuple(
        (Cell(label), Cell(text.count(block[key]), _bad(block[key]) if wrong else "" if block[key] else "muted"))
        for key, label, wrong in _COUNTS
    )
    return Table("Over all nodes", (("Count", False), ("n", True)), rows)


def _misses(block: Mapping[str, Any], key: str, title: str) -> Table:
    rows = tuple(
        (
            Cell(_MISS_HOPS.get(name, text.label(name)) if key == "by_hop" else text.label(name)),
            Cell(text.count(n), "bad" if name == "unexplained" else ""),
        )
        for name, n in block[key].items()
        if n
    )
    head = title.removeprefix("Missed by ").capitalize()
    return Table(title, ((head, False), ("Missed", True)), rows, "" if rows else "No update was missed.")


def _bad(n: object) -> Tone:
    return "bad" if n else "muted"
