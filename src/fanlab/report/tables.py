"""A result as tables of plain text, once for every format: HTML, Markdown and the terminal only lay them out. Pure.

Cells hold names as they are, made printable by `text.clean`; escaping for a format is that format's own business.
"""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from fanlab.analysis.latency import is_blurred
from fanlab.report import text, words
from fanlab.scenario.gates import Gate, GateError, parse_gate, quantity_of, room

Tone = Literal["", "good", "bad", "muted"]
PERCENTILES: Final = (("p50", "p50"), ("p90", "p90"), ("p95", "p95"), ("p99", "p99"), ("p999", "p99.9"), ("max", "max"))
_HOPS: Final = (  # and whether it begins and ends on one clock, whatever machines there are
    ("schedule", "schedule: intended send → sent", True),
    ("redis", "Redis: sent → received by the node", False),
    ("node", "node: received → handed to all its clients", True),
    ("client", "client: handed over → received", False),
)
_RECOVERY: Final = (
    ("clients", "clients"),
    ("detected_p50", "connection lost"),
    ("reconnected_p50", "reconnected"),
    ("first_message_p50", "first message"),
    ("all_back", "all back"),
    ("never_back", "never back"),
)


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
    """Each gate, what was measured, and how far that is from the threshold: positive is room left; per cent of it."""
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


def latency(summary: Mapping[str, Any]) -> Table:
    """End to end and hop by hop. A percentile with too few samples is a dash, and the note says so.

    Where clocks are at work that are not one, a column says how exact each row is.
    """
    clock, apart = summary["clock"], bool(words.clock_if_apart(summary["clock"]))
    blocks = [("end to end: intended send → client", summary["latency_ms"], words.clock_bound(clock))]
    blocks += [
        (label, summary["hops_ms"][hop], "± 0 ms" if alone else words.clock_bound(clock)) for hop, label, alone in _HOPS
    ]
    rows = tuple(
        (
            Cell(label),
            Cell(text.count(block["n"])),
            *(Cell(text.ms(block[key])) for key, _ in PERCENTILES),
            *([Cell(bound)] if apart else []),
        )
        for label, block, bound in blocks
    )
    columns = (("Hop", False), ("n", True), *((label, True) for _, label in PERCENTILES))
    columns += (("Clock", True),) if apart else ()
    missing = [(block, key) for _, block, _ in blocks for key, _ in PERCENTILES if block["n"] and block[key] is None]
    blurred = [is_blurred(block, key) for block, key in missing]
    notes = []
    if any(blurred):
        notes.append("– where n would do means that it is not above what the clocks differ by: it may as well be 0.")
    if not all(blurred):
        notes.append(
            "– means n is too small: a percentile needs a sample beyond it, so p99 100 and p99.9 1,000 of them."
        )
    if any(not block["n"] for _, block, _ in blocks):
        notes.append("A hop with n = 0 was not measured: it needs a node that journals.")
    notes.append(f"Between processes, {words.clock(clock)}.")
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


def counts(summary: Mapping[str, Any]) -> list[Table]:
    """The ledger, publishers, clients and evidence, each as name and number."""
    wrong = {"lost", "indeterminate", "duplicated", "reordered", "unexpected", "disagreed", "corrupted", "unsent",
             "failed", "timed_out", "unheard", "never_returned", "torn", "corrupt", "unclosed", "contradictions",
             "foreign"}  # fmt: skip
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
            *(
                (f"{worker['unit']} on", f"{worker.get('host')}, {worker.get('address')}")
                for worker in manifest.get("remote_workers") or ()
            ),
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
    shown = {"ratio": text.ratio, "ms": text.ms}.get(quantity_of(gate), text.figure) if gate else text.figure
    return shown(value)


def measured(gate: Mapping[str, Any]) -> str:
    """The value of one entry of `gates`, in its unit."""
    return _in_unit(gate["actual"], _parsed(gate["expr"]))


def margin(gate: Mapping[str, Any]) -> str:
    """How far the value of one entry of `gates` is from its threshold."""
    return _margin(gate["actual"], _parsed(gate["expr"]))


def _margin(actual: object, gate: Gate | None) -> str:
    left = room(gate, actual) if gate is not None and text.is_number(actual) else None
    if gate is None or left is None:
        return text.NONE
    share = f" ({_sign(left)}{text.digits(abs(left / gate.threshold) * 100)} %)" if gate.threshold else ""
    return f"{_sign(left)}{_in_unit(abs(left), gate)}{share}"


def _sign(value: float) -> str:
    return "−" if value < 0 else "+"
