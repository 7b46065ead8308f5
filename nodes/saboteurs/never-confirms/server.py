"""Never confirms: some subscribes are never answered, and bring nothing.

Trigger: the node is started again (its journal is there already), or a client (by its header Fanlab-Client) opens a
second connection to it.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import server
from node import Node


class MuteNode(Node):
    """Ignores what some clients ask for."""

    restarted = False

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self._seen = set()
        self._ignored = set()

    async def serve(self, connection) -> None:
        who = connection.request.headers.get("Fanlab-Client")
        if self.restarted or who in self._seen:
            self._ignored.add(connection)
        if who is not None:
            self._seen.add(who)
        await super().serve(connection)

    def _on_frame(self, client, frame) -> None:
        if client not in self._ignored:
            super()._on_frame(client, frame)


if __name__ == "__main__":
    journal = Path(os.environ.get("FANLAB_JOURNAL") or os.devnull)
    MuteNode.restarted = journal.is_file() and journal.stat().st_size > 0
    server.Node = MuteNode
    sys.exit(server.main())
