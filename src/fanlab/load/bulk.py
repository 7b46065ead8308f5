"""The compiled half of receiving: bulk.c, called through ctypes, where it was made when fanlab was installed.

It does what `StampedTransport` and `Link` do for reads that are known whole, and nothing else; they do it themselves
where there is no C compiler. The same deliveries are journaled either way (see docs/adr/0025).
"""

import ctypes
import mmap
import os
import resource
import zlib
from pathlib import Path
from typing import Any, Final, NamedTuple

from fanlab.clock import NS_PER_MS, ahead_ns
from fanlab.ledger.records import Token
from fanlab.load.receiving import DeliveryBuffer

LIBRARY: Final = Path(__file__).with_name("libbulk.so")
SOURCE: Final = Path(__file__).with_name("bulk.c")
VARIABLE: Final = "FANLAB_RECEIVE"  # `python`: do without
CALM_NS: Final = 50 * NS_PER_MS
STEADY_NS: Final = 20 * NS_PER_MS
PAUSE_NS: Final = 2 * NS_PER_MS
HURRY_NS: Final = 20 * NS_PER_MS
_MOST_LINES: Final = 1 << 20  # descriptors from here on are served by Python
_DONE, _EVENTS, _READ, _FULL = 0, 1, 2, 3


class Line(ctypes.Structure):
    """What is known of a socket: bulk.c's `struct line`, which Python uses alone where that is not there."""

    _fields_ = (
        ("arrived_ns", ctypes.c_uint64),  # no later message has this time or an earlier one
        ("taken", ctypes.c_uint64),  # messages that were taken whole
        ("read_ns", ctypes.c_int64),  # bulk.c's own, as the two that follow
        ("reads", ctypes.c_uint32),
        ("length", ctypes.c_uint32),
        ("client", ctypes.c_uint32),
        ("node", ctypes.c_uint16),
        ("watched", ctypes.c_uint8),  # 1: whole reads may be taken
        ("between", ctypes.c_uint8),  # 1: all that came were whole frames
    )


