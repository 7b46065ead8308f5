"""up, publish, channels, numsub, down: a real Redis and a tiny node that subscribes to `news`."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanlab import clock, manual
from fanlab.errors import EnvironmentFailure, NodeFailure
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import make_plan
from fanlab.topology import redis, warden

pytestmark = pytest.mark.system

SERVER = """
import os, socket
from urllib.parse import urlsplit

redis = urlsplit(os.environ["REDIS_URL"])
link = socket.create_connection((redis.hostname, redis.port))
link.sendall(b"SUBSCRIBE news\\r\\n")
link.recv(1000)
server = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
while True:
    connection, _ = server.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
"""
MANIFEST = """
kind: {kind}
process: {{argv: ["{{python}}", "-I", "-S", "server.py"]}}
environment: {{host: HOST, port: PORT, redis_url: REDIS_URL, id: NODE_ID}}
websocket: /ws
ready: {{path: /readyz, timeout: 10s}}
protocol: json
"""
UP = """
import asyncio, sys
from fanlab import manual
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import make_plan

scenario = Scenario.model_validate_json(sys.argv[1])
print(asyncio.run(manual.up(scenario, make_plan(scenario))).warden_pid, flush=True)
"""


def scenario(kind: str = "tiny", count: int = 2) -> Scenario:
    return Scenario.model_validate(raw(kind, count))


def raw(kind: str = "tiny", count: int = 2) -> dict[str, object]:
    return {
        "name": "by-hand",
        "question": "does it run?",
        "topology": {"nodes": [{"kind": kind, "count": count}]},
        "channels": ["news"],
        "publishers": [{"name": "p", "channel": "news", "rate": "1/s"}],
    }


def start(found: Scenario, url: str | None = None) -> manual.UpState:
    return asyncio.run(manual.up(found, make_plan(found), redis_url=url))


def exists(pid: int) -> bool:
    stat = warden.read_stat(pid)
    return stat is not None and stat.state != "Z"


def holds(condition, deadline_s: float = 10.0) -> bool:
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder and node kinds of the test's own; whatever is up at the end is ended."""
    try:
        redis.find_server()
    except EnvironmentFailure as error:
        pytest.skip(error.message)
    for kind, script in (("tiny", SERVER), ("bad", "raise SystemExit('no licence')")):
        folder = tmp_path / "nodes" / kind
        folder.mkdir(parents=True)
        (folder / "server.py").write_text(script)
        (folder / "node.yaml").write_text(MANIFEST.format(kind=kind))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FANLAB_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # a warden that is killed leaves a folder there
    yield tmp_path / "state"
    if (tmp_path / "state" / "up.json").exists():
        manual.down()


def test_there_and_back(place):
    assert manual.read_state() is None
    assert not manual.down()
    state = start(scenario())
    assert manual.read_state() == state
    assert [node.id for node in state.nodes] == ["node-1", "node-2"]
    assert place.stat().st_mode & 0o777 == 0o700
    assert (place / "up.json").stat().st_mode & 0o777 == 0o600, "it may hold a Redis URL with its password"
    assert (place / "system" / "nodes" / "node-1.log").exists()

    assert manual.channels() == ["news"]
    assert manual.numsub(["news", "jobs"]) == {"news": 2, "jobs": 0}
    assert manual.publish("news", "hello") == 2
    assert manual.publish("jobs", "nobody hears this") == 0

    with pytest.raises(EnvironmentFailure, match="by-hand is up already, since") as caught:
        start(scenario())
    assert "fanlab down" in (caught.value.hint or "")
    assert manual.publish("news", "still there") == 2

    pids = [state.warden_pid, *warden.descendants(state.warden_pid)]
    assert len(pids) == 4
    assert manual.down()
    assert not any(map(exists, pids))
    assert manual.read_state() is None
    assert not manual.down()


def test_it_outlives_the_process_that_started_it(place):
    argv = [sys.executable, "-c", UP, json.dumps(raw())]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    state = manual.read_state()
    assert state is not None
    assert state.warden_pid == int(done.stdout)
    assert exists(state.warden_pid)
    assert manual.publish("news", "hello") == 2
    assert manual.down()
    assert not exists(state.warden_pid)
    assert not (place / "up.json").exists()


def test_killed_while_starting_it_leaves_nothing(place):
    """SIGKILL as soon as the warden is there: no state is written, and nothing runs."""
    log = place / "system" / "nodes" / "redis.log"
    harness = subprocess.Popen([sys.executable, "-c", UP, json.dumps(raw(count=3))], stdout=subprocess.PIPE)
    assert holds(log.exists, 30)
    os.kill(harness.pid, signal.SIGSTOP)  # so that it stays in the middle
    owners = warden.descendants(harness.pid)
    harness.kill()
    harness.communicate()
    assert owners
    assert holds(lambda: not any(map(exists, owners)), 5)
    assert not (place / "up.json").exists()
    assert start(scenario()).nodes  # the lock is free again


