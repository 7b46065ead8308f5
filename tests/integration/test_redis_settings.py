"""Faults of Redis' settings heal what they broke, and nothing that somebody else has set meanwhile."""

from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio import Redis

from fanlab.errors import EnvironmentFailure
from fanlab.faults.catalogue import FAULTS
from fanlab.faults.fault import Means, Target

pytestmark = pytest.mark.system

BUFFERS = "client-output-buffer-limit"
CASES = [
    ("redis-output-buffer", BUFFERS, "pubsub 70000 0 0", "pubsub 90000 1 2"),
    ("redis-maxclients", "maxclients", "1", "77"),
]


@pytest.mark.parametrize(("kind", "name", "given", "theirs"), CASES)
async def test_it_gets_its_old_value_and_one_of_somebody_else_s_stays(
    redis_server: str, kind: str, name: str, given: str, theirs: str
) -> None:
    backend: Any = SimpleNamespace()
    target = Target(Means(backend, redis_server), "redis", settings={"limit_bytes": 70_000})
    async with Redis.from_url(redis_server, decode_responses=True, single_connection_client=True) as redis:
        before = (await redis.config_get(name))[name]
        for set_meanwhile in (None, theirs):
            fault: Any = FAULTS[kind](target)
            await fault.inject()
            assert given in (await redis.config_get(name))[name]
            assert await fault.has_bitten()
            if set_meanwhile is not None:
                await redis.config_set(name, set_meanwhile)
            await fault.heal()
            assert await fault.has_healed()
            await fault.close()
            now = (await redis.config_get(name))[name]
            assert now == before if set_meanwhile is None else set_meanwhile in now


async def test_other_clients_limits_are_nobody_s_to_set_back(redis_server: str) -> None:
    backend: Any = SimpleNamespace()
    fault: Any = FAULTS["redis-output-buffer"](
        Target(Means(backend, redis_server), "redis", settings={"limit_bytes": 70_000})
    )
    async with Redis.from_url(redis_server, decode_responses=True) as redis:
        await fault.inject()
        await redis.config_set(BUFFERS, "normal 5000000 0 0")
        await fault.heal()
        await fault.close()
        now = (await redis.config_get(BUFFERS))[BUFFERS]
    assert now.startswith("normal 5000000 0 0")
    assert "70000" not in now


async def test_a_file_that_redis_kept_before_is_not_removed(redis_server: str) -> None:
    backend: Any = SimpleNamespace(execute=lambda *_: pytest.fail("it touches Redis' files"))
    fault: Any = FAULTS["redis-disk-full"](Target(Means(backend, redis_server), "redis"))
    async with Redis.from_url(redis_server, decode_responses=True) as redis:
        await redis.config_set("appendonly", "yes")
        with pytest.raises(EnvironmentFailure, match="keeps an append-only file already"):
            await fault.inject()
        await fault.heal()
        assert await redis.config_get("appendonly") == {"appendonly": "yes"}
