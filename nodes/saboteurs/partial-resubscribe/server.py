"""Resubscribes in part: after a break of Redis, every second channel (by name) is not asked for again.

Trigger: any loss of its connection to Redis while clients have two channels or more. It believes that it has them all.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import node
import server
from hub import Hub


class HalfHub(Hub):
    """Asks for all channels in the first session, for half of them later."""

    first = True

    def connected(self) -> None:
        forgotten = set() if self.first else set(sorted(one.name for one in self if not one.pinned)[1::2])
        self.first = False
        self._connected = True
        self._sent.clear()
        for channel in self:
            channel.in_flight = 0
            if channel.name in forgotten and not channel.waiting:
                channel.live = True
                channel.gap_from_ns = None
            else:
                self._ask(channel, "SUBSCRIBE")


if __name__ == "__main__":
    node.Hub = HalfHub
    sys.exit(server.main())
