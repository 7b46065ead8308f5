"""Open-loop publishing without sockets: which slots are due, what is in flight, and how each message ended.

The schedule never waits for a reply, and a message is never sent twice. Every slot ends in exactly one outcome.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from fanlab.errors import HarnessError
from fanlab.ledger.records import Status
from fanlab.load.config import LoadConfig
from fanlab.load.pacer import offsets_ns
from fanlab.load.resp import ErrorReply, Reply
from fanlab.seed import rng

NO_RECEIVERS = -1


@dataclass(frozen=True, slots=True)
class Slot:
    """A message that is meant to be sent at `intended_ns`."""

    intended_ns: int
    stream: int
    seq: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a message ended; the fields of records.OUTCOME, and its intended time."""

    intended_ns: int
    sent_ns: int
    done_ns: int
    stream: int
    seq: int
    status: Status
    receivers: int = NO_RECEIVERS


class Schedule:
    """The slots of several streams in order of time. Publishing is [start_ns, end_ns)."""

    def __init__(self, start_ns: int, end_ns: int) -> None:
        self._start_ns = start_ns
        self._end_ns = end_ns
        self._heap: list[tuple[int, int, int]] = []  # intended_ns, stream, seq
        self._offsets: dict[int, Iterator[int]] = {}
        self._zero_ns: dict[int, int] = {}  # what a stream's offsets count from
        self._left: set[int] = set()  # streams that are over, and may have a slot in the heap

    def add(self, stream: int, offsets: Iterator[int], from_ns: int | None = None) -> None:
        """A stream takes part, with these offsets from the start, or from `from_ns` if that is later."""
        if stream in self._left:
            self._left.discard(stream)
            self._heap = [entry for entry in self._heap if entry[1] != stream]
            heapify(self._heap)
        self._offsets[stream] = offsets
        self._zero_ns[stream] = self._start_ns if from_ns is None else max(self._start_ns, from_ns)
        self._advance(stream, 1)

    def remove(self, stream: int) -> None:
        """A stream is over; it may be added again."""
        if self._offsets.pop(stream, None) is not None:
            self._left.add(stream)

    def next_ns(self) -> int | None:
        """When the next slot is due; None when there is no more."""
        while self._heap and self._heap[0][1] not in self._offsets:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now_ns: int, most: int) -> list[Slot]:
        """Up to `most` slots that are due, in order."""
        slots: list[Slot] = []
        while len(slots) < most:
            at_ns = self.next_ns()
            if at_ns is None or at_ns > now_ns:
                break
            intended_ns, stream, seq = heappop(self._heap)
            slots.append(Slot(intended_ns, stream, seq))
            self._advance(stream, seq + 1)
        return slots

    def _advance(self, stream: int, seq: int) -> None:
        offset = next(self._offsets[stream], None)
        if offset is not None and self._zero_ns[stream] + offset < self._end_ns:
            heappush(self._heap, (self._zero_ns[stream] + offset, stream, seq))
        else:
            self._offsets.pop(stream)


def stream_offsets(config: LoadConfig, stream: int) -> Iterator[int]:
    """The offsets of one stream; publisher k of `count` comes k/count of a period after the first."""
    for publishers in config.publishers:
        k = stream - publishers.first_stream
        if 0 <= k < publishers.count:
            return offsets_ns(publishers.rate, rng(config.seed, "publisher", stream), phase=k / publishers.count)
    raise ValueError(f"there is no stream {stream}")


@dataclass(slots=True)
class _Sent:
    slot: Slot
    sent_ns: int
    begins_at: int  # where in the connection's bytes the command begins
    expires_ns: int
    done: bool = False  # timed out: its reply, should it come, is not listened to


class InFlight:
    """Messages handed to one connection, in order, and how they end. Replies come in the order of commands."""

    def __init__(self, tell: Callable[[Outcome], None]) -> None:
        self._tell = tell
        self._awaited: deque[_Sent] = deque()
        self._expiring: dict[int, deque[_Sent]] = {}  # by timeout, each in order of time
        self._skip = 0  # replies to commands of the connection's own
        self.open = 0  # without an outcome
        self.errors: dict[str, int] = {}

    def preamble(self, commands: int) -> None:
        """The connection begins with this many commands that publish nothing."""
        self._skip = commands

    def sent(self, slot: Slot, sent_ns: int, begins_at: int, timeout_ns: int) -> None:
        """A message was handed to the connection, as the bytes from `begins_at` on."""
        entry = _Sent(slot, sent_ns, begins_at, sent_ns + timeout_ns)
        self._awaited.append(entry)
        self._expiring.setdefault(timeout_ns, deque()).append(entry)
        self.open += 1

    def reply(self, reply: Reply, now_ns: int) -> None:
        """The next reply came."""
        if isinstance(reply, ErrorReply):
            self.errors[reply.text] = self.errors.get(reply.text, 0) + 1
        if self._skip:
            self._skip -= 1
            return
        if not self._awaited:
            raise HarnessError(f"Redis sent {reply!r} in reply to nothing")
        entry = self._awaited.popleft()
        if entry.done:
            return
        if isinstance(reply, int):
            self._end(entry, now_ns, Status.OK, reply)
        else:
            self._end(entry, now_ns, Status.FAILED)

    def expire(self, now_ns: int) -> None:
        """Give up on messages whose time is over. They may have been published, and their replies may still come."""
        for expiring in self._expiring.values():
            while expiring and (expiring[0].done or expiring[0].expires_ns <= now_ns):
                entry = expiring.popleft()
                if not entry.done:
                    self._end(entry, now_ns, Status.TIMED_OUT)

    def next_expiry_ns(self) -> int | None:
        """When `expire` has something to do."""
        for expiring in self._expiring.values():
            while expiring and expiring[0].done:
                expiring.popleft()
        return min((expiring[0].expires_ns for expiring in self._expiring.values() if expiring), default=None)

    def broken(self, handed_over: int, now_ns: int) -> None:
        """The connection ended after the kernel had taken `handed_over` bytes.

        A message of which not a byte went out was certainly not published; of the others nobody knows.
        """
        for entry in self._awaited:
            if not entry.done:
                unsent = entry.begins_at >= handed_over
                self._end(entry, now_ns, Status.FAILED if unsent else Status.UNKNOWN)
        self._awaited.clear()
        self._expiring.clear()
        self._skip = 0

    def _end(self, entry: _Sent, now_ns: int, status: Status, receivers: int = NO_RECEIVERS) -> None:
        entry.done = True
        self.open -= 1
        slot = entry.slot
        self._tell(Outcome(slot.intended_ns, entry.sent_ns, now_ns, slot.stream, slot.seq, status, receivers))
