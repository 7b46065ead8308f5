"""Cut link: its link to Redis goes silent for a while. No FIN, no error: bytes just do not come through.

Trigger: CUT_AT (1) seconds after the first client has subscribed, for CUT_FOR (1.5) seconds; CUT_FOR=0: never. What
was on its way comes when the link is back, unless the node has given the connection up (REDIS_TIMEOUT_MS) by then.
Redis goes on counting it as a subscriber meanwhile.
"""

import asyncio
import contextlib
import os
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import server
from node import Node

CUT_AT_S = float(os.environ.get("CUT_AT", "1"))
CUT_FOR_S = float(os.environ.get("CUT_FOR", "1.5"))
CHUNK_BYTES = 1 << 16


class Link:
    """A relay to Redis in this process."""

    def __init__(self, host, port) -> None:
        self._target = (host, port)
        self.passable = asyncio.Event()
        self.passable.set()

    async def carry(self, near_reader, near_writer) -> None:
        """One connection of the node's, until either side ends it."""
        await self.passable.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            near_writer.close()
            return
        ways = [self._pump(near_reader, far_writer), self._pump(far_reader, near_writer)]
        await asyncio.gather(*ways)

    async def _pump(self, reader, writer) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self.passable.wait()
                writer.write(data)
                await writer.drain()
        await self.passable.wait()  # an end is not seen through a cut link either
        writer.close()


class CutNode(Node):
    """Cuts the link at its time."""

    link = None

    def _on_frame(self, client, frame) -> None:
        super()._on_frame(client, frame)
        if self.link is not None and CUT_FOR_S and self.hub.count(client):
            loop = asyncio.get_running_loop()
            loop.call_later(CUT_AT_S, self.link.passable.clear)
            loop.call_later(CUT_AT_S + CUT_FOR_S, self.link.passable.set)
            CutNode.link = None


async def run(settings) -> int:
    """Lay the link, then be the good node behind it."""
    parts = urlsplit(settings.redis_url)
    CutNode.link = link = Link(parts.hostname, parts.port or 6379)
    relay = await asyncio.start_server(link.carry, "127.0.0.1", 0)
    login, at, _ = parts.netloc.rpartition("@")
    address = f"{login}{at}127.0.0.1:{relay.sockets[0].getsockname()[1]}"
    return await run_good_node(replace(settings, redis_url=urlunsplit(parts._replace(netloc=address))))


if __name__ == "__main__":
    run_good_node, server.run, server.Node = server.run, run, CutNode
    sys.exit(server.main())
