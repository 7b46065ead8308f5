"""Gates: what must hold of a result, as `field op number`, over the fields of summary.json.

`loss.unexplained == 0`, `latency.p99 < 50ms`, `loss.ratio <= 0.5%`, `delivered(channel=news) >= 99.9%`,
`recovery(node-2) < 3s`, `lost(fault="crash node-2 @2s") < 600`. A gate whose field has no value (nothing was measured,
too few samples) does not pass: what nobody saw is not good news. docs/gates.md has the grammar.

Six gates hold of every scenario that does not speak of their fields itself: nothing unexplained, duplicated, out of
order, unexpected, in dispute or corrupted. A run that says nothing about them has not asked for them to be overlooked.
"""

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any

from fanlab.scenario.gatefields import (
    FIELDS,
    KINDS,
    PHASES,
    SHORT,
    Kind,
    Quantity,
    full_name,
    kept_by,
    narrowed,
    owed_of,
    quantity_of_field,
)
from fanlab.units import parse_duration_ns

_MAX_LENGTH = 200
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_GATE = re.compile(
    r"\s*([^<>=!()]+?)\s*"  # the field, and
    r"(?:\(([^()]*)\)\s*)?"  # of which node, channel … , perhaps
    r"(\.[^<>=!()]+?)?\s*"  # before the end of its name
    r"(==|!=|<=|>=|<|>)\s*([^<>=!]+?)\s*$"
)
_ABORT = re.compile(r"\s+else\s+abort(?:\s+after\s+(\S+))?\s*$")
_SELECTOR = re.compile(r"\s*(?:([A-Za-z_]+)\s*=\s*)?(\"[^\"]*\"|'[^']*'|[^\"'=,]+?)\s*$")
_NUMBER = re.compile(r"([-+]?\d+(?:_\d+)*(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*(%|[A-Za-zµ]+)?$")
_FACTORS: Mapping[Quantity, Mapping[str | None, str]] = {
    "count": {None: "1", "k": "1e3", "M": "1e6"},
    "ratio": {None: "1", "%": "0.01"},
    "ms": {None: "1", "us": "1e-3", "µs": "1e-3", "ms": "1", "s": "1e3", "m": "60e3"},
    "s": {None: "1", "ms": "1e-3", "s": "1", "m": "60"},
}
_EXACT = Context(prec=2 * _MAX_LENGTH)  # 99.9 % is the float next to 0.999, as 999 / 1000 is; 99.9 * 0.01 is not
_UNITS: Mapping[Quantity, str] = {"count": "", "ratio": "", "ms": " ms", "s": " s"}
_EXAMPLES: Mapping[Quantity, str] = {"count": "0 or 2k", "ratio": "0.01 or 1%", "ms": "50ms or 1.5s", "s": "10s"}

# Known while a run goes on, and with which operators a gate on it can be seen to fail before the end.
LIVE: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("publishers.failed", "publishers.unsent"), ("<", "<=", "==")),  # they only grow
    **{f"latency_ms.{figure}": ("<", "<=") for figure in ("p50", "p90", "p95", "p99")},
}

NOWHERE = "none"  # the part of clients that were never on any node: an entry only where something is in it
_BY_NODE = ("loss.by_node", "by_node")

IMPLIED = (
    "loss.unexplained == 0",
    *(f"ledger.{odd} == 0" for odd in ("duplicated", "reordered", "unexpected", "disagreed", "corrupted")),
)