class _Bulk(ctypes.Structure):
    """The beginning of bulk.c's `struct bulk`."""

    _fields_ = (
        ("lines", ctypes.c_void_p),
        ("into", ctypes.c_void_p),
        ("records", ctypes.c_void_p),
        ("realtime_ahead_ns", ctypes.c_int64),
        ("monotonic_ahead_ns", ctypes.c_int64),
        ("calm_ns", ctypes.c_int64),
        ("steady_ns", ctypes.c_int64),
        ("pause_ns", ctypes.c_int64),
        ("hurry_ns", ctypes.c_int64),
        ("line_count", ctypes.c_uint32),
        ("into_bytes", ctypes.c_uint32),
        ("records_used", ctypes.c_uint32),
        ("records_end", ctypes.c_uint32),
        ("epoll", ctypes.c_int32),
        ("fd", ctypes.c_int32),
        ("error", ctypes.c_int32),
        ("events", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("at_ns", ctypes.c_uint64),
        ("pauses", ctypes.c_uint64),
    )


class Left(NamedTuple):
    """What is not one whole message that came before: for Python to see to."""

    fd: int
    events: int  # of the epoll, where `size` is None
    size: int | None = None  # bytes that were read
    at_ns: int = 0  # when they came
    error: int = 0  # an errno: the read failed


class Bulk:
    """Takes whole reads. Call `ahead` often: stamps are of CLOCK_REALTIME, which is adjusted."""

    def __init__(self, library: ctypes.CDLL, into: bytearray) -> None:
        """`into` is where sockets are read to."""
        self._learn, self._look, self._next = (
            getattr(library, f"fanlab_bulk_{name}") for name in ("learn", "look", "next")
        )
        self._memory = (ctypes.c_uint64 * -(-library.fanlab_bulk_bytes() // 8))()
        self._at = ctypes.c_void_p(ctypes.addressof(self._memory))
        self._bulk = _Bulk.from_buffer(self._memory)
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        count = _MOST_LINES if most == resource.RLIM_INFINITY else min(most, _MOST_LINES)
        memory = mmap.mmap(-1, count * ctypes.sizeof(Line))  # what nobody touches takes no memory
        self._lines = (Line * count).from_buffer(memory)
        self._bulk.monotonic_ahead_ns = ahead_ns()
        self._bulk.calm_ns, self._bulk.steady_ns = CALM_NS, STEADY_NS
        self._bulk.pause_ns, self._bulk.hurry_ns = PAUSE_NS, HURRY_NS
        self._into = (ctypes.c_ubyte * len(into)).from_buffer(into)
        self._bulk.lines, self._bulk.line_count = ctypes.addressof(self._lines), count
        self._bulk.into, self._bulk.into_bytes = ctypes.addressof(self._into), len(into)
        self._buffer: DeliveryBuffer | None = None
        self._records: Any = None
        self._end = 0

    def line(self, fd: int) -> Line:
        """That of a new socket; beyond those that bulk.c sees, one of its own."""
        if fd >= len(self._lines):
            return Line()
        line = self._lines[fd]
        ctypes.memset(ctypes.addressof(line), 0, ctypes.sizeof(line))
        return line

    def watch(self, epoll: int) -> None:
        """Whom to ask who is ready."""
        self._bulk.epoll = epoll

    def ahead(self, realtime_ahead_ns: int) -> None:
        """What to take off a stamp, to have a time of the run's clock."""
        self._bulk.realtime_ahead_ns = realtime_ahead_ns

    @property
    def pauses(self) -> int:
        """How often it has waited a little, because messages were streaming in."""
        return int(self._bulk.pauses)

    @property
    def ready(self) -> bool:
        """Whether there is somewhere to write to."""
        return self._buffer is not None

    def write_to(self, buffer: DeliveryBuffer) -> None:
        """Where deliveries go."""
        self._buffer = buffer
        self._records = (ctypes.c_ubyte * len(buffer.memory)).from_buffer(buffer.memory)
        self._bulk.records = ctypes.addressof(self._records)
        self._bulk.records_end = self._end = len(buffer.memory)

    def learn(self, read: bytes, token: Token) -> None:
        """These bytes are one whole frame with that message."""
        self._learn(self._at, read, len(read), token.intended_ns, token.seq, token.stream, token.sent_lag_us)

    def look(self, rounds: int) -> Left | None:
        """Take what there is from all that are ready, until something is left to do; do that, and `go_on`.

        None: that was all. Raises OSError (a full disk), and RuntimeError unless `ready`.
        """
        if self._buffer is None:
            raise RuntimeError("nowhere to write to")
        return self._left(self._buffer, self._look(self._at, self._buffer.used, rounds))

    def go_on(self) -> Left | None:
        """What is left next. Raises as `look` does."""
        if self._buffer is None:
            raise RuntimeError("nowhere to write to")
        return self._left(self._buffer, self._next(self._at, self._buffer.used))

    def _left(self, buffer: DeliveryBuffer, what: int) -> Left | None:
        bulk = self._bulk
        while True:
            buffer.used = bulk.records_used
            if what == _FULL or buffer.used == self._end:
                buffer.flush()
            if what == _DONE:
                return None
            if what == _EVENTS:
                return Left(bulk.fd, bulk.events)
            if what == _READ:
                return Left(bulk.fd, bulk.events, bulk.size, bulk.at_ns, bulk.error)
            what = self._next(self._at, buffer.used)


def load(into: bytearray) -> Bulk | None:
    """None: there is none, or it is not to be used."""
    library, _ = find()
    return None if library is None else Bulk(library, into)


def find() -> tuple[ctypes.CDLL | None, str]:
    """The library, if it is of this very source; and in words what there is."""
    if os.environ.get(VARIABLE) == "python":
        return None, f"switched off: {VARIABLE}=python"
    if not LIBRARY.exists():
        return None, "not compiled when fanlab was installed: no C compiler, or it failed (`pip install -v` tells)"
    try:
        library = ctypes.CDLL(str(LIBRARY))
        made_of = library.fanlab_bulk_source
        made_of.restype, library.fanlab_bulk_bytes.restype = ctypes.c_uint32, ctypes.c_size_t
        if made_of() != zlib.crc32(SOURCE.read_bytes()):
            return None, f"{LIBRARY} was made of another source: install fanlab again"
    except (OSError, AttributeError) as error:
        return None, f"{LIBRARY} cannot be used here: {error}"
    pointer, u32, u64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    library.fanlab_bulk_learn.argtypes = (pointer, ctypes.c_char_p, u32, u64, u32, u32, u32)
    library.fanlab_bulk_learn.restype = None
    library.fanlab_bulk_look.argtypes, library.fanlab_bulk_look.restype = (pointer, u32, ctypes.c_int32), ctypes.c_int
    library.fanlab_bulk_next.argtypes, library.fanlab_bulk_next.restype = (pointer, u32), ctypes.c_int
    return library, "compiled"
