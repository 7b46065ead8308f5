"""redis-client-pause with a real Redis: its probes see it and nothing else; given up, it goes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio import Redis

from fanlab import clock
from fanlab.faults.fault import Means, Target
from fanlab.faults.inject import FaultJournal, inject_all
from fanlab.faults.redis_client_pause import RedisClientPause
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


class FarAway:
    """A Redis is this far away, one way: what comes goes on so much later, in order."""

    def __init__(self, url: str, delay_s: float) -> None:
        self._host, self._port = url.removeprefix("redis://").removesuffix("/0").split(":")
        self._delay_s = delay_s
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_connection(self._host, int(self._port))
        for source, sink in ((reader, redis_writer), (redis_reader, writer)):
            task = asyncio.create_task(self._carry(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                loop.call_later(self._delay_s, sink.write, data)
        loop.call_later(self._delay_s, sink.close)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        yield f"redis://{host}:{port}/0"
        server.close()
        await asyncio.gather(*self._tasks)


@contextlib.asynccontextmanager
async def fault(url: str, mode: str, for_ns: int) -> AsyncIterator[RedisClientPause]:
    made = RedisClientPause(Target(means(url, warn=lambda _: None), REDIS, for_ns=for_ns, settings={"mode": mode}))
    yield made
    await made.close()


@pytest.mark.parametrize("mode", ["write", "all"])
async def test_a_redis_far_away_is_not_taken_for_one_that_pauses(redis_server: str, mode: str) -> None:
    async with (
        FarAway(redis_server, 0.03).listening() as url,
        fault(url, mode, 1) as pause,
        Redis.from_url(redis_server) as near,
    ):
        await pause.inject()
        await near.publish("news", "once this is answered, the pause of 1 ms is over")
        for _ in range(3):
            assert not await pause.has_bitten()
            assert await pause.has_healed()


@pytest.mark.parametrize("mode", ["write", "all"])
async def test_a_redis_far_away_pauses_and_goes_on(redis_server: str, mode: str) -> None:
    async with FarAway(redis_server, 0.03).listening() as url, fault(url, mode, 3 * clock.NS_PER_S) as pause:
        await pause.inject()
        assert await pause.has_bitten()
        assert not await pause.has_healed()
        await pause.heal()
        async with asyncio.timeout(20):
            while not await pause.has_healed():
                pass


async def test_publishes_that_come_slowly_are_not_kept_waiting_by_a_redis_that_goes_on(redis_server: str) -> None:
    far = FarAway(redis_server, 0.001)
    async with far.listening() as url, fault(url, "write", 1) as pause, Redis.from_url(redis_server) as near:
        await pause.inject()
        await near.publish("news", "once this is answered, the pause of 1 ms is over")
        far._delay_s = 0.4  # longer than the probe waits; but the same for what is asked next
        assert not await pause.has_bitten()
