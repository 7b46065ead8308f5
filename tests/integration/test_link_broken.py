"""The link's toxics, and its resets, on real connections."""

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fanlab.link.chain import CAPACITY_BYTES
from fanlab.seed import rng
from support.link_process import (
    DEADLINE_S,
    PROXY,
    LinkProcess,
    Upstream,
    dial,
    ends,
    fill_up,
    joined,
    nothing_came,
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


async def test_what_the_link_has_not_even_read_counts_as_discarded(link: LinkProcess, server: Upstream) -> None:
    await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, _):
        await link.client.add(PROXY, "cut", "hold", stream="upstream")
        client.sendall(bytes(90_000))
        async with asyncio.timeout(DEADLINE_S):
            while struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)))[0]:
                await asyncio.sleep(0.005)  # until the link's kernel has it all
        state = await link.until(PROXY, lambda now: now.up.held * 2 > CAPACITY_BYTES, "the link has its fill")
        assert state.up.held < 90_000
        await link.client.reset(PROXY)
        assert (await link.client.state())[PROXY].up.discarded == 90_000
    assert (await link.until_event("close"))[0]["discarded"] == [90_000, 0]


async def test_hold_lets_nothing_pass_until_it_is_removed(link: LinkProcess, server: Upstream) -> None:
    await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, accepted):
        client.sendall(b"before")
        assert receive(accepted, 6) == b"before"
        assert await link.client.add(PROXY, "cut", "hold", stream="both") == 1
        for number in range(100):
            client.sendall(b"%04d" % number)
        accepted.sendall(b"the other way")
        accepted.shutdown(socket.SHUT_WR)
        state = await link.until(PROXY, lambda now: (now.up.held, now.down.held) == (400, 13), "all is held")
        (toxic,) = state.toxics
        assert (toxic.name, toxic.type, toxic.stream, toxic.hit) == ("cut", "hold", "both", 1)
        assert nothing_came(client)
        assert nothing_came(accepted)
        await link.client.remove(PROXY, "cut")
        assert receive(accepted, 400) == b"".join(b"%04d" % number for number in range(100))
        assert receive(client, 13) == b"the other way"
        assert ends(client) == "FIN"
    assert [(row["name"], row["type"], row["state"]) for row in link.events("toxic")] == [
        ("cut", "hold", "on"),
        ("cut", "hold", "off"),
    ]


async def test_hold_in_one_direction_leaves_the_other(link: LinkProcess, server: Upstream) -> None:
    await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, accepted):
        await link.client.add(PROXY, "cut", "hold", stream="downstream")
        accepted.sendall(b"unheard")
        await link.until(PROXY, lambda now: now.down.held == 7, "it is held")
        client.sendall(b"heard")
        assert receive(accepted, 5) == b"heard"
        assert nothing_came(client)
        send_reset(client)  # upstream, all passes, ends included
        assert ends(accepted) == "RST"


@pytest.mark.parametrize("side", ["down", "up"])
async def test_hold_keeps_a_rst_back(link: LinkProcess, server: Upstream, side: str) -> None:
    await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, accepted):
        killed, other = (client, accepted) if side == "down" else (accepted, client)
        await link.client.add(PROXY, "cut", "hold", stream="both")
        killed.sendall(b"last words")
        await link.until(PROXY, lambda now: now.up.held + now.down.held == 10, "it is held")
        send_reset(killed)
        for _ in range(10):
            other.sendall(b"are you there?")  # to a socket that is no more, which the link knows and must not tell
            assert (await link.client.state())[PROXY].open == 1
        assert nothing_came(other)
        await link.client.remove(PROXY, "cut")
        assert receive(other, 10) == b"last words"
        assert ends(other) == "RST"
    (closed,) = await link.until_event("close")
    assert (closed["why"], sum(closed["passed"]), sum(closed["discarded"])) == (f"{side}-reset", 10, 140)


