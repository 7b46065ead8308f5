"""The link as a real process, with plain sockets on either side of it: without a toxic, as if it were not there."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from fanlab.link.chain import CAPACITY_BYTES
from fanlab.link.control import Control
from fanlab.link.journal import Journal
from fanlab.link.listener import SOCKET_BUFFER_BYTES
from support.link_process import (
    PROXY,
    LinkProcess,
    Upstream,
    dial,
    ends,
    fill_up,
    joined,
    numbered,
    receive,
    running_link,
    send_reset,
    upstream,
)

pytestmark = pytest.mark.system


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[LinkProcess]:
    async with running_link(tmp_path / "link") as running:
        yield running


@pytest.fixture
def server() -> Iterator[Upstream]:
    with upstream() as listening:
        yield listening


async def test_it_is_transparent(link: LinkProcess, server: Upstream) -> None:
    listen = await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, accepted):
        addresses = [f"127.0.0.1:{sock[1]}" for sock in (client.getsockname(), accepted.getpeername())]
        client.sendall(b"question")
        assert receive(accepted, 8) == b"question"
        client.shutdown(socket.SHUT_WR)
        assert ends(accepted) == "FIN"
        accepted.sendall(b"an answer, though the other side has nothing more to ask")
        accepted.close()
        assert receive(client, 100).startswith(b"an answer")
        assert ends(client) == "FIN"
    (opened,), (closed,) = await link.until_event("open"), await link.until_event("close")
    assert [opened["proxy"], opened["id"], opened["down"], opened["up"]] == [PROXY, 1, *addresses]
    assert [closed["proxy"], closed["id"], closed["why"]] == [PROXY, 1, "end"]
    assert (closed["passed"], closed["discarded"]) == ([8, 56], [0, 0])
    assert opened["t"] < closed["t"]
    state = (await link.client.state())[PROXY]
    assert (state.listen, state.upstream, state.listening) == (listen, server.address, True)
    assert (state.open, state.waiting, state.opened, state.closed) == (0, 0, 1, {"end": 1})
    assert (state.up.passed, state.down.passed) == (8, 56)


@pytest.mark.parametrize("side", ["down", "up"])
async def test_a_rst_is_passed_on_as_one(link: LinkProcess, server: Upstream, side: str) -> None:
    await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, accepted):
        killed, other = (client, accepted) if side == "down" else (accepted, client)
        send_reset(killed)
        assert ends(other) == "RST"
    assert (await link.until_event("close"))[0]["why"] == f"{side}-reset"


@pytest.mark.parametrize("side", ["down", "up"])
async def test_a_rst_that_comes_together_with_data_is_not_overlooked(
    link: LinkProcess, server: Upstream, side: str
) -> None:
    await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, accepted):
        killed, other = (client, accepted) if side == "down" else (accepted, client)
        assert link.process is not None
        link.process.send_signal(signal.SIGSTOP)  # so that it sees both at once
        killed.sendall(b"last words")
        send_reset(killed)
        link.process.send_signal(signal.SIGCONT)
        assert receive(other, 10) == b"last words"
        assert ends(other) == "RST"


async def test_a_sender_has_to_wait_for_a_receiver_who_does_not_read(link: LinkProcess, server: Upstream) -> None:
    await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, accepted):
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64_000)
        sent, held = await fill_up(link, accepted)
        assert held <= CAPACITY_BYTES
        theirs = [(accepted, socket.SO_SNDBUF), (client, socket.SO_RCVBUF)]
        buffers = sum(sock.getsockopt(socket.SOL_SOCKET, option) for sock, option in theirs)
        assert sent <= buffers + CAPACITY_BYTES + 4 * SOCKET_BUFFER_BYTES  # the link's own, twice what it asked for
        client.sendall(b"still heard")
        assert receive(accepted, 11) == b"still heard"
        assert receive(client, sent) == numbered(0, sent)
        await link.until(PROXY, lambda now: now.down.held == 0 and now.down.passed == sent, "all has passed")


async def test_a_rst_overtakes_what_the_receiver_has_no_room_for(link: LinkProcess, server: Upstream) -> None:
    await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, accepted):
        sent, _ = await fill_up(link, accepted)
        send_reset(accepted)
        client.sendall(b"are you there?")  # by which the link learns it: it reads no more from a full direction
        state = await link.until(PROXY, lambda now: now.open == 0, "it is closed")
        assert state.closed == {"up-reset": 1}
        with pytest.raises(ConnectionResetError):
            receive(client, sent)


async def test_an_upstream_that_is_not_there_is_a_reset(link: LinkProcess, server: Upstream) -> None:
    listen = await link.client.proxy(PROXY, server.address)
    server.listener.close()
    with dial(listen) as client:
        assert ends(client) == "RST"
    (row,) = await link.until_event("unopened")
    assert (row["why"], row["id"]) == ("up-refused", 1)
    assert not link.events("open")


async def test_500_connections_leave_no_descriptor(link: LinkProcess, server: Upstream) -> None:
    assert link.process is not None
    listen = await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, accepted):
        client.sendall(b"x")
        assert receive(accepted, 1) == b"x"
    await link.until(PROXY, lambda now: now.open == 0, "it is closed")
    before = psutil.Process(link.process.pid).num_fds()
    with contextlib.ExitStack() as stack:
        pairs = [(stack.enter_context(dial(listen)), stack.enter_context(server.accept())) for _ in range(500)]
        await link.until(PROXY, lambda now: now.open == 500, "all are open")
        for number, (client, accepted) in enumerate(pairs):
            client.sendall(b"x")
            assert receive(accepted, 1) == b"x"
            if number % 2:
                send_reset(client)
    state = await link.until(PROXY, lambda now: now.open == 0, "all are closed")
    assert psutil.Process(link.process.pid).num_fds() == before
    assert sum(state.closed.values()) == 501
    assert len(link.events("open")) == len(await link.until_event("close", 501)) == 501


async def test_500_connections_leave_no_task(tmp_path: Path, server: Upstream) -> None:
    loop = asyncio.get_running_loop()
    failures: list[OSError] = []
    journal = Journal(tmp_path / "link.jsonl", loop, failures.append)
    control = Control(loop, host="127.0.0.1", seed=1, journal=journal)
    before = asyncio.all_tasks()
    listen = control.answer({"id": 1, "op": "proxy", "name": PROXY, "upstream": server.address})["listen"]
    with contextlib.ExitStack() as stack:
        for _ in range(500):
            stack.enter_context(dial(listen))
        while control.answer({"op": "state"})["proxies"][PROXY]["open"] < 500:
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == before
    while control.answer({"op": "state"})["proxies"][PROXY]["open"]:
        while not server.nobody_came():
            pass  # accepted, and closed at once
        await asyncio.sleep(0)
    await control.close()
    journal.close()
    assert asyncio.all_tasks() == before
    assert not failures


async def test_an_upstream_may_have_a_name(link: LinkProcess, server: Upstream) -> None:
    await link.client.proxy(PROXY, server.address.replace("127.0.0.1", "localhost"))
    async with joined(link, server) as (client, accepted):
        client.sendall(b"hello")
        assert receive(accepted, 5) == b"hello"
