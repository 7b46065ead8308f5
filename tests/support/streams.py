"""Two ends of a real TCP connection on loopback, as asyncio's streams, for as long as a block lasts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Streams, Streams]]:
    """(server's end, client's end)."""
    accepted: asyncio.Future[Streams] = asyncio.get_running_loop().create_future()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result((reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        client = await asyncio.open_connection(*server.sockets[0].getsockname())
        served = await accepted
        try:
            yield served, client
        finally:
            served[1].close()
            client[1].close()
    finally:
        server.close()
