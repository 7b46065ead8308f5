"""The reference node under attack: it lives, forgets its attackers, and still serves those who behave."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect

from support.bad_peers import assail, attack
from support.node_process import NodeProcess, eventually

AT_ONCE = 16  # attackers
WARM_UP = 48  # attacks before memory counts: two of each kind
GROWTH_BYTES = 8 << 20  # far above what allocators keep back; far below a message or a buffer kept per attack
GOOD_CLIENTS = 3
EVERY_S = 0.01
DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds: memory that is resident, and open files."""

    rss_bytes: int
    files: int

    @classmethod
    def by(cls, pid: int) -> "Held":
        """As of now."""
        process = psutil.Process(pid)
        return cls(process.memory_info().rss, process.num_fds())


def must_be_bounded(before: Held, after: Held) -> None:
    """Raise AssertionError if a process has come to hold more than noise explains."""
    grown = after.rss_bytes - before.rss_bytes
    assert grown <= GROWTH_BYTES, f"it has grown by {grown / 2**20:.1f} MiB"
    assert after.files <= before.files, f"{after.files - before.files} more open files"


def assail_all(port: int, numbers: Sequence[int]) -> Counter[str]:
    """All these attacks, some at a time; those who stay leave when all others are done. Returns how many of a kind."""
    attacks = [attack(number) for number in numbers]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        stayed = list(pool.map(lambda one: assail(port, one), attacks))
    for peer in stayed:
        if peer is not None:
            peer.close()
    return Counter(one.name for one in attacks)


@dataclass(frozen=True, slots=True)
class Served:
    """How a siege went: messages sent, each of which every good client had; what the node holds; kinds of attacks."""

    sent: int
    grown_bytes: int
    kinds: Counter[str]


class Ticker:
    """Publishes 0, 1, 2 … on the channel `news`, until it is ended."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url)
        self._ending = asyncio.Event()
        self.sent = 0

    async def run(self) -> None:
        """Publish, each number once."""
        async with self._redis:
            while not self._ending.is_set():
                await self._redis.publish("news", str(self.sent))
                self.sent += 1
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(EVERY_S):
                        await self._ending.wait()

    def end(self) -> None:
        """After this one, no more."""
        self._ending.set()


async def siege(node: NodeProcess, numbers: Sequence[int]) -> Served:
    """Attack a running node while good clients listen. Raises AssertionError for whatever it did not withstand."""
    assert node.process is not None
    pid, ticker = node.process.pid, Ticker(node.redis_url)
    received: list[list[int]] = [[] for _ in range(GOOD_CLIENTS)]
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(node.ws)) for _ in received]
        for client in clients:
            await client.send('{"type":"subscribe","channels":["news"]}')
            assert json.loads(await client.recv())["type"] == "subscribed"
        listening = [asyncio.create_task(_listen(*pair)) for pair in zip(clients, received, strict=True)]
        publishing = asyncio.create_task(ticker.run())
        await asyncio.to_thread(assail_all, node.port, numbers[:WARM_UP])
        await _only_good_ones(node)
        before = Held.by(pid)
        kinds = await asyncio.to_thread(assail_all, node.port, numbers[WARM_UP:])
        await _only_good_ones(node)
        ticker.end()
        await publishing
        wanted = list(range(ticker.sent))
        await eventually(lambda: all(got[-1:] == wanted[-1:] for got in received), "the last message", DEADLINE_S)
        assert all(got == wanted for got in received), "something was lost, doubled or out of order"
        assert node.get("/readyz").status == 200
        await eventually(lambda: Held.by(pid).files <= before.files, "the attackers' connections closed", DEADLINE_S)
        after = Held.by(pid)
        must_be_bounded(before, after)
        assert "Traceback" not in node.log
        for task in listening:
            task.cancel()
    return Served(ticker.sent, after.rss_bytes - before.rss_bytes, kinds)


async def _only_good_ones(node: NodeProcess) -> None:
    await eventually(lambda: node.metric("node_clients") == GOOD_CLIENTS, "the attackers gone", DEADLINE_S)


async def _listen(client: ClientConnection, got: list[int]) -> None:
    while True:
        got.append(int(await client.recv()))
