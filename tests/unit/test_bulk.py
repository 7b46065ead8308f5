"""The compiled half of receiving, by itself: what it takes, what it leaves, and when it is not to be had."""

import errno
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanlab import clock, doctor
from fanlab.clock import NS_PER_MS, NS_PER_S, now_ns
from fanlab.ledger.records import DELIVERY, DELIVERY_DTYPE, Token
from fanlab.ledger.stripe import Kind, StripeReader, StripeWriter
from fanlab.load import bulk
from fanlab.load.bulk import Bulk, Left, Line
from fanlab.load.intact import KEPT_FRAMES
from fanlab.load.limits import raise_open_files
from fanlab.load.receiving import DeliveryBuffer
from fanlab.load.stamps import ask_for_stamps, realtime_ns
from support.raw_server import frame

FOUND = bulk.find()
needs_it = pytest.mark.skipif(FOUND[0] is None, reason=f"{FOUND[1]}")


class Lines:
    """Connected sockets that are watched, and the epoll they are in."""

    def __init__(self, stripe: StripeWriter, stack: ExitStack, count: int) -> None:
        self.memory = bytearray(1 << 16)
        made = bulk.load(self.memory)
        assert made is not None
        self.bulk: Bulk = made
        self.bulk.ahead(realtime_ns() - now_ns())
        self.buffer = DeliveryBuffer(stripe, [0], 1)
        self.bulk.write_to(self.buffer)
        self.epoll = stack.enter_context(select.epoll())
        self.bulk.watch(self.epoll.fileno())
        self.ours, self.theirs = [], []
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for client in range(count):
            theirs = stack.enter_context(socket.create_connection(listener.getsockname()))
            ours = stack.enter_context(listener.accept()[0])
            ours.setblocking(False)
            theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ask_for_stamps(ours)
            line = self.bulk.line(ours.fileno())
            line.client, line.node, line.watched, line.between = client, 7, 1, 1
            self.epoll.register(ours, select.EPOLLIN)
            self.ours.append(ours)
            self.theirs.append(theirs)

    def line(self, client: int) -> Line:
        return self.bulk._lines[self.ours[client].fileno()]

    def look(self, rounds: int = 1) -> Iterator[Left]:
        """What is left; as soon as there is anything."""
        assert self.epoll.poll(10)
        left = self.bulk.look(rounds)
        while left is not None:
            yield left
            left = self.bulk.go_on()

    def all_came(self) -> None:
        """What was sent to each of them can be read."""
        for ours in self.ours:
            poll = select.poll()
            poll.register(ours, select.POLLIN)
            assert poll.poll(10_000)

    def records(self) -> Any:
        return np.frombuffer(bytes(self.buffer.memory[: self.buffer.used]), DELIVERY_DTYPE)


