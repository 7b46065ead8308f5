"""Duplicates on reconnect: a client that comes back is sent the last REPLAY (100) messages of each channel again.

Trigger: a client (by its header Fanlab-Client) opens a second connection to this node and subscribes.
"""

import os
import sys
from collections import defaultdict, deque
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import server
from node import Node

REPLAY = int(os.environ.get("REPLAY", "100"))


class ReplayingNode(Node):
    """Keeps a history, and who was here before."""

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self._history = defaultdict(partial(deque, maxlen=REPLAY))
        self._seen = set()
        self._due = {}  # clients that came back, and the channels that they have been sent

    async def serve(self, connection) -> None:
        who = connection.request.headers.get("Fanlab-Client")
        if who in self._seen:
            self._due[connection] = set()
        if who is not None:
            self._seen.add(who)
        try:
            await super().serve(connection)
        finally:
            self._due.pop(connection, None)

    def _on_message(self, name, payload, received_ns) -> None:
        super()._on_message(name, payload, received_ns)
        self._history[name].append(payload)

    def _on_frame(self, client, frame) -> None:
        super()._on_frame(client, frame)
        self._replay()

    def _on_confirmed(self, confirmed) -> None:
        super()._on_confirmed(confirmed)
        self._replay()

    def _replay(self) -> None:
        for client, done in self._due.items():
            for channel in self.hub:
                if client in channel.members and channel.name not in done:
                    done.add(channel.name)
                    for payload in self._history[channel.name]:
                        self._fanout.publish([client], payload)


if __name__ == "__main__":
    server.Node = ReplayingNode
    sys.exit(server.main())
