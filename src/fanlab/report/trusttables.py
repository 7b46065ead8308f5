"""Whether the figures can be trusted: the generator against its limits, the clocks, the evidence, as tables. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from fanlab.report import text, words
from fanlab.report.losstables import coarse
from fanlab.report.tables import Cell, Table, Tone

_NODES_AT_MOST: Final = 12


class _Line(NamedTuple):
    label: str
    value: object
    limit: object
    shown: Callable[[object], str]
    more: str = ""
    needed: bool = True  # a run without it is not to be trusted


def health(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> Table:
    """Is it us? The generator's own figures beside the limits past which a run is invalid."""
    limits, generator = manifest["scenario"].get("limits") or {}, summary["generator"]
    lines = [
        _Line("busiest process, CPU", generator["cpu"], limits.get("cpu"), text.ratio),
        _Line("schedule lag, p99", generator["schedule_lag_p99_ms"], _ms(limits, "schedule_lag_p99_ns"), text.ms),
        _Line("event loop lag, p99", generator["loop_lag_p99_ms"], _ms(limits, "loop_lag_p99_ns"), text.ms),
        _Line("messages left unsent", summary["publishers"]["unsent"], 0, text.count),
        _Line(
            "bias of the latency, p50", generator["bias_ms"], None, text.ms,
            _of(generator, "bias_ratio", "p50"), needed=False,
        ),
        _Line(
            "bias of the latency, p99", generator["bias_p99_ms"], _ms(limits, "bias_p99_ns"), text.ms,
            _of(generator, "bias_p99_ratio", "p99"), needed=False,
        ),
        _Line("messages waited for it, p99", generator.get("wait_p99_ms"), None, text.ms, needed=False),
        _Line("waited for a CPU", generator["cpu_wait"], None, text.ratio, " of the time", needed=False),
        _Line("longest garbage collection", generator["gc_max_ms"], None, text.ms, needed=False),
        _Line("CPU stolen by other machines", generator["steal"], limits.get("steal"), text.ratio, needed=False),
    ]  # fmt: skip
    rows = tuple(_row(line) for line in lines)
    n = generator["bias_n"]
    bias = (
        "Bias is how much later than the kernel had them messages are told to have come: by probes in the "
        f"generator's own loop, n = {text.count(n)}."
        if n
        else "No probes: the bias of the reported latency was not measured."
    )
    columns = (("Generator", False), ("Measured", True), ("Limit", True), ("Result", False))
    return Table("Is it us?", columns, rows, f"{bias} Clocks: {words.clock(summary['clock'])}.")


def evidence(summary: Mapping[str, Any]) -> Table:
    """Who testifies, beside the clients: what an attribution rests on."""
    kept = summary["evidence"]
    nodes = [text.clean(node, 40) for node in kept["node_journals"]]
    shown = text.listing(nodes[:_NODES_AT_MOST]) + (
        f" and {more} more" if (more := len(nodes) - _NODES_AT_MOST) > 0 else ""
    )
    rows = [
        (Cell("publishers' journal: meant, sent, replied"), _kept(kept["publisher_journal"])),
        (Cell("witness: what Redis sent, and in which order"), _kept(kept["witness"])),
        (Cell("Redis' own list of subscribers"), _kept(kept["redis_watch"], "watched", "not watched")),
        (Cell("Redis' log: whom it cut off"), _kept(kept["redis_log"], "watched", "not watched")),
        (Cell("nodes' journals: had it, handed it out, dropped it"), Cell(shown) if nodes else _kept(kept=False)),
    ]
    if kept["crosscheck"] is not None:
        agrees = kept["crosscheck"] == "agrees"
        told = Cell("agrees on every message" if agrees else "DIFFERS", "good" if agrees else "bad")
        rows.append((Cell("second checker, in SQL"), told))
    if kept["foreign"]:
        rows.append(
            (Cell("messages of another run: somebody else publishes here"), Cell(text.count(kept["foreign"]), "bad"))
        )
    return Table("Evidence", (("Witness", False), ("Kept", False)), tuple(rows), " ".join(coarse(summary)))


def _row(line: _Line) -> tuple[Cell, ...]:
    tone: Tone
    if line.value is None:
        word, tone = "not measured", "bad" if line.needed else "muted"
    elif line.limit is None:
        word, tone = "no limit", "muted"
    else:
        within = text.is_number(line.value) and text.is_number(line.limit) and line.value <= line.limit
        word, tone = ("within", "good") if within else ("OVER", "bad")
    value = line.shown(line.value) + (line.more if line.value is not None else "")
    return Cell(line.label), Cell(value), Cell(line.shown(line.limit), "muted"), Cell(word, tone)


def _of(generator: Mapping[str, Any], key: str, percentile: str) -> str:
    """How much of the reported latency that is."""
    return "" if generator[key] is None else f", {text.ratio(generator[key])} of {percentile}"


def _kept(kept: bool, yes: str = "kept", no: str = "none") -> Cell:  # noqa: FBT001 - a word for each
    return Cell(yes) if kept else Cell(no, "muted")


def _ms(limits: Mapping[str, Any], key: str) -> float | None:
    value = limits.get(key)
    return value / 1e6 if text.is_number(value) else None