def stamping(stack: ExitStack) -> None:
    """The kernel turns stamping on some time after the first socket has asked for it, and off after the last."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    theirs = stack.enter_context(socket.create_connection(listener.getsockname()))
    ours = stack.enter_context(listener.accept()[0])
    ask_for_stamps(ours)
    deadline_ns, ancillary = now_ns() + 10 * NS_PER_S, []
    while not ancillary:
        assert now_ns() < deadline_ns, "this kernel does not stamp"
        theirs.sendall(b"x")
        _, ancillary, _, _ = ours.recvmsg(1, 64)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[[int], Lines]]:
    with ExitStack() as stack:
        stripe = stack.enter_context(StripeWriter(tmp_path / "s", {}))
        stamping(stack)
        yield lambda count: Lines(stripe, stack, count)


def token(seq: int) -> Token:
    return Token(1, 3, seq, 1000 + seq, 5)


@needs_it
def test_a_read_that_is_known_is_taken_and_any_other_is_left(made: Callable[[int], Lines]) -> None:
    lines = made(3)
    lines.bulk.learn(b"known", token(9))
    before_ns = now_ns()
    for theirs, data in zip(lines.theirs, (b"known", b"knowm!", b"know"), strict=True):
        theirs.sendall(data)
    lines.all_came()
    left = {one.fd: one for one in lines.look()}
    assert set(left) == {lines.ours[1].fileno(), lines.ours[2].fileno()}
    assert left[lines.ours[1].fileno()].size == 6
    assert left[lines.ours[2].fileno()].size == 4
    assert all(before_ns <= one.at_ns <= now_ns() and one.error == 0 for one in left.values())
    (record,) = lines.records()
    assert record[["intended_ns", "seq", "client", "stream", "node", "sent_lag_us"]].tolist() == (1009, 9, 0, 3, 7, 5)
    assert before_ns <= record["recv_ns"] <= now_ns()
    assert [lines.line(client).taken for client in range(3)] == [1, 0, 0]


@needs_it
def test_what_is_left_stands_where_it_was_to_be_read_to(made: Callable[[int], Lines]) -> None:
    lines = made(2)
    for theirs, data in zip(lines.theirs, (b"one", b"other"), strict=True):
        theirs.sendall(data)
    lines.all_came()
    assert {bytes(lines.memory[: one.size]) for one in lines.look()} == {b"one", b"other"}


@needs_it
@pytest.mark.parametrize("field", ["watched", "between"])
def test_one_that_is_not_watched_or_within_a_frame_is_not_read(made: Callable[[int], Lines], field: str) -> None:
    lines = made(1)
    lines.bulk.learn(b"known", token(9))
    setattr(lines.line(0), field, 0)
    lines.theirs[0].sendall(b"known")
    assert list(lines.look()) == [Left(lines.ours[0].fileno(), select.EPOLLIN)]
    assert lines.ours[0].recv(99) == b"known"
    assert lines.buffer.used == 0


@needs_it
def test_an_end_is_left_and_so_is_an_error(made: Callable[[int], Lines]) -> None:
    lines = made(2)
    lines.theirs[0].shutdown(socket.SHUT_WR)
    (end,) = lines.look()
    assert (end.fd, end.size, end.error) == (lines.ours[0].fileno(), 0, 0)
    lines.epoll.unregister(lines.ours[0])
    lines.theirs[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    lines.theirs[1].close()
    (reset,) = lines.look()
    assert reset.size is None
    assert reset.events & select.EPOLLERR, "with more than that there is something to read, it is Python's"
    lines.epoll.unregister(lines.ours[1])
    read, write = os.pipe()  # what cannot be received from
    try:
        lines.epoll.register(read, select.EPOLLIN)
        line = lines.bulk.line(read)
        line.watched = line.between = 1
        os.write(write, b"x")
        (wrong,) = lines.look()
        assert (wrong.size, wrong.error) == (0, errno.ENOTSOCK)
    finally:
        lines.epoll.unregister(read)
        os.close(read)
        os.close(write)


def streams(lines: Lines) -> None:
    """Whatever has come before is a stream that has lasted: else a busy machine decides."""
    lines.bulk._bulk.calm_ns, lines.bulk._bulk.steady_ns = 20 * NS_PER_S, 0


@needs_it
def test_a_burst_out_of_the_blue_is_no_stream(made: Callable[[int], Lines]) -> None:
    """Its messages may come closely together, and nobody has seen yet whether the kernel joins them."""
    lines = made(1)
    lines.bulk.learn(b"known", token(9))
    settings = lines.bulk._bulk
    settings.hurry_ns = 0

    def pauses(calm_ns: int, steady_ns: int) -> int:
        before, (settings.calm_ns, settings.steady_ns) = lines.bulk.pauses, (calm_ns, steady_ns)
        for _ in range(3):
            lines.line(0).arrived_ns = 0
            lines.theirs[0].sendall(b"known")
            assert not list(lines.look())
        return lines.bulk.pauses - before

    assert pauses(20 * NS_PER_S, 0) == 2, "it may wait from the second one on"
    assert pauses(0, 20 * NS_PER_S) == 0, "each begins a stream, and none is old enough"
    began_ns = now_ns()
    assert pauses(20 * NS_PER_S, 20 * NS_PER_S) == 0, "one stream, which began with the last of those"
    while now_ns() - began_ns < NS_PER_MS:
        pass
    assert pauses(20 * NS_PER_S, NS_PER_MS) == 3, "it is old enough by now"


@needs_it
def test_while_messages_stream_in_it_waits_a_little_before_it_looks(made: Callable[[int], Lines]) -> None:
    lines = made(1)
    streams(lines)
    for _ in range(20):
        lines.theirs[0].sendall(b"new")
        assert len(list(lines.look())) == 1
    assert lines.bulk.pauses == 0, "nothing was taken"
    lines.bulk.learn(b"known", token(9))
    for _ in range(3):
        lines.line(0).arrived_ns = 0
        lines.theirs[0].sendall(b"known")
        assert not list(lines.look())
    assert lines.bulk.pauses == 2, "not before the first one"
    lines.bulk._bulk.calm_ns = 0
    assert lines.bulk.look(1) is None
    assert lines.bulk.pauses == 2, "nothing came for a while"


@needs_it
@pytest.mark.parametrize(
    "when",
    [
        "while it waits",
        "while it waits, in a read",
        "before it looks",
        "after it should look",
        "though it does not wait",
    ],
)
def test_where_the_kernel_joins_what_comes_while_it_waits_it_waits_no_more(
    made: Callable[[int], Lines], when: str
) -> None:
    """Two with the same time, or in a read, are two that were joined. What comes at other times is late by itself."""
    lines = made(2)
    lines.bulk.learn(b"known", token(9))
    streams(lines)
    lines.theirs[1].sendall(b"known")
    assert not list(lines.look()), "the first message, for which it does not wait"
    lines.bulk._bulk.hurry_ns, lines.bulk._bulk.pause_ns = 20 * NS_PER_S, NS_PER_S // 4
    in_a_read = when.endswith("in a read")
    if in_a_read:
        lines.bulk.learn(b"a longer one, of which the others are a part", token(8))
    else:
        lines.line(0).arrived_ns = now_ns() + 10 * NS_PER_S
    if when.startswith(("after", "though")):
        lines.bulk.ahead(realtime_ns() - now_ns() - NS_PER_S)  # its time is that at which it is read
    data = b"known" * (1 + in_a_read)
    if when.startswith("though"):
        lines.bulk._bulk.calm_ns = 0
    if when.startswith(("before", "though")):
        lines.theirs[0].sendall(data)
    else:
        threading.Timer(0.05, lines.theirs[0].sendall, [data]).start()
        lines.theirs[1].sendall(b"known")
    while lines.line(0).taken < 1 + in_a_read:
        assert not list(lines.look())
    pauses = lines.bulk.pauses
    assert (pauses == 0) == when.startswith("though")
    streams(lines)
    lines.line(0).arrived_ns = 0
    lines.theirs[0].sendall(b"known")
    assert not list(lines.look())
    assert lines.bulk.pauses == pauses + (not when.startswith("while"))


@needs_it
def test_two_that_come_while_it_waits_have_a_time_each(made: Callable[[int], Lines]) -> None:
    """As long as the kernel does not join them, which it does now and then: with a new connection, or after 40 ms."""
    lines = made(1)
    lines.bulk.learn(b"known", token(9))
    streams(lines)
    lines.bulk._bulk.hurry_ns = 0
    for _ in range(40):
        lines.theirs[0].sendall(b"known")
        assert not list(lines.look())
    lines.bulk._bulk.pause_ns = NS_PER_S // 10
    sent_ns: list[int] = []

    def send() -> None:
        sent_ns.append(now_ns())
        lines.theirs[0].sendall(b"known")

    for _ in range(20):
        sent_ns.clear()
        before, pauses = len(lines.records()), lines.bulk.pauses
        later = threading.Timer(0.01, send)
        send()
        later.start()
        while len(lines.records()) < before + 2:
            assert not list(lines.look())
        first_ns, second_ns = lines.records()["recv_ns"][before:].tolist()
        if lines.bulk.pauses == pauses + 1 and sent_ns[0] <= first_ns < sent_ns[1] <= second_ns:
            return
    pytest.fail("one of them never had the time at which it came")


@needs_it
def test_so_many_in_one_look_have_a_read_of_their_own_and_then_all_are_read_at_once(
    made: Callable[[int], Lines],
) -> None:
    lines = made(1)
    lines.bulk.learn(b"known", token(9))
    for count, reads in ((1, 1), (2, 2), (8, 8), (9, 9), (200, 9)):
        lines.buffer.used = 0
        lines.theirs[0].sendall(b"known" * count)
        assert not list(lines.look())
        assert (len(lines.records()), lines.line(0).reads) == (count, reads)
    assert np.diff(lines.records()["recv_ns"].astype(np.int64)).min() >= 1


@needs_it
def test_a_look_takes_all_that_was_there_from_however_many(made: Callable[[int], Lines]) -> None:
    """A heartbeat says that it did."""
    raise_open_files()
    lines = made(1500)
    lines.bulk.learn(b"known", token(9))
    for theirs in lines.theirs:
        theirs.sendall(b"known" * 12)
    lines.all_came()
    assert not list(lines.look(2))
    assert {line.taken for line in map(lines.line, range(1500))} == {12}


@needs_it
def test_a_message_that_is_not_known_yet_is_read_alone(made: Callable[[int], Lines]) -> None:
    """Or the message behind it would lend it its time."""
    lines = made(1)
    one, two, longer = (frame(payload) for payload in (b"the one", b"the two", b"a longer one" * 30))
    lines.bulk.learn(one, token(1))
    for data, first in ((two + one, two), (longer + one, longer), (frame(b"x") + one * 3, None)):
        lines.theirs[0].sendall(data)
        left = list(lines.look())
        assert left[0].size == len(data if first is None else first)
    assert lines.records()["seq"].tolist() == [1, 1]


@needs_it
def test_what_is_longer_than_the_last_one_is_read_to_its_end(made: Callable[[int], Lines]) -> None:
    """Or whoever waits for a whole frame to learn would never see one."""
    lines = made(1)
    lines.bulk.learn(b"a longer one", token(8))
    lines.bulk.learn(b"known", token(9))
    for data, reads in ((b"a longer one" * 2, 1), (b"a longer one" * 2, 2), (b"known", 1), (b"known" * 2, 2)):
        lines.theirs[0].sendall(data)
        assert not list(lines.look())
        assert lines.line(0).reads == reads, "as long as the newest, or as this client's last one"
    assert lines.records()["seq"].tolist() == [8, 8, 8, 8, 9, 9, 9]
    lines.theirs[0].sendall(b"quite another one")
    (left,) = lines.look()
    assert bytes(lines.memory[: left.size]) == b"quite another one"


@needs_it
def test_each_message_of_a_client_is_later_than_the_one_before(made: Callable[[int], Lines]) -> None:
    lines = made(1)
    lines.bulk.learn(b"known", token(9))
    later_ns = now_ns() + 10**12
    lines.line(0).arrived_ns = later_ns
    for _ in range(2):
        lines.theirs[0].sendall(b"known")
        assert list(lines.look()) == []
    assert lines.records()["recv_ns"].tolist() == [later_ns, later_ns + 1]


@needs_it
def test_a_stamp_from_the_future_is_now(made: Callable[[int], Lines]) -> None:
    lines = made(1)
    lines.bulk.learn(b"known", token(9))
    lines.bulk.ahead(realtime_ns() - now_ns() - 10**12)
    lines.theirs[0].sendall(b"known")
    assert not list(lines.look())
    assert lines.records()["recv_ns"][0] <= now_ns()
    lines.bulk.ahead(realtime_ns() - now_ns() + 10**12)
    lines.theirs[0].sendall(b"known")
    lines.line(0).arrived_ns = 0
    assert not list(lines.look())
    assert lines.records()["recv_ns"][1] < now_ns() - 10**8, "else it is the stamp's"


@needs_it
def test_as_many_are_known_as_python_keeps_and_none_that_is_long(made: Callable[[int], Lines]) -> None:
    lines = made(1)

    def is_known(data: bytes) -> bool:
        lines.theirs[0].sendall(data)
        return list(lines.look()) == []

    for seq in range(KEPT_FRAMES + 1):
        lines.bulk.learn(b"%03d" % seq, token(seq))
    assert not is_known(b"000")
    assert is_known(b"001")
    assert is_known(b"%03d" % KEPT_FRAMES)
    assert lines.records()["seq"].tolist() == [1, KEPT_FRAMES]
    lines.bulk.learn(b"x" * 4096, token(7))
    assert is_known(b"x" * 4096)
    lines.bulk.learn(b"x" * 4097, token(8))
    assert not is_known(b"x" * 4097)
    assert is_known(b"002"), "what was not kept took nobody's place"


@needs_it
def test_a_full_buffer_is_written_and_it_goes_on(made: Callable[[int], Lines], tmp_path: Path) -> None:
    lines = made(3)
    lines.bulk.learn(b"known", token(9))
    lines.bulk.learn(b"a longer one", token(8))
    room = KEPT_FRAMES + 2  # records; a read may be two less
    lines.buffer.used = len(lines.buffer.memory) - room * DELIVERY.size
    for theirs in lines.theirs:
        theirs.sendall(b"known" * 2)
    lines.all_came()
    assert list(lines.look()) == []
    assert lines.buffer.count == len(lines.buffer.memory) // DELIVERY.size - room + 4
    assert len(lines.records()) == 2
    (frame,) = [one for one in StripeReader(tmp_path / "s") if one.kind is Kind.DELIVERIES]
    assert len(frame.payload) == lines.buffer.count * DELIVERY.size


@needs_it
def test_a_buffer_that_is_filled_to_the_last_byte_is_written(made: Callable[[int], Lines]) -> None:
    lines = made(1)
    lines.bulk.learn(b"known", token(9))
    lines.bulk.learn(b"x" * 4000, token(8))
    lines.buffer.used = len(lines.buffer.memory) - KEPT_FRAMES * DELIVERY.size
    lines.theirs[0].sendall(b"known" * KEPT_FRAMES)
    assert list(lines.look()) == []
    assert lines.buffer.count == len(lines.buffer.memory) // DELIVERY.size
    assert lines.buffer.used == 0, "else Python's next one has no room"


@needs_it
def test_several_that_are_known_are_all_taken_and_none_if_one_is_not(made: Callable[[int], Lines]) -> None:
    lines = made(1)
    lines.bulk.learn(b"known", token(8))
    lines.bulk.learn(b"other one", token(9))
    lines.theirs[0].sendall(b"knownother oneknown")
    assert list(lines.look()) == []
    records = lines.records()
    assert records["seq"].tolist() == [8, 9, 8]
    assert np.diff(records["recv_ns"].astype(np.int64)).tolist() == [1, 1]
    assert lines.line(0).taken == 3
    assert lines.line(0).arrived_ns == records["recv_ns"][-1] + 1
    for data in (b"knownother on", b"knownknow", b"known!known", b"known" * (KEPT_FRAMES + 1)):
        lines.theirs[0].sendall(data)
        assert b"".join(bytes(lines.memory[: left.size]) for left in lines.look()) == data
    assert len(lines.records()) == 3


@needs_it
def test_a_buffer_that_cannot_be_written_is_an_error_and_nothing_is_read(
    made: Callable[[int], Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = made(1)
    lines.bulk.learn(b"known", token(9))
    lines.buffer.used = len(lines.buffer.memory)

    def full() -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(lines.buffer, "flush", full)
    lines.theirs[0].sendall(b"known")
    for _ in range(2):
        with pytest.raises(OSError, match="no space left"):
            list(lines.look())
    assert lines.ours[0].recv(99) == b"known"


@needs_it
def test_it_asks_as_often_as_it_is_told_to_and_not_again_when_that_was_all(made: Callable[[int], Lines]) -> None:
    lines = made(0)
    raise_open_files()
    files = [os.eventfd(1) for _ in range(1500)]
    try:
        for file in files:
            lines.epoll.register(file, select.EPOLLIN)

        def told(rounds: int) -> int:
            return len(list(lines.look(rounds)))

        assert told(1) == 1024, "as many as one answer holds"
        assert told(2) == 2048
        for file in files[1000:]:
            os.eventfd_read(file)
        assert told(3) == 1000
    finally:
        for file in files:
            os.close(file)


@needs_it
def test_without_a_place_to_write_to_it_does_nothing() -> None:
    other = bulk.load(bytearray(100))
    assert other is not None
    assert not other.ready
    with pytest.raises(RuntimeError, match="nowhere"):
        other.look(1)
    with pytest.raises(RuntimeError, match="nowhere"):
        other.go_on()


@needs_it
def test_descriptors_beyond_all_reason_are_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_MOST_LINES", 8)
    few = bulk.load(bytearray(100))
    assert few is not None
    line = few.line(7)
    assert isinstance(line, Line)
    line.taken = 5
    assert few.line(7).taken == 0, "a new socket's"
    beyond = few.line(8)
    beyond.taken = 5
    assert few.line(8).taken == 0


@needs_it
def test_it_is_not_used_where_it_is_switched_off_missing_or_of_another_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert FOUND[1] == "compiled"
    monkeypatch.setenv(bulk.VARIABLE, "python")
    assert bulk.load(bytearray(9)) is None
    assert "FANLAB_RECEIVE=python" in bulk.find()[1]
    monkeypatch.delenv(bulk.VARIABLE)
    source = tmp_path / "bulk.c"
    source.write_bytes(bulk.SOURCE.read_bytes() + b"\n")
    with monkeypatch.context() as other:
        other.setattr(bulk, "SOURCE", source)
        assert bulk.find()[0] is None
        assert "of another source" in bulk.find()[1]
    monkeypatch.setattr(bulk, "LIBRARY", tmp_path / "libbulk.so")
    assert "not compiled" in bulk.find()[1]
    (tmp_path / "libbulk.so").write_text("no library")
    assert "cannot be used here" in bulk.find()[1]


def test_the_doctor_tells_who_receives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "find", lambda: (object(), "compiled"))
    assert doctor._receiving().mark == "ok"
    monkeypatch.undo()
    monkeypatch.setenv(bulk.VARIABLE, "python")
    finding = doctor._receiving()
    assert finding.mark == "note"
    assert finding.what == "clients receive with Python alone: switched off: FANLAB_RECEIVE=python"
    assert finding.hint is not None
    assert "C compiler" in finding.hint


@needs_it
@pytest.mark.parametrize(
    "ahead_ns", [-5 * 3600 * NS_PER_S, 0, time.monotonic_ns() // 2], ids=["earlier", "the same", "later"]
)
def test_times_are_of_the_clock_that_is_followed(
    made: Callable[[int], Lines], monkeypatch: pytest.MonkeyPatch, ahead_ns: int
) -> None:
    """That of a host which booted earlier than this one, and of one that booted later: but it has booted."""
    monkeypatch.setattr(clock, "_ahead_ns", ahead_ns)
    lines = made(1)
    lines.bulk.learn(b"known", token(9))
    for _ in range(2):
        before_ns = now_ns()
        lines.theirs[0].sendall(b"known")
        assert not list(lines.look())
        at_ns = int(lines.records()["recv_ns"][-1])
        assert before_ns - NS_PER_MS <= at_ns <= now_ns(), "the clocks' offset is known to some microseconds"


@needs_it
def test_a_wall_clock_that_was_set_spoils_what_comes_meanwhile_and_nothing_else(made: Callable[[int], Lines]) -> None:
    lines = made(1)
    lines.bulk.learn(b"known", token(9))
    right_ns = realtime_ns() - now_ns()
    for ahead_ns in (right_ns + 10**17, right_ns):  # set back by years
        lines.bulk.ahead(ahead_ns)
        lines.theirs[0].sendall(b"known")
        assert not list(lines.look())
    wrong_ns, at_ns = (int(at) for at in lines.records()["recv_ns"])
    assert wrong_ns < at_ns <= now_ns()
    assert at_ns > now_ns() - 60 * NS_PER_S


@needs_it
def test_a_descriptor_beyond_its_lines_is_left_alone(made: Callable[[int], Lines]) -> None:
    """Whatever stands in memory there."""
    lines = made(1)
    lines.bulk._bulk.line_count = lines.ours[0].fileno()
    lines.theirs[0].sendall(b"new")
    assert list(lines.look()) == [Left(lines.ours[0].fileno(), select.EPOLLIN)]


@needs_it
def test_what_somebody_else_has_read_meanwhile_is_no_end(made: Callable[[int], Lines]) -> None:
    lines = made(2)
    for theirs in lines.theirs:
        theirs.sendall(b"new")
    lines.all_came()
    left = lines.look()
    first = next(left)
    other = next(ours for ours in lines.ours if ours.fileno() != first.fd)
    assert other.recv(99) == b"new"
    assert list(left) == []
