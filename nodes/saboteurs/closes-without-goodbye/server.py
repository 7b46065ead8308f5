"""Closes without goodbye: when its connection to Redis is cut, so are its clients', without a close frame.

Trigger: any loss of its connection to Redis. The clients see 1006, back off and connect again.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import node
import server
from hub import Hub


class HastyHub(Hub):
    """Takes its clients down with the subscription."""

    def disconnected(self, known_good_ns, now_ns) -> None:
        super().disconnected(known_good_ns, now_ns)
        for client in {client for channel in self for client in channel.members | channel.waiting}:
            client.abort()


if __name__ == "__main__":
    node.Hub = HastyHub
    sys.exit(server.main())
