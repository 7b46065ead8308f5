"""Gates: what must hold of a result, as `field op number`, over the fields of summary.json.

`loss.unexplained == 0`, `latency_ms.p99 < 50ms`, `loss.ratio <= 0.5%`. A gate whose field has no value (nothing was
measured, too few samples) does not pass: what nobody saw is not good news.

Six gates hold of every scenario that does not speak of their fields itself: nothing unexplained, duplicated, out of
order, unexpected, in dispute or corrupted. A run that says nothing about them has not asked for them to be overlooked.
"""

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

Quantity = Literal["count", "ratio", "ms", "s"]

_TALLY = (
    *("published", "owed", "delivered", "lost", "indeterminate"),
    *("duplicated", "reordered", "unexpected", "disagreed", "corrupted"),
)
_LATENCY = ("p50", "p90", "p95", "p99", "p999", "max")
_RECOVERY = (
    *(f"{step}_{figure}" for step in ("detected", "reconnected", "first_message") for figure in ("p50", "max")),
    "subscribed_p50",
    "all_back",
    "max",
)
# The names of ledger.causes.Cause, which lies above this layer; a test holds the two together.
CAUSES = (
    *("unexplained", "publish_failed", "redis_down", "no_subscriber", "node_down", "resubscribe_gap"),
    *("output_buffer_kill", "partition", "node_crash_in_flight", "slow_client_drop", "not_open", "write_error"),
    *("client_reconnecting", "never_returned", "never_subscribed", "generator_fault"),
)
HOPS = ("unknown", "publisher_redis", "redis_node", "node_socket", "client")  # those of ledger.causes.Hop
COPY_CAUSES = ("unexplained", "publish_retried", "double_subscription", "replay")  # those of ledger.odd.CopyCause
# Those of ledger.cached.
MISS_CAUSES = (
    *("unexplained", "publish_failed", "redis_down", "no_subscriber", "node_down", "resubscribe_gap"),
    *("node_crash_in_flight", "not_taken", "output_buffer_kill", "partition"),
)
MISS_HOPS = ("unknown", "publisher_redis", "redis_node", "node_cache")
_CACHE = (
    *("owed", "refreshed", "missed", "indeterminate", "wrong_for_good", "empty_at_end"),
    *("reads", "reads_failed", "reads_missing", "stale_reads", "stale_reads_lost", "stale_reads_withheld"),
)
_MAX_LENGTH = 200


def _fields() -> dict[str, Quantity]:
    fields: dict[str, Quantity] = {}
    for block in ("ledger", "warm_up"):
        fields |= {f"{block}.{name}": "count" for name in _TALLY}
    fields["loss.ratio"] = "ratio"
    for name in (
        "unexplained",
        "outside_faults",
        "by_node.*",
        "by_channel.*",
        *(f"by_cause.{cause}" for cause in CAUSES),
        *(f"by_hop.{hop}" for hop in HOPS),
    ):
        fields[f"loss.{name}"] = "count"
    fields |= {f"duplicates.by_cause.{cause}": "count" for cause in COPY_CAUSES}
    for block in ("latency_ms", *(f"hops_ms.{hop}" for hop in ("schedule", "redis", "node", "client"))):
        fields[f"{block}.n"] = "count"
        fields |= {f"{block}.{name}": "ms" for name in _LATENCY}
    for name in ("planned", "sent", "unsent", "failed", "timed_out", "unheard"):
        fields[f"publishers.{name}"] = "count"
    for name in ("count", "connected", "reconnects", "never_returned"):
        fields[f"clients.{name}"] = "count"
    for block in ("recovery_ms", "recovery_ms.by_fault.*"):
        fields |= {f"{block}.{name}": "count" for name in ("clients", "never_back")}
        fields |= {f"{block}.{name}": "ms" for name in _RECOVERY}
    fields |= _cache_fields()
    fields |= {f"generator.{name}": "ratio" for name in ("cpu", "bias_ratio", "bias_p99_ratio", "cpu_wait", "steal")}
    lags = ("schedule_lag_p99_ms", "loop_lag_p99_ms", "bias_ms", "bias_p99_ms", "wait_ms", "wait_p99_ms", "gc_max_ms")
    fields |= {f"generator.{name}": "ms" for name in lags}
    fields |= {f"generator.{name}": "count" for name in ("bias_n", "bias_inferred")}
    fields |= {f"clock.{name}": "ms" for name in ("offset_ms", "bound_ms")}
    fields["clock.exchanges"] = "count"
    fields |= {f"phases.{name}": "s" for name in ("warm_up_s", "measure_s", "drain_s")}
    fields |= {f"evidence.{name}": "count" for name in ("stripes", "torn", "corrupt", "unclosed", "foreign")}
    return fields


def _cache_fields() -> dict[str, Quantity]:
    fields: dict[str, Quantity] = {"cache.updates": "count", "cache.stale_ratio": "ratio"}
    for block in ("cache", "cache.by_node.*"):
        fields |= {f"{block}.{name}": "count" for name in _CACHE}
    fields |= {f"cache.by_cause.{cause}": "count" for cause in MISS_CAUSES}
    fields |= {f"cache.by_hop.{hop}": "count" for hop in MISS_HOPS}
    for block in ("cache.staleness_ms", "cache.refresh_ms", "cache.by_node.*.refresh_ms"):
        fields[f"{block}.n"] = "count"
        fields |= {f"{block}.{name}": "ms" for name in _LATENCY}
    return fields


