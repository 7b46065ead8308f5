"""Probes in a real engine's loop, against a small server: what they measure, and that they change nothing."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from fanlab.clock import NS_PER_MS, NS_PER_S, now_ns
from fanlab.ledger.events import ClientEvent
from fanlab.ledger.records import Token, encode_token
from fanlab.ledger.stripe import StripeWriter
from fanlab.load import probe
from fanlab.load.clients import ClientsEngine
from fanlab.load.config import Backoff, ClientsConfig, LoadConfig, NodeTarget, PublishersConfig
from fanlab.load.probe import PER_SLICE, SLICE_NS, spread, turn_of
from fanlab.scenario.model import ConstantRate

pytestmark = pytest.mark.skipif("sys.platform != 'linux'", reason="other kernels stamp otherwise")
Handler = Callable[[ServerConnection], Awaitable[None]]


def group(**fields: object) -> ClientsConfig:
    usual: dict[str, object] = {
        "name": "g",
        "count": 2,
        "first_client": 0,
        "spawn_rate_per_s": 100.0,
        "channels": ("news",),
        "nodes": (0,),
        "failover": "sticky",
        "backoff": Backoff(50 * NS_PER_MS, 1.0, NS_PER_S, 0.0),
        "ping_interval_ns": 20 * NS_PER_S,
        "ping_timeout_ns": 20 * NS_PER_S,
        "join_ns": None,
    }
    return ClientsConfig(**{**usual, **fields})  # type: ignore[arg-type]


class Server:
    """Subscribes whoever asks, and sends to all."""

    def __init__(self) -> None:
        self.connections: list[ServerConnection] = []
        self.subscribed: list[str] = []
        self.seq = 0

    async def handle(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        try:
            self.subscribed.append(str(await connection.recv()))
            await connection.send('{"type":"subscribed","channel":"news"}')
            await connection.wait_closed()
        finally:
            self.connections.remove(connection)

    async def send(self, count: int = 1) -> None:
        for _ in range(count):
            self.seq += 1
            payload = encode_token(Token(7, 0, self.seq, now_ns(), 0))
            for connection in self.connections:
                await connection.send(payload)


@asynccontextmanager
async def running(path: Path, *, probes: int = 2, **fields: object) -> AsyncIterator[tuple[Server, ClientsEngine]]:
    """A server, and an engine with its clients; the engine's ticks are the test's own to make."""
    server = Server()
    async with serve(server.handle, "127.0.0.1", 0, ping_interval=None, compression=None, close_timeout=0.2) as serving:
        config = LoadConfig(
            seed=1,
            run_tag=7,
            redis_url="redis://127.0.0.1:1/0",
            journal=str(path),
            stats="",
            nodes=(NodeTarget(f"ws://127.0.0.1:{serving.sockets[0].getsockname()[1]}/ws", "json"),),
            channels=("news",),
            clients=(group(**fields),),
            publishers=(PublishersConfig("p", 1, 0, "news", ConstantRate(rate="1/s"), 128, NS_PER_S),),
            probes=probes,
        )
        with StripeWriter(path / "s", {"role": "clients"}) as stripe:
            engine = ClientsEngine(config, stripe, asyncio.get_running_loop())
            for client in range(2):
                engine.command({"op": "connect", "client": client})
            yield server, engine
            await engine.finish()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def ready(engine: ClientsEngine, probes: int = 2) -> Callable[[], bool]:
    """All are connected; `counts` is what makes probes come and go."""
    return lambda: engine.counts()["connected"] == 2 and engine.probes.open == probes


async def stamping(server: Server, engine: ClientsEngine) -> None:
    """The kernel turns stamping on some time after the first socket has asked for it."""
    async with asyncio.timeout(20):
        while engine.probes.event(now_ns()) is None:
            await server.send()
            await asyncio.sleep(0.01)


async def sent_and_measured(server: Server, engine: ClientsEngine, count: int) -> ClientEvent:
    await server.send(count)
    await until(lambda: len(engine.probes._delays_ns) >= 2 * count)
    event = engine.probes.event(now_ns())
    assert event is not None
    return event


async def test_probes_measure_and_stand_in_no_ledger(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, engine):
        await until(ready(engine))
        await stamping(server, engine)
        engine.buffer.flush()
        had = engine.buffer.count
        event = await sent_and_measured(server, engine, 20)
        engine.buffer.flush()
        assert engine.buffer.count - had == 40, "two clients; two probes are none"
        assert len(event["delays_us"]) == 40
        assert all(0 <= delay < 20 * 10**6 for delay in event["delays_us"])
        assert event["late_us"] == event["delays_us"], "in a loop without stamps, clients are as late as the loop"
        assert engine.counts()["clients"] == 2
        assert len(set(server.subscribed)) == 1, "probes ask as clients do"
        assert not any("Fanlab-Client" in connection.request.headers for connection in server.connections[-2:])


async def test_a_stalled_loop_is_seen_with_every_message_that_waited(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, engine):
        await until(ready(engine))
        await stamping(server, engine)
        sockets = [connection.transport.get_extra_info("socket") for connection in server.connections]
        for _ in range(10):
            engine.clock.tick()
            await asyncio.sleep(0.01)
        for k in range(20):  # the loop stands still while messages come, written past it straight to the sockets
            payload = encode_token(Token(7, 0, 1000 + k, now_ns(), 0))
            for sock in sockets:
                os.write(sock.fileno(), bytes((0x82, len(payload))) + payload)
            time.sleep(0.01)  # noqa: ASYNC251 - a stall is what is tested
        await until(lambda: len(engine.probes._delays_ns) >= 40)
        event = engine.probes.event(now_ns())
        assert event is not None
        delays_ms = sorted(delay / 1000 for delay in event["delays_us"])
        assert len(delays_ms) == 40
        assert delays_ms[-1] >= 190, "the first message waited for the whole stall"
        # Half of them waited for half of it, though many share a stamp with a later message.
        assert sum(delay >= 90 for delay in delays_ms) >= 20


async def test_probes_leave_with_the_clients_and_come_back_with_them(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, engine):
        await until(ready(engine))
        for connection in list(server.connections):
            connection.transport.abort()
        await until(lambda: engine.probes.open == 0)
        await until(ready(engine))  # RETRY_S later
        for client in range(2):
            engine.command({"op": "leave", "client": client})
        await until(lambda: engine.counts()["connected"] == 0 and engine.probes.open == 0)
        await until(lambda: not server.connections)


async def test_a_flood_is_sampled(tmp_path: Path) -> None:
    async with running(tmp_path, probes=1) as (server, engine):
        await until(ready(engine, 1))
        await stamping(server, engine)
        began_ns = now_ns()
        await server.send(1000)
        await server.send(1)
        engine_had = engine.buffer.count
        await until(lambda: (engine.buffer.flush() or engine.buffer.count) >= engine_had + 2)
        await asyncio.sleep(0.2)
        event = engine.probes.event(now_ns())
        assert event is not None
        slices = (now_ns() - began_ns) // SLICE_NS + 2
        assert PER_SLICE // 2 <= len(event["delays_us"]) <= PER_SLICE * slices


async def test_where_there_is_plenty_probes_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PLENTY", 5)  # of twenty, that many come in one slice, whenever it ends
    async with running(tmp_path) as (server, engine):
        await until(ready(engine))
        await stamping(server, engine)
        one, other = engine.probes._all

        async def stamped(sent: int) -> int:
            before = len(engine.probes._delays_ns)
            await server.send(sent)
            await asyncio.sleep(0.1)  # for those that should not stamp, too
            return len(engine.probes._delays_ns) - before

        assert await stamped(20) == 40
        one.turn(mine=True)
        other.turn(mine=False)
        assert await stamped(20) == 20
        one.turn(mine=False)
        assert await stamped(5) == 0, "both rest"
        other.turn(mine=True)
        assert await stamped(20) == 20, "and what came meanwhile was let go"
        one.turn(mine=True)
        assert [await stamped(1) for _ in range(2)] == [2, 2], "in two slices"
        one.turn(mine=False)
        other.turn(mine=False)
        assert await stamped(3) == 6, "where there is little, each stamps all"
        delays = engine.probes.event(now_ns())["delays_us"]  # type: ignore[index]
        assert all(0 <= delay < 20 * 10**6 for delay in delays)
        assert engine.probes.open == 2


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("every", [1, 2, 4, 5, 10, 20, 40])
def test_whatever_comes_regularly_comes_to_each_probe(count: int, every: int) -> None:
    """A burst every 400 ms met the same of four probes each time while they took turns in order."""
    turns = [turn_of(17_000_000_000 + number * every, count) for number in range(400)]
    assert min(turns.count(probe) for probe in range(count)) > 400 / count * 0.6
    assert set(turns) == set(range(count))


async def test_the_engines_ticks_make_the_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PLENTY", 2)
    async with running(tmp_path) as (server, engine):
        await until(ready(engine))
        await stamping(server, engine)
        stamps = [0, 0]
        until_ns = now_ns() + 6 * SLICE_NS
        sent = 0
        while now_ns() < until_ns or not all(stamps):
            await server.send()
            sent += 1
            engine.tick()
            await asyncio.sleep(0.005)
            stamps = [max(count, probe._taken) for count, probe in zip(stamps, engine.probes._all, strict=True)]
        assert 0 < len(engine.probes._delays_ns) < 2 * sent, "not all by both"
        assert all(stamps)


@pytest.mark.parametrize("fields", [{"join_ns": 5}, {"nodes": (0,), "probes": 0}])
async def test_without_a_group_at_the_start_or_unasked_there_are_none(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    async with running(tmp_path, **fields) as (server, engine):
        await until(lambda: engine.counts()["connected"] == 2)
        await asyncio.sleep(0.1)
        engine.counts()
        assert engine.probes.open == 0
        assert len(server.connections) == 2


def test_probes_are_spread_over_nodes_and_over_the_order_of_clients() -> None:
    assert spread(group(count=100, first_client=50, nodes=(3, 4, 5)), 4) == [(3, 62), (4, 87), (5, 112), (3, 137)]
    assert [node for node, _ in spread(group(nodes=tuple(range(8))), 4)] == [0, 2, 4, 6]
    assert spread(group(), 0) == []
