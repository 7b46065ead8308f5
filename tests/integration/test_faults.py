"""Each fault on a real node and a real Redis: it bites, it heals, and the probes see both."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage

from fanlab import clock
from fanlab.errors import EnvironmentFailure
from fanlab.faults.catalogue import FAULTS, PREPARED, prepare, refuse_impossible
from fanlab.faults.fault import Means
from fanlab.faults.inject import FaultJournal, inject_all
from fanlab.faults.timeline import PlannedFault
from fanlab.ledger.events import FaultStamp
from fanlab.rundir import RunDir
from fanlab.scenario.faults import Fault
from fanlab.scenario.plan import NodeSpec
from fanlab.topology.backend import REDIS, Need, NodeEndpoint, UnitState
from fanlab.topology.processes import ProcessBackend

pytestmark = pytest.mark.system

SHORTLY_NS = 20 * clock.NS_PER_MS
FOR_NS = 300 * clock.NS_PER_MS


class System:
    """One Redis, one reference node, one subscribed client."""

    def __init__(self, backend: ProcessBackend, node: NodeEndpoint, redis_url: str, rundir: RunDir) -> None:
        self.backend = backend
        self.node = node
        self.redis_url = redis_url
        self.rundir = rundir

    async def subscribed(self) -> ClientConnection:
        client = await connect(self.node.ws_url)
        await client.send('{"type":"subscribe","channels":["news"]}')
        assert "subscribed" in str(await asyncio.wait_for(client.recv(), 5))
        return client

    async def publish(self, message: str) -> int:
        async with Redis.from_url(self.redis_url) as redis:
            return int(await redis.publish("news", message))

    async def inject(self, kind: str, target: str, for_ns: int | None = FOR_NS, **settings: Any) -> list[str]:
        told: list[FaultStamp] = []
        journal = FaultJournal(self.rundir.faults, told.append)
        planned = PlannedFault(0, kind, target, SHORTLY_NS, for_ns, settings)
        means = Means(self.backend, self.redis_url, nodes={"node-1": self.node}, rundir=self.rundir, channels=["news"])
        failures = await inject_all([planned], clock.now_ns(), means, journal)
        journal.close()
        assert [failure.why for failure in failures] == []
        return [stamp["stamp"] for stamp in told]


ALL_FOUR = ["requested", "confirmed", "heal_requested", "heal_confirmed"]


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    rundir = RunDir(tmp_path / "run")
    rundir.create()
    backend = ProcessBackend(rundir)
    await backend.open()
    for what in PREPARED:
        if backend.refusal(what) is None:
            await backend.prepare("node-1", what)
    try:
        redis = await backend.start_redis({})
        node = await backend.start_node(NodeSpec(0, "node-1", "websockets", {}))
        yield System(backend, node, redis.url, rundir)
    finally:
        await backend.close()


@pytest.mark.parametrize(("kind", "code"), [("crash", 1006), ("stop", 1001)])
async def test_a_node_that_ends_cuts_its_clients_off_and_serves_again_when_healed(
    system: System, kind: str, code: int
) -> None:
    client = await system.subscribed()
    assert await system.inject(kind, "node-1") == ALL_FOUR
    with pytest.raises(ConnectionClosed):
        await client.recv()
    assert client.close_code == code
    again = await system.subscribed()
    assert await system.publish("back") == 1
    assert await asyncio.wait_for(again.recv(), 5) == "back"
    await again.close()


async def test_a_crash_without_an_end_leaves_the_node_dead(system: System) -> None:
    assert await system.inject("crash", "node-1", None) == ["requested", "confirmed"]
    assert not await system.backend.probe("node-1")


async def test_a_paused_node_hands_out_late_what_was_published_meanwhile(system: System) -> None:
    client = await system.subscribed()
    fault = asyncio.create_task(system.inject("pause", "node-1"))
    await asyncio.sleep((SHORTLY_NS + FOR_NS / 2) / clock.NS_PER_S)
    assert system.backend.state("node-1") is UnitState.PAUSED
    assert await system.publish("while it sleeps") == 1  # Redis counts a subscriber that cannot read
    assert await asyncio.wait_for(client.recv(), 5) == "while it sleeps"
    assert await fault == ALL_FOUR
    await client.close()


async def test_a_redis_restart_is_survived_by_the_node(system: System) -> None:
    client = await system.subscribed()
    assert await system.inject("redis-restart", REDIS) == ALL_FOUR
    async with asyncio.timeout(15):
        while await system.publish("after") == 0:
            await asyncio.sleep(0.05)
    assert await asyncio.wait_for(client.recv(), 5) == "after"
    await client.close()


async def test_killed_pubsub_connections_come_back_by_themselves(system: System) -> None:
    client = await system.subscribed()
    assert await system.inject("redis-kill-pubsub", REDIS, 0) == ALL_FOUR
    assert await system.publish("after") == 1
    assert await asyncio.wait_for(client.recv(), 5) == "after"
    await client.close()


async def test_cutting_off_nobody_is_no_fault_that_took_hold(tmp_path: Path) -> None:
    rundir = RunDir(tmp_path / "run")
    rundir.create()
    backend = ProcessBackend(rundir)
    await backend.open()
    try:
        redis = await backend.start_redis({})
        journal = FaultJournal(rundir.faults, lambda _: None)
        planned = PlannedFault(0, "redis-kill-pubsub", REDIS, 0, 0)
        (failure,) = await inject_all([planned], clock.now_ns(), Means(backend, redis.url), journal)
        journal.close()
    finally:
        await backend.close()
    assert "no subscriber" in failure.why


async def test_a_restarted_node_says_goodbye_and_serves_again(system: System) -> None:
    client = await system.subscribed()
    first = system.backend.pid("node-1")
    assert await system.inject("restart", "node-1") == ALL_FOUR
    with pytest.raises(ConnectionClosed):
        await client.recv()
    assert client.close_code == 1001
    assert system.backend.pid("node-1") not in {None, first}
    await (await system.subscribed()).close()


async def test_a_throttled_node_has_the_kernel_s_quota_and_loses_it_again(system: System) -> None:
    need(system, Need.CPU_LIMIT)
    fault = asyncio.create_task(system.inject("cpu-throttle", "node-1", cores=0.1))
    while await system.backend.cpu_limit("node-1") is None:
        await asyncio.sleep(0.005)
    assert await system.backend.cpu_limit("node-1") == 0.1
    assert await fault == ALL_FOUR
    assert await system.backend.cpu_limit("node-1") is None


async def test_a_node_that_needs_more_memory_than_it_may_have_is_killed_and_started_again(system: System) -> None:
    need(system, Need.MEMORY_LIMIT)
    first = system.backend.pid("node-1")
    clients = []
    fault = asyncio.create_task(system.inject("memory-limit", "node-1", 2 * clock.NS_PER_S, limit_bytes=1 << 20))
    async with asyncio.timeout(10):
        while system.backend.state("node-1") is not UnitState.GONE:
            try:
                clients.append(await system.subscribed())  # each costs the node some pages
            except (OSError, ConnectionClosed, InvalidMessage):
                await asyncio.sleep(0.01)
    assert await system.backend.exited("node-1") == -9
    assert await fault == ALL_FOUR
    assert system.backend.pid("node-1") not in {None, first}
    await (await system.subscribed()).close()
    for client in clients:
        await client.close()


async def test_a_frozen_redis_answers_nobody_and_then_everybody(system: System) -> None:
    fault = asyncio.create_task(system.inject("redis-pause", REDIS, 2 * clock.NS_PER_S))
    while system.backend.state(REDIS) is not UnitState.PAUSED:
        await asyncio.sleep(0.005)
    assert not await system.backend.probe(REDIS)
    assert await fault == ALL_FOUR
    assert await system.backend.probe(REDIS)


@pytest.mark.parametrize("mode", ["write", "all"])
async def test_paused_publishers_wait_and_their_messages_come_late(system: System, mode: str) -> None:
    client = await system.subscribed()
    fault = asyncio.create_task(system.inject("redis-client-pause", REDIS, 2 * clock.NS_PER_S, mode=mode))
    await asyncio.sleep((SHORTLY_NS + FOR_NS) / clock.NS_PER_S)
    publishing = asyncio.create_task(system.publish("late"))
    assert await system.backend.probe(REDIS) == (mode == "write")  # PING is answered meanwhile, or not even that
    assert not publishing.done()
    assert await publishing == 1
    assert await asyncio.wait_for(client.recv(), 5) == "late"
    assert await fault == ALL_FOUR
    await client.close()


async def test_a_small_output_buffer_cuts_off_who_does_not_read(system: System) -> None:
    async with Redis.from_url(system.redis_url, decode_responses=True) as redis:
        before = (await redis.config_get("client-output-buffer-limit"))["client-output-buffer-limit"]
        deaf_reader, deaf = await asyncio.open_connection(*system.redis_url[8:-2].split(":"), limit=1)
        deaf.write(b"SUBSCRIBE flood\r\n")
        assert b"subscribe" in await deaf_reader.read(20)
        fault = asyncio.create_task(system.inject("redis-output-buffer", REDIS, limit_bytes=100_000))
        async with asyncio.timeout(5):
            while "pubsub 100000 0 0" not in (await redis.config_get("client-output-buffer-limit")).popitem()[1]:
                await asyncio.sleep(0.005)
        async with asyncio.timeout(5):
            while await redis.publish("flood", "x" * 50_000):
                await asyncio.sleep(0)
        assert await fault == ALL_FOUR
        assert (await redis.config_get("client-output-buffer-limit"))["client-output-buffer-limit"] == before
        deaf.close()


async def test_a_full_redis_lets_nobody_in_and_keeps_whom_it_has(system: System) -> None:
    client = await system.subscribed()
    async with Redis.from_url(system.redis_url, single_connection_client=True) as inside:
        await inside.ping()
        fault = asyncio.create_task(system.inject("redis-maxclients", REDIS))
        with pytest.raises(RedisError, match="max number of clients"):
            await publish_until(fault, system)
        assert await inside.publish("news", "still here") == 1
        assert await fault == ALL_FOUR
    assert await system.publish("back") == 1
    while await asyncio.wait_for(client.recv(), 5) != "back":
        pass
    await client.close()


async def test_a_full_disk_refuses_pings_and_writes_and_lets_publishes_through(system: System) -> None:
    async with Redis.from_url(system.redis_url) as redis:
        fault = asyncio.create_task(system.inject("redis-disk-full", REDIS, 2 * clock.NS_PER_S))
        with pytest.raises(RedisError, match="No space left on device"):
            await ping_until(fault, redis)
        with pytest.raises(RedisError, match="No space left on device"):
            await redis.set("a", "b")
        assert await redis.publish("nobody", "hears it") == 0
        assert await fault == ALL_FOUR
        assert await redis.set("a", "b")
        assert await redis.config_get("appendonly") == {"appendonly": "no"}
        assert await redis.keys("fanlab*") == []
        folder = Path((await redis.config_get("dir"))["dir"])
    assert folder.is_dir()
    assert list(folder.glob("appendonly*")) == []


async def test_others_come_and_go_and_those_that_stay_notice_nothing(system: System) -> None:
    client = await system.subscribed()
    settings = {"rate_per_s": 100.0, "stay_ns": 50 * clock.NS_PER_MS}
    fault = asyncio.create_task(system.inject("subscriber-churn", "node-1", 2 * clock.NS_PER_S, **settings))
    sent = 0
    while not fault.done():
        sent += 1
        assert await system.publish(str(sent)) == 1
        assert await asyncio.wait_for(client.recv(), 5) == str(sent)
    assert await fault == ALL_FOUR
    last = json.loads((system.rundir.journal / "churn-0.jsonl").read_text().splitlines()[-1])
    assert last["subscribed"] > 20
    assert (last["failed"], last["skipped"], last["here"]) == (0, 0, 0)
    async with Redis.from_url(system.redis_url) as redis, asyncio.timeout(10):
        while await redis.pubsub_channels("churn-*"):
            await asyncio.sleep(0.02)
    await client.close()


@pytest.mark.parametrize("backwards", [False, True])
async def test_a_node_s_wall_clock_steps_and_its_clients_notice_nothing(system: System, backwards: bool) -> None:
    need(system, Need.WALL_CLOCK)
    client = await system.subscribed()
    fault = asyncio.create_task(
        system.inject("clock-step", "node-1", clock.NS_PER_S, step_ns=3600 * clock.NS_PER_S, backwards=backwards)
    )
    seen = set()
    while not fault.done():
        told_s = await system.backend.wall_clock_s("node-1")
        assert told_s is not None
        off_s = told_s - time.time()  # noqa: TID251 - a wall clock is what is stepped
        seen.add(round(off_s / 3600))
        assert await system.publish("tick") == 1
        assert await asyncio.wait_for(client.recv(), 5) == "tick"
    assert await fault == ALL_FOUR
    assert seen == {0, -1 if backwards else 1}
    await client.close()


async def test_a_run_that_is_given_up_heals_what_it_broke(system: System) -> None:
    async with Redis.from_url(system.redis_url) as redis:
        before = await redis.config_get("client-output-buffer-limit")
        told: list[FaultStamp] = []
        journal = FaultJournal(system.rundir.faults, told.append)
        timeline = [
            PlannedFault(0, "redis-output-buffer", REDIS, 0, 60 * clock.NS_PER_S, {"limit_bytes": 1000}),
            PlannedFault(1, "pause", "node-1", 0, 60 * clock.NS_PER_S),
            PlannedFault(2, "crash", "node-1", 3600 * clock.NS_PER_S, None),
        ]
        injecting = asyncio.create_task(
            inject_all(timeline, clock.now_ns(), Means(system.backend, system.redis_url), journal)
        )
        async with asyncio.timeout(10):
            while [stamp["stamp"] for stamp in told].count("confirmed") < 2:
                await asyncio.sleep(0.005)
        assert system.backend.state("node-1") is UnitState.PAUSED
        injecting.cancel()
        await asyncio.gather(injecting, return_exceptions=True)
        journal.close()
        assert system.backend.state("node-1") is UnitState.RUNNING
        assert await redis.config_get("client-output-buffer-limit") == before
    assert [stamp["stamp"] for stamp in told if stamp["id"] == 1] == ALL_FOUR
    assert not [stamp for stamp in told if stamp["id"] == 2]


async def test_what_an_adopted_redis_cannot_suffer_is_refused_before_anything_starts(tmp_path: Path) -> None:
    backend = ProcessBackend(RunDir(tmp_path / "run"), redis_url="redis://127.0.0.1:1/0")
    for kind in ("redis-restart", "redis-pause"):
        with pytest.raises(EnvironmentFailure, match="leave --redis-url out"):
            refuse_impossible([PlannedFault(0, kind, REDIS, 0, 1)], backend)
    refuse_impossible([PlannedFault(0, "redis-kill-pubsub", REDIS, 0, 0)], backend)


async def test_limits_are_prepared_for_whom_the_timeline_limits_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Need]] = []

    async def note(_: ProcessBackend, unit: str, need: Need) -> None:
        asked.append((unit, need))

    monkeypatch.setattr(ProcessBackend, "prepare", note)
    timeline = [
        PlannedFault(0, "cpu-throttle", "node-2", 0, 1),
        PlannedFault(1, "cpu-throttle", "node-2", 5, 1),
        PlannedFault(2, "memory-limit", "node-1", 0, 1),
        PlannedFault(3, "crash", "node-3", 0, 1),
        PlannedFault(4, "redis-restart", REDIS, 0, 1),
    ]
    await prepare(timeline, ProcessBackend(RunDir(tmp_path / "run")))
    assert asked == [("node-1", Need.MEMORY_LIMIT), ("node-2", Need.CPU_LIMIT)]


async def publish_until(done: asyncio.Task[Any], system: System) -> None:
    while not done.done():
        await system.publish("who is there?")
        await asyncio.sleep(0.005)


async def ping_until(done: asyncio.Task[Any], redis: "Redis") -> None:
    while not done.done():
        await redis.ping()
        await asyncio.sleep(0.005)


def need(system: System, what: Need) -> None:
    if (why := system.backend.refusal(what)) is not None:
        pytest.skip(why)


def test_every_kind_of_fault_in_the_scenario_schema_can_be_injected() -> None:
    kinds = {kind for fault in get_args(Fault) for kind in get_args(fault.model_fields["kind"].annotation)}
    assert kinds == set(FAULTS)
