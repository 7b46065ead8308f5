"""Leaves zombies: a client that went stays in the books with a subscription of its own, and that serves who comes back.

Trigger: a client (by its header Fanlab-Client) opens a second connection to this node and subscribes. From then on
Redis lists one subscriber more than there are, and the client gets each message once by each.
"""

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import server
from hub import Hub
from journal import NoJournal, mark_of
from node import Node
from upstream import Upstream


class HauntedNode(Node):
    """Opens another connection to Redis for everyone who comes back."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self._seen = set()
        self._zombies = {}  # by client: its hub and the task that keeps it connected

    async def serve(self, connection) -> None:
        who = connection.request.headers.get("Fanlab-Client")
        if who in self._seen:
            self._zombies[connection] = self._raise(connection)
        if who is not None:
            self._seen.add(who)
        await super().serve(connection)

    def _on_frame(self, client, frame) -> None:
        super()._on_frame(client, frame)
        if client in self._zombies:
            hub, _ = self._zombies[client]
            for channel in self.hub:
                if client in channel.members | channel.waiting:
                    hub.pin(channel.name)

    def _raise(self, client):
        def again(name, payload, received_ns) -> None:
            channel = self.hub.get(name)
            if channel is not None and client in channel.members:
                written = self._fanout.publish([client], payload).written
                self.journal.message(received_ns, channel.name_json, mark_of(payload), written, time.monotonic_ns())

        upstream = Upstream(self.settings, NoJournal(), again, lambda _: None, lambda *_: None)
        hub = Hub(upstream.send, lambda _: None)
        return hub, asyncio.get_running_loop().create_task(upstream.run(hub))


if __name__ == "__main__":
    server.Node = HauntedNode
    sys.exit(server.main())
