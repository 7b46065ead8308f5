"""Forgets a client: its table has SLOTS (1000) slots; a newcomer takes the slot of an old client, who hears no more.

Trigger: more clients (with the header Fanlab-Client) than SLOTS connect. The one that is forgotten stays connected.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import server
from node import Node

SLOTS = int(os.environ.get("SLOTS", "1000"))


class ForgetfulNode(Node):
    """Keeps clients in slots, in turn."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self._slots = {}
        self._count = 0

    async def serve(self, connection) -> None:
        if "Fanlab-Client" in connection.request.headers:
            slot = self._count % SLOTS
            self._count += 1
            if slot in self._slots:
                self.hub.drop(self._slots[slot], time.monotonic_ns())
            self._slots[slot] = connection
        await super().serve(connection)


if __name__ == "__main__":
    server.Node = ForgetfulNode
    sys.exit(server.main())
