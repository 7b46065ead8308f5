"""Hops and causes in plain words, the same ones in every figure, table and story. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from fanlab.report import text

STATIONS: Final = ("publisher", "Redis", "node", "socket", "client")
# By name in summary.json: the two stations of each hop.
HOPS: Final[dict[str, tuple[str, str]]] = {
    "publisher_redis": ("publisher", "Redis"),
    "redis_node": ("Redis", "node"),
    "node_socket": ("node", "socket"),
    "client": ("socket", "client"),
}
UNKNOWN_HOP: Final = "unknown"
UNCOMPARED: Final = "± unknown"  # of a time between clocks that nobody compared
CAUSES: Final[dict[str, str]] = {
    "publish_failed": "the publish failed",
    "redis_down": "Redis was down: the publish failed",
    "no_subscriber": "Redis had nobody to hand it to",
    "node_down": "the node was down, or frozen",
    "resubscribe_gap": "the node had lost its subscription",
    "output_buffer_kill": "Redis closed the node's connection",
    "partition": "a link was cut, or silent",
    "node_crash_in_flight": "the node died with it on the way",
    "slow_client_drop": "the client's buffer was full",
    "not_open": "the client's connection was ending",
    "write_error": "the node could not write it",
    "client_reconnecting": "it was backing off, or connecting",
    "never_returned": "it lost its connection for good",
    "never_subscribed": "connected, not subscribed again",
    "generator_fault": "the load generator failed, not the system",
    "unexplained": "nothing in the evidence says why",
}


def hop(name: str) -> str:
    """`redis_node` -> `Redis → node`."""
    stations = HOPS.get(name)
    if stations is None:
        return "hop unknown" if name == UNKNOWN_HOP else text.label(name)
    return " → ".join(stations)


def cause(name: str) -> str:
    """What a cause means, in a few words; empty for a name that is none."""
    return CAUSES.get(name, "")


def clock(block: Mapping[str, Any]) -> str:
    """What times from different processes mean to one another, for every one-way figure, from the `clock` block."""
    if block["basis"] == "one-boot":
        return "one clock: offset 0 ± 0 ms"
    if _exchanged(block):
        return f"several clocks: offset {text.ms(block['offset_ms'])} put right, ± {text.ms(block['bound_ms'])}"
    return "clocks not compared: ± unknown"


def clock_bound(block: Mapping[str, Any]) -> str:
    """The same in as few characters as can be: `± 0 ms`. It holds between publishers and clients."""
    if block["basis"] == "one-boot":
        return "± 0 ms"
    return f"± {text.ms(block['bound_ms'])}" if _exchanged(block) else UNCOMPARED


def clock_if_apart(block: Mapping[str, Any], *, compared: bool = True) -> str:
    """` · clock ± 0.4 ms` after a one-way figure; empty where one clock is at both ends, for there is nothing to say.

    `compared` False: a node's or a reader's clock is at one end, with which no time is exchanged.
    """
    if block["basis"] == "one-boot":
        return ""
    return f" · clock {clock_bound(block) if compared else UNCOMPARED}"


def after(raw_ms: float, block: Mapping[str, Any]) -> str:
    """How long after a publisher's time a client's was, put right: `3.2 ms`, `3.2 ms ± 0.4 ms`, `at most 0.6 ms`."""
    if not _exchanged(block):
        return text.ms(raw_ms) + ("" if block["basis"] == "one-boot" else f" {UNCOMPARED}")
    right_ms, bound_ms = raw_ms - block["offset_ms"], block["bound_ms"]
    if right_ms > bound_ms:
        return f"{text.ms(right_ms)} {clock_bound(block)}"
    return f"at most {text.ms(max(0.0, right_ms + bound_ms))}"


def _exchanged(block: Mapping[str, Any]) -> bool:
    return bool(block["basis"] == "exchange" and text.is_number(block["bound_ms"]))