async def test_hold_reads_no_more_than_its_bound(link: LinkProcess, server: Upstream) -> None:
    await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, accepted):
        await link.client.add(PROXY, "cut", "hold", stream="upstream")
        sent, held = await fill_up(link, client)
        assert held <= CAPACITY_BYTES
        assert nothing_came(accepted)
        await link.client.remove(PROXY, "cut")
        assert receive(accepted, sent) == numbered(0, sent)


@pytest.mark.parametrize("type_", ["hold", "drop"])
@pytest.mark.parametrize("stream", ["upstream", "downstream", "both"])
async def test_a_connection_made_during_a_partition_comes_through_when_it_is_over(
    link: LinkProcess, server: Upstream, type_: str, stream: str
) -> None:
    listen = await link.client.proxy(PROXY, server.address)
    await link.client.add(PROXY, "cut", type_, stream=stream)
    with dial(listen) as client, dial(listen) as impatient:
        client.sendall(b"hello?")
        impatient.sendall(b"and good-bye")
        await link.until(PROXY, lambda now: now.waiting == 2, "they have been accepted")
        impatient.close()
        await link.until(PROXY, lambda now: now.waiting == 1, "who has gone is forgotten")
        assert server.nobody_came()
        await link.client.remove(PROXY, "cut")
        with server.accept() as accepted:
            assert receive(accepted, 6) == b"hello?"
            accepted.sendall(b"hello")
            assert receive(client, 5) == b"hello"
        assert server.nobody_came()
    (gone,) = link.events("unopened")
    assert (gone["why"], gone["id"], gone["down"].partition(":")[0]) == ("given-up", 2, "127.0.0.1")
    assert [row["id"] for row in await link.until_event("open")] == [1]


async def test_drop_resets_who_has_lost_something(link: LinkProcess, server: Upstream) -> None:
    await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, accepted), joined(link, server) as (idle, idle_accepted):
        accepted.sendall(b"before")
        assert receive(client, 6) == b"before"
        assert await link.client.add(PROXY, "cut", "drop", stream="downstream") == 2
        sent = 0
        while sent < 1_000_000:  # far more than a buffer: nobody has to wait
            accepted.sendall(b"x" * 10_000)
            sent += 10_000
        client.sendall(b"heard")
        assert receive(accepted, 5) == b"heard"
        await link.until(PROXY, lambda now: now.down.discarded == 1_000_000, "all is discarded")
        assert nothing_came(client)
        await link.client.remove(PROXY, "cut")
        assert ends(client) == "RST"
        assert ends(accepted) == "RST"
        idle_accepted.sendall(b"as if nothing had been")
        assert receive(idle, 22) == b"as if nothing had been"
    (closed,) = (row for row in await link.until_event("close") if row["id"] == 1)
    assert (closed["why"], closed["passed"], closed["discarded"]) == ("cut", [5, 6], [0, 1_000_000])


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
async def test_half_open_tells_one_side_only(link: LinkProcess, server: Upstream, stream: str) -> None:
    await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, accepted):
        closed, other = (accepted, client) if stream == "upstream" else (client, accepted)
        closed.sendall(b"before")
        assert receive(other, 6) == b"before"
        assert await link.client.add(PROXY, "vanish", "half_open", stream=stream) == 1
        assert ends(closed) == "FIN"
        with contextlib.suppress(OSError):
            closed.sendall(b"to nobody")
        other.sendall(b"anybody?")
        await link.until(PROXY, lambda now: now.up.held + now.down.held == 8, "it is held")
        assert nothing_came(other)
        async with joined(link, server) as (client_2, accepted_2):  # who comes later is not hit
            client_2.sendall(b"hello")
            assert receive(accepted_2, 5) == b"hello"
            await link.client.remove(PROXY, "vanish")
            assert ends(other) == "RST"
            accepted_2.sendall(b"hello")
            assert receive(client_2, 5) == b"hello"
    assert (await link.until_event("close"))[0]["why"] == "vanish"


