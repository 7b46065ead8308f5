"""Deaf after a restart: Redis was away; now pings answer, channels are confirmed, and no message is heard ever again.

Trigger: Redis cannot be reached for at least one attempt. A connection that is merely cut does nothing. Its handler
of messages belongs to the old connection; the journal has a gap that ends, and no message after it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import node
import server
from upstream import Upstream


class DeafUpstream(Upstream):
    """Ignores messages once an attempt to reconnect has failed."""

    deaf = False

    def _lost(self, hub, error) -> None:
        self.deaf |= self.sessions > 0 and not self.up
        super()._lost(hub, error)

    def _take(self, hub, reply, now_ns) -> None:
        if not (self.deaf and isinstance(reply, list) and reply[0] == b"message"):
            super()._take(hub, reply, now_ns)


if __name__ == "__main__":
    node.Upstream = DeafUpstream
    sys.exit(server.main())
