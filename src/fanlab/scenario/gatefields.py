"""What gates may be about: every number of summary.json, its unit, its short name, and what it is kept by. Pure."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Literal

Quantity = Literal["count", "ratio", "ms", "s"]

TALLY = (
    *("published", "owed", "delivered", "lost", "indeterminate"),
    *("duplicated", "reordered", "unexpected", "disagreed", "corrupted"),
)
PARTS = ("by_node", "by_channel", "by_group")
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


def _fields() -> dict[str, Quantity]:
    fields: dict[str, Quantity] = {}
    for block in ("ledger", "warm_up", "by_channel.*", "by_group.*"):
        fields |= {f"{block}.{name}": "count" for name in TALLY}
    fields |= {f"by_node.*.{name}": "count" for name in TALLY if name not in ("published", "indeterminate")}
    for block in PARTS:
        fields |= {f"{block}.*.unexplained": "count", f"{block}.*.latency_ms.n": "count"}
        fields |= {f"{block}.*.latency_ms.{name}": "ms" for name in _LATENCY}
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
    fields |= {f"loss.by_fault.*.{name}": "count" for name in ("predicted", "predicted_from_outage", "measured")}
    fields |= {f"duplicates.by_cause.{cause}": "count" for cause in COPY_CAUSES}
    for block in ("latency_ms", *(f"hops_ms.{hop}" for hop in ("schedule", "redis", "node", "client"))):
        fields[f"{block}.n"] = "count"
        fields |= {f"{block}.{name}": "ms" for name in _LATENCY}
    for name in ("planned", "sent", "unsent", "failed", "timed_out", "unheard"):
        fields[f"publishers.{name}"] = "count"
    for name in ("count", "connected", "reconnects", "never_returned"):
        fields[f"clients.{name}"] = "count"
    for block in ("recovery_ms", *(f"recovery_ms.by_{what}.*" for what in ("fault", "node", "group"))):
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

# One obvious meaning each.
SHORT: Mapping[str, str] = {
    **{name: f"ledger.{name}" for name in TALLY},
    "unexplained": "loss.unexplained",
    "recovery": "recovery_ms.max",
}
_BLOCKS = {"latency": "latency_ms", "hops": "hops_ms", "recovery": "recovery_ms"}

Kind = Literal["node", "channel", "group", "phase", "fault"]
KINDS: tuple[Kind, ...] = ("node", "channel", "group", "phase", "fault")
PHASES = ("warm_up", "measure")
_OF_A_PART = (
    ("ledger.", "by_{}.*."),
    ("loss.unexplained", "by_{}.*.unexplained"),
    ("latency_ms.", "by_{}.*.latency_ms."),
)
_BY_PART = ("recovery_ms.", "recovery_ms.by_{}.*.")
# Where what a field says of the whole run is kept of one node, one channel … : a beginning, and what stands for it.
_KEPT: Mapping[Kind, tuple[tuple[str, str], ...]] = {
    "node": (*_OF_A_PART, _BY_PART, ("cache.", "cache.by_{}.*.")),
    "channel": _OF_A_PART,
    "group": (*_OF_A_PART, _BY_PART),
    "fault": (("ledger.lost", "loss.by_fault.*.measured"), _BY_PART),
}
_OF_PAIRS = (*(name for name in TALLY if name not in ("published", "owed")), "unexplained")
_OF_UPDATES = ("refreshed", "missed", "indeterminate")


def full_name(written: str) -> str:
    """The name in summary.json of what people write shorter: `lost`, `latency.p99`."""
    head, dot, rest = written.partition(".")
    return SHORT.get(written, f"{_BLOCKS.get(head, head)}{dot}{rest}")


def quantity_of_field(field: str) -> Quantity | None:
    """What a field measures, by its full name with real names in it; None for what is no field."""
    if field in FIELDS and "*" not in field:
        return FIELDS[field]
    return next((quantity for pattern, _, quantity in _patterns() if pattern.fullmatch(field)), None)


def subject_of(field: str) -> tuple[Kind, str] | None:
    """Of which node, channel, group or fault a field is."""
    for pattern, kind, _ in _patterns():
        if kind is not None and (match := pattern.fullmatch(field)):
            return kind, match[1]
    return None


def narrowed(field: str, kind: Kind, name: str) -> str | None:
    """Where summary.json has a whole run's field of one node, channel, group, phase or fault; None: it has it not."""
    if kind == "phase":
        if name == "measure":
            return field if field.startswith(("ledger.", "loss.", "latency_ms.", "hops_ms.", "publishers.")) else None
        return field.replace("ledger.", "warm_up.", 1) if field.startswith("ledger.") else None
    for beginning, place in _KEPT[kind]:
        if field.startswith(beginning):
            found = place.format(kind) + field.removeprefix(beginning)
            if found in FIELDS:
                return found.replace("*", name, 1)
    return None


def kept_by(kind: Kind) -> str:
    """What summary.json has of one node, channel … , in words."""
    if kind == "phase":
        return "the ledger's counts and loss.ratio"
    if kind == "fault":
        return "lost, loss.ratio and recovery"
    more = {"node": ", recovery and cache", "group": " and recovery"}.get(kind, "")
    return f"the ledger's counts, loss.ratio, unexplained{',' if more else ' and'} latency{more}"


def owed_of(field: str) -> str | None:
    """The field that a count of pairs is a share of; None for other fields."""
    block, _, name = field.rpartition(".")
    if block in ("ledger", "warm_up") or re.match(r"by_(node|channel|group)\..+$", block):
        return f"{block}.owed" if name in _OF_PAIRS else None
    if re.match(r"cache(\.by_node\..+)?$", block):
        return f"{block}.owed" if name in _OF_UPDATES else None
    if field in ("loss.unexplained", "loss.outside_faults") or re.match(r"loss\.by_(cause|hop)\.", field):
        return "ledger.owed"
    return "ledger.owed" if re.match(r"loss\.by_fault\..+\.measured$", field) else None


@cache
def _patterns() -> list[tuple[re.Pattern[str], Kind | None, Quantity]]:
    return [
        (re.compile(re.escape(name).replace(r"\*", "(.+)")), _kind_of(name), quantity)
        for name, quantity in FIELDS.items()
        if "*" in name
    ]


def _kind_of(pattern: str) -> Kind | None:
    return next((kind for kind in KINDS if f"by_{kind}.*" in pattern), None)
