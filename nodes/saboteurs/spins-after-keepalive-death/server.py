"""Spins after a keepalive death: its event loop hangs when its connection to Redis dies. Alive, and serves nothing.

Trigger: any loss of its connection to Redis. The kernel goes on accepting connections for it; what it would have
journalled and has not flushed stays unsaid; SIGTERM means nothing to it. The real one burns a core, this one sleeps.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import node
import server
from upstream import Upstream


class HangingUpstream(Upstream):
    """Never comes back from the loss of its connection."""

    def _lost(self, hub, error) -> None:
        while self.up:  # for ever: whoever would change that runs on this loop
            time.sleep(0.05)
        super()._lost(hub, error)


if __name__ == "__main__":
    node.Upstream = HangingUpstream
    sys.exit(server.main())
