"""Who may join a run: both ends prove that they know the token, and nothing that was heard is of use to anybody."""

import asyncio
import json
from collections.abc import Awaitable
from typing import Any

import pytest

from fanlab import __version__
from fanlab.load.joining import (
    STRANGER_BYTES,
    Incoming,
    Kind,
    Knock,
    Refused,
    admit,
    join,
    keep_alive,
    make_token,
    splice,
)
from fanlab.load.wire import Message, encode
from support.streams import Streams, connected

TOKEN = "a token of some length"


async def welcoming(streams: Streams, token: str = TOKEN) -> Knock:
    """The run's side, which lets in who proves itself."""
    reader, writer = streams
    knock = await admit(Incoming(reader), writer, token)
    writer.write(encode({"op": "welcome", "proof": knock.proof, "index": 2}))
    return knock


async def knocking(streams: Streams, token: str = TOKEN, kind: Kind = "worker") -> Message:
    reader, writer = streams
    return await join(Incoming(reader), writer, token, kind, {"host": "b"})


async def both(server: Awaitable[Any], client: Awaitable[Any]) -> tuple[Any, Any]:
    """What each came to, an error included."""
    async with asyncio.timeout(20):
        found = await asyncio.gather(server, client, return_exceptions=True)
    return found[0], found[1]


@pytest.mark.parametrize("kind", ["worker", "rpc", "file"])
async def test_who_knows_the_token_is_let_in(kind: Kind) -> None:
    async with connected() as (served, client):
        knock, welcome = await both(welcoming(served), knocking(client, kind=kind))
    assert (knock.kind, knock.said["host"]) == (kind, "b")
    assert welcome["index"] == 2


async def test_who_does_not_is_told_so() -> None:
    async with connected() as (served, client):
        run, worker = await both(welcoming(served), knocking(client, "another token, as long"))
    assert isinstance(run, Refused)
    assert str(worker) == "the run refuses this worker: the token is not this run's"


async def test_a_worker_takes_no_orders_from_who_does_not_know_the_token() -> None:
    async def impostor(streams: Streams) -> None:
        _, writer = streams
        writer.write(encode({"op": "hello", "fanlab": __version__, "nonce": "0" * 32}))
        writer.write(encode({"op": "welcome", "proof": "0" * 64, "index": 2}))

    async with connected() as (served, client):
        _, worker = await both(impostor(served), knocking(client))
    assert "does not know the token" in str(worker)


