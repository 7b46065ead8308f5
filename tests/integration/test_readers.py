"""Readers against real nodes: what their stripe says is what the nodes' caches held."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from conftest import free_port
from fanlab.clock import NS_PER_MS, now_ns
from fanlab.errors import MeasurementError
from fanlab.ledger.records import READ_DTYPE, ReadStatus
from fanlab.ledger.stripe import Kind, StripeReader
from fanlab.load.session import LoadSession
from fanlab.rundir import RunDir
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import make_plan
from fanlab.topology.backend import NodeEndpoint
from support.load_system import Processes

pytestmark = pytest.mark.system

SPAN_NS = 1500 * NS_PER_MS
READERS = [{"name": "apps", "channel": "user:updated", "rate": "80/s", "timeout": "500ms"}]


def scenario(**changes: Any) -> Scenario:
    fields: dict[str, Any] = {
        "name": "readers-test",
        "question": "Do readers see what the caches hold?",
        "topology": {"nodes": {"count": 2}},
        "channels": ["user:updated"],
        "clients": [{"group": "browsers", "count": 2, "channels": ["user:updated"]}],
        "publishers": [{"name": "accounts", "channel": "user:updated", "rate": "40/s", "objects": 5}],
        "readers": READERS,
        "phases": {"warm_up": "0s", "measure": "1500ms"},
    }
    return Scenario.model_validate({**fields, **changes})


class System:
    """Redis, two nodes, and a run directory."""

    def __init__(self, processes: Processes, rundir: RunDir, nodes: list[NodeEndpoint], redis_url: str) -> None:
        self.processes, self.rundir, self.nodes, self.redis_url = processes, rundir, nodes, redis_url

    def session(self, what: Scenario) -> LoadSession:
        return LoadSession(
            self.processes,  # type: ignore[arg-type]
            what,
            make_plan(what),
            self.rundir,
            run_tag=4711,
        )

    def reads(self) -> np.ndarray:
        reader = StripeReader(self.rundir.journal / "readers.stripe")
        data = b"".join(frame.payload for frame in reader if frame.kind is Kind.READS)
        assert (reader.closed, reader.torn, reader.corrupt) == (True, 0, 0)
        return np.frombuffer(data, READ_DTYPE)


@pytest.fixture
async def system(redis_server: str, tmp_path: Path) -> AsyncIterator[System]:
    processes, rundir = Processes(), RunDir(tmp_path / "run")
    rundir.create()
    try:
        ports = (free_port(), free_port())
        started = [
            await processes.start_node(index, port, redis_server, rundir.logs) for index, port in enumerate(ports)
        ]
        nodes = [replace(node, cache_url=f"{node.http_url}/cache/{{key}}") for node in started]
        await _subscribed(redis_server, 2)
        yield System(processes, rundir, nodes, redis_server)
    finally:
        await processes.close()


async def _subscribed(redis_url: str, nodes: int) -> None:
    """Wait until the nodes' caches listen."""
    with redis.Redis.from_url(redis_url) as client:
        async with asyncio.timeout(10):
            while client.pubsub_numsub("user:updated")[0][1] < nodes:
                await asyncio.sleep(0.02)


async def _run(system: System, load: LoadSession, between: Any = None) -> None:
    await load.launch()
    await load.start(system.nodes, system.redis_url)
    await load.connect(20)
    start_ns = now_ns() + 300 * NS_PER_MS
    await load.begin(start_ns, start_ns, start_ns + SPAN_NS)
    await load.published(10)
    if between is not None:
        await between()
    await load.sweep()
    await load.leave()


async def test_every_read_is_made_in_time_and_the_sweep_sees_the_last_version_everywhere(system: System) -> None:
    load = system.session(scenario())
    try:
        await _run(system, load)
    finally:
        await load.close()
    reads = system.reads()
    timed, sweep = reads[reads["sweep"] == 0], reads[reads["sweep"] == 1]
    assert len(timed) == 120
    assert Counter(timed["node"].tolist()) == {0: 60, 1: 60}
    assert set(timed["status"].tolist()) <= {ReadStatus.OK, ReadStatus.MISSING}
    assert np.all(timed["intended_ns"] <= timed["asked_ns"] + 5 * NS_PER_MS)
    assert np.all(timed["asked_ns"] <= timed["answered_ns"])
    held = timed[timed["status"] == ReadStatus.OK]
    assert len(held) > 60
    assert np.all((held["seq"] - 1) % 5 == held["object"])
    assert sorted(sweep[["node", "object", "seq", "status"]].tolist()) == [
        (node, number, 56 + number, ReadStatus.OK) for node in (0, 1) for number in range(5)
    ]


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_dead_or_frozen_node_fails_its_reads_and_holds_up_no_others(
    system: System, signum: signal.Signals
) -> None:
    load = system.session(scenario())

    async def hit() -> None:
        system.processes.by_name["node-2"].send_signal(signum)

    try:
        await _run(system, load, hit)
    finally:
        await load.close()
    sweep = system.reads()
    sweep = sweep[sweep["sweep"] == 1]
    assert Counter(sweep[["node", "status"]].tolist()) == {(0, ReadStatus.OK): 5, (1, ReadStatus.FAILED): 5}


async def test_readers_that_die_spoil_the_measurement(system: System) -> None:
    load = system.session(scenario())
    try:
        with pytest.raises(MeasurementError, match="load-readers has died"):
            await _run(system, load, lambda: system.processes.kill("load-readers"))
    finally:
        await load.close()


async def test_without_readers_there_is_no_process_and_nothing_to_sweep(system: System) -> None:
    load = system.session(scenario(readers=[]))
    try:
        await _run(system, load)
    finally:
        await load.close()
    assert "load-readers" not in system.processes.by_name
    assert not (system.rundir.journal / "readers.stripe").exists()
