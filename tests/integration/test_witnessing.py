"""The witness in a run: waited for, ended in order, and no part of the system that is broken and measured."""

import asyncio
import csv
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from conftest import free_port
from fanlab import clock, sampler
from fanlab.errors import EnvironmentFailure
from fanlab.faults.fault import Means
from fanlab.faults.inject import FaultJournal, inject_all
from fanlab.faults.timeline import PlannedFault
from fanlab.ledger.witness import read_witness
from fanlab.rundir import RunDir
from fanlab.sampler import Sampler
from fanlab.topology.backend import REDIS, RedisEndpoint, UnitState
from fanlab.topology.processes import ProcessBackend
from fanlab.witnessing import WITNESS, Witnessing
from support.node_process import eventually

pytestmark = pytest.mark.system


class System:
    """A Redis, and what takes part in a run beside nodes."""

    def __init__(self, rundir: RunDir, backend: ProcessBackend, redis: RedisEndpoint) -> None:
        self.rundir, self.backend, self.redis = rundir, backend, redis
        self.warnings: list[str] = []

    def witness(self, url: str | None = None) -> Witnessing:
        return Witnessing(
            self.backend,
            self.rundir,
            redis_url=url or self.redis.url,
            channels=["news"],
            run_tag=1,
            streams=1,
            warn=self.warnings.append,
        )

    async def kill_pubsub(self) -> list[str]:
        journal = FaultJournal(self.rundir.faults, lambda _: None)
        planned = PlannedFault(0, "redis-kill-pubsub", REDIS, 0, 0)
        failures = await inject_all([planned], clock.now_ns(), Means(self.backend, self.redis.url), journal)
        journal.close()
        return [failure.why for failure in failures]


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    rundir = RunDir(tmp_path / "run")
    rundir.create()
    backend = ProcessBackend(rundir)
    await backend.open()
    try:
        yield System(rundir, backend, await backend.start_redis({}))
    finally:
        await backend.close()


async def test_from_its_start_to_its_orderly_end(system: System) -> None:
    async with system.witness() as witness:
        await witness.subscribed()
        assert WITNESS in system.backend.helpers()
    assert system.backend.state(WITNESS) is UnitState.GONE
    found = read_witness(system.rundir.witness)
    assert found is not None
    assert (found.closed, len(found.up), system.warnings) == (True, 1, [])


async def test_one_that_cannot_subscribe_says_why(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanlab.witnessing.SUBSCRIBED_WITHIN_S", 3.0)
    async with system.witness(f"redis://127.0.0.1:{free_port()}/0") as witness:
        with pytest.raises(EnvironmentFailure, match=r"not subscribed .*Connection refused") as caught:
            await witness.subscribed()
    assert "evidence.witness=false" in str(caught.value.hint)


async def test_one_that_ends_at_once_says_why(system: System) -> None:
    async with system.witness("http://127.0.0.1/") as witness:
        with pytest.raises(EnvironmentFailure, match=r"has ended.*cannot use the Redis URL"):
            await witness.subscribed()


async def test_its_death_is_a_warning(system: System) -> None:
    async with system.witness() as witness:
        await witness.subscribed()
        pid = system.backend.pid(WITNESS)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: system.warnings, "a warning")
    (warning,) = system.warnings
    assert "killed by SIGKILL" in warning
    found = read_witness(system.rundir.witness)
    assert found is not None
    assert not found.closed


async def test_a_block_that_fails_does_not_wait_for_it(system: System) -> None:
    async def block() -> None:
        async with system.witness() as witness:
            await witness.subscribed()
            raise ValueError("the run")

    with pytest.raises(ValueError, match="the run"):
        await block()
    assert system.backend.state(WITNESS) is UnitState.RUNNING  # ended with everything else
    assert system.warnings == []


async def test_it_is_no_subscriber_whom_a_fault_could_hit(system: System) -> None:
    async with system.witness() as witness:
        await witness.subscribed()
        (why,) = await system.kill_pubsub()
        assert "no subscriber" in why
        async with Redis.from_url(system.redis.url) as redis, redis.pubsub() as pubsub:
            await pubsub.subscribe("news")

            async def listen() -> None:
                while True:  # redis-py comes back by itself as long as somebody listens
                    await pubsub.get_message(timeout=None)

            listening = asyncio.create_task(listen())
            try:
                await eventually(lambda: pubsub.subscribed, "a subscriber")
                assert await system.kill_pubsub() == []
                await eventually(
                    lambda: (seen := read_witness(system.rundir.witness)) and len(seen.up) > 1, "it is back"
                )
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)


async def test_samples_leave_it_out(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "EVERY_S", 0.02)
    path = system.rundir.samples

    def rows() -> list[dict[str, str]]:
        with path.open(newline="") as file:
            return [row for row in csv.DictReader(file) if row["unit"] == "pubsub"]

    async with system.witness() as witness:
        await witness.subscribed()
        sampling = Sampler(path, zero_ns=0, redis_url=system.redis.url, channels=["news"], pids=dict)
        async with sampling:
            await eventually(lambda: path.exists() and rows(), "samples")
    assert {(row["metric"], float(row["value"])) for row in rows()} == {
        ("redis_clients", 0.0),
        ("redis_buffer_kb", 0.0),
    }
