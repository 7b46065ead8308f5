"""HTTP GET of one node: as many requests at once as asked for, connections kept where the node keeps them. On h11."""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from fanlab.clock import now_ns

MAX_BODY_BYTES = 4 << 20
_READ_BYTES = 1 << 16
_IDLE = 32  # connections kept


class NoAnswer(Exception):  # noqa: N818 - it is what happened, not whose error it is
    """The node could not be asked, or what it said is no HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response. It was asked for at `asked_ns`, and complete at `answered_ns`."""

    asked_ns: int
    answered_ns: int
    status: int
    body: bytes


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    protocol: h11.Connection
    used: bool = False  # it has answered before
    heard: bool = False  # something of the response that is waited for has come


class Getter:
    """Asks one server. Belongs to one event loop."""

    def __init__(self, url: str, server: str | None = None) -> None:
        """`url` names the server: its path is not used. `server` is the Host, if it is not the URL's."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._headers = [("Host", server or parts.netloc), ("Accept", "application/json"), ("User-Agent", "fanlab")]
        self._idle: list[_Connection] = []

    async def get(self, path: str) -> Answer:
        """GET a path; raises NoAnswer. Set a timeout round it: cancelling it closes its connection."""
        while True:
            try:
                connection = self._idle.pop() if self._idle else await self._connected()
            except OSError as error:
                raise NoAnswer(str(error)) from error
            try:
                return await self._exchange(connection, path)
            except (OSError, h11.ProtocolError) as error:
                if connection.heard or not connection.used:
                    raise NoAnswer(str(error) or type(error).__name__) from error
                # A kept connection that the server has closed meanwhile is no news about the server: ask anew.

    def close(self) -> None:
        """Close what is kept."""
        for connection in self._idle:
            connection.writer.close()
        self._idle.clear()

    async def _connected(self) -> _Connection:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        return _Connection(reader, writer, h11.Connection(h11.CLIENT))

    async def _exchange(self, connection: _Connection, path: str) -> Answer:
        protocol, writer = connection.protocol, connection.writer
        kept = False
        try:
            request = protocol.send(h11.Request(method="GET", target=path, headers=self._headers)) or b""
            asked_ns = now_ns()
            writer.write(request + (protocol.send(h11.EndOfMessage()) or b""))
            status, body = await _response(connection)
            answered_ns = now_ns()
            if protocol.our_state is h11.DONE and protocol.their_state is h11.DONE and len(self._idle) < _IDLE:
                protocol.start_next_cycle()
                connection.used, connection.heard, kept = True, False, True
                self._idle.append(connection)
            return Answer(asked_ns, answered_ns, status, body)
        finally:
            if not kept:
                writer.close()


async def _response(connection: _Connection) -> tuple[int, bytes]:
    """Status and body. Raises OSError, or h11.ProtocolError for what is no HTTP or too much of it."""
    protocol = connection.protocol
    status, parts, size = 0, [], 0
    while True:
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            data = await connection.reader.read(_READ_BYTES)
            connection.heard |= bool(data)
            protocol.receive_data(data)
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            parts.append(bytes(event.data))
            size += len(event.data)
            if size > MAX_BODY_BYTES:
                raise h11.RemoteProtocolError(f"a body of more than {MAX_BODY_BYTES} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return status, b"".join(parts)
        elif isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("the connection ended before a response")
