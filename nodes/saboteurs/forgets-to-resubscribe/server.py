"""Forgets to resubscribe: after a break of Redis it is connected again, and subscribed to nothing.

Trigger: any loss of its connection to Redis. It believes that all is well: ready, no gap in its journal.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import node
import server
from hub import Hub


class ForgetfulHub(Hub):
    """Asks for channels in the first session only; later, only for those that somebody waits for."""

    first = True

    def connected(self) -> None:
        if self.first:
            self.first = False
            super().connected()
            return
        self._connected = True
        self._sent.clear()
        for channel in self:
            channel.in_flight = 0
            channel.gap_from_ns = None
            if channel.waiting:
                self._ask(channel, "SUBSCRIBE")
            else:
                channel.live = True


if __name__ == "__main__":
    node.Hub = ForgetfulHub
    sys.exit(server.main())
