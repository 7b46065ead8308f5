"""redis-client-pause with a real Redis: its probes see it and nothing else; given up, it goes."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio import Redis

from fanlab import clock
from fanlab.faults.fault import Means
from fanlab.faults.inject import FaultJournal, inject_all
from fanlab.faults.timeline import PlannedFault
from fanlab.ledger.events import FaultStamp
from fanlab.topology.backend import REDIS

pytestmark = pytest.mark.system


def means(url: str, *, adopted: bool = True, warn: Callable[[str], None] = pytest.fail) -> Means:
    backend: Any = SimpleNamespace(refusal=lambda _: "it is somebody else's" if adopted else None)
    return Means(backend, url, warn=warn)


async def given_up(tmp_path: Path, means: Means, mode: str) -> list[str]:
    """The names of the stamps of a pause of a minute that is confirmed, and then cancelled."""
    told: list[FaultStamp] = []
    journal = FaultJournal(tmp_path / "faults.jsonl", told.append)
    planned = PlannedFault(0, "redis-client-pause", REDIS, 0, 60 * clock.NS_PER_S, {"mode": mode})
    injecting = asyncio.create_task(inject_all([planned], clock.now_ns(), means, journal))
    async with asyncio.timeout(20):
        while "confirmed" not in [stamp["stamp"] for stamp in told]:
            await asyncio.sleep(0.005)
    injecting.cancel()
    await asyncio.gather(injecting, return_exceptions=True)
    journal.close()
    return [stamp["stamp"] for stamp in told]


async def test_a_run_that_is_given_up_lets_publishers_go_on(tmp_path: Path, redis_server: str) -> None:
    stamps = await given_up(tmp_path, means(redis_server), "write")
    assert stamps == ["requested", "confirmed", "heal_requested", "heal_confirmed"]
    async with Redis.from_url(redis_server) as redis, asyncio.timeout(20):
        assert await redis.publish("news", "on") == 0


async def test_a_pause_of_all_cannot_be_undone_and_whose_redis_it_is_learns_how_long_it_lasts(
    tmp_path: Path, redis_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanlab.faults.inject.ABORT_HEAL_S", 0.2)
    warned: list[str] = []
    stamps = await given_up(tmp_path, means(redis_server, warn=warned.append), "all")
    assert stamps == ["requested", "confirmed", "heal_requested"]
    (warning,) = warned
    assert warning.startswith("the Redis of this run answers nobody for another ")
    assert "CLIENT PAUSE" in warning


async def test_nobody_is_warned_of_a_redis_that_goes_with_the_run(
    tmp_path: Path, redis_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanlab.faults.inject.ABORT_HEAL_S", 0.2)
    await given_up(tmp_path, means(redis_server, adopted=False), "all")
