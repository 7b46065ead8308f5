"""When the kernel received a message, and how long it then waited for the loop. Linux: SO_TIMESTAMPNS, socket(7).

TCP gives a read the stamp of the *last* segment that it touched, and the kernel joins segments that wait into one. A
probe therefore reads one frame at a time. Of frames with the same stamp only the last is told exactly; the others came
before it, and after the stamp before theirs. When is inferred from when they were sent, as their tokens say, as if they
had been on their way for as long as the last one; but never outside these stamps, nor before the loop last looked.
Leaving them out would leave out those that waited longest.
"""

import socket
import struct
import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from fanlab.clock import NS_PER_S

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


class Heard(NamedTuple):
    """One message as a probe had it. Stamp and handling on CLOCK_REALTIME, as the kernel stamps."""

    handled_ns: int
    stamp_ns: int  # of the last segment of the read that completed it
    sent_ns: int  # on the publisher's clock: only differences count
    exact: bool  # the stamp is its own: nothing that came later was read with it, or has the same


def delays_ns(heard: Sequence[Heard], not_before_ns: int) -> tuple[list[int], list[int]]:
    """How long each message waited for the loop: those with a stamp of their own, and those for which it is inferred.

    `heard` is all that one callback read, in order; none of it arrived before `not_before_ns`.
    """
    stamped: list[int] = []
    inferred: list[int] = []
    floor_ns = not_before_ns
    start = 0
    while start < len(heard):
        end = start + 1
        while end < len(heard) and heard[end].stamp_ns == heard[start].stamp_ns:
            end += 1
        last = heard[end - 1]
        for one in heard[start:end]:
            if one is last and one.exact:
                stamped.append(one.handled_ns - one.stamp_ns)
            else:
                likely_ns = one.stamp_ns - (last.sent_ns - one.sent_ns)
                arrived_ns = min(one.stamp_ns, max(likely_ns, floor_ns))
                inferred.append(one.handled_ns - arrived_ns)
        floor_ns = max(floor_ns, last.stamp_ns)
        start = end
    return stamped, inferred
