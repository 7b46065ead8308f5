"""Probes: a few WebSocket connections in a clients engine's own loop, whose messages the kernel stamps as they arrive.

From a message's arrival in the kernel to the moment at which the loop has found its frame it waits for the engine: its
*delay*. What a client's receive time has on top of the arrival is the *bias* of the reported latency. Where clients'
connections are stamped too (load.stamped), that is not the whole delay: only what comes of messages that were read
together, which a client takes to have arrived with the last of them. See load.stamps for what a stamp tells.

A probe is no client of the plan: it has no number, is owed nothing, and stands in no ledger. So that it changes nothing
either, it is connected to a node only while clients of its group are subscribed there, and it costs about as much as a
client does.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterable, Sequence
from typing import Final

from fanlab.clock import NS_PER_MS
from fanlab.ledger.events import ClientEvent
from fanlab.load.config import ClientsConfig, LoadConfig
from fanlab.load.protocols import ClientProtocol, protocol
from fanlab.load.receiving import TokenReader
from fanlab.load.stamped import StampedLoop
from fanlab.load.stamps import ROOM, Heard, StampClock, arrivals, ask_for_stamps, realtime_ns, stamp_of
from fanlab.load.wsframes import Frame, FrameReader, Handshake, NotWebSocketError, Opcode, client_frame

SLICE_NS: Final = 100 * NS_PER_MS
PER_SLICE: Final = 50  # messages that a probe stamps in a slice; the others are read in bulk and let go
PLENTY = 15  # stamped in a slice of its own: then the others' slices are left to them
RETRY_S: Final = 1.0
CONNECT_S: Final = 5.0
_BULK_BYTES: Final = 1 << 16
_GOLDEN: Final = 2_654_435_761  # the prime next to 2³² divided by the golden ratio: Knuth's multiplicative hashing
_NORMAL: Final = (1000).to_bytes(2, "big")


class Probe:
    """One connection, opened anew as long as it is wanted."""

    def __init__(self, owner: "Probes", node: int, first_client: int) -> None:
        """It first connects when client `first_client` of its group has begun to."""
        self.node = node
        self.first_client = first_client
        self._owner = owner
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._not_before_s = 0.0
        self._frames = FrameReader()
        self._slice = 0
        self._taken = 0
        self._plenty = False  # of messages, in the last two slices in which it stamped some
        self._resting = False
        self._last_stamp_ns = 0

    @property
    def open(self) -> bool:
        """Whether it is connected, and has asked for its channels."""
        return self._socket is not None

    def want(self, *, wanted: bool) -> None:
        """Be connected, or not."""
        loop = self._owner.loop
        if not wanted:
            self.close()
        elif self._socket is None and self._task is None and loop.time() >= self._not_before_s:
            self._task = loop.create_task(self._connect())

    def turn(self, *, mine: bool) -> None:
        """Some milliseconds have passed. Where there is plenty, probes take turns: each stamp wakes the loop.

        One that rests reads in bulk meanwhile, so that the node has no slow client in it.
        """
        if self._socket is None:
            return
        if self._resting:
            self._drain()
        if self._socket is not None and self._resting != (rest := self._plenty and not mine):
            self._resting = rest
            if rest:
                self._owner.loop.remove_reader(self._socket.fileno())
            else:
                self._owner.loop.add_reader(self._socket.fileno(), self._readable)

    def close(self) -> None:
        """Leave, with a close frame if there is a connection."""
        if self._task is not None:
            self._task.cancel()
        if self._socket is not None:
            self._send(Opcode.CLOSE, _NORMAL)
            self._give_up()

    async def _connect(self) -> None:
        loop = self._owner.loop
        sock: socket.socket | None = None
        try:
            async with asyncio.timeout(CONNECT_S):
                node = self._owner.config.nodes[self.node]
                handshake = Handshake(node.url, node.server)
                found = await loop.getaddrinfo(handshake.host, handshake.port, type=socket.SOCK_STREAM)
                family, kind, proto, _, address = found[0]
                sock = socket.socket(family, kind, proto)
                sock.setblocking(False)  # noqa: FBT003 - socket's own
                ask_for_stamps(sock)
                await loop.sock_connect(sock, address)
                self._frames = await self._shake_hands(sock, handshake)
                for text in self._owner.protocol_of(self.node).subscribe(self._owner.channels):
                    await loop.sock_sendall(sock, client_frame(Opcode.TEXT, text))
            self._socket, sock = sock, None
            self._resting = False
            loop.add_reader(self._socket.fileno(), self._readable)
        except (OSError, TimeoutError, NotWebSocketError, ValueError):
            self._not_before_s = loop.time() + RETRY_S  # nobody's loss: it is tried again while it is wanted
        finally:
            self._task = None
            if sock is not None:
                sock.close()

    async def _shake_hands(self, sock: socket.socket, handshake: Handshake) -> FrameReader:
        """A reader that has all that came after the answer. Raises OSError, NotWebSocketError."""
        loop = self._owner.loop
        await loop.sock_sendall(sock, handshake.request)
        answer, frames = b"", FrameReader()
        while data := await loop.sock_recv(sock, _BULK_BYTES):
            answer += data
            rest = handshake.accepted(answer)
            if rest is not None:
                for _ in frames.feed(rest):  # nothing was asked for yet: a greeting
                    pass
                return frames
        raise NotWebSocketError("closed during the handshake")

    def _readable(self) -> None:
        """Read all that is there. As with clients, a frame counts as received once it has been found."""
        heard: list[Heard] = []
        before_ns = self._last_stamp_ns
        try:
            while self._read(heard, sampling=self._taken < PER_SLICE or realtime_ns() // SLICE_NS != self._slice):
                pass
        except (OSError, NotWebSocketError):
            self._give_up()
        self._owner.heard(heard, before_ns)

    def _drain(self) -> None:
        """Let all go that is there."""
        try:
            while self._read([], sampling=False):
                pass
        except (OSError, NotWebSocketError):
            self._give_up()

    def _read(self, heard: list[Heard], *, sampling: bool) -> bool:
        """One read; False when there is no more. Raises OSError, NotWebSocketError."""
        if self._socket is None:
            return False
        try:
            data, ancillary, _, _ = self._socket.recvmsg(self._frames.wanted if sampling else _BULK_BYTES, ROOM)
        except BlockingIOError:
            return False
        if not data:
            raise ConnectionResetError("the node closed the connection")
        stamp_ns = stamp_of(ancillary)
        exact = False  # the last frame of this read is a sample, and nothing follows it
        for frame in self._frames.feed(data):
            handled_ns = realtime_ns()
            exact = False
            if frame.opcode >= Opcode.CLOSE:
                self._control(frame)
            elif sampling and stamp_ns is not None and (sent_ns := self._owner.sent_ns(frame.payload)) is not None:
                heard.append(Heard(handled_ns, stamp_ns, sent_ns, exact=False))
                exact = not self._frames.waiting
                self._count(handled_ns)
        if heard and heard[-1].stamp_ns == stamp_ns:  # else what was read now is of a later segment
            heard[-1] = heard[-1]._replace(exact=exact)
        self._last_stamp_ns = stamp_ns or self._last_stamp_ns
        return True

    def _count(self, t_ns: int) -> None:
        if t_ns // SLICE_NS != self._slice:
            self._plenty = self._taken >= PLENTY
            self._slice, self._taken = t_ns // SLICE_NS, 0
        self._taken += 1
        self._plenty = self._plenty or self._taken >= PLENTY

    def _control(self, frame: Frame) -> None:
        if frame.opcode == Opcode.PING:
            self._send(Opcode.PONG, frame.payload)
        elif frame.opcode == Opcode.CLOSE:
            self._send(Opcode.CLOSE, frame.payload[:2])
            raise NotWebSocketError("closed by the node")

    def _send(self, opcode: Opcode, payload: bytes) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # a node that takes no ten bytes has other problems, which clients tell
                self._socket.send(client_frame(opcode, payload))

    def _give_up(self) -> None:
        if self._socket is not None:
            self._owner.loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
            self._not_before_s = self._owner.loop.time() + RETRY_S


class Probes:
    """An engine's probes. Call `begun` for each client that begins to connect, `serve` now and then."""

    def __init__(
        self, config: LoadConfig, reader: TokenReader, loop: asyncio.AbstractEventLoop, clock: StampClock
    ) -> None:
        """There are none without a group that connects at the start, or on a system that stamps nothing."""
        self.config = config
        self.loop = loop
        self.group = next((group for group in config.clients if group.join_ns is None), None)
        self.channels: tuple[str, ...] = ()
        self._reader = reader
        self._protocols = [protocol(node.protocol) for node in config.nodes]
        self._all: list[Probe] = []
        if self.group is not None and StampClock.AVAILABLE:
            self.channels = self.group.channels
            places = spread(self.group, config.probes)
            self._all = [Probe(self, node, first_client) for node, first_client in places]
        self._highest_client = -1
        self._clock = clock
        self._clients_stamped = isinstance(loop, StampedLoop)
        self._delays_ns: list[int] = []
        self._late_ns: list[int] = []
        self._inferred = 0

    @property
    def open(self) -> int:
        """How many are connected."""
        return sum(probe.open for probe in self._all)

    def turn(self) -> None:
        """Call it every few milliseconds: whose slice is it?"""
        here = [probe for probe in self._all if probe.open]
        if here:
            whose = turn_of(realtime_ns() // SLICE_NS, len(here))
            for number, probe in enumerate(here):
                probe.turn(mine=number == whose)

    def begun(self, client: int) -> None:
        """A client of this engine begins to connect."""
        self._highest_client = max(self._highest_client, client)

    def serve(self, nodes: Iterable[int]) -> None:
        """Be connected to these nodes, where clients of the group are subscribed, and to no others."""
        served = frozenset(nodes)
        for probe in self._all:
            probe.want(wanted=probe.node in served and self._highest_client >= probe.first_client)

    def protocol_of(self, node: int) -> ClientProtocol:
        """What that node speaks."""
        return self._protocols[node]

    def sent_ns(self, payload: bytes) -> int | None:
        """When a message of this run was handed to the publisher's socket; None for anything else."""
        at = self._reader.find(payload)
        token = self._reader.read(payload, at) if at >= 0 else None
        return None if token is None else token.intended_ns + token.sent_lag_us * 1000

    def heard(self, heard: Sequence[Heard], before_ns: int) -> None:
        """What a probe read in one go; the stamp before these was `before_ns`."""
        looked_ns = self._clock.looked_before_ns + self._clock.offset_ns
        for one, arrival in zip(heard, arrivals(heard, max(before_ns, looked_ns)), strict=True):
            told_ns = heard[-1].stamp_ns if self._clients_stamped else one.handled_ns  # by a client that read the same
            self._delays_ns.append(one.handled_ns - arrival.at_ns)
            self._late_ns.append(told_ns - arrival.at_ns)
            self._inferred += not arrival.exact

    def event(self, t_ns: int) -> ClientEvent | None:
        """The `probe` event since the last call; None where nothing was heard."""
        delays, self._delays_ns = self._delays_ns, []
        late, self._late_ns = self._late_ns, []
        inferred, self._inferred = self._inferred, 0
        if not delays:
            return None
        return {"t": t_ns, "ev": "probe", "delays_us": _us(delays), "late_us": _us(late), "inferred": inferred}

    def close(self) -> None:
        """All leave."""
        for probe in self._all:
            probe.close()


def turn_of(slice_: int, count: int) -> int:
    """Whose slice it is, of so many: in no order, since messages may come in time with any order."""
    return (slice_ * _GOLDEN % (1 << 32) >> 16) % count


def spread(group: ClientsConfig, count: int) -> list[tuple[int, int]]:
    """For each probe its node, and the client whose turn to connect it waits for.

    A node sends a message to its clients one after the other, most often in the order in which they came, so a probe
    that comes first is served first: they take places all over the order.
    """
    nodes = group.nodes
    return [
        (
            nodes[k * len(nodes) // count] if len(nodes) > count else nodes[k % len(nodes)],
            group.first_client + (2 * k + 1) * group.count // (2 * count),
        )
        for k in range(count)
    ]


def _us(delays: Iterable[int]) -> list[int]:
    return [round(delay / 1000) for delay in delays]
