"""One direction of one connection: from one socket, through a chain, into the other.

Without toxics a read is followed by a write and nothing is kept. What the receiver does not take is kept, up to
CAPACITY_BYTES, and then the sender is not read from any more: it must wait as it would without a link.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fanlab.clock import NS_PER_MS, now_ns
from fanlab.link.chain import CAPACITY_BYTES, Chain
from fanlab.link.items import End, Item, Kind

_buffer: Final = memoryview(bytearray(CAPACITY_BYTES))  # one for all: it is empty again after every read
_MS_PER_S: Final = 1000


@dataclass(slots=True, eq=False)
class Side:
    """One of a connection's two sockets; None: not connected yet."""

    name: str  # "down": who connected to the link; "up": whom the link connected to
    sock: socket.socket | None
    alive: bool = True  # no error so far, and not closed by us


class Flow:
    """Belongs to a connection, which it tells of dead sockets and of ends that have come through."""

    __slots__ = (
        *("_ended", "_getsockopt", "_loop", "_lost", "_reading", "_recv_into", "_send", "_timer", "_timer_ns"),
        *("_writing", "chain", "discarded_unsent", "passed", "running", "sink", "source", "source_ended"),
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        source: Side,
        sink: Side,
        *,
        lost: Callable[[Side], None],
        ended: Callable[[End], None],
    ) -> None:
        """`lost` is called with a side whose socket has failed, `ended` when an end has come to the sink."""
        self._loop = loop
        self._lost = lost
        self._ended = ended
        self.source = source
        self.sink = sink
        self.chain = Chain()
        self.passed = 0  # bytes that the sink's kernel has taken
        self.discarded_unsent = 0  # bytes that never went into the chain, because the sink was dead
        self.source_ended = False
        self.running = False  # sends; one that does not still reads as much as it may hold
        self._reading = False
        self._writing = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0

    @property
    def discarded(self) -> int:
        """Bytes that were read and will never be sent."""
        return self.discarded_unsent + self.chain.discarded

    def start(self) -> None:
        """Both sockets are connected."""
        source, sink = self.source.sock, self.sink.sock
        if source is None or sink is None:
            raise ValueError("a flow needs two sockets")
        self._recv_into = source.recv_into
        self._getsockopt = source.getsockopt
        self._send = sink.send
        self.running = True
        self.flush()

    def stop(self) -> None:
        """Read and send no more, for good: what is held is lost."""
        self.running = False
        self.source_ended = True
        self.chain.close()
        self._update(now_ns())

    def feed(self, item: Item) -> None:
        """Take in what the source has sent, its end, or the news of its death; send what may be sent."""
        self.chain.feed(item, now_ns())
        self.flush()

    def flush(self) -> None:
        """Send what may be sent by now, and see to what comes next. May end the connection."""
        at_ns = now_ns()
        chain = self.chain
        chain.pump(at_ns)
        while chain.out and self.running:
            item = chain.out[0]
            if isinstance(item, End):
                chain.out.popleft()
                self._ended(item)
            elif self.sink.alive:
                if not self._send_one(item):
                    break
            else:
                chain.discard_bytes()
        for item in chain.out if self.running else ():
            if isinstance(item, End) and item.kind is Kind.RESET:
                self._ended(item)  # a RST overtakes what the receiver has no room for
                break
        self._update(at_ns)

    def _send_one(self, data: bytes) -> bool:
        """False if the kernel has not taken all of it."""
        try:
            sent = self._send(data)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self._lost(self.sink)
            return self.running
        self.passed += sent
        self.chain.sent(sent)
        return sent == len(data)

    def _readable(self) -> None:
        chain = self.chain
        kept = chain.out or chain.stages
        try:
            count = self._recv_into(_buffer, min(chain.capacity - chain.held, CAPACITY_BYTES) if kept else 0)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._lost(self.source)
            return
        if not count:
            self.source_ended = True
            self.feed(End(Kind.FIN, "end"))
            return
        if kept or not (self.running and self.sink.alive):
            self.feed(bytes(_buffer[:count]))
        else:
            self._pass(count)
        # A socket that had both data and a RST is not polled any more (libuv stops at an error), so nobody else tells.
        if self._reading and self._getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._read_the_rest()
            self._lost(self.source)

    def _pass(self, count: int) -> None:
        """The quick way, without toxics: straight on."""
        try:
            sent = self._send(_buffer[:count])
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.discarded_unsent += count
            self._lost(self.sink)
            return
        self.passed += sent
        if sent < count:
            self.feed(bytes(_buffer[sent:count]))

    def _read_the_rest(self) -> None:
        """What had come before the RST, at most a socket buffer."""
        try:
            while self._reading and (count := self._recv_into(_buffer)):
                self.chain.feed(bytes(_buffer[:count]), now_ns())
        except OSError:
            return

    def _update(self, at_ns: int) -> None:
        """Watch the sockets for what can be done next, and set the alarm for what has its time."""
        chain = self.chain
        # Not at the first free byte: under `bandwidth` that would be a read for every few of them.
        self._watch_source(on=not self.source_ended and self.source.alive and chain.held * 2 <= chain.capacity)
        self._watch_sink(on=self.running and self.sink.alive and bool(chain.out))
        due_ns = chain.due_ns() if chain.stages and self.running else None
        if self._timer is not None and due_ns != self._timer_ns:
            self._timer.cancel()
            self._timer = None
        if due_ns is not None and self._timer is None:
            self._timer_ns = due_ns
            delay_ms = max(1, -(-(due_ns - at_ns) // NS_PER_MS))  # uvloop's timers have whole milliseconds
            self._timer = self._loop.call_later(delay_ms / _MS_PER_S, self._alarm)

    def _alarm(self) -> None:
        self._timer = None
        self.flush()

    def _watch_source(self, *, on: bool) -> None:
        if on is not self._reading and self.source.sock is not None:
            self._reading = on
            if on:
                self._loop.add_reader(self.source.sock.fileno(), self._readable)
            else:
                self._loop.remove_reader(self.source.sock.fileno())

    def _watch_sink(self, *, on: bool) -> None:
        if on is not self._writing and self.sink.sock is not None:
            self._writing = on
            if on:
                self._loop.add_writer(self.sink.sock.fileno(), self.flush)
            else:
                self._loop.remove_writer(self.sink.sock.fileno())
