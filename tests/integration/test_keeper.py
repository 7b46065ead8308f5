"""The keeper of an adopted Redis' settings, with a real Redis; that it outlives fanlab is in test_kills.py."""

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from fanlab.errors import EnvironmentFailure
from fanlab.faults.keeping import Keeper, not_given_back
from fanlab.faults.timeline import PlannedFault
from fanlab.rundir import RunDir
from fanlab.topology.labels import Marks, Owner

pytestmark = pytest.mark.system

TIMELINE = [
    PlannedFault(0, "redis-output-buffer", "redis", 0, None, {"limit_bytes": 70_000}),
    PlannedFault(1, "redis-maxclients", "redis", 0, 1),
]
BUFFERS = "client-output-buffer-limit"


@pytest.fixture
def rundir(tmp_path: Path) -> RunDir:
    found = RunDir(tmp_path / "run")
    found.create()
    return found


def keeper(rundir: RunDir, url: str, *, adopted: bool = True, warn: Callable[[str], None] = pytest.fail) -> Keeper:
    why = "it is somebody else's" if adopted else None
    backend: Any = SimpleNamespace(refusal=lambda _: why)
    return Keeper(backend, rundir, TIMELINE, url, warn=warn)


def settings(redis: "Redis") -> dict[str, str]:
    return {name: redis.config_get(name)[name] for name in ("maxclients", BUFFERS)}


def events(rundir: RunDir) -> list[tuple[str, str]]:
    return [(line["ev"], line["setting"]) for line in map(json.loads, rundir.undo.read_text().splitlines())]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the keeper's folder stands."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


async def test_what_a_fault_has_left_is_given_back_though_nobody_else_gets_in(rundir, redis_server, temporary):
    with Redis.from_url(redis_server, decode_responses=True, single_connection_client=True) as redis:
        redis.config_set(BUFFERS, "pubsub 1000000 500000 7")
        before = settings(redis)
        async with keeper(rundir, redis_server):
            assert events(rundir) == [("keep", BUFFERS), ("keep", "maxclients")]
            (folder,) = temporary.iterdir()
            marks = Marks.of_folder(folder)
            assert marks is not None
            assert (marks.owner, marks.directory) == (Owner.of(os.getpid()), str(rundir.path))
            redis.config_set(BUFFERS, "pubsub 70000 0 0")
            redis.config_set("maxclients", "1")
        assert settings(redis) == before
    assert list(temporary.iterdir()) == []
    assert events(rundir)[2:] == [("back", BUFFERS), ("back", "maxclients")]
    assert not_given_back(rundir.undo) == []


async def test_what_somebody_has_set_meanwhile_stays(rundir, redis_server):
    with Redis.from_url(redis_server, decode_responses=True) as redis:
        async with keeper(rundir, redis_server):
            redis.config_set("maxclients", "4321")
        assert redis.config_get("maxclients") == {"maxclients": "4321"}
    assert events(rundir)[2:] == [("untouched", BUFFERS), ("untouched", "maxclients")]


async def test_a_redis_that_has_gone_cannot_get_anything_back_and_that_is_told(rundir, real_redis, temporary):
    with pytest.raises(
        EnvironmentFailure,
        match=r"has not got all its settings back; client-.* before the run; maxclients was .* cannot be set back",
    ):
        async with keeper(rundir, real_redis.url):
            real_redis.kill()
    assert {each.setting for each in not_given_back(rundir.undo)} == {BUFFERS, "maxclients"}
    assert len(list(temporary.iterdir())) == 1  # for fanlab sweep


@pytest.mark.parametrize("reason", [RuntimeError("the reason"), asyncio.CancelledError()])
async def test_a_run_that_has_failed_says_why_it_did_and_warns_of_the_rest(rundir, real_redis, reason):
    warned: list[str] = []

    async def fail() -> None:
        async with keeper(rundir, real_redis.url, warn=warned.append):
            real_redis.kill()
            raise reason

    with pytest.raises(type(reason)) as caught:
        await fail()
    assert caught.value is reason
    (warning,) = warned
    assert re.search(r"maxclients was '\d+' before the run", warning)


async def test_a_redis_that_cannot_be_kept_is_not_changed(rundir, temporary):
    url = "redis://:hunter2@127.0.0.1:1/0"
    with pytest.raises(EnvironmentFailure, match="cannot be kept, so none is changed") as caught:
        async with keeper(rundir, url):
            pytest.fail("it has been entered")
    assert "hunter2" not in str(caught.value)
    assert rundir.undo.read_bytes() == b""
    assert list(temporary.iterdir()) == []


async def test_our_own_redis_needs_no_keeper(rundir, redis_server):
    async with keeper(rundir, redis_server, adopted=False) as nobody:
        assert nobody._process is None
    assert not rundir.undo.exists()


async def test_a_keeper_that_does_not_get_ready_is_told_by_its_last_words(rundir, monkeypatch):
    monkeypatch.setattr(
        Keeper, "_start", lambda _: subprocess.Popen(["/bin/false"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    )
    (rundir.logs / "redis-keeper.log").write_text("no room\n")
    with pytest.raises(EnvironmentFailure, match="so none is changed: no room"):
        async with keeper(rundir, "redis://127.0.0.1:1/0"):
            pytest.fail("it has been entered")
