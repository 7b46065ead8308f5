"""Reorders across channels: each channel has a worker of its own, and one of them is slower than the others.

Trigger: SLOW_CHANNEL (none by default) names a channel; its messages go out SLOW_MS (30) later, in their order. What
Redis sent later on another channel goes out before them.
"""

import asyncio
import os
import sys
from collections import deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import server
from node import Node

SLOW_CHANNEL = os.environ.get("SLOW_CHANNEL", "")
SLOW_S = float(os.environ.get("SLOW_MS", "30")) / 1000


class TwoWorkersNode(Node):
    """Delays the slow worker's channel."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self._waiting = deque()

    def _on_message(self, name, payload, received_ns) -> None:
        if name != SLOW_CHANNEL:
            super()._on_message(name, payload, received_ns)
            return
        self._waiting.append((name, payload, received_ns))
        asyncio.get_running_loop().call_later(SLOW_S, self._next)

    def _next(self) -> None:
        super()._on_message(*self._waiting.popleft())


if __name__ == "__main__":
    server.Node = TwoWorkersNode
    sys.exit(server.main())
