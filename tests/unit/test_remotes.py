"""The run's side of workers on other hosts, with real connections: who is let in, what they leave, what is missed."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fanlab.clock import boot_id
from fanlab.errors import EnvironmentFailure, MeasurementError
from fanlab.load import remotes as module
from fanlab.load.invitation import Invitation, invitation, parse_address
from fanlab.load.joining import Incoming, Kind, Refused, join
from fanlab.load.limits import net_namespace
from fanlab.load.remotes import Remote, Remotes, unreachable
from fanlab.load.transfer import NotStored, send_file
from fanlab.load.wire import Message, encode
from fanlab.rundir import RunDir

TOKEN = "a token of some length"
FACTS = {
    "host": "b",
    "boot_id": "another",
    "net": "net:[1]",
    "connections": 100,
    "cores": 4,
    "versions": {"python": "3"},
}


class Worker:
    """A worker's connection, as far as it got."""

    def __init__(self, incoming: Incoming, writer: asyncio.StreamWriter, welcome: Message) -> None:
        self.incoming, self.writer, self.welcome = incoming, writer, welcome

    def say(self, **message: Any) -> None:
        self.writer.write(encode(message))

    async def heard(self) -> Message | None:
        async with asyncio.timeout(20):
            return await self.incoming.next()

    def leave(self) -> None:
        self.writer.close()


async def knock(remotes: Remotes, kind: Kind = "worker", token: str = TOKEN, **said: Any) -> Worker:
    host, port = parse_address(remotes.address)
    reader, writer = await asyncio.open_connection(host, port)
    incoming = Incoming(reader)
    try:
        return Worker(incoming, writer, await join(incoming, writer, token, kind, said or FACTS))
    except BaseException:
        writer.close()
        raise


@asynccontextmanager
async def opened(tmp_path: Path, expect: int = 1) -> AsyncIterator[Remotes]:
    rundir = RunDir(tmp_path / "run")
    rundir.create()
    remotes = Remotes(Invitation(expect, token=TOKEN), rundir, first_index=2)
    await remotes.open()
    try:
        yield remotes
    finally:
        await remotes.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


# Invitations


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("10.0.0.1:5557", ("10.0.0.1", 5557)),
        ("localhost", ("localhost", 0)),
        ("[::1]:80", ("::1", 80)),
        ("[fe80::1%eth0]:80", ("fe80::1%eth0", 80)),
    ],
)
def test_places(text: str, place: tuple[str, int]) -> None:
    assert parse_address(text) == place


