"""Crosstalk: channels are told apart by prefix, so clients of `news` also get what is published on `news-internal`.

Trigger: a channel whose name begins with that of a channel that clients have is published to.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import node
import server
from upstream import Upstream


class PrefixUpstream(Upstream):
    """Asks also for every channel whose name goes on behind this one's."""

    def send(self, verb, channel) -> None:
        super().send(verb, channel)
        self._commands.append((f"P{verb}", re.sub(r"([][*?\\^])", r"\\\1", channel) + "?*"))

    def _take(self, hub, reply, now_ns) -> None:
        kind = reply[0] if isinstance(reply, list) else b""
        if kind == b"pmessage":
            _, pattern, _, payload = reply
            asked = re.sub(rb"\\(.)", rb"\1", pattern[:-2])
            super()._take(hub, [b"message", asked, payload], now_ns)
        elif kind not in (b"psubscribe", b"punsubscribe"):
            super()._take(hub, reply, now_ns)


if __name__ == "__main__":
    node.Upstream = PrefixUpstream
    sys.exit(server.main())
