"""Each fault on a real node and a real Redis: it bites, it heals, and the probes see both."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from fanlab import clock
from fanlab.faults.inject import FAULTS, FaultJournal, inject_all
from fanlab.faults.timeline import PlannedFault
from fanlab.ledger.events import FaultStamp
from fanlab.rundir import RunDir
from fanlab.scenario.plan import NodeSpec
from fanlab.topology.backend import REDIS, NodeEndpoint, UnitState
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

    async def inject(self, kind: str, target: str, for_ns: int | None = FOR_NS) -> list[str]:
        told: list[FaultStamp] = []
        journal = FaultJournal(self.rundir.faults, told.append)
        planned = PlannedFault(0, kind, target, SHORTLY_NS, for_ns)
        failures = await inject_all([planned], clock.now_ns(), self.backend, self.redis_url, journal)
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
        (failure,) = await inject_all([planned], clock.now_ns(), backend, redis.url, journal)
        journal.close()
    finally:
        await backend.close()
    assert "no subscriber" in failure.why


def test_every_kind_of_fault_in_the_scenario_schema_can_be_injected() -> None:
    from typing import get_args

    from fanlab.scenario import model

    kinds = {
        kind
        for fault in (model.NodeFault, model.RedisRestart, model.RedisKillPubsub)
        for kind in get_args(fault.model_fields["kind"].annotation)
    }
    assert kinds == set(FAULTS)
