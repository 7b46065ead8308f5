"""The reference node on picows: the same contract, and all of it but the connections, at less CPU for each delivery.

Run it with `python server.py`. What a client's connection is stands in links.py; the rest is ../websockets.
"""

import gc
import logging
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "websockets"))

import server
from links import BroadNode, welcome
from node import Node
from picows import ws_create_server

HANDSHAKE_S = 10.0
# Python's own but the last, of 10: clients stay, and each quarter more of them was a walk over all.
COLLECT = (700, 10, 200)


async def listen(node: Node) -> server.Listening:
    """Take clients for the node. Raises OSError."""
    settings = node.settings
    listener = await ws_create_server(
        partial(welcome, node),
        settings.host,
        settings.port,
        disconnect_on_exception=True,
        websocket_handshake_timeout=HANDSHAKE_S,
        enable_auto_ping=False,  # heartbeat.py does it, with a deadline that holds
        max_frame_size=settings.max_message_bytes,
        read_buffer_init_size=1024,  # clients say little, and there may be many
        reuse_address=True,
        backlog=1024,
    )
    return server.Listening(listener.sockets[0].getsockname()[1], listener.close)


if __name__ == "__main__":
    gc.set_threshold(*COLLECT)
    logging.getLogger("picows").setLevel(logging.CRITICAL)  # peers' broken handshakes are theirs, and metered
    server.Node = BroadNode  # type: ignore[misc]
    server.listen = listen
    sys.exit(server.main())
