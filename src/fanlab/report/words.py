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
CAUSES: Final[dict[str, str]] = {
    "publish_failed": "the publish failed",
    "redis_down": "Redis was down: the publish failed",
    "no_subscriber": "Redis had nobody to hand it to",
    "node_down": "the node was down, or frozen",
    "resubscribe_gap": "the node had lost its subscription",
    "output_buffer_kill": "Redis closed the node's connection",
    "partition": "Redis and node did not reach each other",
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
    if block["basis"] == "exchange" and text.is_number(block["bound_ms"]):
        return f"several clocks: offset {text.ms(block['offset_ms'])} put right, ± {text.ms(block['bound_ms'])}"
    return "clocks not compared: ± unknown"


def clock_bound(block: Mapping[str, Any]) -> str:
    """The same in as few characters as can be: `± 0 ms`."""
    if block["basis"] == "one-boot":
        return "± 0 ms"
    known = block["basis"] == "exchange" and text.is_number(block["bound_ms"])
    return f"± {text.ms(block['bound_ms'])}" if known else "± unknown"
