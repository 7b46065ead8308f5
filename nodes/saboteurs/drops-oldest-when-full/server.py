"""Drops the oldest when full: between Redis and the fan-out lies a bounded queue, as inside some client libraries.

Trigger: a burst larger than INNER_QUEUE (256); the queue is emptied at less than 1000 messages/s. The journal knows
only what came out of the queue.
"""

import asyncio
import os
import sys
import time
from collections import deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import server
from node import Node

TURN_S = 0.001


class QueueingNode(Node):
    """Takes messages from the queue one at a time."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self._inbox = deque(maxlen=int(os.environ.get("INNER_QUEUE", "256")))
        self._pump = None

    def _on_message(self, name, payload, received_ns) -> None:  # noqa: ARG002 - the library keeps that to itself
        self._inbox.append((name, payload))
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._empty())

    async def _empty(self) -> None:
        while self._inbox:
            name, payload = self._inbox.popleft()
            super()._on_message(name, payload, time.monotonic_ns())
            await asyncio.sleep(TURN_S)
        self._pump = None


if __name__ == "__main__":
    server.Node = QueueingNode
    sys.exit(server.main())
