"""The backend's own promises: what a container was told, how it ends, and that it comes back where it was."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from fanlab.errors import EnvironmentFailure, HarnessError, NodeFailure
from fanlab.rundir import RunDir
from fanlab.scenario.plan import NodeSpec
from fanlab.topology.backend import REDIS, Need, UnitState
from fanlab.topology.containers import DockerBackend
from fanlab.topology.sharedfiles import NODE_JOURNALS

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]

NODE = NodeSpec(0, "node-1", "websockets", {})


@pytest.fixture
async def backend(engine: Any, tmp_path: Path) -> AsyncIterator[DockerBackend]:
    """An open one, closed after the test."""
    del engine
    rundir = RunDir(tmp_path / "run")
    rundir.create()
    backend = DockerBackend(rundir)
    try:
        await backend.open()
        yield backend
    finally:
        await backend.close()
        await backend.close()


async def test_units_end_come_back_and_are_limited(backend: DockerBackend, tmp_path: Path) -> None:
    redis = await backend.start_redis({"maxmemory": "50mb"})
    node = await backend.start_node(NodeSpec(0, "node-1", "websockets", {}, cpus=0.5, memory_bytes=90_000_000))
    assert node.ws_url == f"ws://{backend.address('node-1')}:8765/ws"
    async with Redis.from_url(redis.url, decode_responses=True) as client:
        assert (await client.config_get("maxmemory"))["maxmemory"] == str(50 * 1024 * 1024)
        seen = {each["name"]: each["addr"].partition(":")[0] for each in await client.client_list(_type="pubsub")}
    assert seen == {"node-1": backend.address("node-1")}

    assert await backend.cpu_limit("node-1") == 0.5
    assert 0 < 90_000_000 - await _memory(backend) < 4096  # whole pages
    await backend.limit_cpu("node-1", 0.25)
    assert await backend.cpu_limit("node-1") == 0.25
    await backend.limit_cpu("node-1", None)
    assert await backend.cpu_limit("node-1") == 0.5
    assert (await backend.cpu_limit(REDIS), await backend.memory_limit(REDIS)) == (None, None)
    await backend.limit_memory(REDIS, 64_000_000)
    assert await backend.memory_limit(REDIS) == 64_000_000
    await backend.limit_memory(REDIS, None)
    assert await backend.memory_limit(REDIS) is None

    await backend.freeze("node-1")
    assert backend.state("node-1") is UnitState.PAUSED
    assert not await backend.probe("node-1")
    await backend.thaw("node-1")
    assert backend.state("node-1") is UnitState.RUNNING
    assert await backend.probe("node-1")
    with pytest.raises(HarnessError):
        await backend.signal("node-1", signal.SIGSTOP)

    first = backend.pid("node-1")
    for signum, status in ((signal.SIGKILL, -9), (signal.SIGTERM, 0)):
        await backend.signal("node-1", signum)
        assert await backend.exited("node-1") == status
        assert backend.state("node-1") is UnitState.GONE
        assert backend.pid("node-1") is None
        assert not await backend.probe("node-1")
        with pytest.raises(EnvironmentFailure, match="runs no more"):
            await backend.signal("node-1", signal.SIGTERM)
        await backend.restart("node-1")
        assert await backend.probe("node-1")
    assert backend.pid("node-1") not in (None, first)
    log = (tmp_path / "run" / "nodes" / "node-1.log").read_text()
    assert log.count("listening on") == 3
    assert log.count("stopped") == 1
    assert (tmp_path / "run" / "journal" / "node-1.jsonl").read_text().count('"ev":"start"') == 3


async def _memory(backend: DockerBackend) -> int:
    limit = await backend.memory_limit("node-1")
    assert limit is not None
    return limit


async def test_a_node_that_has_too_little_memory_is_killed_and_its_log_says_so(backend: DockerBackend) -> None:
    await backend.start_redis({})
    await backend.start_node(NODE)
    await backend.limit_memory("node-1", 8_000_000)
    published = backend._units["node-1"].spec.published
    assert published is not None
    clients = []
    async with asyncio.timeout(60):
        while backend.state("node-1") is not UnitState.GONE:  # each client takes some memory
            with contextlib.suppress(OSError):
                clients.append(await asyncio.open_connection("127.0.0.1", published.host_port))
        assert await backend.exited("node-1") == -9
    for _, writer in clients:
        writer.close()
    assert "used more memory than it may" in backend.log_tail("node-1", 1)[0]
    await backend.limit_memory("node-1", None)
    await backend.restart("node-1")
    assert await backend.memory_limit("node-1") is None
    assert await backend.probe("node-1")


async def test_a_limit_below_what_an_engine_takes_frees_what_the_node_can_do_without(backend: DockerBackend) -> None:
    """Files that it has read count as its memory: with some left it would have room yet, and would not be killed."""
    await backend.start_redis({})
    await backend.start_node(NODE)
    file_bytes = 32 << 20
    journal = f"{NODE_JOURNALS}/node-1.jsonl"  # the only thing on a disk that it may write to
    write = f"import os; f = open({journal!r}, 'ab'); f.write(bytes({file_bytes})); f.flush(); os.fsync(f.fileno())"

    def run(api: Any) -> int:
        id_ = api.exec_create(backend._units["node-1"].id, ["python3", "-c", write])
        api.exec_start(id_)
        return int(api.exec_inspect(id_)["ExitCode"])

    assert await backend._site.engine.ask("write a file", run) == 0
    group = backend._process("node-1").group(Need.MEMORY_LIMIT)
    before = group.usage()
    assert before > file_bytes
    await backend.limit_memory("node-1", 1_000_000)
    assert group.usage() < before - 0.9 * file_bytes
    assert await _memory(backend) < before - 0.9 * file_bytes


async def test_a_node_that_does_not_start_is_quoted(backend: DockerBackend) -> None:
    await backend.start_redis({})
    with pytest.raises(NodeFailure) as caught:
        await backend.start_node(NodeSpec(0, "node-1", "websockets", {"MAX_CHANNELS": "many"}))
    assert "ended before it was ready: exit status 2" in caught.value.message
    assert any("MAX_CHANNELS='many'" in line for line in caught.value.log_tail)
    assert "docker run" in (caught.value.hint or "")


async def test_a_helper_sees_the_journals_and_folders_it_is_told_of_and_nothing_else(
    backend: DockerBackend, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "told").write_text("so")
    await backend.own(private)
    run = tmp_path / "run"
    script = (
        f"import os; from pathlib import Path; print(Path({str(private / 'told')!r}).read_text(), flush=True);"
        f"Path({str(run / 'journal' / 'mine.stripe')!r}).write_text('written');"
        f"print(sorted(path.name for path in Path({str(run)!r}).iterdir()), flush=True);"
        "print(os.environ['OPENBLAS_NUM_THREADS'], flush=True)"
    )
    log = run / "nodes" / "helper.log"
    await backend.start_helper("helper", [backend.python, "-c", script], {}, log)
    assert await backend.exited("helper") == 0, log.read_text()
    assert log.read_text().splitlines()[1:] == ["so", "['journal', 'locust']", "1"]
    assert (run / "journal" / "mine.stripe").read_text() == "written"
    assert backend.helpers() == {}


async def test_what_is_not_possible_is_refused(backend: DockerBackend) -> None:
    assert backend.refusal(Need.CPU_LIMIT) is None
    assert backend.refusal(Need.OWN_REDIS) is None
    with pytest.raises(EnvironmentFailure, match="fanlab sets this itself"):
        await backend.start_redis({"bind": "0.0.0.0"})
    with pytest.raises(HarnessError):
        backend.state("node-1")