async def test_who_gives_up_a_half_open_connection_by_a_rst_ends_it(link: LinkProcess, server: Upstream) -> None:
    await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, _):
        await link.client.add(PROXY, "vanish", "half_open", stream="upstream")
        send_reset(client)
        await link.until(PROXY, lambda now: now.closed == {"down-reset": 1}, "it is closed")
        await link.client.remove(PROXY, "vanish")


async def test_reset_takes_a_share_that_the_seed_decides(tmp_path: Path, server: Upstream) -> None:
    async def chosen(folder: str, seed: int) -> list[int]:
        async with running_link(tmp_path / folder, seed) as link:
            await link.client.proxy(PROXY, server.address)
            async with contextlib.AsyncExitStack() as stack:
                pairs = [await stack.enter_async_context(joined(link, server)) for _ in range(10)]
                assert await link.client.reset(PROXY, 0.3) == 3
                numbers = sorted(row["id"] for row in await link.until_event("close", 3))
                for number in numbers:
                    assert {ends(sock) for sock in pairs[number - 1]} == {"RST"}
                assert (await link.client.state())[PROXY].open == 7
                assert await link.client.reset(PROXY, 0.01) == 1
                assert await link.client.reset(PROXY) == 6
                assert await link.client.reset(PROXY) == 0
            return numbers

    first = await chosen("a", 1)
    assert await chosen("b", 1) == first
    assert await chosen("c", 2) != first


async def test_toxicity_hits_a_share_of_old_and_new_connections_that_the_seed_decides(
    tmp_path: Path, server: Upstream
) -> None:
    async def silent(folder: str, seed: int) -> list[bool]:
        async with running_link(tmp_path / folder, seed) as link:
            await link.client.proxy(PROXY, server.address)
            async with contextlib.AsyncExitStack() as stack:
                pairs = [await stack.enter_async_context(joined(link, server)) for _ in range(20)]
                hit = await link.client.add(PROXY, "cut", "limit_data", toxicity=0.4, attributes={"bytes": 0})
                pairs += [await stack.enter_async_context(joined(link, server)) for _ in range(20)]
                for _, accepted in pairs:
                    accepted.sendall(b"x")
                found = [receive(client, 1) == b"" for client, _ in pairs]
                assert sum(found[:20]) == hit
                return found

    first = await silent("a", 1)
    assert 2 <= sum(first[:20]) <= 16
    assert 2 <= sum(first[20:]) <= 16
    assert await silent("b", 1) == first
    assert await silent("c", 2) != first


async def test_down_refuses_and_resets_and_comes_back_at_its_old_port(link: LinkProcess, server: Upstream) -> None:
    listen = await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, accepted):
        assert await link.client.add(PROXY, "gone", "down") == 1
        assert ends(client) == "RST"
        assert ends(accepted) == "RST"
        with pytest.raises(ConnectionRefusedError):
            dial(listen)
        assert not (await link.client.state())[PROXY].listening
        with socket.socket() as thief, pytest.raises(OSError, match="Address already in use"):
            thief.bind(("127.0.0.1", int(listen.rpartition(":")[2])))
        await link.client.add(PROXY, "gone-too", "down")
        await link.client.remove(PROXY, "gone")
        with pytest.raises(ConnectionRefusedError):
            dial(listen)
        await link.client.remove(PROXY, "gone-too")
    async with joined(link, server) as (client, accepted):
        client.sendall(b"again")
        assert receive(accepted, 5) == b"again"
    assert link.events("close")[0]["why"] == "gone"


