"""Drops the others on leave: when one client leaves a channel, the node unsubscribes for all of them.

Trigger: a client leaves (or its connection ends) while others of its channel stay. The node notices and subscribes
again 300 ms later; its journal has it as one subscription that ended and another that began.
"""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import node
import server
from hub import Hub

NOTICES_AFTER_S = 0.3


class CarelessHub(Hub):
    """Leaves a channel with its first client instead of its last."""

    def unsubscribe(self, client, name, now_ns) -> None:
        super().unsubscribe(client, name, now_ns)
        channel = self.get(name)
        if channel is not None and channel.live and not channel.pinned:
            channel.live = False
            self._ask(channel, "UNSUBSCRIBE")
            asyncio.get_running_loop().call_later(NOTICES_AFTER_S, self._again, channel)

    def _again(self, channel) -> None:
        if self.get(channel.name) is channel and channel.wanted:
            self._want(channel)


if __name__ == "__main__":
    node.Hub = CarelessHub
    sys.exit(server.main())