def test_a_node_that_does_not_start_takes_all_with_it(place):
    with pytest.raises(NodeFailure, match=r"(?s)node-1 ended before it was ready: exit status 1.*no licence"):
        start(scenario("bad", 1))
    assert not (place / "up.json").exists()
    with pytest.raises(EnvironmentFailure, match="nothing is up") as caught:
        manual.publish("news", "x")
    assert "fanlab up" in (caught.value.hint or "")
    assert start(scenario()).nodes


def test_a_stale_state_is_cleared_and_said(place, caplog):
    state = start(scenario())
    pids = warden.descendants(state.warden_pid)
    os.kill(state.warden_pid, signal.SIGKILL)
    assert holds(lambda: not any(map(exists, pids)))
    with caplog.at_level(logging.WARNING):
        assert not manual.down()
    assert "has ended by itself; its state is cleared" in caplog.text
    assert not (place / "up.json").exists()
    assert start(scenario()).warden_pid != state.warden_pid


@pytest.mark.parametrize("change", [{"warden_start": "1"}, {"boot_id": "another"}])
def test_a_pid_given_to_another_process_is_left_alone(place, change, caplog):
    other = subprocess.Popen(["/bin/sleep", "600"])
    try:
        place.mkdir()
        data = {
            "schema_version": 1,
            "warden_pid": other.pid,
            "warden_start": manual._start_mark(other.pid),
            "boot_id": clock.boot_id(),
            "started_utc": "20260101T000000Z",
            "scenario": "by-hand",
            "folder": str(place),
            "redis_url": "redis://127.0.0.1:1/0",
            "redis_source": "",
            "redis_version": "",
            "nodes": [],
        }
        (place / "up.json").write_text(json.dumps(data))
        assert manual.read_state() is not None  # the control: unchanged, it would be taken for ours
        (place / "up.json").write_text(json.dumps({**data, **change}))
        assert not manual.down()
        assert other.poll() is None
        assert "state is cleared" in caplog.text
        assert not (place / "up.json").exists()
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 1, "nodes": [1]}'])
def test_a_state_that_makes_no_sense(place, text):
    place.mkdir()
    (place / "up.json").write_text(text)
    with pytest.raises(EnvironmentFailure, match=r"up\.json cannot be read"):
        manual.read_state()
    (place / "up.json").unlink()


def test_one_up_at_a_time():
    async def two() -> list[object]:
        found = scenario()
        both = (manual.up(found, make_plan(found)) for _ in range(2))
        return await asyncio.gather(*both, return_exceptions=True)

    first, second = asyncio.run(two())
    assert isinstance(first, manual.UpState)
    assert isinstance(second, EnvironmentFailure)
    assert "another `fanlab up` is starting" in str(second)


def test_redis_gone_while_up():
    state = start(scenario(count=1))
    (pid,) = [pid for pid in warden.descendants(state.warden_pid) if _runs_redis(pid)]
    os.kill(pid, signal.SIGKILL)
    assert holds(lambda: not exists(pid))
    with pytest.raises(EnvironmentFailure, match=r"the Redis at redis://127\.0\.0\.1:\d+/0 does not answer") as caught:
        manual.channels()
    assert "redis.log" in (caught.value.hint or "")
    assert manual.down()


def test_redis_frozen_while_up(monkeypatch):
    """A publish that timed out may have been done; it is not sent again."""
    monkeypatch.setattr(manual, "REDIS_TIMEOUT_S", 0.3)
    state = start(scenario(count=1))
    (pid,) = [pid for pid in warden.descendants(state.warden_pid) if _runs_redis(pid)]
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(EnvironmentFailure, match="may have been done or not"):
        manual.publish("news", "hello")
    assert manual.down()
    assert not exists(pid)


def test_an_adopted_redis_stays(redis_server):
    state = start(scenario(count=1), redis_server)
    assert (state.redis_url, state.redis_source) == (redis_server, "--redis-url")
    assert manual.publish("news", "hello") == 1
    assert manual.down()
    assert asyncio.run(redis.answers(redis_server))


def test_where_the_state_is_kept(monkeypatch, tmp_path):
    assert manual.state_folder() == tmp_path / "state"
    monkeypatch.delenv("FANLAB_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert manual.state_folder() == tmp_path / "xdg" / "fanlab"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert manual.state_folder() == tmp_path / "home" / ".local" / "state" / "fanlab"


def test_a_state_folder_that_cannot_be_made(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FANLAB_STATE_DIR", str(tmp_path / "file" / "state"))
    with pytest.raises(EnvironmentFailure, match=r"the state folder .* cannot be written") as caught:
        start(scenario())
    assert "FANLAB_STATE_DIR" in (caught.value.hint or "")


def _runs_redis(pid: int) -> bool:
    return b"-server" in Path(f"/proc/{pid}/cmdline").read_bytes()
