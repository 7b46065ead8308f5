"""One connection through the link: two sockets, two flows, and the toxics that hit it.

    waiting ──► connecting ──► open ──► closed        a step may lead to closed from anywhere

It waits, accepted but not connected upstream, while a toxic lets no handshake through.
"""

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from collections.abc import Callable, Iterable
from enum import StrEnum
from random import Random

from fanlab.clock import now_ns
from fanlab.link.flow import Flow, Side
from fanlab.link.items import End, Kind
from fanlab.link.toxics.down import Down
from fanlab.link.toxics.half_open import HalfOpen
from fanlab.link.toxics.toxic import Stream, Toxic

_TCP_ENDED = frozenset({7, 8})  # include/net/tcp_states.h: CLOSE, CLOSE_WAIT


class State(StrEnum):
    """How far it has come."""

    WAITING = "waiting"
    CONNECTING = "connecting"
    OPEN = "open"
    CLOSED = "closed"


class Connection:
    """`on_close` is called once, when both sockets are closed; `why` and the byte counts are right by then."""

    def __init__(
        self,
        number: int,
        loop: asyncio.AbstractEventLoop,
        down: socket.socket,
        address: str,
        on_close: Callable[["Connection"], None],
    ) -> None:
        """`down` has been accepted from `address` and does not block."""
        self.number = number
        self.address = address
        self.state = State.WAITING
        self.was_open = False
        self.why = ""
        self.hits: dict[str, Toxic] = {}
        self.connecting: asyncio.Task[None] | None = None
        self._on_close = on_close
        self._down = Side("down", down)
        self._up = Side("up", None)
        self.upward = Flow(loop, self._down, self._up, lost=self._lost, ended=lambda end: self._ended(self.upward, end))
        self.downward = Flow(
            loop, self._up, self._down, lost=self._lost, ended=lambda end: self._ended(self.downward, end)
        )
        self._finished: set[Flow] = set()  # those whose FIN has been passed on
        self._halved_by: str | None = None
        self._unread = {"up": 0, "down": 0}
        self._touched: dict[str, int] | None = None  # at its end

    @property
    def touched(self) -> dict[str, int]:
        """Bytes that each toxic that hits it has touched, both ways."""
        if self._touched is not None:
            return self._touched
        flows = (self.upward, self.downward)
        return {
            name: sum(stage.touched for flow in flows if (stage := flow.chain.stages.get(name))) for name in self.hits
        }

    @property
    def discarded(self) -> tuple[int, int]:
        """Bytes that came from either side and do not reach the other: on the way up, and down."""
        return (
            self.upward.discarded + self._unread["down"],
            self.downward.discarded + self._unread["up"],
        )

    @property
    def passed(self) -> tuple[int, int]:
        """Bytes that the upper kernel has taken, and the lower one."""
        return self.upward.passed, self.downward.passed

    @property
    def held(self) -> tuple[int, int]:
        """Bytes on their way up, and down."""
        return self.upward.chain.held, self.downward.chain.held

    @property
    def blocked(self) -> bool:
        """Whether a toxic lets no handshake through."""
        return any(toxic.blocks_opening for toxic in self.hits.values())

    def open(self, up: socket.socket) -> None:
        """The upstream side is connected: let it flow."""
        self._up.sock = up
        self.state = State.OPEN
        self.was_open = True
        for flow in (self.upward, self.downward):
            if self.state is State.OPEN:
                flow.start()

    def given_up(self) -> bool:
        """Whether who has connected is gone again, though nothing has been read yet. Linux only, else False."""
        if self._down.sock is None or not hasattr(socket, "TCP_INFO"):
            return False
        try:
            return self._down.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _TCP_ENDED
        except OSError:
            return True

    def apply(self, toxic: Toxic, random: Random) -> bool:
        """A toxic begins to hit it; False if this kind of toxic cannot, as far as it has come."""
        if isinstance(toxic.effect, HalfOpen) and (self.state is not State.OPEN or self._halved_by is not None):
            return False
        self.hits[toxic.name] = toxic
        if isinstance(toxic.effect, HalfOpen):
            self._halve(toxic)
            return True
        if isinstance(toxic.effect, Down):
            self.abort(toxic.name)
            return True
        for flow in self._flows(toxic.stream):
            flow.chain.add(toxic.name, toxic.effect.stage(toxic.name, now_ns(), random), now_ns())
            self._flush(flow)
        return True

    def lift(self, name: str) -> None:
        """The toxic of this name hits it no more. Nothing, if it did not."""
        toxic = self.hits.pop(name, None)
        if toxic is None:
            return
        if isinstance(toxic.effect, HalfOpen):
            self.abort(name)
            return
        for flow in self._flows(toxic.stream):
            if self.state is not State.CLOSED:  # by what the one direction lost
                flow.chain.remove(name, now_ns())
                self._flush(flow)

    def abort(self, why: str) -> None:
        """A RST to both sides, now."""
        for side in (self._down, self._up):
            if side.sock is not None:
                end_by_reset(side.sock)
        self.finish(why)

    def finish(self, why: str) -> None:
        """Close both sides in order, now. Safe to call again."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self.why = why
        if self.connecting is not None:
            self.connecting.cancel()
        self._touched = self.touched
        for flow in (self.upward, self.downward):
            flow.stop()
        for side in (self._down, self._up):
            self._close(side)
        self._on_close(self)

    def _flows(self, stream: Stream) -> Iterable[Flow]:
        flows = {"upstream": (self.upward,), "downstream": (self.downward,)}
        return flows.get(stream, (self.upward, self.downward))

    def _flush(self, flow: Flow) -> None:
        if self.state is State.OPEN:
            flow.flush()

    def _ended(self, flow: Flow, end: End) -> None:
        """An end has come through this flow's toxics."""
        if end.kind is Kind.RESET:
            self.abort(end.why)
        elif end.kind is Kind.CLOSE:
            self.finish(end.why)
        else:
            self._finished.add(flow)
            if flow.sink.alive and flow.sink.sock is not None:
                try:
                    flow.sink.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    self._lost(flow.sink)
            if len(self._finished) == len((self.upward, self.downward)):
                self.finish(end.why)

    def _lost(self, side: Side) -> None:
        """A side's socket has failed: the other learns it as soon as the toxics let it."""
        if self.state is State.CLOSED or not side.alive:
            return
        side.alive = False
        if self._halved_by is not None:
            self.abort(f"{side.name}-reset")
            return
        away = self.upward if side is self._down else self.downward
        away.feed(End(Kind.RESET, f"{side.name}-reset"))

    def _halve(self, toxic: Toxic) -> None:
        """Close one side; the other goes on talking to nobody."""
        self._halved_by = toxic.name
        closing = self._up if toxic.stream == "upstream" else self._down
        towards_closed, towards_other = self.upward, self.downward
        if closing is self._down:
            towards_closed, towards_other = self.downward, self.upward
        towards_other.stop()
        towards_closed.running = False
        closing.alive = False
        towards_closed.flush()  # it stops watching the closed side
        self._close(closing)

    def _close(self, side: Side) -> None:
        """Close it, and note what it had sent and nobody has read."""
        if side.sock is None:
            return
        with contextlib.suppress(OSError):
            self._unread[side.name] = struct.unpack("i", fcntl.ioctl(side.sock, termios.FIONREAD, bytes(4)))[0]
        side.sock.close()
        side.sock = None
        side.alive = False


def end_by_reset(sock: socket.socket) -> None:
    """Closing it will send a RST."""
    with contextlib.suppress(OSError):  # the other end was quicker
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
