"""The fault that docs/writing-a-fault.md shows works as it stands there."""

import asyncio
import contextlib
import re
from pathlib import Path
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from fanlab import clock
from fanlab.errors import EnvironmentFailure
from fanlab.faults import catalogue, inject
from fanlab.faults.fault import Means, Target
from fanlab.faults.timeline import PlannedFault
from fanlab.ledger.events import FaultStamp
from fanlab.topology.backend import Backend

pytestmark = pytest.mark.system

PAGE = Path(__file__).resolve().parents[2] / "docs" / "writing-a-fault.md"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> type:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {"__name__": "redis_kill_normal"}
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102 - the repository's own page
    monkeypatch.setitem(catalogue.FAULTS, "redis-kill-normal", names["RedisKillNormal"])
    return cast("type", names["RedisKillNormal"])


async def test_it_bites_and_heals(redis_server: str, tmp_path: Path, made: type) -> None:  # noqa: ARG001
    told: list[FaultStamp] = []
    journal = inject.FaultJournal(tmp_path / "faults.jsonl", told.append)
    planned = PlannedFault(0, "redis-kill-normal", "redis", 0, 0)
    means = Means(cast("Backend", None), redis_server)
    async with Redis.from_url(redis_server, single_connection_client=True) as publisher:
        first = await publisher.client_id()
        injecting = asyncio.create_task(inject.inject_all([planned], clock.now_ns(), means, journal))
        async with asyncio.timeout(20):
            while not injecting.done():
                with contextlib.suppress(RedisError):  # the next one connects again
                    await publisher.publish("news", "as soon as it can")
                await asyncio.sleep(0.01)
        assert await injecting == []
        assert await publisher.client_id() != first
    journal.close()
    assert [stamp["stamp"] for stamp in told] == ["requested", "confirmed", "heal_requested", "heal_confirmed"]


async def test_where_nobody_is_it_says_so(redis_server: str, made: type) -> None:
    with pytest.raises(EnvironmentFailure, match="nobody"):
        await made(Target(Means(cast("Backend", None), redis_server), "redis")).inject()


def test_the_places_that_it_names_are_there() -> None:
    root = PAGE.parents[1]
    named = re.findall(r"`((?:src|tests)/[\w/.]+\.py)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 5
    assert [name for name in named if not (root / name).is_file()] == []
