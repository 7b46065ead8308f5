"""TCP connections that say when the kernel received what they hand over: a loop for the clients engine.

Without this, a message counts as received when the loop comes round to it: behind other clients' messages, after
whatever else runs on the machine. That is the generator's time, and on two cores it was a third of the latency
reported (see docs/adr/0011). With it, the time is the kernel's, and an engine that is late does not make messages late.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import Any, Final

import uvloop

from fanlab.clock import now_ns
from fanlab.load.bulk import Left, Line, load
from fanlab.load.poller import READ, WRITE, Poller
from fanlab.load.stamps import ROOM, StampClock, ask_for_stamps

READ_BYTES: Final = 1 << 18  # at once
_IP_BIND_ADDRESS_NO_PORT: Final = 24  # linux/in.h: the port is chosen when it is known where to, and may serve others


class StampedTransport(asyncio.Transport):
    """A transport for buffered protocols (picows') whose reads take the kernel's stamp along.

    A protocol may have reads that it knows handed to it whole, without being parsed: see `take_whole`.
    """

    def __init__(
        self,
        loop: "StampedLoop",
        sock: socket.socket,
        protocol: asyncio.BufferedProtocol,
    ) -> None:
        """`sock` is connected, does not block, and has been asked for stamps."""
        super().__init__({"socket": sock, "peername": sock.getpeername(), "sockname": sock.getsockname()})
        self._whole: Callable[[bytes, int], int] | None = None
        self._loop = loop
        self._socket = sock
        self._fd = sock.fileno()
        self._protocol = protocol
        self._clock = loop.clock
        self._closing = False
        self._over = False
        self._backlog = bytearray()
        self._line = loop.bulk.line(self._fd) if loop.bulk is not None else Line()
        self._line.arrived_ns = now_ns()
        self._receive = sock.recvmsg_into
        self._into = loop.into
        protocol.connection_made(self)
        if not self._closing:
            loop.poller.add(self._fd, self._ready, self._took)

    @property
    def between(self) -> bool:
        """Whether all that came were whole frames. For the protocol to say, in each `buffer_updated`."""
        return bool(self._line.between)

    @between.setter
    def between(self, between: bool) -> None:
        self._line.between = between

    @property
    def taken(self) -> int:
        """How many messages were taken whole."""
        return int(self._line.taken)

    def take_whole(self, whole: Callable[[bytes, int], int], client: int, node: int) -> None:
        """Reads that are known whole need not be handed over: they are that client's messages, from that node.

        `whole` is given a read that began between two frames, and when the first of its messages may have come, each
        next one a nanosecond later. It returns how many it has taken: all that is in the read, or 0.
        """
        self._whole = whole
        self._line.client, self._line.node, self._line.watched = client, node, 1

    def arrived_ns(self) -> int:
        """When the kernel had received what is being handed over, on CLOCK_MONOTONIC; later with every call.

        Of several frames in one read it is the time of the last: never too early, and before the loop's own.
        """
        at_ns = int(self._line.arrived_ns)
        self._line.arrived_ns = at_ns + 1  # no two of a client have the same time, so that times tell their order
        return at_ns

    def _ready(self, events: int) -> None:
        """The hot path, where nothing is compiled."""
        if events & WRITE or self._closing:
            self._writable()
        if self._closing:
            return
        try:
            size, ancillary, _, _ = self._receive(self._into, ROOM)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        self._take(size, self._clock.arrived_ns(ancillary))

    def _took(self, left: Left) -> None:
        """A read was done, and is not known."""
        if left.size or not left.error:
            self._take(left.size or 0, left.at_ns)
        if left.error:
            self._end(OSError(left.error, os.strerror(left.error)))

    def _take(self, size: int, at_ns: int) -> None:
        """What was read."""
        if size == 0:
            self._protocol.eof_received()
            self.close()
            return
        line = self._line
        at_ns = max(at_ns, line.arrived_ns)
        data = self._into[0][:size]
        if line.between and self._whole is not None and (count := self._whole(bytes(data), at_ns)):
            line.arrived_ns = at_ns + count
            line.taken += count
            return
        line.arrived_ns = at_ns
        self._hand_over(data)

    def _hand_over(self, data: memoryview) -> None:
        """A read goes to the protocol, by as much as it has room for."""
        while data and not self._closing:
            room = memoryview(self._protocol.get_buffer(-1))
            taken = min(len(room), len(data))
            room[:taken] = data[:taken]
            data = data[taken:]
            self._line.between = 0  # unless the last part of all ends with a frame
            self._protocol.buffer_updated(taken)

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
                self._loop.poller.watch(self._fd, READ | WRITE)
        self._backlog += memoryview(data)[sent:]

    def _writable(self) -> None:
        """Send what is kept. Also called for the error of a socket that is not read any more."""
        try:
            sent = self._socket.send(self._backlog)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        del self._backlog[:sent]
        if not self._backlog:
            self._loop.poller.watch(self._fd, READ)
            if self._closing:
                self._end(None)

    def close(self) -> None:
        """End it when all is written."""
        if not self._closing:
            self._closing = True
            self._line.watched = 0
            self._loop.poller.watch(self._fd, WRITE)
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
        self._line.watched = 0
        self._loop.poller.remove(self._fd)
        self._backlog.clear()
        self._loop.call_soon(self._finish, error)

    def _finish(self, error: Exception | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._socket.close()


class StampedLoop(uvloop.Loop):
    """uvloop, whose new TCP connections are stamped. The engine calls `tick`."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = StampClock()
        memory = bytearray(READ_BYTES)
        self.into = (memoryview(memory),)  # what is being read, whoever reads: they take turns
        self.bulk = load(memory)
        if self.bulk is not None:
            self.bulk.ahead(self.clock.offset_ns)
        self.poller = Poller(self, self.bulk)

    def tick(self) -> None:
        """Call it every few milliseconds: the clocks are compared."""
        self.clock.tick()
        if self.bulk is not None:
            self.bulk.ahead(self.clock.offset_ns)

    def close(self) -> None:
        """As asyncio's."""
        self.poller.close()
        super().close()

    async def create_connection(
        self, protocol_factory: Callable[[], Any], host: Any = None, port: Any = None, **options: Any
    ) -> tuple[Any, Any]:
        """As asyncio's. Connected sockets, TLS, and systems without stamps get uvloop's own transport."""
        if options.get("sock") is not None or options.get("ssl") or not StampClock.AVAILABLE:
            return await super().create_connection(protocol_factory, host, port, **options)
        error: OSError | None = None
        for family, address in literal(host, port) or await self._looked_up(host, port):
            made = socket.socket(family, socket.SOCK_STREAM)
            try:
                made.setblocking(False)  # noqa: FBT003 - socket's own
                ask_for_stamps(made)
                if (source := options.get("local_addr")) is not None:
                    made.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                    made.bind(source)
                await self._connected(made, address)
                protocol = protocol_factory()
                return StampedTransport(self, made, protocol), protocol
            except OSError as refused:
                made.close()
                error = refused
            except BaseException:
                made.close()
                raise
        raise error or OSError(f"{host} has no address")

    async def _connected(self, made: socket.socket, address: Any) -> None:
        """As `sock_connect`, which in uvloop has a thread look the address up once more."""
        error = made.connect_ex(address)
        if error == errno.EINPROGRESS:
            writable = asyncio.Event()
            self.poller.add(made.fileno(), lambda _: writable.set(), events=WRITE)
            try:
                await writable.wait()
            finally:
                self.poller.remove(made.fileno())
            error = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))

    async def _looked_up(self, host: str, port: int) -> list[tuple[int, Any]]:
        found = await self.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(family, address) for family, _, _, _, address in found]


def literal(host: str, port: int) -> list[tuple[int, Any]] | None:
    """The family and the address of an IPv4 address that is written out, which needs no thread to be looked up."""
    try:
        socket.inet_pton(socket.AF_INET, host)
    except (OSError, TypeError):
        return None
    return [(socket.AF_INET, (host, port))]
