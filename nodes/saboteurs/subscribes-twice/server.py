"""Subscribes twice: to each channel, and to a pattern. Redis sends what matches both once for each.

Trigger: PATTERN (none by default) matches a channel that clients have.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import node
import server
from upstream import Upstream

PATTERN = os.environ.get("PATTERN", "")


class TwofoldUpstream(Upstream):
    """Takes what comes by pattern like what comes by channel."""

    def _opened(self, hub, known_good_ns) -> None:
        super()._opened(hub, known_good_ns)
        if PATTERN:
            self._commands.append(("PSUBSCRIBE", PATTERN))
            self._wake.set()

    def _take(self, hub, reply, now_ns) -> None:
        kind = reply[0] if isinstance(reply, list) else b""
        if kind == b"pmessage":
            super()._take(hub, [b"message", *reply[2:]], now_ns)
        elif kind != b"psubscribe":
            super()._take(hub, reply, now_ns)


if __name__ == "__main__":
    node.Upstream = TwofoldUpstream
    sys.exit(server.main())