async def test_latency_and_bandwidth_take_their_time(link: LinkProcess, server: Upstream) -> None:
    loop = asyncio.get_running_loop()
    await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, accepted):
        await link.client.add(PROXY, "slow", "latency", stream="upstream", attributes={"latency_ms": 80})
        began_s = loop.time()
        client.sendall(b"x" * 100)
        client.shutdown(socket.SHUT_WR)
        assert receive(accepted, 100) == b"x" * 100
        assert loop.time() - began_s >= 0.08
        assert ends(accepted) == "FIN"
        await link.client.add(PROXY, "narrow", "bandwidth", attributes={"rate_bytes_per_s": 100_000})
        began_s = loop.time()
        accepted.sendall(numbered(0, 30_000))
        assert receive(client, 30_000) == numbered(0, 30_000)
        assert loop.time() - began_s >= 0.3
        accepted.sendall(numbered(0, 50_000))
        await link.client.remove(PROXY, "narrow")  # what it held comes at once, and nothing overtakes it
        assert receive(client, 50_000) == numbered(0, 50_000)


async def test_slices_and_all_toxics_at_once_lose_nothing(link: LinkProcess, server: Upstream) -> None:
    toxics = {
        "latency": {"latency_ms": 5, "jitter_ms": 5},
        "slicer": {"average_size_bytes": 700, "size_variation_bytes": 500, "delay_us": 50},
        "bandwidth": {"rate_bytes_per_s": 20_000_000},
        "slow_close": {"delay_ms": 20},
    }
    draw = rng(3, "toxics")
    await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, accepted):
        sending = asyncio.create_task(asyncio.to_thread(client.sendall, numbered(0, 3_000_000)))
        receiving = asyncio.create_task(asyncio.to_thread(receive, accepted, 3_000_000))
        on: set[str] = set()
        while not receiving.done():
            type_ = draw.choice(list(toxics))
            if type_ in on:
                await link.client.remove(PROXY, type_)
            else:
                await link.client.add(PROXY, type_, type_, stream="upstream", attributes=toxics[type_])
            on ^= {type_}
            await asyncio.sleep(0.01)
        await sending
        assert await receiving == numbered(0, 3_000_000)
        client.shutdown(socket.SHUT_WR)
        assert ends(accepted) == "FIN"


async def test_reset_peer_and_limit_data_end_connections(link: LinkProcess, server: Upstream) -> None:
    await link.client.proxy(PROXY, server.address)
    async with joined(link, server) as (client, accepted):
        await link.client.add(PROXY, "strike", "reset_peer", attributes={"timeout_ms": 20})
        assert ends(client) == "RST"
        assert ends(accepted) == "RST"
    async with joined(link, server) as (client, accepted):  # later ones, too
        assert ends(client) == "RST"
    await link.client.remove(PROXY, "strike")
    await link.client.add(PROXY, "enough", "limit_data", attributes={"bytes": 5})
    async with joined(link, server) as (client, accepted):
        accepted.sendall(b"12345")
        assert receive(client, 5) == b"12345"
        assert ends(client) == "FIN"
        assert ends(accepted) == "FIN"
    assert [row["why"] for row in await link.until_event("close", 3)] == ["strike", "strike", "enough"]


async def test_what_a_toxic_has_touched_is_told_though_its_connection_has_ended(
    link: LinkProcess, server: Upstream
) -> None:
    await link.client.proxy(PROXY, server.address)

    async def touched() -> list[int]:
        return [toxic.touched for toxic in (await link.client.state())[PROXY].toxics]

    async with joined(link, server) as (client, accepted):
        await link.client.add(PROXY, "late", "latency", stream="both", attributes={"latency_ms": 1})
        assert await touched() == [0]
        client.sendall(b"up")
        assert receive(accepted, 2) == b"up"
        accepted.sendall(b"down")
        assert receive(client, 4) == b"down"
        assert await touched() == [6]
    await link.until(PROXY, lambda now: now.open == 0, "the connection has ended")
    assert await touched() == [6]
    await link.client.remove(PROXY, "late")
    await link.client.add(PROXY, "late", "latency", stream="both", attributes={"latency_ms": 1})
    assert await touched() == [0]