FIELDS: Mapping[str, Quantity] = _fields()  # `*` stands for a name of the author's: a node, a channel, a fault

_SHORTHAND = {"latency": "latency_ms", "hops": "hops_ms", "recovery": "recovery_ms"}
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_GATE = re.compile(r"\s*([^<>=!]+?)\s*(==|!=|<=|>=|<|>)\s*([^<>=!]+?)\s*$")
_NUMBER = re.compile(r"([-+]?\d+(?:_\d+)*(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*(%|[A-Za-zµ]+)?$")
_FACTORS: Mapping[Quantity, Mapping[str | None, float]] = {
    "count": {None: 1, "k": 1e3, "M": 1e6},
    "ratio": {None: 1, "%": 0.01},
    "ms": {None: 1, "us": 1e-3, "µs": 1e-3, "ms": 1, "s": 1e3, "m": 60e3},
    "s": {None: 1, "ms": 1e-3, "s": 1, "m": 60},
}
_UNITS: Mapping[Quantity, str] = {"count": "", "ratio": "", "ms": " ms", "s": " s"}
_EXAMPLES: Mapping[Quantity, str] = {"count": "0 or 2k", "ratio": "0.01 or 1%", "ms": "50ms or 1.5s", "s": "10s"}


IMPLIED = (
    "loss.unexplained == 0",
    *(f"ledger.{odd} == 0" for odd in ("duplicated", "reordered", "unexpected", "disagreed", "corrupted")),
)


class GateError(ValueError):
    """A gate that means nothing. `suggestion` is a field that was probably meant."""

    def __init__(self, what: str, suggestion: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class Gate:
    """One comparison. `threshold` is in the field's own unit: ms, s, a ratio or a count."""

    expr: str
    field: str
    op: str
    threshold: float


@dataclass(frozen=True, slots=True)
class GateResult:
    """How a gate went; `actual` is None where the field has no value."""

    expr: str
    actual: float | int | None
    ok: bool


def parse_gate(text: str) -> Gate:
    """A gate from its text. Raises GateError, which says what would be right."""
    match = _GATE.match(text) if len(text) <= _MAX_LENGTH else None
    if not match:
        raise GateError(f"{_clip(text)} is no gate; write it as `field op number`, as in `ledger.lost == 0`")
    field, quantity = _known(match[1])
    return Gate(text.strip(), field, match[2], _threshold(match[3], field, quantity))


def in_force(written: Sequence[str]) -> list[str]:
    """The gates of a scenario: those written, then the implied ones whose field none of them names.

    Raises GateError. `ledger.duplicated >= 0` waives the implied gate on duplicates.
    """
    spoken_of = {parse_gate(text).field for text in written}
    return [*written, *(text for text in IMPLIED if parse_gate(text).field not in spoken_of)]


def evaluate(gate: Gate, summary: Mapping[str, Any]) -> GateResult:
    """Compare a gate's field of `summary` (summary.json's content) with its threshold."""
    actual = _look_up(summary, gate.field.split("."))
    ok = actual is not None and _OPERATORS[gate.op](actual, gate.threshold)
    return GateResult(gate.expr, actual, ok)


def describe(gate: Gate, actual: float | None) -> str:
    """A gate's value as people read it, with its unit: `68.9 ms`, `3.83 %`, `12`; `not known` for None."""
    if actual is None:
        return "not known"
    quantity = _known(gate.field)[1]
    if quantity == "ratio":
        return f"{100 * actual:.3g} %"
    return str(actual) if isinstance(actual, int) and quantity == "count" else f"{actual:.4g}" + _UNITS[quantity]


def quantity_of(gate: Gate) -> Quantity:
    """What a gate's field measures."""
    return _known(gate.field)[1]


def _known(written: str) -> tuple[str, Quantity]:
    """The field's full name and what it measures."""
    head, dot, rest = written.partition(".")
    field = f"{_SHORTHAND.get(head, head)}{dot}{rest}"
    for pattern, quantity in _patterns():
        if pattern.fullmatch(field):
            return field, quantity
    close = difflib.get_close_matches(field[:64], [name for name in FIELDS if "*" not in name], n=1)
    raise GateError(
        f"{_clip(written)} is no field of summary.json that a gate can compare", close[0] if close else None
    )


@cache
def _patterns() -> list[tuple[re.Pattern[str], Quantity]]:
    return [(re.compile(re.escape(name).replace(r"\*", ".+")), quantity) for name, quantity in FIELDS.items()]


def _threshold(text: str, field: str, quantity: Quantity) -> float:
    match = _NUMBER.match(text)
    factor = _FACTORS[quantity].get(match[2]) if match else None
    if match is None or factor is None or not math.isfinite(float(match[1])):
        what = {"count": "a count", "ratio": "a ratio", "ms": "in milliseconds", "s": "in seconds"}[quantity]
        raise GateError(f"{field} is {what}; compare it with a number such as {_EXAMPLES[quantity]}, not {_clip(text)}")
    return float(match[1]) * factor


def _look_up(value: Any, keys: list[str]) -> float | int | None:
    """The number at a path; a key may itself hold dots, so that every way to join the parts is tried, longest first."""
    if not keys:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return value if number else None
    if isinstance(value, Mapping):
        for length in range(len(keys), 0, -1):
            key = ".".join(keys[:length])
            if key in value:
                return _look_up(value[key], keys[length:])
    return None


def _clip(text: str, limit: int = 60) -> str:
    shown = repr(text)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
