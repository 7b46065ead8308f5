"""A result as tables of plain text, once for every format: HTML, Markdown and the terminal only lay them out. Pure.

Cells hold names as they are, made printable by `text.clean`; escaping for a format is that format's own business.
"""

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from fanlab.report import text
from fanlab.scenario.gates import Gate, GateError, parse_gate

Tone = Literal["", "good", "bad", "muted"]
PERCENTILES: Final = (("p50", "p50"), ("p90", "p90"), ("p95", "p95"), ("p99", "p99"), ("p999", "p99.9"), ("max", "max"))
_HOPS: Final = (
    ("schedule", "schedule: intended send → sent"),
    ("redis", "Redis: sent → received by the node"),
    ("node", "node: received → handed to all its clients"),
    ("client", "client: handed over → received"),
)
_RECOVERY: Final = (
    ("clients", "clients"),
    ("detected_p50", "connection lost"),
    ("reconnected_p50", "reconnected"),
    ("first_message_p50", "first message"),
    ("all_back", "all back"),
    ("never_back", "never back"),
)
_RATIOS: Final = ("loss.ratio", "generator.cpu")


@dataclass(frozen=True, slots=True)
class Cell:
    """One value as text; `tone` says what to make of it."""

    text: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns are (heading, whether its cells are figures); every row has as many cells."""

    title: str
    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def gates(summary: Mapping[str, Any]) -> Table:
    """Each gate, what was measured, and how far that is from the threshold (positive: room left)."""
    rows = []
    for gate in summary["gates"]:
        ok = bool(gate["ok"])
        parsed = _parsed(gate["expr"])
        rows.append(
            (
                Cell("pass" if ok else "FAIL", "good" if ok else "bad"),
                Cell(text.clean(gate["expr"])),
                Cell(_in_unit(gate["actual"], parsed)),
                Cell(_margin(gate["actual"], parsed), "" if ok else "bad"),
            )
        )
    columns = (("Result", False), ("Gate", False), ("Measured", True), ("Margin", True))
    none = "" if rows else "This scenario has no gates: the verdict rests on the measurement being valid alone."
    return Table("Gates", columns, tuple(rows), none)


def losses(summary: Mapping[str, Any]) -> list[Table]:
    """Losses by cause, by node and by channel; what lost nothing is left out where the list is open-ended."""
    lost = summary["ledger"]["lost"]
    tables = []
    for key, title, keep in (
        ("by_cause", "By cause", False),
        ("by_node", "By node", True),
        ("by_channel", "By channel", True),
    ):
        items = [(name, n) for name, n in summary["loss"][key].items() if n or keep]
        ordered = sorted(items, key=lambda item: -item[1]) if key == "by_cause" else items
        rows = tuple(
            (
                Cell(text.label(name) if key == "by_cause" else text.clean(name, 60)),
                Cell(text.count(n), "bad" if name == "unexplained" and n else "" if n else "muted"),
                Cell(text.ratio(n / lost) if lost else text.NONE, "muted"),
            )
            for name, n in ordered
        )
        columns = ((title.removeprefix("By ").capitalize(), False), ("Lost", True), ("Share", True))
        tables.append(Table(title, columns, rows, "" if rows else "Nothing was lost."))
    return tables


def faults(summary: Mapping[str, Any]) -> Table:
    """Each fault: predicted beside measured, their difference, and when it bit and was healed."""
    stamps = {fault.get("fault"): fault for fault in summary["faults"]}
    rows = []
    for loss in summary["loss"]["by_fault"]:
        stamp = stamps.get(loss["fault"], {})
        rows.append(
            (
                Cell(text.clean(loss["fault"], 60)),
                Cell(text.count(loss["predicted"])),
                Cell(text.count(loss["measured"])),
                Cell(text.difference(loss["measured"], loss["predicted"]), "muted"),
                Cell(text.count(loss.get("predicted_from_outage")), "muted"),
                Cell(text.seconds(stamp.get("confirmed"))),
                Cell(text.seconds(stamp.get("heal_confirmed"))),
            )
        )
    columns = (
        ("Fault", False),
        ("Predicted", True),
        ("Lost", True),
        ("Difference", True),
        ("From the outages seen", True),
        ("Took hold", True),
        ("Healed", True),
    )
    note = (
        "Predicted: from the plan alone (rate × expected outage × clients). From the outages seen: the same with the "
        "outages that clients had. Times are seconds from the start of the measure phase."
    )
    return Table("By fault", columns, tuple(rows), note if rows else "No fault in this run.")


def latency(summary: Mapping[str, Any]) -> Table:
    """End to end and hop by hop. A percentile with too few samples is a dash, and the note says so."""
    blocks = [("end to end: intended send → client", summary["latency_ms"])]
    blocks += [(label, summary["hops_ms"][hop]) for hop, label in _HOPS]
    rows = tuple(
        (Cell(label), Cell(text.count(block["n"])), *(Cell(text.ms(block[key])) for key, _ in PERCENTILES))
        for label, block in blocks
    )
    columns = (("Hop", False), ("n", True), *((label, True) for _, label in PERCENTILES))
    few = any(block["n"] and block[key] is None for _, block in blocks for key, _ in PERCENTILES)
    notes = []
    if few:
        notes.append(
            "– means n is too small: a percentile needs a sample beyond it, so p99 100 and p99.9 1,000 of them."
        )
    if any(not block["n"] for _, block in blocks):
        notes.append("A hop with n = 0 was not measured: it needs a node that journals.")
    return Table("Latency by hop", columns, rows, " ".join(notes))


def recovery(summary: Mapping[str, Any]) -> Table:
    """How long each fault cost the clients it hit."""
    blocks = summary["recovery_ms"].get("by_fault") or {}
    rows = tuple(
        (
            Cell(text.clean(name, 60)),
            *(
                Cell(
                    text.count(block[key]) if key in ("clients", "never_back") else text.ms(block[key]),
                    _tone(key, block),
                )
                for key, _ in _RECOVERY
            ),
        )
        for name, block in blocks.items()
    )
    columns = (("Fault", False), *((label.capitalize(), True) for _, label in _RECOVERY))
    note = (
        "Medians over the clients hit, counted from when the fault bit; “all back” is the last client's resubscription."
    )
    return Table("Recovery by fault", columns, rows, note if rows else "No fault in this run.")


def health(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> Table:
    """Is it us? The generator's own figures beside the limits past which a run is invalid."""
    limits, generator = manifest["scenario"].get("limits") or {}, summary["generator"]
    schedule_ms, loop_ms = (_ns_as_ms(limits.get(f"{lag}_lag_p99_ns")) for lag in ("schedule", "loop"))
    lines: list[tuple[str, float | None, float | None, Callable[[object], str]]] = [
        ("busiest process, CPU", generator["cpu"], limits.get("cpu"), text.ratio),
        ("schedule lag, p99", generator["schedule_lag_p99_ms"], schedule_ms, text.ms),
        ("event loop lag, p99", generator["loop_lag_p99_ms"], loop_ms, text.ms),
        ("messages left unsent", summary["publishers"]["unsent"], 0, text.count),
    ]
    rows = []
    for label, value, limit, shown in lines:
        within = value is not None and (limit is None or value <= limit)
        word = "not measured" if value is None else "within" if within else "OVER"
        rows.append((Cell(label), Cell(shown(value)), Cell(shown(limit)), Cell(word, "good" if within else "bad")))
    columns = (("Generator", False), ("Measured", True), ("Limit", True), ("Result", False))
    return Table("Is it us?", columns, tuple(rows))


