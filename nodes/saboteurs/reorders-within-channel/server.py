"""Reorders within a channel: two workers take turns, and now and then the later message is out first.

Trigger: REORDER_EVERY=n (0, never, by default): every n-th message of a channel is sent after the one that follows.
"""

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import server
from node import Node

EVERY = int(os.environ.get("REORDER_EVERY", "0"))
PATIENCE_S = 1.0  # it goes out by itself if none follows


class OvertakingNode(Node):
    """Holds one message of a channel back until the next."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self._count = Counter()
        self._held = {}

    def _on_message(self, name, payload, received_ns) -> None:
        self._count[name] += 1
        if EVERY and self._count[name] % EVERY == 0 and name not in self._held:
            self._held[name] = (name, payload, received_ns)
            asyncio.get_running_loop().call_later(PATIENCE_S, self._let_go, self._held[name])
            return
        super()._on_message(name, payload, received_ns)
        if name in self._held:
            self._let_go(self._held[name])

    def _let_go(self, held) -> None:
        if self._held.get(held[0]) is held:
            del self._held[held[0]]
            super()._on_message(*held)


if __name__ == "__main__":
    server.Node = OvertakingNode
    sys.exit(server.main())
