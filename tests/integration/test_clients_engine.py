"""The clients engine against a small server that can misbehave."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve

from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.ledger.records import DELIVERY_DTYPE, Token, encode_token
from fanlab.ledger.stripe import Kind, StripeReader, StripeWriter, json_lines
from fanlab.load.clients import ClientsEngine
from fanlab.load.config import Backoff, ClientsConfig, LoadConfig, NodeTarget, PublishersConfig
from fanlab.load.payload import Payload
from fanlab.scenario.model import ConstantRate

PAYLOAD = Payload("p-1", 128, None)

Handler = Callable[[ServerConnection], Awaitable[None]]


def token(seq: int, *, run: int = 77, stream: int = 0) -> bytes:
    return encode_token(Token(run, stream, seq, 1000 + seq, 5))


async def accept(connection: ServerConnection) -> None:
    """Subscribe the client as it asks."""
    await connection.recv()
    await connection.send('{"type":"subscribed","channel":"fl1-news"}')  # a name that looks like a token


@asynccontextmanager
async def running(
    handler: Handler, path: Path, *, clients: int = 1, url: str | None = None, **group: Any
) -> AsyncIterator[ClientsEngine]:
    """An engine with its clients begun, against `handler`; flushed and finished at the end."""
    async with serve(handler, "127.0.0.1", 0, ping_interval=None, compression=None, close_timeout=0.2) as server:
        port = server.sockets[0].getsockname()[1]
        fields: dict[str, Any] = {
            "backoff": Backoff(50 * NS_PER_MS, 1.0, NS_PER_S, 0.0),
            "ping_interval_ns": 20 * NS_PER_S,
            "ping_timeout_ns": 20 * NS_PER_S,
            **group,
        }
        config = LoadConfig(
            seed=1,
            run_tag=77,
            redis_url="redis://127.0.0.1:1/0",
            journal=str(path.parent),
            stats="",
            nodes=(NodeTarget(url or f"ws://127.0.0.1:{port}/ws", "json"),),
            channels=("fl1-news",),
            clients=(ClientsConfig("g", clients, 0, 100.0, ("fl1-news",), (0,), "sticky", join_ns=None, **fields),),
            publishers=(PublishersConfig("p", 1, 0, "fl1-news", ConstantRate(rate="1/s"), 128, NS_PER_S),),
        )
        with StripeWriter(path, {"role": "clients"}) as stripe:
            engine = ClientsEngine(config, stripe, asyncio.get_running_loop())
            for client in range(clients):
                engine.command({"op": "connect", "client": client})
            yield engine
            await engine.finish()


async def until(condition: Callable[[], bool], deadline_s: float = 10) -> None:
    async with asyncio.timeout(deadline_s):
        await _poll(condition)


async def _poll(condition: Callable[[], bool]) -> None:
    while True:
        if condition():
            return
        await asyncio.sleep(0.01)


def history(path: Path) -> list[dict[str, Any]]:
    return [event for frame in StripeReader(path) if frame.kind is Kind.EVENTS for event in json_lines(frame)]


def seqs(path: Path) -> list[int]:
    frames = [np.frombuffer(f.payload, DELIVERY_DTYPE) for f in StripeReader(path) if f.kind is Kind.DELIVERIES]
    return [int(seq) for frame in frames for seq in frame["seq"]]


async def test_messages_are_read_from_any_frame(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def handler(connection: ServerConnection) -> None:
        await accept(connection)
        await connection.send((token(1) + b"taken apart").decode())
        await connection.send(token(2))  # a binary frame
        await connection.send(b'42["event","' + token(3) + b'"]')
        await connection.send([token(4)[:20], token(4)[20:], b"filler"])  # one message in three frames
        await connection.send(token(5) + b"," + token(6))  # two messages in one frame
        await connection.send(token(1, run=78))
        await connection.send(token(7)[:-1] + b"?")
        await connection.send(token(8, stream=9))
        await connection.send('{"type":"notice"}')
        await connection.send('{"type":"notice","of":"' + token(9).decode().replace("fl1", "xl1") + '"}')
        await connection.send("x" + (token(10) + PAYLOAD.around(10)[1])[1:].decode())
        await connection.send((token(11) + PAYLOAD.around(11)[1]).decode())
        await connection.send((token(12) + PAYLOAD.around(12)[1])[:-1].decode() + "!")
        await connection.wait_closed()

    async with running(handler, path) as engine:

        def all_there() -> bool:
            engine.flush()
            return engine.buffer.count == 8

        await until(all_there)
        assert engine.counts()["connected"] == 1
        assert (engine.foreign, engine.damaged) == (1, 3)
        assert engine.missed == 1
    assert seqs(path) == [1, 2, 3, 4, 5, 6, 11, 12]
    damaged = [event for event in history(path) if event["ev"] == "damaged"]
    assert [event.get("bytes", "")[:94] for event in damaged] == [
        (token(7)[:-1] + b"?").hex(),
        token(8, stream=9).hex(),
        (b"x" + token(10)[1:]).hex(),
        "",
    ]
    assert {name: damaged[3][name] for name in ("client", "node", "stream", "seq")} == {
        "client": 0,
        "node": 0,
        "stream": 0,
        "seq": 12,
    }
    assert [event["ev"] for event in history(path) if event["ev"] != "damaged"] == [
        "connecting",
        "open",
        "subscribing",
        "subscribed",
        "left",
        "closed",
    ]
    assert history(path)[-1] | {"t": 0} == {
        "t": 0,
        "ev": "closed",
        "client": 0,
        "node": 0,
        "code": 1000,
        "reason": "",
        "own": True,
    }


async def test_a_node_that_hears_and_says_nothing_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def handler(connection: ServerConnection) -> None:
        await accept(connection)
        connection.transport.pause_reading()  # from here on it is a black hole
        await connection.wait_closed()

    async with running(handler, path, ping_interval_ns=100 * NS_PER_MS, ping_timeout_ns=100 * NS_PER_MS) as engine:
        await until(lambda: engine.counts()["connected"] == 1)
        await until(lambda: engine.counts()["reconnecting"] == 1)
        await until(lambda: engine.counts()["connected"] == 1)
    lost = [event for event in history(path) if event["ev"] == "closed" and not event["own"]]
    assert lost
    assert lost[0]["code"] == 1006
    assert lost[0]["reason"] == "no answer to a ping within 0.1 s"


async def test_a_quiet_node_that_answers_pings_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def handler(connection: ServerConnection) -> None:
        await accept(connection)
        async for _ in connection:
            pass

    async with running(handler, path, ping_interval_ns=50 * NS_PER_MS, ping_timeout_ns=50 * NS_PER_MS) as engine:
        await until(lambda: engine.counts()["connected"] == 1)
        await asyncio.sleep(0.5)
    assert [event["ev"] for event in history(path)].count("connecting") == 1


@pytest.mark.parametrize(("code", "reason"), [(1001, "going away"), (1013, ""), (4001, "ours")])
async def test_a_close_by_the_node_is_told_with_its_code(tmp_path: Path, code: int, reason: str) -> None:
    path = tmp_path / "s"
    calls = 0

    async def handler(connection: ServerConnection) -> None:
        nonlocal calls
        calls += 1
        await accept(connection)
        if calls == 1:
            await connection.close(code, reason)
        await connection.wait_closed()

    async with running(handler, path) as engine:
        await until(lambda: calls == 2 and engine.counts()["connected"] == 1)
    closed = [event for event in history(path) if event["ev"] == "closed"]
    assert [(event["code"], event["reason"], event["own"]) for event in closed] == [
        (code, reason, False),
        (1000, "", True),
    ]


async def test_refusals_are_retried_and_told(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with running(accept, path, url="ws://127.0.0.1:1/ws") as engine:  # nobody may listen on port 1
        await until(lambda: engine.counts()["reconnecting"] == 1)
        await until(lambda: len(engine._events) >= 4)
    names = [event["ev"] for event in history(path)]
    assert names[:4] == ["connecting", "failed", "connecting", "failed"]
    failed = [event for event in history(path) if event["ev"] == "failed"]
    assert all(event["error"].startswith("ConnectionRefusedError") for event in failed)


async def test_a_handshake_that_is_no_websocket_is_a_refusal(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def not_a_websocket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    other = await asyncio.start_server(not_a_websocket, "127.0.0.1", 0)
    async with other:
        port = other.sockets[0].getsockname()[1]
        async with running(accept, path, url=f"ws://127.0.0.1:{port}/ws") as engine:
            await until(lambda: len(engine._events) >= 2)
    assert [event["ev"] for event in history(path)][:2] == ["connecting", "failed"]
    assert "503" in history(path)[1]["error"]


async def test_more_clients_than_files_is_an_error_that_helps(tmp_path: Path) -> None:
    async with running(accept, tmp_path / "s") as engine:
        engine.allowed = 1
        with pytest.raises(OSError, match="--workers"):
            engine.command({"op": "connect", "client": 0})
