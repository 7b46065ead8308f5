"""Arrivals from kernel stamps: exact where a message has a stamp of its own, bounded by two where it has not."""

import socket
import struct
import time

from hypothesis import given
from hypothesis import strategies as st

from fanlab.clock import NS_PER_MS, NS_PER_S, now_ns
from fanlab.load.stamps import ROOM, Heard, StampClock, arrivals, ask_for_stamps, realtime_ns, stamp_of


def heard(handled: int, stamp: int, sent: int, *, exact: bool = True) -> Heard:
    return Heard(handled, stamp, sent, exact)


def test_messages_with_their_own_stamps_are_exact() -> None:
    assert arrivals([heard(110, 100, 0), heard(125, 105, 7)], 0) == [(100, True), (105, True)]


def test_of_messages_that_share_a_stamp_only_the_last_is_exact() -> None:
    # The kernel joined three segments that came at 100, 200 and 300, and was read at 1000.
    found = arrivals([heard(1000, 300, 10), heard(1001, 300, 110), heard(1002, 300, 210)], 0)
    assert found == [(100, False), (200, False), (300, True)]


def test_what_is_inferred_lies_between_the_stamp_before_and_its_own() -> None:
    assert arrivals([heard(1000, 300, 0), heard(1001, 300, 900)], 250)[0] == (250, False), "not before the floor"
    assert arrivals([heard(999, 280, 0), heard(1000, 300, 0), heard(1001, 300, 900)], 0)[1] == (280, False)
    assert arrivals([heard(1000, 300, 950), heard(1001, 300, 900)], 0)[0] == (300, False), "not after its stamp"


def test_a_last_message_that_something_followed_is_inferred() -> None:
    assert arrivals([heard(1000, 300, 0, exact=False)], 0) == [(300, False)]


def test_nothing_heard_is_nothing() -> None:
    assert arrivals([], 5) == []


@given(
    times=st.lists(st.integers(0, 10_000), min_size=1, max_size=30),
    joined=st.lists(st.booleans(), min_size=30, max_size=30),
    transit=st.integers(0, 1000),
)
def test_with_a_steady_way_every_arrival_is_right_however_segments_are_joined(
    times: list[int], joined: list[bool], transit: int
) -> None:
    times.sort()
    stamps = list(times)
    for place in range(len(times) - 2, -1, -1):
        if joined[place]:
            stamps[place] = stamps[place + 1]
    told = [heard(10_000, stamp, at - transit) for at, stamp in zip(times, stamps, strict=True)]
    assert [arrival.at_ns for arrival in arrivals(told, -10_000)] == times


Ancillary = list[tuple[int, int, bytes]]


def with_stamp(stamp_ns: int) -> Ancillary:
    return [(socket.SOL_SOCKET, 35, struct.pack("@ll", *divmod(stamp_ns, NS_PER_S)))]


NO_STAMPS: list[Ancillary] = [
    [],
    [(socket.SOL_SOCKET, 35, b"")],
    [(socket.SOL_SOCKET, 35, bytes(8))],
    [(socket.SOL_SOCKET, 29, struct.pack("@ll", 1, 2))],
    [(socket.IPPROTO_TCP, 35, struct.pack("@ll", 1, 2))],
]


def test_stamps_become_times_of_the_clock_that_all_else_is_on() -> None:
    clock = StampClock()
    before_ns, stamp_ns, after_ns = now_ns(), realtime_ns(), now_ns()
    assert before_ns - NS_PER_MS <= clock.arrived_ns(with_stamp(stamp_ns)) <= after_ns + NS_PER_MS
    assert clock.arrived_ns(with_stamp(stamp_ns + 3600 * NS_PER_S)) <= now_ns(), "nothing comes from the future"
    here_ns = now_ns()
    for none in NO_STAMPS:
        assert clock.arrived_ns(none) >= here_ns
    looked_ns = clock.looked_ns
    clock.tick()
    assert clock.looked_before_ns == looked_ns <= clock.looked_ns


def test_the_kernel_stamps_and_the_stamp_is_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        ask_for_stamps(client)
        client.connect(server.getsockname())
        peer, _ = server.accept()
        with peer:
            client.settimeout(5)
            stamp = None
            for _ in range(500):  # the kernel turns stamping on some time after the first socket has asked for it
                before_ns = realtime_ns()
                peer.send(b"x")
                _, ancillary, _, _ = client.recvmsg(1, ROOM)
                stamp = stamp_of(ancillary)
                if stamp is not None:
                    break
                time.sleep(0.01)
    assert stamp is not None
    assert before_ns <= stamp <= realtime_ns()


def test_no_stamp_is_none() -> None:
    for none in NO_STAMPS:
        assert stamp_of(none) is None
    assert stamp_of(with_stamp(NS_PER_S + 2 * NS_PER_MS)) == NS_PER_S + 2 * NS_PER_MS
