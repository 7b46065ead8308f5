"""TCP connections that say when the kernel received what they hand over: a loop for the clients engine.

Without this, a message counts as received when the loop comes round to it: behind other clients' messages, after
whatever else runs on the machine. That is the generator's time, and on two cores it was a third of the latency
reported (see docs/adr/0011). With it, the time is the kernel's, and an engine that is late does not make messages late.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import uvloop

from fanlab.clock import now_ns
from fanlab.load.stamps import ROOM, StampClock, ask_for_stamps, stamp_of


class StampedTransport(asyncio.Transport):
    """A transport for buffered protocols (picows') whose reads take the kernel's stamp along."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        protocol: asyncio.BufferedProtocol,
        clock: StampClock,
    ) -> None:
        """`sock` is connected, does not block, and has been asked for stamps."""
        super().__init__({"socket": sock, "peername": sock.getpeername(), "sockname": sock.getsockname()})
        self._loop = loop
        self._socket = sock
        self._fd = sock.fileno()
        self._protocol = protocol
        self._clock = clock
        self._closing = False
        self._over = False
        self._backlog = bytearray()
        self._arrived_ns = now_ns()
        self._read = sock.recvmsg_into
        self._room = protocol.get_buffer
        self._updated = protocol.buffer_updated
        protocol.connection_made(self)
        if not self._closing:
            loop.add_reader(self._fd, self._readable)

    def arrived_ns(self) -> int:
        """When the kernel had received what is being handed over, on CLOCK_MONOTONIC; later with every call.

        Of several frames in one read it is the time of the last: never too early, and before the loop's own.
        """
        at_ns = self._arrived_ns
        self._arrived_ns = at_ns + 1  # no two messages of a client have the same time, so that times tell their order
        return at_ns

    def _readable(self) -> None:
        self._take()
        # A socket that had both data and a RST is not polled any more (libuv stops at an error): nobody else tells.
        if not self._closing and (number := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            while self._take() and not self._closing:
                pass
            self._end(OSError(number, os.strerror(number)))

    def _take(self) -> bool:
        """Hand over what one read gives; False if it gives nothing."""
        try:
            size, ancillary, _, _ = self._read((self._room(-1),), ROOM)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._end(error)
            return False
        if size == 0:
            self._protocol.eof_received()
            self.close()
            return False
        at_ns = self._clock.monotonic_ns(stamp_of(ancillary))
        self._arrived_ns = max(self._arrived_ns, at_ns)
        self._updated(size)
        return True

    def is_closing(self) -> bool:
        """Whether the end has begun."""
        return self._closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who gets what comes."""
        return self._protocol

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return len(self._backlog)

    def write(self, data: Any) -> None:
        """Send, or keep until the kernel takes it. Clients write little: subscriptions, pings, goodbyes."""
        if self._over:
            return
        sent = 0
        if not self._backlog:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError as error:
                self._end(error)
                return
            if sent < len(data):
                self._loop.add_writer(self._fd, self._writable)
        self._backlog += memoryview(data)[sent:]

    def _writable(self) -> None:
        try:
            sent = self._socket.send(self._backlog)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        del self._backlog[:sent]
        if not self._backlog:
            self._loop.remove_writer(self._fd)
            if self._closing:
                self._end(None)

    def close(self) -> None:
        """End it when all is written."""
        if not self._closing:
            self._closing = True
            self._loop.remove_reader(self._fd)
            if not self._backlog:
                self._end(None)

    def abort(self) -> None:
        """End it at once."""
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        """The protocol hears of it once, after whatever is being done now."""
        if self._over:
            return
        self._over = self._closing = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._backlog.clear()
        self._loop.call_soon(self._finish, error)

    def _finish(self, error: Exception | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._socket.close()


class StampedLoop(uvloop.Loop):
    """uvloop, whose new TCP connections are stamped. `clock` is ticked by the engine."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = StampClock()

    async def create_connection(
        self, protocol_factory: Callable[[], Any], host: Any = None, port: Any = None, **options: Any
    ) -> tuple[Any, Any]:
        """As asyncio's. Connected sockets, TLS, and systems without stamps get uvloop's own transport."""
        if options.get("sock") is not None or options.get("ssl") or not StampClock.AVAILABLE:
            return await super().create_connection(protocol_factory, host, port, **options)
        error: OSError | None = None
        for family, kind, proto, _, address in await self.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            made = socket.socket(family, kind, proto)
            try:
                made.setblocking(False)  # noqa: FBT003 - socket's own
                ask_for_stamps(made)
                await self.sock_connect(made, address)
                protocol = protocol_factory()
                return StampedTransport(self, made, protocol, self.clock), protocol
            except OSError as refused:
                made.close()
                error = refused
            except BaseException:
                made.close()
                raise
        raise error or OSError(f"{host} has no address")
