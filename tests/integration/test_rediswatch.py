"""The watch on a real Redis: whose connections come and go, whom Redis cuts off and when, and what it cannot see."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from conftest import RealRedis
from fanlab.ledger.redisjournal import RedisJournal, read_redis_journal
from fanlab.rediswatch import RedisWatch
from support.node_process import eventually

pytestmark = pytest.mark.system

SUBSCRIBE = """
import os, socket, sys
if sys.argv[2] == "child" and os.fork():  # the connection is a child's; it ends with Redis
    sys.exit(os.wait()[1])
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
if sys.argv[2]:
    connection.sendall(b"CLIENT SETNAME " + sys.argv[2].encode() + b"\\r\\n")
for channel in sys.argv[3:]:
    connection.sendall(b"SUBSCRIBE " + channel.encode() + b"\\r\\n")
while connection.recv(65536):
    pass
"""


class System:
    """A Redis, its watch, and subscribers that stand for nodes."""

    def __init__(self, real: RealRedis, client: redis.Redis, folder: Path) -> None:
        self.real, self.client = real, client
        self.path = folder / "redis.jsonl"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.watch = RedisWatch(
            self.path,
            redis_url=real.url,
            log=real.folder / "redis.log",
            pids=lambda: {
                name: self.processes[name].pid if name in self.processes else None for name in ("node-1", "node-2")
            },
        )

    def subscribe(self, node: str, *channels: str, name: str = "") -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-c", SUBSCRIBE, str(self.real.port), name, *channels]
        self.processes[node] = subprocess.Popen(argv)
        return self.processes[node]

    def rows(self, *events: str) -> list[dict[str, Any]]:
        lines = map(json.loads, self.path.read_text().splitlines()) if self.path.exists() else ()
        return [line for line in lines if line["ev"] in events]

    async def row(self, event: str, wanted: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            return [row for row in self.rows(event) if wanted(row)]

        rows: list[dict[str, Any]] = await eventually(found, f"a row of {event}")
        return rows[-1]

    def read(self) -> RedisJournal:
        found = read_redis_journal(self.path, {"node-1": 0, "node-2": 1})
        assert found is not None
        return found


@pytest.fixture
def system(real_redis: RealRedis, tmp_path: Path) -> Iterator[System]:
    with closing(redis.Redis.from_url(real_redis.url)) as client:
        system = System(real_redis, client, tmp_path)
        try:
            yield system
        finally:
            for process in system.processes.values():
                process.kill()
                process.wait()


async def test_a_node_that_tells_its_name_comes_changes_and_goes(system: System) -> None:
    async with system.watch:
        await system.row("watch")
        before_ns = time.monotonic_ns()
        process = system.subscribe("node-2", "news", "jobs", name="node-2")
        row = await system.row("subscriber", lambda row: row["sub"] == 2)
        assert (row["node"], row["name"], row["psub"]) == ("node-2", "node-2", 0)
        killed_ns = time.monotonic_ns()
        process.kill()
        gone = await system.row("gone")
    assert row["t"] > before_ns
    assert gone["id"] == row["id"]
    assert gone["node"] == "node-2"
    assert 0 < row["before"] <= gone["before"]
    assert row["t"] < gone["t"]
    assert gone["t"] > killed_ns
    found = system.read()
    assert found.torn == 0
    ((since, _, _, over),) = found.subscribed(1).tolist()
    assert since <= row["t"]  # earlier where it was seen between its two channels
    assert over == gone["t"]
    assert len(found.watched) == 1


@pytest.mark.parametrize("who", ["", "some-pool", "child"])
async def test_a_black_box_is_known_by_its_port(system: System, who: str) -> None:
    system.subscribe("node-1", "news", name=who)
    async with system.watch:
        row = await system.row("subscriber")
    assert (row["node"], row["sub"]) == ("node-1", 1)


async def test_a_stranger_is_nobodys(system: System) -> None:
    with system.client.pubsub() as stranger:
        stranger.subscribe("news")
        stranger.psubscribe("j*")
        async with system.watch:
            row = await system.row("subscriber", lambda row: row["psub"] == 1)
    assert (row["node"], row["sub"]) == (None, 1)


async def test_a_killed_connection_is_gone_and_the_next_is_another(system: System) -> None:
    system.subscribe("node-1", "news")
    async with system.watch:
        first = await system.row("subscriber")
        assert system.client.client_kill_filter(_type="pubsub") == 1
        gone = await system.row("gone")
        system.processes["node-1"].wait(20)
        system.subscribe("node-1", "news")
        second = await system.row("subscriber", lambda row: row["id"] != first["id"])
    assert gone["id"] == first["id"]
    assert second["node"] == "node-1"


async def test_an_output_buffer_kill_is_seen_and_timed(system: System) -> None:
    system.client.config_set("client-output-buffer-limit", "pubsub 200kb 0 0")
    process = system.subscribe("node-1", "news")
    async with system.watch:
        row = await system.row("subscriber")
        process.send_signal(signal.SIGSTOP)
        before_ns = after_ns = time.monotonic_ns()
        while True:
            sent_ns = time.monotonic_ns()
            counted = system.client.publish("news", b"x" * 20_000)
            if not counted:
                break
            before_ns, after_ns = sent_ns, time.monotonic_ns()
        kill = await system.row("buffer_kill")
    # Redis closed it while it appended the last message that it counted; its log has whole milliseconds, cut off.
    assert before_ns - 1_000_000 <= kill["t"] <= after_ns + 1_000_000
    assert (kill["id"], kill["addr"], kill["node"]) == (row["id"], row["addr"], "node-1")
    assert kill["omem"] >= 180_000
    ((t, *_),) = system.read().buffer_kills
    assert t == kill["t"]


async def test_a_redis_that_is_gone_leaves_a_gap_in_the_watch(system: System) -> None:
    system.subscribe("node-1", "news", name="node-1")
    async with system.watch:
        await system.row("subscriber")
        killed_ns = time.monotonic_ns()
        system.real.kill()
        down = await system.row("watch", lambda row: row["state"] == "down")
        system.processes["node-1"].wait(20)
        back_ns = time.monotonic_ns()
        system.real.start()
        await system.row("watch", lambda row: row["state"] == "up" and row["t"] > back_ns)
        system.subscribe("node-1", "news", name="node-1")
        await system.row("subscriber", lambda row: row["t"] > back_ns)
    assert down["before"] < killed_ns < down["t"]
    found = system.read()
    assert len(found.watched) == 2
    assert [(row.node, row.before < killed_ns, row.t > back_ns) for row in found.gone] == [(0, True, True)]
    assert len(found.subscribed(0)) == 2


async def test_it_stops_though_redis_says_nothing(system: System) -> None:
    assert system.real.process is not None
    async with asyncio.timeout(20):
        async with system.watch:
            await system.row("watch")
            system.real.process.send_signal(signal.SIGSTOP)
            await system.row("watch", lambda row: row["state"] == "down")
    system.real.process.send_signal(signal.SIGCONT)
