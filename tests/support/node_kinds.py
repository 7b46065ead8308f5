"""The kinds of nodes that keep to all of nodes/PROTOCOL.md, and how each is told what a test needs of it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from support.node_process import FOLDER

# A node's own name of a setting, and how many of its units a millisecond (or a byte) is; None: it has none.
_REFERENCE: Mapping[str, tuple[str, float] | None] = {
    "buffer_bytes": ("CLIENT_BUFFER_BYTES", 1),
    "close_ms": ("CLOSE_TIMEOUT", 0.001),
    "redis_ping_ms": ("REDIS_PING_MS", 1),
    "redis_timeout_ms": ("REDIS_TIMEOUT_MS", 1),
    "heartbeat_ms": ("HEARTBEAT_INTERVAL", 0.001),
    "patience_ms": ("HEARTBEAT_TIMEOUT", 0.001),
}
_NAMES: Mapping[str, Mapping[str, tuple[str, float] | None]] = {
    "websockets": _REFERENCE,
    "picows": _REFERENCE,
    "ws-node": {
        "buffer_bytes": ("CLIENT_BUFFER_BYTES", 1),
        "close_ms": ("CLOSE_TIMEOUT_MS", 1),
        "redis_ping_ms": ("REDIS_PING_MS", 1),
        "redis_timeout_ms": ("REDIS_TIMEOUT_MS", 1),
        "heartbeat_ms": ("HEARTBEAT_MS", 1),
        "patience_ms": None,  # two heartbeats
    },
}
KINDS = tuple(_NAMES)


def environment(kind: str, **settings: int) -> dict[str, str]:
    """These settings, as a node of this kind wants to be told."""
    told = {}
    for setting, value in settings.items():
        if (found := _NAMES[kind][setting]) is not None:
            name, units = found
            told[name] = f"{value * units:g}" if units < 1 else str(value)
    return told


def nodes_folder(kind: str, request: pytest.FixtureRequest) -> Path:
    """The folder `nodes` in which a kind is ready to run; skips where it cannot be."""
    if kind != "ws-node":
        return FOLDER.parent
    installed: Path = request.getfixturevalue("ws_node")
    return installed / "nodes"
