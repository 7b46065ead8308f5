"""Moves bytes between two sockets each, on one thread: an epoll loop whose timers are good to some 0.1 ms.

An event loop's timers are too coarse to delay by a stated time (uvloop's tick in milliseconds), so this waits on the
selector's own descriptor with `select()`, which takes microseconds.
"""

import heapq
import select
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

CHUNK_BYTES = 1 << 16
HIGH_BYTES, LOW_BYTES = 1 << 18, 1 << 16  # a pipe with more unsent stops reading, until there is less
COARSE_NS, EARLY_NS = 5_000_000, 2_000_000  # the kernel may be late by 0.1 % of a wait: wait long ones in two steps
_RESET = struct.pack("ii", 1, 0)

Transform = Callable[[bytes], bytes]


@dataclass(slots=True, eq=False)
class Pipe:
    """One direction of a connection."""

    source: socket.socket
    target: socket.socket
    transform: Transform | None = None  # what becomes of the bytes
    at_end: Callable[[], bytes] | None = None  # what is still to be sent when the source has ended
    delay_ns: int = 0
    unsent: bytearray = field(default_factory=bytearray)
    delayed: int = 0  # chunks that wait for their time
    held_ns: list[int] = field(default_factory=list)  # how long each chunk was held back indeed
    stalled: bool = False
    waits: bool = False  # for the target to take more
    full: bool = False  # reading no more until the target has
    ended: bool = False  # the source has; all that it sent is in `unsent` or delayed
    shut: bool = False  # the target has been told so


class Loop:
    """Sockets, timers and pipes. `run` until `stop`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()  # first of all: select() takes descriptors below 1024 only
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._ordinal = count()
        self._late: deque[tuple[int, int, Pipe, bytes | None]] = deque()  # due, came; one delay for all, so in order
        self._reading: dict[socket.socket, Pipe] = {}
        self._writing: dict[socket.socket, Pipe] = {}
        self.running = True

    @property
    def busy(self) -> bool:
        """Whether any connection is open."""
        return bool(self._reading)

    def listen(self, readable: socket.socket, callback: Callable[[], None]) -> None:
        """Call back whenever this socket is readable."""
        self._selector.register(readable, selectors.EVENT_READ, callback)

    def forget(self, readable: socket.socket) -> None:
        """Undo `listen`."""
        self._selector.unregister(readable)

    def at(self, when_ns: int, callback: Callable[[], None]) -> None:
        """Call back once, at that time."""
        heapq.heappush(self._timers, (when_ns, next(self._ordinal), callback))

    def connect(self, one: Pipe, other: Pipe) -> None:
        """Begin to move bytes between two sockets; each is the source of one pipe and the target of the other."""
        for pipe in (one, other):
            self._reading[pipe.source] = pipe
            self._writing[pipe.target] = pipe
        for pipe in (one, other):
            self._watch(pipe.source)

    def stall(self, pipe: Pipe, *, stalled: bool) -> None:
        """Stop reading a pipe's source, or go on."""
        pipe.stalled = stalled
        if pipe.source in self._reading:
            self._watch(pipe.source)

    def run(self) -> None:
        """Until somebody sets `running` to False."""
        while self.running:
            self._wait()
            for key, mask in self._selector.select(0):
                if callable(key.data):
                    key.data()
                    continue
                if mask & selectors.EVENT_READ and key.fileobj in self._reading:
                    self._read(self._reading[key.fileobj])
                if mask & selectors.EVENT_WRITE and key.fileobj in self._writing:
                    self._write(self._writing[key.fileobj])
            now_ns = time.monotonic_ns()
            while self._late and self._late[0][0] <= now_ns:
                _, came_ns, pipe, data = self._late.popleft()
                pipe.delayed -= 1
                if data:
                    pipe.held_ns.append(time.monotonic_ns() - came_ns)
                self._send(pipe, data)
            while self._timers and self._timers[0][0] <= now_ns:
                heapq.heappop(self._timers)[2]()

    def _wait(self) -> None:
        """Until something is to be done."""
        due = [queue[0][0] for queue in (self._late, self._timers) if queue]
        if not due:
            select.select([self._selector], [], [])
            return
        left_ns = min(due) - time.monotonic_ns()
        if left_ns > COARSE_NS:
            left_ns -= EARLY_NS
        if left_ns > 0:
            select.select([self._selector], [], [], left_ns / 1e9)

    def _watch(self, sock: socket.socket) -> None:
        """Register for what this socket's two pipes want of it."""
        inward, outward = self._reading.get(sock), self._writing.get(sock)
        mask = 0
        if inward is not None and not (inward.ended or inward.stalled or inward.full):
            mask |= selectors.EVENT_READ
        if outward is not None and outward.waits:
            mask |= selectors.EVENT_WRITE
        known = sock.fileno() in self._selector.get_map()
        if known and mask:
            self._selector.modify(sock, mask)
        elif known:
            self._selector.unregister(sock)
        elif mask:
            self._selector.register(sock, mask)

    def _read(self, pipe: Pipe) -> None:
        try:
            data = pipe.source.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._abort(pipe)
            return
        delay_ns = pipe.delay_ns
        if data:
            out = data if pipe.transform is None else pipe.transform(data)
        else:
            pipe.ended = True
            self._watch(pipe.source)
            out = b"" if pipe.at_end is None else pipe.at_end()
        if delay_ns or pipe.delayed:  # what came before the delay began is not overtaken, what comes later waits
            now_ns = time.monotonic_ns()
            for part in [out] if data else [out, None]:
                pipe.delayed += 1
                self._late.append((now_ns + delay_ns, now_ns, pipe, part))
        else:
            self._send(pipe, out)
            if not data:
                self._send(pipe, None)

    def _send(self, pipe: Pipe, data: bytes | None) -> None:
        """Send, or keep what the target does not take; None: the end."""
        if pipe.source not in self._reading:
            return  # the connection was aborted meanwhile
        if data:
            pipe.unsent += data
        self._write(pipe)

    def _write(self, pipe: Pipe) -> None:
        if pipe.unsent:
            try:
                sent = pipe.target.send(pipe.unsent)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._abort(pipe)
                return
            del pipe.unsent[:sent]
        if pipe.ended and not pipe.unsent and not pipe.delayed and not pipe.shut:
            self._shut(pipe)
            return
        if pipe.waits != bool(pipe.unsent):
            pipe.waits = bool(pipe.unsent)
            self._watch(pipe.target)
        full = len(pipe.unsent) > (LOW_BYTES if pipe.full else HIGH_BYTES)
        if pipe.full != full:
            pipe.full = full
            self._watch(pipe.source)

    def _shut(self, pipe: Pipe) -> None:
        pipe.shut = True
        back = self._reading[pipe.target]
        if back.shut:
            self._close(pipe)
            return
        try:
            pipe.target.shutdown(socket.SHUT_WR)
        except OSError:
            self._abort(pipe)

    def _abort(self, pipe: Pipe) -> None:
        """One side broke off: so does the other, without goodbye."""
        for sock in (pipe.source, pipe.target):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._close(pipe)

    def _close(self, pipe: Pipe) -> None:
        for sock in (pipe.source, pipe.target):
            if sock.fileno() in self._selector.get_map():
                self._selector.unregister(sock)
            self._reading.pop(sock, None)
            self._writing.pop(sock, None)
            sock.close()
