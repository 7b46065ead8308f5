"""One epoll for many sockets: each ready one has its turn, and none harms another."""

import asyncio
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from fanlab.load.poller import READ, WRITE, Poller

pytestmark = pytest.mark.skipif("sys.platform != 'linux'", reason="epoll is Linux's")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Three of ours with their peers."""
    with ExitStack() as stack:
        yield [tuple(stack.enter_context(sock) for sock in socket.socketpair()) for _ in range(3)]  # type: ignore[misc]


def once(loop: asyncio.AbstractEventLoop) -> None:
    """The loop comes round."""
    loop.run_until_complete(asyncio.sleep(0.01))


def test_a_ready_socket_is_told_and_a_removed_one_is_not(loop: asyncio.AbstractEventLoop, pairs: Any) -> None:
    poller, told = Poller(loop), []
    for number, (ours, _) in enumerate(pairs):
        poller.add(ours.fileno(), lambda events, number=number: told.append((number, events, pairs[number][0].recv(9))))
    poller.remove(pairs[2][0].fileno())
    poller.remove(pairs[2][0].fileno())
    for _, theirs in pairs:
        theirs.send(b"x")
    once(loop)
    assert sorted(told) == [(0, READ, b"x"), (1, READ, b"x")]
    poller.close()
    pairs[0][1].send(b"y")
    once(loop)
    assert len(told) == 2, "closed"


def test_one_whose_reader_fails_is_reported_and_the_others_are_read(
    loop: asyncio.AbstractEventLoop, pairs: Any
) -> None:
    poller, told, failures = Poller(loop), [], []
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))

    def fails(_: int) -> None:
        pairs[0][0].recv(9)
        raise RuntimeError("planted")

    poller.add(pairs[0][0].fileno(), fails)
    poller.add(pairs[1][0].fileno(), lambda _: told.append(pairs[1][0].recv(9)))
    for _, theirs in pairs[:2]:
        theirs.send(b"x")
    once(loop)
    assert told == [b"x"]
    assert [str(error) for error in failures] == ["planted"]
    poller.close()


def test_one_that_is_removed_by_the_one_before_it_is_not_called(loop: asyncio.AbstractEventLoop, pairs: Any) -> None:
    poller, told = Poller(loop), []
    files = [pairs[0][0].fileno(), pairs[1][0].fileno()]

    def first(number: int) -> None:
        told.append(number)
        pairs[number][0].recv(9)
        poller.remove(files[1 - number])

    for number in (0, 1):
        poller.add(files[number], lambda _, number=number: first(number))
        pairs[number][1].send(b"x")
    once(loop)
    assert len(told) == 1
    poller.close()


def test_an_end_is_told_whatever_is_watched(loop: asyncio.AbstractEventLoop, pairs: Any) -> None:
    poller, told = Poller(loop), []
    ours, theirs = pairs[0]
    poller.watch(ours.fileno(), WRITE)  # not added yet: nothing
    poller.add(ours.fileno(), lambda events: (told.append(events), poller.remove(ours.fileno())))
    poller.watch(ours.fileno(), 0)
    theirs.close()
    once(loop)
    (events,) = told
    assert events & select.EPOLLHUP
    poller.close()


def test_all_have_their_turn_before_the_loop_goes_on(
    loop: asyncio.AbstractEventLoop, pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though one question to the kernel tells of a few only."""
    monkeypatch.setattr("fanlab.load.poller._AT_ONCE", 1)
    poller, told = Poller(loop), []
    for number, (ours, theirs) in enumerate(pairs):
        poller.add(ours.fileno(), lambda _, number=number: told.append((number, pairs[number][0].recv(9))))
        theirs.send(b"x")
    poller._look()
    assert sorted(told) == [(0, b"x"), (1, b"x"), (2, b"x")]
    poller.close()