class GateError(ValueError):
    """A gate that means nothing. `suggestion` is what was probably meant in the place of what is wrong."""

    def __init__(self, what: str, suggestion: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class Gate:
    """One comparison of a field, by its full name, with a threshold in its own unit: ms, s, a ratio or a count.

    `share_of`: compared is the field's share of that one. `abort_after_ns`: the run is ended as soon as the gate is
    seen to fail, from then on (since time 0); None: it is judged at the end only.
    """

    expr: str
    field: str
    op: str
    threshold: float
    share_of: str | None = None
    abort_after_ns: int | None = None


@dataclass(frozen=True, slots=True)
class GateResult:
    """How a gate went; `actual` is None where the field has no value."""

    expr: str
    actual: float | int | None
    ok: bool


@lru_cache(maxsize=1 << 14)
def parse_gate(text: str) -> Gate:
    """A gate from its text. Raises GateError, which says what would be right."""
    body, abort = _without_abort(text)
    match = _GATE.match(body) if len(text) <= _MAX_LENGTH else None
    if not match:
        raise GateError(f"{_clip(text)} is no gate; write it as `field op number`, as in `ledger.lost == 0`")
    head, selector, tail, op, number = match.groups()
    field, quantity, share_of = _known(head, selector, tail or "")
    threshold, in_percent = _threshold(number, field, quantity)
    if in_percent and quantity == "count":
        share_of = owed_of(field)
    gate = Gate(text.strip(), field, op, threshold, share_of, abort)
    if abort is not None:
        _refuse_unless_live(gate)
    return gate


def in_force(written: Sequence[str]) -> list[str]:
    """The gates of a scenario: those written, then the implied ones whose field none of them names.

    Raises GateError. `ledger.duplicated >= 0` waives the implied gate on duplicates.
    """
    spoken_of = {parse_gate(text).field for text in written}
    return [*written, *(text for text in IMPLIED if parse_gate(text).field not in spoken_of)]


def evaluate(gate: Gate, summary: Mapping[str, Any]) -> GateResult:
    """Compare a gate's field of `summary` (summary.json's content) with its threshold."""
    actual = look_up(summary, gate.field)
    if gate.share_of is not None:
        whole = look_up(summary, gate.share_of)
        actual = actual / whole if actual is not None and whole else None
    return GateResult(gate.expr, actual, holds(gate, actual))


def holds(gate: Gate, actual: float | None) -> bool:
    """Whether a value passes."""
    return actual is not None and _OPERATORS[gate.op](actual, gate.threshold)


def describe(gate: Gate, actual: float | None) -> str:
    """A gate's value as people read it, with its unit: `68.9 ms`, `3.83 %`, `12`; `not known` for None."""
    if actual is None:
        return "not known"
    quantity = quantity_of(gate)
    if quantity == "ratio":
        return f"{100 * actual:.3g} %"
    return str(actual) if isinstance(actual, int) and quantity == "count" else f"{actual:.4g}" + _UNITS[quantity]


def quantity_of(gate: Gate) -> Quantity:
    """What a gate compares."""
    return "ratio" if gate.share_of is not None else quantity_of_field(gate.field) or "count"


def room(gate: Gate, actual: float | None) -> float | None:
    """How far a value is from the threshold, in the gate's unit; positive: so much is left, negative: so much too far.

    None where there is no distance: no value, an equality that holds, an inequality of a number.
    """
    if actual is None or gate.op == "!=" or (gate.op == "==" and actual == gate.threshold):
        return None
    if gate.op == "==":
        return -abs(actual - gate.threshold)
    return gate.threshold - actual if gate.op.startswith("<") else actual - gate.threshold


def look_up(summary: Mapping[str, Any], field: str) -> float | int | None:
    """The number that a field has in summary.json's content; None where it has none."""
    found = _look_up(summary, field.split("."))
    return 0 if found is None and _is_empty(summary, field) else found


def _is_empty(summary: Mapping[str, Any], field: str) -> bool:
    """Whether a count is that of NOWHERE in a summary in which nothing is of it."""
    for block in _BY_NODE:
        if f"{field}.".startswith(f"{block}.{NOWHERE}.") and quantity_of_field(field) == "count":
            found: Any = summary
            for key in block.split("."):
                found = found.get(key) if isinstance(found, Mapping) else None
            return isinstance(found, Mapping) and NOWHERE not in found
    return False


def at_the_end_only(expr: str) -> str:
    """A gate's text without its `else abort`: it decides as much, and ends nothing."""
    return _ABORT.sub("", expr)


def _without_abort(text: str) -> tuple[str, int | None]:
    """The comparison, and from when on its failure ends the run."""
    match = _ABORT.search(text[: 2 * _MAX_LENGTH])
    if match is None:
        return text, None
    try:
        return text[: match.start()], 0 if match[1] is None else parse_duration_ns(match[1])
    except ValueError as error:
        raise GateError(f"`else abort after`: {error}") from None


def _refuse_unless_live(gate: Gate) -> None:
    if gate.share_of is not None or gate.field not in LIVE:
        raise GateError(
            f"{gate.field} is known only when the run's journals are read, so no run can be aborted for it; known while"
            f" it runs are {', '.join(LIVE)}"
        )
    if gate.op not in LIVE[gate.field]:
        operators = " or ".join(f"`{op}`" for op in LIVE[gate.field])
        raise GateError(
            f"whether {gate.field} {gate.op} {gate.threshold:g} fails is known at the end only; with"
            f" `else abort` compare it by {operators}"
        )


def _known(head: str, selector: str | None, tail: str) -> tuple[str, Quantity, str | None]:
    """The field's full name, what it measures, and the field that it is a share of."""
    field = full_name(head + tail)
    quantity = quantity_of_field(field)
    if quantity is None:
        names = [*(name for name in FIELDS if "*" not in name), *SHORT]
        close = difflib.get_close_matches(field[:64], names, n=1)
        raise GateError(
            f"{_clip(head + tail)} is no field of summary.json that a gate can compare", close[0] if close else None
        )
    if selector is None:
        return field, quantity, None
    kind, name = _selected(selector)
    share = field == "loss.ratio" and (kind, name) != ("phase", "measure")
    found = narrowed("ledger.lost" if share else field, kind, name)
    if found is None:
        raise GateError(f"{field} is not kept by {kind}, or is of one already; {kept_by(kind)} are")
    return found, "ratio" if share else quantity_of_field(found) or quantity, owed_of(found) if share else None


def _selected(text: str) -> tuple[Kind, str]:
    """`channel=news`, `node-2`, `fault="crash node-2 @2s"`."""
    match = _SELECTOR.match(text)
    if match is None:
        raise GateError(
            f"({text.strip()[:60]}) selects nothing; write one of {', '.join(KINDS)} and a name: (node=node-2)"
        )
    name = match[2].strip("\"'" if match[2][0] in "\"'" else "")
    kind = match[1] or _obvious(name)
    if kind is None:
        raise GateError(f"what is {_clip(name)}? Write (channel={name[:40]}), or node=, group=, phase= or fault=")
    for known in KINDS:
        if kind == known:
            if kind == "phase" and name not in PHASES:
                close = difflib.get_close_matches(name, PHASES, n=1)
                raise GateError(f"there is no phase {_clip(name)}; {' and '.join(PHASES)} are counted", *close)
            return known, name
    close = difflib.get_close_matches(kind, KINDS, n=1)
    raise GateError(f"{_clip(kind)} is nothing to select by; {', '.join(KINDS)} are", *close)


def _obvious(name: str) -> str | None:
    """What a name without a `kind=` is: a node's or a phase's, which have names of their own."""
    if re.fullmatch(r"node-\d+", name):
        return "node"
    return "phase" if name in PHASES else None


def _threshold(text: str, field: str, quantity: Quantity) -> tuple[float, bool]:
    """The number in the field's unit; of a count it may be per cent, which the second value says."""
    match = _NUMBER.match(text)
    factors = dict(_FACTORS[quantity])
    if quantity == "count" and owed_of(field):
        factors["%"] = "0.01"
    factor = factors.get(match[2]) if match else None
    value = float(_EXACT.multiply(Decimal(match[1]), Decimal(factor))) if match and factor else math.inf
    if match is None or not math.isfinite(value):
        what = {"count": "a count", "ratio": "a ratio", "ms": "in milliseconds", "s": "in seconds"}[quantity]
        raise GateError(f"{field} is {what}; compare it with a number such as {_EXAMPLES[quantity]}, not {_clip(text)}")
    return value, match[2] == "%"


def _look_up(value: Any, keys: list[str]) -> float | int | None:
    """The number at a path; a key may itself hold dots, so that every way to join the parts is tried, longest first."""
    if not keys:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return value if number else None
    if isinstance(value, list):  # loss.by_fault: each entry says which fault it is of
        value = {entry["fault"]: entry for entry in value if isinstance(entry, Mapping) and "fault" in entry}
    if isinstance(value, Mapping):
        for length in range(len(keys), 0, -1):
            key = ".".join(keys[:length])
            if key in value:
                return _look_up(value[key], keys[length:])
    return None


def _clip(text: str, limit: int = 60) -> str:
    shown = repr(text)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
