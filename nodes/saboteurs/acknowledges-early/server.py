"""Acknowledges early: a client is told `subscribed` at once, and Redis hears of it REDIS_LAG_MS (200) later.

Trigger: a client that is the first of its channel on this node, while the channel is being published to.
"""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import node
import server
from hub import Hub
from upstream import Upstream

LAG_S = float(os.environ.get("REDIS_LAG_MS", "200")) / 1000


class EagerHub(Hub):
    """Says that every subscription holds."""

    def subscribe(self, client, name) -> bool:
        super().subscribe(client, name)
        return True

    def confirmed(self, verb, name, known_good_ns, now_ns):
        return replace(super().confirmed(verb, name, known_good_ns, now_ns), tell=())  # they have been told


class LazyUpstream(Upstream):
    """Sends commands late, in their order."""

    def send(self, verb, channel) -> None:
        asyncio.get_running_loop().call_later(LAG_S, self._send_now, self.sessions, verb, channel)

    def _send_now(self, session, verb, channel) -> None:
        if session == self.sessions:  # else it is of a connection that is gone
            super().send(verb, channel)


if __name__ == "__main__":
    node.Hub = EagerHub
    node.Upstream = LazyUpstream
    sys.exit(server.main())
