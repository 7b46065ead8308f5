"""Stops its listener with the last unsubscribe: when its clients' last channel goes, nobody reads messages any more.

Trigger: all clients leave this node, and some come later. Those are told `subscribed`, Redis lists the subscription,
and nothing arrives. The journal says so: no message was received.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import node
import server
from upstream import Upstream


class StoppingUpstream(Upstream):
    """Hears nothing once its clients' channels have all gone."""

    stopped = False

    def _take(self, hub, reply, now_ns) -> None:
        kind = reply[0] if isinstance(reply, list) else b""
        if kind == b"message" and self.stopped:
            return
        super()._take(hub, reply, now_ns)
        if kind == b"unsubscribe" and all(channel.pinned for channel in hub):
            self.stopped = True


if __name__ == "__main__":
    node.Upstream = StoppingUpstream
    sys.exit(server.main())
