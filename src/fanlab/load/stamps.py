"""When the kernel received a message, and how long it then waited for the loop. Linux: SO_TIMESTAMPNS, socket(7).

TCP gives a read the stamp of the *last* segment that it touched, and the kernel joins segments that wait into one. A
probe therefore reads one frame at a time. Of frames with the same stamp only the last is told exactly; the others came
before it, and after the stamp before theirs. When is inferred from when they were sent, as their tokens say, as if they
had been on their way for as long as the last one; but never outside these stamps, nor before the loop last looked.
Leaving them out would leave out those that waited longest.
"""

import socket
import struct
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from fanlab.clock import NS_PER_S, now_ns

_SO_TIMESTAMPNS: Final = 35  # asm-generic/socket.h; Python has no name for it
_TIMESPEC: Final = struct.Struct("@ll")
ROOM: Final = socket.CMSG_SPACE(_TIMESPEC.size)  # for recvmsg


def ask_for_stamps(sock: socket.socket) -> None:
    """Have the kernel stamp what this socket receives. Raises OSError where it cannot."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def realtime_ns() -> int:
    """The wall clock, on which the kernel stamps what it receives; compared with such stamps and nothing else."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME)


def stamp_of(ancillary: Iterable[tuple[int, int, bytes]]) -> int | None:
    """The kernel's stamp among a read's ancillary data, in ns of CLOCK_REALTIME; None where there is none."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds * NS_PER_S + nanoseconds)
    return None


class StampClock:
    """Turns stamps into times of CLOCK_MONOTONIC, on which all else is. `tick` it often: CLOCK_REALTIME is adjusted.

    Whoever sets the wall clock in the middle of a run makes the times of what came since the last tick wrong, and of
    nothing else.
    """

    AVAILABLE: Final = sys.platform == "linux"

    def __init__(self) -> None:
        self.offset_ns = 0  # CLOCK_REALTIME − CLOCK_MONOTONIC
        self.looked_ns = self.looked_before_ns = now_ns()  # the last two ticks, between which the loop surely looked
        self.tick()

    def tick(self) -> None:
        """The loop has come round."""
        self.looked_before_ns = self.looked_ns
        looks: list[tuple[int, int]] = []
        for _ in range(3):  # an interrupt between two of them shows as a wide one
            before_ns, real_ns, after_ns = now_ns(), realtime_ns(), now_ns()
            looks.append((after_ns - before_ns, real_ns - (before_ns + after_ns) // 2))
        self.looked_ns = after_ns
        self.offset_ns = min(looks)[1]

    def arrived_ns(self, ancillary: Iterable[tuple[int, int, bytes]]) -> int:
        """The stamp in ancillary data, on CLOCK_MONOTONIC; now, where there is none or it lies in the future."""
        here_ns, stamp_ns = now_ns(), stamp_of(ancillary)
        return here_ns if stamp_ns is None else min(here_ns, stamp_ns - self.offset_ns)


class Heard(NamedTuple):
    """One message as a probe had it. Stamp and handling on CLOCK_REALTIME, as the kernel stamps."""

    handled_ns: int
    stamp_ns: int  # of the last segment of the read that completed it
    sent_ns: int  # on the publisher's clock: only differences count
    exact: bool  # the stamp is its own: nothing that came later was read with it, or has the same


class Arrival(NamedTuple):
    """When a message arrived, on the kernel's clock."""

    at_ns: int
    exact: bool  # False: inferred


def arrivals(heard: Sequence[Heard], not_before_ns: int) -> list[Arrival]:
    """When each message arrived. `heard` is all that one callback read, in order, none before `not_before_ns`."""
    found: list[Arrival] = []
    floor_ns = not_before_ns
    start = 0
    while start < len(heard):
        end = start + 1
        while end < len(heard) and heard[end].stamp_ns == heard[start].stamp_ns:
            end += 1
        last = heard[end - 1]
        for one in heard[start:end]:
            likely_ns = one.stamp_ns - (last.sent_ns - one.sent_ns)
            exact = one is last and one.exact
            found.append(Arrival(one.stamp_ns if exact else min(one.stamp_ns, max(likely_ns, floor_ns)), exact))
        floor_ns = max(floor_ns, last.stamp_ns)
        start = end
    return found