def counts(summary: Mapping[str, Any]) -> list[Table]:
    """The ledger, publishers, clients and evidence, each as name and number."""
    wrong = {"lost", "indeterminate", "duplicated", "reordered", "unexpected", "unsent", "failed", "timed_out",
             "unheard", "never_returned", "torn", "corrupt", "unclosed"}  # fmt: skip
    tables = []
    for key, title in (
        ("ledger", "Ledger"),
        ("publishers", "Publishers"),
        ("clients", "Clients"),
        ("evidence", "Journals"),
    ):
        items = [
            (name, n) for name, n in (summary.get(key) or {}).items() if isinstance(n, int) and not isinstance(n, bool)
        ]
        rows = tuple(
            (Cell(text.label(name)), Cell(text.count(n), "bad" if n and name in wrong else "" if n else "muted"))
            for name, n in items
        )
        tables.append(Table(title, (("Count", False), ("n", True)), rows))
    return tables


def pairs(title: str, items: Iterable[tuple[str, object]]) -> Table:
    """A table of names and values, without the ones that are None or empty."""
    rows = tuple((Cell(text.clean(k)), Cell(text.clean(v, 400))) for k, v in items if v not in (None, "", [], {}))
    return Table(title, (("", False), ("", False)), rows)


def reproduction(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[Table]:
    """All that it takes to run this again, and where it ran."""
    redis, clock = manifest.get("redis") or {}, manifest.get("clock") or {}
    run = pairs(
        "Run",
        [
            ("scenario", summary["scenario"]),
            ("file", manifest.get("scenario_source")),
            ("scenario sha256", manifest.get("scenario_sha256")),
            ("seed", manifest.get("seed")),
            ("backend", manifest.get("backend")),
            ("load workers", manifest.get("workers")),
            ("started", text.moment(manifest.get("started_utc"))),
            ("status", manifest.get("status")),
            ("drain ended by", (manifest.get("phases") or {}).get("drain_ended_by")),
        ],
    )
    place = pairs(
        "Machine",
        [
            (
                "Redis",
                " ".join(
                    str(v)
                    for v in (redis.get("version"), f"from {redis['source']}" if redis.get("source") else "")
                    if v
                ),
            ),
            (
                "clock",
                " ".join(
                    str(v) for v in (clock.get("name"), f"boot {clock['boot_id']}" if clock.get("boot_id") else "") if v
                ),
            ),
            *((text.label(k), v) for k, v in (manifest.get("host") or {}).items()),
            *((text.label(k), v) for k, v in (manifest.get("limits") or {}).items()),
        ],
    )
    versions = pairs(
        "Versions", ({"fanlab": manifest.get("fanlab_version")} | (manifest.get("versions") or {})).items()
    )
    return [run, place, versions]


def command(manifest: Mapping[str, Any]) -> str:
    """The command line, quoted for a shell."""
    return shlex.join(text.clean(word, 400) for word in manifest.get("command") or ())


def _tone(key: str, block: Mapping[str, Any]) -> Tone:
    if key == "never_back":
        return "bad" if block[key] else "muted"
    return ""


def _parsed(expr: str) -> Gate | None:
    try:
        return parse_gate(expr)
    except GateError:
        return None


def _in_unit(value: object, gate: Gate | None) -> str:
    """A gate's value in the unit of its field."""
    if gate is None:
        return text.figure(value)
    if gate.field in _RATIOS:
        return text.ratio(value)
    block, last = gate.field.split(".")[0], gate.field.rsplit(".", 1)[-1]
    in_ms = block in ("latency_ms", "hops_ms", "recovery_ms") and last not in ("n", "clients", "never_back")
    return text.ms(value) if in_ms or last.endswith("_ms") else text.figure(value)


def _margin(actual: object, gate: Gate | None) -> str:
    if gate is None or not text.is_number(actual):
        return text.NONE
    if gate.op in ("==", "!="):
        return _signed(actual - gate.threshold, gate) if actual != gate.threshold and gate.op == "==" else text.NONE
    return _signed(gate.threshold - actual if gate.op.startswith("<") else actual - gate.threshold, gate)


def _signed(value: float, gate: Gate) -> str:
    return ("−" if value < 0 else "+") + _in_unit(abs(value), gate)


def _ns_as_ms(value: object) -> float | None:
    return value / 1e6 if text.is_number(value) else None