class Wiretap:
    """Hears all that a joiner says."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.heard = b""
        self._write = writer.write
        writer.write = self  # type: ignore[method-assign,assignment]

    def __call__(self, data: bytes) -> None:
        self.heard += data
        self._write(data)


async def test_the_token_never_crosses_the_network_and_a_proof_is_of_no_use_twice() -> None:
    async with connected() as (served, client):
        run, worker = Wiretap(served[1]), Wiretap(client[1])
        await both(welcoming(served), knocking(client))
    assert TOKEN.encode() not in run.heard + worker.heard

    async def replaying(streams: Streams) -> Message | None:
        streams[1].write(worker.heard)
        incoming = Incoming(streams[0])
        await incoming.next()
        return await incoming.next()

    async with connected() as (served, client):
        refused, told = await both(welcoming(served), replaying(client))
    assert isinstance(refused, Refused)
    assert told == {"op": "refused", "why": "the token is not this run's"}


async def test_another_version_is_refused_by_the_worker_with_both() -> None:
    async def old(streams: Streams) -> None:
        streams[1].write(encode({"op": "hello", "fanlab": "0.0.7", "nonce": "0" * 32}))

    async with connected() as (served, client):
        _, worker = await both(old(served), knocking(client))
    assert "the run is fanlab 0.0.7" in str(worker)
    assert f"the worker fanlab {__version__}" in str(worker)


async def test_another_version_is_refused_by_the_run_with_both() -> None:
    async def newer(streams: Streams) -> Message:
        reader, writer = streams
        plain = writer.write

        def write(data: bytes) -> None:
            plain(data.replace(f'"fanlab":"{__version__}"'.encode(), b'"fanlab":"9.9"'))

        writer.write = write  # type: ignore[method-assign,assignment]
        return await join(Incoming(reader), writer, TOKEN, "worker")

    async with connected() as (served, client):
        run, worker = await both(welcoming(served), newer(client))
    for said in (str(run), str(worker)):
        assert f"the run is fanlab {__version__}, the worker fanlab 9.9" in said


KNOCK = {"ev": "knock", "fanlab": __version__, "kind": "worker", "nonce": "0" * 32, "proof": "0" * 64}


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"[]\n",
        b"{}\n",
        b"\xff\xfe\n",
        b"x" * (STRANGER_BYTES + 70_000),
        b"",
        *(json.dumps({**KNOCK, **wrong}).encode() + b"\n" for wrong in (
            {"kind": "root"}, {"nonce": 5}, {"nonce": "x"}, {"proof": None}, {"proof": "ü"}, {}, {"kind": ["worker"]},
        )),
    ],
)  # fmt: skip
async def test_strangers_are_refused_whatever_they_say(said: bytes) -> None:
    async def saying(streams: Streams) -> None:
        streams[1].write(said)
        streams[1].write_eof()
        await streams[0].read()

    async def refusing(streams: Streams) -> None:
        try:
            await welcoming(streams)
        finally:
            streams[1].close()

    async with connected() as (served, client):
        run, _ = await both(refusing(served), saying(client))
    assert isinstance(run, Refused)


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9\r\n", b"{}\n", b'{"op":"hello","nonce":"x"}\n'])
async def test_what_is_no_run_is_told(said: bytes) -> None:
    async def saying(streams: Streams) -> None:
        streams[1].write(said)
        streams[1].write_eof()

    async with connected() as (served, client):
        _, worker = await both(saying(served), knocking(client))
    assert "no run of fanlab" in str(worker)


async def test_who_hangs_up_at_once_may_be_a_tunnel_to_a_run_that_is_not_up_yet() -> None:
    async with connected() as (served, client):
        served[1].close()
        with pytest.raises(ConnectionResetError):
            await knocking(client)


async def test_messages_come_whole_however_they_were_cut() -> None:
    lines = b"".join(encode({"n": n, "text": "x" * n}) for n in range(200))
    async with connected() as (served, client):
        for start in range(0, len(lines), 97):
            client[1].write(lines[start : start + 97])
        client[1].write(b'{"n": half a line')
        client[1].write_eof()
        incoming = Incoming(served[0])
        got = [await incoming.next() for _ in range(200)]
        assert [message and message["n"] for message in got] == list(range(200))
        assert await incoming.next() is None


async def test_a_member_may_say_more_than_a_stranger() -> None:
    line = encode({"text": "x" * (4 * STRANGER_BYTES)})
    async with connected() as (served, client):
        client[1].write(line[:-1])
        with pytest.raises(ValueError, match="a line of more than"):
            await Incoming(served[0]).next()
    async with connected() as (served, client):
        client[1].write(line)
        incoming = Incoming(served[0], most_bytes=len(line))
        assert await incoming.next() == json.loads(line)


async def test_bytes_are_carried_both_ways_until_one_end_is_closed() -> None:
    async with connected() as (near, here), connected() as (there, far):
        carrying = asyncio.create_task(splice(near, there))
        here[1].write(b"ping")
        assert await far[0].readexactly(4) == b"ping"
        far[1].write(b"pong" * 50_000)
        assert await here[0].readexactly(200_000) == b"pong" * 50_000
        here[1].close()
        async with asyncio.timeout(20):
            await carrying
            assert await far[0].read() == b""


async def test_what_comes_with_the_welcome_is_carried_too() -> None:
    greeting = bytes(range(256))  # Locust's master speaks first, and not in lines
    async with connected() as (run, worker), connected() as (locust, carried):
        knocking_in = asyncio.create_task(admit(Incoming(run[0]), run[1], TOKEN))
        incoming = Incoming(worker[0])
        joining = asyncio.create_task(join(incoming, worker[1], TOKEN, "rpc"))
        knock = await knocking_in
        run[1].write(encode({"op": "welcome", "proof": knock.proof}) + greeting)
        await joining
        carrying = asyncio.create_task(splice(locust, worker, said_by_other=incoming.rest()))
        assert incoming.rest() == b""
        async with asyncio.timeout(20):
            assert await carried[0].readexactly(256) == greeting
            run[1].write(b"more")
            assert await carried[0].readexactly(4) == b"more"
            run[1].close()
            await carrying


async def test_the_kernel_watches_over_a_connection() -> None:
    async with connected() as (served, _):
        keep_alive(served[1])  # on any system, without an error


def test_tokens_are_long_and_never_the_same() -> None:
    tokens = {make_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == 32 for token in tokens)
