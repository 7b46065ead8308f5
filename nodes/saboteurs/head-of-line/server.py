"""Head of line: each client is waited for in turn, so the slowest one sets the pace for all, message by message.

Trigger: SLOW_SEND_MS (0 by default): how long the first client's turn takes, because its line is slow; SLOW_CLIENT_MS
(0): how long everybody's does, so that a message takes the longer the more clients the node has.
"""

import asyncio
import os
import sys
from collections import deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import server
from node import Node

SLOW_SEND_S = float(os.environ.get("SLOW_SEND_MS", "0")) / 1000
SLOW_CLIENT_S = float(os.environ.get("SLOW_CLIENT_MS", "0")) / 1000


class InTurnNode(Node):
    """Lets a message out when the slow client has had its turn."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self._inbox = deque()
        self._sender = None

    def _on_message(self, name, payload, received_ns) -> None:
        if not SLOW_SEND_S and not SLOW_CLIENT_S:
            super()._on_message(name, payload, received_ns)
            return
        self._inbox.append((name, payload, received_ns))
        if self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._send_in_turn())

    async def _send_in_turn(self) -> None:
        while self._inbox:
            channel = self.hub.get(self._inbox[0][0])
            turns = 0 if channel is None else len(channel.members)
            await asyncio.sleep(SLOW_SEND_S + SLOW_CLIENT_S * turns)
            super()._on_message(*self._inbox.popleft())
        self._sender = None


if __name__ == "__main__":
    server.Node = InTurnNode
    sys.exit(server.main())