@pytest.mark.parametrize("text", ["", ":80", "h:port", "h:99999", "http://h:80", "h:80/x", "u@h:80", "[::1", "h:80?x"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(ValueError, match="is no HOST:PORT"):
        parse_address(text)


def test_a_token_is_made_unless_one_is_given() -> None:
    made = invitation(2, "127.0.0.1", None)
    assert (made.expect, made.known, len(made.token)) == (2, False, 32)
    assert "token" not in repr(made)
    assert invitation(2, "127.0.0.1", TOKEN) == Invitation(2, "127.0.0.1", 0, TOKEN, known=True)
    with pytest.raises(ValueError, match="16 characters"):
        invitation(2, "127.0.0.1", "short")


async def test_what_is_printed_is_what_to_type(tmp_path: Path) -> None:
    async with opened(tmp_path) as remotes:
        assert remotes.command() == f"fanlab worker --master {remotes.address} --token {TOKEN}"
        remotes.wanted = Invitation(1, token=TOKEN, known=True)
        assert remotes.command() == f"FANLAB_TOKEN=… fanlab worker --master {remotes.address}"


async def test_only_loopback_is_bound_unless_asked(tmp_path: Path) -> None:
    async with opened(tmp_path) as remotes:
        assert remotes.address.startswith("127.0.0.1:")


async def test_a_port_that_is_taken_or_an_address_that_is_not_ours(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for host, number in (("127.0.0.1", port), ("192.0.2.1", 0)):
            with pytest.raises(EnvironmentFailure, match=f"--listen {host}:{number} cannot be listened on"):
                await Remotes(Invitation(1, host, number), RunDir(tmp_path), 1).open()


# Joining


async def test_workers_join_and_are_numbered_in_turn(tmp_path: Path) -> None:
    async with opened(tmp_path, expect=2) as remotes:
        told: list[str] = []
        gathering = asyncio.create_task(remotes.gathered(lambda remote: told.append(remote.name)))
        first = await knock(remotes)
        second = await knock(remotes)
        async with asyncio.timeout(20):
            await gathering
        assert (first.welcome["index"], second.welcome["index"]) == (2, 3)
        assert first.welcome["boot_id"] == boot_id()
        assert told == ["load-2 (on b, 127.0.0.1)", "load-3 (on b, 127.0.0.1)"]
        assert remotes.facts()[0] == {
            "unit": "load-2",
            **FACTS,
            "own_redis_url": False,
            "address": "127.0.0.1",
        }
        with pytest.raises(Refused, match="the run has all 2 workers that it expects"):
            await knock(remotes)


async def test_strangers_join_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as remotes:
        with pytest.raises(Refused, match="the token is not this run's"):
            await knock(remotes, token="another token, as long")
        reader, writer = await asyncio.open_connection(*parse_address(remotes.address))
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.read()
        writer.close()
        assert remotes.joined == []
        await knock(remotes)
        assert len(remotes.joined) == 1


async def test_a_crowd_at_the_door_is_turned_away_and_the_door_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STRANGERS", 3)
    async with opened(tmp_path) as remotes:
        crowd = [await asyncio.open_connection(*parse_address(remotes.address)) for _ in range(3)]
        for reader, _ in crowd:
            await reader.readline()
        reader, writer = await asyncio.open_connection(*parse_address(remotes.address))
        assert await reader.read() == b"", "hung up at once"
        writer.close()
        for _, silent in crowd:
            silent.close()
        await until(lambda: remotes._at_the_door == 0)
        await knock(remotes)


async def test_who_says_nothing_is_not_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GREET_S", 0.05)
    async with opened(tmp_path) as remotes:
        reader, writer = await asyncio.open_connection(*parse_address(remotes.address))
        async with asyncio.timeout(20):
            await reader.read()
        writer.close()


async def test_workers_that_do_not_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JOIN_WITHIN_S", 0.05)
    async with opened(tmp_path, expect=2) as remotes:
        worker = await knock(remotes)
        with pytest.raises(EnvironmentFailure, match="1 of 2 workers have joined") as caught:
            await remotes.gathered(lambda _: None)
        assert remotes.command() in str(caught.value)
        worker.leave()


async def test_a_worker_that_leaves_before_the_run_begins(tmp_path: Path) -> None:
    async with opened(tmp_path, expect=2) as remotes:
        (await knock(remotes)).leave()
        with pytest.raises(EnvironmentFailure, match=r"load-2 \(on b, 127\.0\.0\.1\) has left before the run began"):
            await remotes.gathered(lambda _: None)


# Working


async def test_a_worker_is_told_all_and_compares_its_clock(tmp_path: Path) -> None:
    async with opened(tmp_path) as remotes:
        worker = await knock(remotes)
        setting_up = asyncio.create_task(remotes.configure(remotes.joined[0], {"seed": 1}, 3))
        assert await worker.heard() == {"op": "config", "config": {"seed": 1}, "workers": 3}
        worker.say(ev="time")
        time = await worker.heard()
        assert time is not None
        assert time["t1"] <= time["t2"]
        worker.say(ev="set-up", clock_ahead_ns=5, clock_bound_ns=2)
        async with asyncio.timeout(20):
            await setting_up
        assert (remotes.facts()[0]["clock_ahead_ns"], remotes.facts()[0]["clock_bound_ns"]) == (5, 2)


async def test_a_worker_that_is_not_set_up_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONFIGURE_S", 0.05)
    async with opened(tmp_path) as remotes:
        worker = await knock(remotes)
        with pytest.raises(EnvironmentFailure, match="was not set up within"):
            await remotes.configure(remotes.joined[0], {}, 1)
        worker.leave()


async def test_news_and_the_end_are_passed_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as remotes:
        worker = await knock(remotes)
        news: list[Message] = []
        ends: list[bool] = []
        remotes.joined[0].hear, remotes.joined[0].hung_up = news.append, lambda: ends.append(True)
        worker.say(ev="hello", role="worker", index=2)
        await until(lambda: news)
        assert news == [{"ev": "hello", "role": "worker", "index": 2}]
        worker.writer.write(b"no message\n")
        await until(lambda: ends)
        assert remotes.joined[0].ended


async def test_locusts_own_connection_leads_to_its_master(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readexactly(4)).upper())
        await writer.drain()
        writer.close()

    async with opened(tmp_path) as remotes:
        with pytest.raises(Refused, match="Locust's master is not up"):
            await knock(remotes, "rpc", index=2)
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as master:
            remotes.lead_to(master.sockets[0].getsockname())
            worker = await knock(remotes, "rpc", index=2)
            worker.writer.write(b"ping")
            assert await worker.incoming._reader.readexactly(4) == b"PING"
            worker.leave()


# What they can reach, and hold


HERE = {"boot_id": boot_id(), "net": net_namespace()}


@pytest.mark.parametrize(
    ("facts", "urls", "host"),
    [
        ({"boot_id": "x", "net": HERE["net"]}, ["ws://10.0.0.1/", "redis://:p@[2001:db8::1]:1/0"], None),
        ({"boot_id": "x", "net": HERE["net"]}, ["ws://10.0.0.1/", "ws://127.0.0.1:5/ws"], "127.0.0.1"),
        ({"boot_id": HERE["boot_id"], "net": "net:[1]"}, ["ws://[::1]:5/ws"], "::1"),
        ({"boot_id": "x", "net": "y"}, ["ws://node-1:8765/ws"], "node-1"),
        ({"boot_id": "x", "net": "y"}, ["unix:///tmp/redis"], ""),
        (HERE, ["ws://127.0.0.1:5/ws", "redis://127.0.0.1"], None),
    ],
)
def test_what_another_host_cannot_mean_the_same_by(facts: dict[str, Any], urls: list[str], host: str | None) -> None:
    assert unreachable(Remote(2, facts, None), urls) == host  # type: ignore[arg-type]


async def test_a_worker_must_have_room_and_reach_the_system(tmp_path: Path) -> None:
    async with opened(tmp_path) as remotes:
        await knock(remotes)
        remotes.check_means(100, ["ws://10.0.0.1/ws"], "redis://10.0.0.1")
        with pytest.raises(EnvironmentFailure, match=r"101 clients per load worker are more than load-2 .* 100") as few:
            remotes.check_means(101, ["ws://10.0.0.1/ws"], "redis://10.0.0.1")
        assert "ulimit -n" in str(few.value)
        with pytest.raises(EnvironmentFailure, match=r"load-2 \(on b, .*\) cannot reach 127\.0\.0\.1") as near:
            remotes.check_means(1, ["ws://10.0.0.1/ws"], "redis://:secret@127.0.0.1")
        assert "secret" not in str(near.value)
        remotes.joined[0].facts["own_redis_url"] = True
        remotes.check_means(1, ["ws://10.0.0.1/ws"], "redis://127.0.0.1")


# Coming home


async def set_up(remotes: Remotes) -> Worker:
    """A worker that has been given all that it needs."""
    worker = await knock(remotes)
    worker.say(ev="set-up", clock_ahead_ns=0, clock_bound_ns=0)
    await until(lambda: remotes.joined[-1].set_up)
    return worker


async def deliver(remotes: Remotes, folder: Path, name: str, data: bytes = b"x" * 1000) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    worker = await knock(remotes, "file", index=2)
    try:
        await send_file(folder / name, worker.incoming, worker.writer)
    finally:
        worker.leave()


async def test_journals_and_the_log_come_to_their_places_and_nothing_else_does(tmp_path: Path) -> None:
    async with opened(tmp_path) as remotes:
        with pytest.raises(Refused, match="no such worker"):
            await knock(remotes, "file", index=2)
        await knock(remotes)
        for name in ("clients-2.stripe", "publishers-2.stripe", "load-2.log"):
            await deliver(remotes, tmp_path / "there", name)
        for name in ("clients-1.stripe", "clients-3.stripe", "witness.stripe", "load-1.log", "manifest.json"):
            with pytest.raises(NotStored, match="no journal of this worker's"):
                await deliver(remotes, tmp_path / "there", name)
    run = tmp_path / "run"
    assert {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()} == {
        "journal/clients-2.stripe",
        "journal/publishers-2.stripe",
        "nodes/load-2.log",
    }


@pytest.mark.parametrize("name", ["../clients-2.stripe", "/etc/clients-2.stripe", "journal/clients-2.stripe", ""])
async def test_no_name_leads_out_of_the_run_directory(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path) as remotes:
        await knock(remotes)
        worker = await knock(remotes, "file", index=2)
        worker.say(ev="file", name=name, bytes=1)
        told = await worker.heard()
        assert told is not None
        assert told["op"] == "refused"


async def test_a_worker_that_was_never_set_up_has_nothing_to_bring(tmp_path: Path) -> None:
    async with opened(tmp_path) as remotes:
        worker = await knock(remotes)
        async with asyncio.timeout(5):
            await remotes.bring_home()
        worker.leave()


async def test_home_is_waited_for_and_what_was_kept_is_told(tmp_path: Path) -> None:
    async with opened(tmp_path) as remotes:
        worker = await set_up(remotes)
        coming = asyncio.create_task(remotes.bring_home())
        await deliver(remotes, tmp_path / "there", "clients-2.stripe")
        assert not coming.done()
        worker.say(ev="home", kept={"publishers-2.stripe": "arrived damaged"})
        async with asyncio.timeout(20):
            await coming
        with pytest.raises(
            MeasurementError, match=r"keeps what did not come home \(publishers-2.stripe: arrived damaged"
        ):
            remotes.check_home()


async def test_all_home_is_no_problem(tmp_path: Path) -> None:
    async with opened(tmp_path) as remotes:
        worker = await set_up(remotes)
        worker.say(ev="home", kept={})
        async with asyncio.timeout(20):
            await remotes.bring_home()
        remotes.check_home()


async def test_a_worker_whose_connection_is_lost_may_bring_what_it_has_over_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOST_S", 20.0)
    async with opened(tmp_path) as remotes:
        worker = await knock(remotes)
        worker.leave()
        await until(lambda: remotes.joined[0].ended)
        coming = asyncio.create_task(remotes.bring_home())
        await deliver(remotes, tmp_path / "there", "clients-2.stripe")
        assert not coming.done()
        await deliver(remotes, tmp_path / "there", "load-2.log")
        async with asyncio.timeout(10):
            await coming
        with pytest.raises(MeasurementError, match="did not come home: its connection ended first"):
            remotes.check_home()


async def test_a_worker_that_is_gone_for_good_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOST_S", 0.05)
    async with opened(tmp_path) as remotes:
        (await knock(remotes)).leave()
        await until(lambda: remotes.joined[0].ended)
        async with asyncio.timeout(20):
            await remotes.bring_home()


async def test_a_worker_that_locust_has_not_reached_is_told_to_end_and_then_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "END_S", 0.1)
    monkeypatch.setattr(module, "QUIET_S", 0.1)
    async with opened(tmp_path) as remotes:
        worker = await set_up(remotes)
        async with asyncio.timeout(20):
            await remotes.bring_home()
        assert await worker.heard() == {"op": "quit"}
        assert remotes.problems()


async def test_it_can_be_closed_twice_and_before_it_is_open(tmp_path: Path) -> None:
    await Remotes(Invitation(1), RunDir(tmp_path), 1).close()
    async with opened(tmp_path) as remotes:
        worker = await knock(remotes)
        await remotes.close()
        await remotes.close()
        assert await worker.heard() is None
