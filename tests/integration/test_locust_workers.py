"""loadtests/fanout.py under Locust's web UI: with workers that come late, and with users who come and go.

Whose message is which, and on which node each client is, must not depend on how many processes share the load.
"""

import asyncio
import json
import os
import re
import sys
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from conftest import free_port
from fanlab import clock
from fanlab.ledger.records import TOKEN_LENGTH, Token, decode_token
from fanlab.resources import folder
from support.load_system import Processes

pytestmark = pytest.mark.system

DEADLINE_S = 40.0
NODES = 3


class Locust:
    """Locust processes with fanout.py, and their web UI's own requests."""

    def __init__(self, processes: Processes, logs: Path, environment: dict[str, str]) -> None:
        self._processes = processes
        self._logs = logs
        self._environment = environment
        self._web, self._bind = free_port(), free_port()

    async def start(self, name: str, *options: str) -> None:
        argv = [sys.executable, "-m", "locust", "-f", str(folder("loadtests") / "fanout.py"), *options]
        await self._processes.start_helper(name, argv, self._environment, self._logs / f"{name}.log")

    async def lead(self, *options: str) -> None:
        await self.start("lead", "--web-host", "127.0.0.1", "--web-port", str(self._web), *options)
        await until(lambda: self._get("/") is not None, "the web UI answers")

    async def lead_workers(self) -> None:
        await self.lead("--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", str(self._bind))

    async def work(self, name: str) -> None:
        await self.start(name, "--worker", "--master-host", "127.0.0.1", "--master-port", str(self._bind))

    def stats(self) -> dict[str, Any]:
        return dict(json.loads(self._get("/stats/requests") or "{}"))

    def swarm(self, users: int) -> None:
        """As the form does it: so many users from now on."""
        form = urllib.parse.urlencode({"user_count": users, "spawn_rate": 100}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self._web}/swarm", form, timeout=10) as answer:
            assert json.load(answer)["success"]

    def _get(self, path: str) -> str | None:
        return get(f"http://127.0.0.1:{self._web}{path}")


class Ear:
    """Every message on a channel, in order."""

    def __init__(self) -> None:
        self.tokens: list[Token] = []

    async def listen(self, url: str, ready: asyncio.Event) -> None:
        async with Redis.from_url(url) as client, client.pubsub() as pubsub:
            await pubsub.subscribe("news")
            async for message in pubsub.listen():
                ready.set()
                if message["type"] == "message":
                    token = decode_token(message["data"][:TOKEN_LENGTH])
                    assert token is not None
                    self.tokens.append(token)

    def of(self, stream: int) -> list[Token]:
        return [token for token in self.tokens if token.stream == stream]


def get(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - http, on 127.0.0.1
            return str(answer.read().decode())
    except OSError:
        return None


async def until(condition: Callable[[], Any], what: str) -> None:
    end_ns = clock.now_ns() + round(DEADLINE_S * clock.NS_PER_S)
    while not await asyncio.to_thread(condition):
        assert clock.now_ns() < end_ns, f"waited {DEADLINE_S:g} s until {what}"
        await asyncio.sleep(0.1)


@pytest.fixture
async def ear(redis_server: str) -> AsyncIterator[Ear]:
    heard, ready = Ear(), asyncio.Event()
    listening = asyncio.create_task(heard.listen(redis_server, ready))
    await asyncio.wait_for(ready.wait(), 10)
    yield heard
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


def environment(urls: list[str], redis_url: str, **settings: str) -> dict[str, str]:
    return {**os.environ, "FANLAB_NODES": ",".join(urls), "FANLAB_REDIS_URL": redis_url, **settings}


async def test_three_workers_share_clients_and_streams(tmp_path: Path, redis_server: str, ear: Ear) -> None:
    processes = Processes()
    try:
        nodes = [await processes.start_node(k, free_port(), redis_server, tmp_path) for k in range(NODES)]
        told = environment([node.ws_url for node in nodes], redis_server, FANLAB_RATE="20/s", FANLAB_PUBLISHERS="3")
        locust = Locust(processes, tmp_path, told)
        await locust.lead_workers()
        for k in range(3):
            await locust.work(f"worker-{k}")
        await until(lambda: len(locust.stats()["workers"]) == 3, "three workers are there")
        locust.swarm(33 + 3)
        # 11 clients from each worker: each worker alone would put four of them on the first node.
        await until(lambda: clients_on(nodes) == [11, 11, 11], f"each node has its third ({clients_on(nodes)})")
        await until(lambda: all(len(ear.of(stream)) > 40 for stream in range(3)), "three streams are heard")
        await until(lambda: delivered(locust.stats()) > 33 * 60, "deliveries are counted")
        stats = locust.stats()
    finally:
        await processes.close()
    assert [worker["user_count"] for worker in stats["workers"]] == [12, 12, 12]
    assert {token.stream for token in ear.tokens} == {0, 1, 2}
    assert max(Counter((token.stream, token.seq) for token in ear.tokens).values()) == 1
    assert all(entry["num_failures"] == 0 for entry in stats["stats"])
    assert stats["errors"] == []


async def test_a_publisher_who_comes_back_makes_up_for_nothing(tmp_path: Path, redis_server: str, ear: Ear) -> None:
    processes = Processes()
    try:
        node = await processes.start_node(0, free_port(), redis_server, tmp_path)
        locust = Locust(processes, tmp_path, environment([node.ws_url], redis_server, FANLAB_RATE="20/s"))
        await locust.lead()
        locust.swarm(2)
        await until(lambda: len(ear.tokens) >= 40, "it publishes")
        locust.swarm(0)
        await until(lambda: locust.stats()["user_count"] == 0, "it has stopped")
        stopped = len(ear.tokens)
        back_ns = clock.now_ns()
        locust.swarm(2)
        await until(lambda: len(ear.tokens) > stopped + 40, "it publishes again")
    finally:
        await processes.close()
    again = [token.intended_ns for token in ear.tokens[stopped:] if token.intended_ns > back_ns]
    assert len(ear.tokens) - stopped - len(again) < 10  # on their way when it stopped; to make up would be 40
    assert {later_ns - sooner_ns for sooner_ns, later_ns in pairwise(again)} == {clock.NS_PER_S // 20}


def delivered(stats: dict[str, Any]) -> int:
    return sum(entry["num_requests"] for entry in stats["stats"] if entry["name"] == "deliver news")


def clients_on(nodes: list[Any]) -> list[int]:
    texts = [get(f"{node.http_url}/metrics") or "" for node in nodes]
    return [int(float(re.findall(r"^node_clients (\S+)$", text, re.MULTILINE)[0])) for text in texts]
