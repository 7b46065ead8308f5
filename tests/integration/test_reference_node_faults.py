"""The reference node when things break: Redis, clients, the node itself."""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from conftest import RealRedis, free_port
from support.node_process import NodeProcess, RawClient, eventually, wait_until

pytestmark = pytest.mark.system

SUBSCRIBE_NEWS = '{"type":"subscribe","channels":["news"]}'
SUBSCRIBED_NEWS = '{"type":"subscribed","channel":"news"}'


@pytest.fixture
def node(redis_server: str, tmp_path: Path) -> Iterator[NodeProcess]:
    """A node that is not started yet, so that a test may set its environment."""
    process = NodeProcess(free_port(), redis_server, tmp_path)
    try:
        yield process
    finally:
        process.kill()


@pytest.fixture
def client(redis_server: str) -> Iterator[redis.Redis]:
    """Redis as a publisher sees it."""
    with closing(redis.Redis.from_url(redis_server)) as connection:
        yield connection


async def subscribe(websocket: ClientConnection, channel: str) -> None:
    await websocket.send(json.dumps({"type": "subscribe", "channels": [channel]}))
    assert json.loads(await websocket.recv()) == {"type": "subscribed", "channel": channel}


def numsub(client: redis.Redis, channel: str) -> int:
    return dict(client.pubsub_numsub(channel))[channel.encode()]


def raw_subscriber(node: NodeProcess) -> RawClient:
    raw = RawClient(node.port)
    raw.send_text(SUBSCRIBE_NEWS)
    assert raw.frame() == (1, SUBSCRIBED_NEWS.encode())
    return raw


# --- Redis


async def test_a_killed_pubsub_connection_comes_back_and_leaves_a_gap(node: NodeProcess, client: redis.Redis) -> None:
    node.start()
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "news")
        for k in range(1, 4):
            killed_ns = time.monotonic_ns()
            assert client.client_kill_filter(_type="pubsub") == 1
            wait_until(lambda k=k: len(node.events("gap")) == 2 * k, "a gap for each channel")
            back_ns = time.monotonic_ns()
            assert numsub(client, "news") == 1
            client.publish("news", f"after {k}")
            assert await websocket.recv() == f"after {k}"
            for gap in node.events("gap")[-2:]:
                assert gap["from"] <= gap["to"] == gap["t"]
                assert gap["from"] <= killed_ns + 10**9
                assert killed_ns < gap["to"] < back_ns
    assert {gap["ch"] for gap in node.events("gap")} == {"news", "user:updated"}
    assert [event["state"] for event in node.events("redis")] == ["up", *["down", "up"] * 3]


async def test_every_message_lost_by_a_killed_connection_lies_in_a_gap(node: NodeProcess, client: redis.Redis) -> None:
    node.start()
    sent_ns: dict[str, int] = {}

    def publish() -> None:
        for k in range(3000):
            sent_ns[str(k)] = time.monotonic_ns()
            client.publish("news", str(k))
            if k in (700, 1500, 2300):
                client.client_kill_filter(_type="pubsub")
                wait_until(lambda: numsub(client, "news") == 1, "subscribed again")

    async with connect(node.ws, max_queue=None) as websocket:
        await subscribe(websocket, "news")
        await asyncio.to_thread(publish)
        client.publish("news", "end")
        got = []
        while (text := await websocket.recv()) != "end":
            got.append(str(text))
    gaps = [(gap["from"], gap["to"]) for gap in node.events("gap") if gap["ch"] == "news"]
    assert len(gaps) == 3
    assert got == sorted(got, key=int)
    assert len(set(got)) == len(got)
    lost = sent_ns.keys() - set(got)
    unexplained = {k for k in lost if not any(start <= sent_ns[k] <= end for start, end in gaps)}
    assert unexplained == set()


async def test_redis_killed_for_longer_than_redis_py_would_wait(
    node: NodeProcess, client: redis.Redis, real_redis: RealRedis
) -> None:
    node.start()
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "news")
        real_redis.kill()
        end = time.monotonic() + 6
        wait_until(lambda: node.get("/readyz").status == 503, "not ready")
        assert "no Redis" in node.get("/readyz").text
        await websocket.send('{"type":"subscribe","channels":["jobs"]}')  # waits, and is answered when Redis is back
        while time.monotonic() < end:
            assert node.get("/livez").status == 200
            assert node.get("/readyz").status == 503
            await asyncio.sleep(0.1)
        real_redis.start()
        node.wait_ready()
        assert json.loads(await websocket.recv()) == {"type": "subscribed", "channel": "jobs"}
        wait_until(lambda: numsub(client, "news") == 1, "subscribed again")
        client.publish("news", "back")
        assert await websocket.recv() == "back"
    await eventually(lambda: {gap["ch"] for gap in node.events("gap")} == {"news", "user:updated"}, "two gaps")
    assert [event["state"] for event in node.events("redis")][-1] == "up"


def test_a_node_waits_for_a_redis_that_comes_later(tmp_path: Path, real_redis: RealRedis) -> None:
    real_redis.kill()
    node = NodeProcess(free_port(), real_redis.url, tmp_path).spawn()
    try:
        wait_until(lambda: node.get("/livez").status == 200, "alive")
        assert node.get("/readyz").status == 503
        real_redis.start()
        node.wait_ready()
        assert node.events("gap") == []
    finally:
        node.kill()


async def test_a_redis_that_says_nothing_is_given_up(
    node: NodeProcess, client: redis.Redis, real_redis: RealRedis
) -> None:
    node.env |= {"REDIS_TIMEOUT_MS": "500", "REDIS_PING_MS": "100"}
    node.start()
    assert real_redis.process is not None
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "news")
        real_redis.process.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: node.get("/readyz").status == 503, "not ready")
            assert "said nothing for 0.5 s" in node.log
            assert node.get("/livez").status == 200
        finally:
            real_redis.process.send_signal(signal.SIGCONT)
        node.wait_ready()
        wait_until(lambda: "news" in [gap["ch"] for gap in node.events("gap")], "a gap")
        client.publish("news", "back")
        assert await websocket.recv() == "back"


# --- clients


async def fill(node: NodeProcess, client: redis.Redis, fast: ClientConnection, until: str) -> list[str]:
    """Publish 16 kB messages, read by `fast` at once, until the metric named is not 0; returns what was published."""
    sent: list[str] = []
    while not node.metric(until):
        assert len(sent) < 4000, "the slow client's kernel buffers never fill"
        for _ in range(16):
            sent.append(f"{len(sent):06d}" + "x" * 16_000)
            client.publish("news", sent[-1])
        assert [await fast.recv() for _ in range(16)] == sent[-16:]
        assert node.metric("node_unsent_bytes_max") <= 262_144
    return sent


async def test_a_slow_client_is_closed_and_nobody_else_notices(node: NodeProcess, client: redis.Redis) -> None:
    node.env |= {"CLIENT_BUFFER_BYTES": "262144"}
    node.start()
    slow = raw_subscriber(node)
    async with connect(node.ws) as fast:
        await subscribe(fast, "news")
        sent = await fill(node, client, fast, until="node_slow_closed_total")
        wait_until(lambda: node.metric("node_clients") == 1, "the slow client gone")
        client.publish("news", "after")
        assert await fast.recv() == "after"
    slow.close()
    wait_until(lambda: len(node.events("msg")) == len(sent) + 1, "all messages in the journal")
    drops = node.events("drop")
    assert drops[0]["why"] == "slow"
    assert {drop["why"] for drop in drops[1:]} <= {"closing"}
    dropped = {drop["t"] for drop in drops}
    for event in node.events("msg")[:-1]:  # everybody in the set is in the journal, written to or not
        assert event["n"] + (event["t"] in dropped) == 2 or event["t"] > drops[-1]["t"]


async def test_a_slow_client_that_reads_again_is_told_1013(node: NodeProcess, client: redis.Redis) -> None:
    node.env |= {"CLIENT_BUFFER_BYTES": "262144", "CLOSE_TIMEOUT": "30"}
    node.start()
    slow = raw_subscriber(node)
    async with connect(node.ws) as fast:
        await subscribe(fast, "news")
        await fill(node, client, fast, until="node_slow_closed_total")
        assert slow.wait_end() == 1013


async def test_drop_newest_keeps_a_slow_client_and_journals_what_it_missed(
    node: NodeProcess, client: redis.Redis
) -> None:
    node.env |= {"CLIENT_BUFFER_BYTES": "262144", "SLOW_CLIENT": "drop-newest"}
    node.start()
    slow = raw_subscriber(node)
    async with connect(node.ws) as fast:
        await subscribe(fast, "news")
        sent = await fill(node, client, fast, until='node_drops_total{why="slow"}')
        got = []
        client.publish("news", "end")
        assert await fast.recv() == "end"
        while node.metric("node_unsent_bytes_max") or not got:
            got.append(slow.frame())
        while True:  # until the client has room again, what is published may be dropped
            client.publish("news", "again")
            assert await fast.recv() == "again"
            got.append(slow.frame())
            if got[-1] == (1, b"again"):
                break
    wait_until(lambda: node.events("drop"), "drops in the journal")
    assert {drop["why"] for drop in node.events("drop")} == {"slow"}
    texts = [data.decode() for _, data in got if data not in (b"again", b"end")]
    assert texts == [text for text in sent if text in set(texts)]  # in order, with a hole
    assert len(texts) < len(sent)
    slow.close()


async def test_a_client_that_answers_no_ping_is_aborted(node: NodeProcess, client: redis.Redis) -> None:
    node.env |= {"HEARTBEAT_INTERVAL": "0.2", "HEARTBEAT_TIMEOUT": "0.2"}
    node.start()
    dead = raw_subscriber(node)
    async with connect(node.ws) as alive:
        await subscribe(alive, "news")
        assert await asyncio.to_thread(dead.wait_end) is None
        await eventually(lambda: node.metric("node_dead_clients_total") == 1, "given up")
        client.publish("news", "to the living")
        assert await alive.recv() == "to the living"
    dead.close()


async def test_a_client_that_stopped_reading_is_found_dead_though_its_buffer_is_full(
    node: NodeProcess, client: redis.Redis
) -> None:
    node.env |= {"HEARTBEAT_INTERVAL": "0.5", "HEARTBEAT_TIMEOUT": "0.5", "CLIENT_BUFFER_BYTES": str(1 << 28)}
    node.start()
    stuck = raw_subscriber(node)
    while not node.metric("node_unsent_bytes_max") and not node.metric("node_dead_clients_total"):
        for _ in range(16):
            client.publish("news", "x" * 64_000)
    wait_until(lambda: node.metric("node_clients") == 0, "aborted")
    assert node.metric("node_dead_clients_total") == 1
    stuck.close()


# --- the node itself


async def test_sigterm_closes_clients_with_1001_and_exits_0(node: NodeProcess, client: redis.Redis) -> None:
    node.start()
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "news")
        client.publish("news", "last")
        node.send(signal.SIGTERM)
        assert await websocket.recv() == "last"
        with pytest.raises(ConnectionClosed):
            await websocket.recv()
        assert websocket.close_code == 1001
    assert node.wait() == 0
    assert node.events()[-1]["ev"] == "stop"
    assert len(node.events("msg")) == 1
    assert "Traceback" not in node.log


async def test_sigterm_does_not_wait_for_a_client_that_is_stuck(node: NodeProcess, client: redis.Redis) -> None:
    node.env |= {"CLOSE_TIMEOUT": "0.5", "CLIENT_BUFFER_BYTES": str(1 << 28)}
    node.start()
    stuck = raw_subscriber(node)
    while not node.metric("node_unsent_bytes_max"):
        for _ in range(16):
            client.publish("news", "x" * 64_000)
    node.send(signal.SIGTERM)
    assert node.wait() == 0
    assert node.events()[-1]["ev"] == "stop"
    stuck.close()


async def test_sigkill_leaves_a_readable_journal_that_the_next_process_goes_on_with(
    node: NodeProcess, client: redis.Redis
) -> None:
    node.start()
    async with connect(node.ws, max_queue=None) as websocket:
        await subscribe(websocket, "news")
        for k in range(500):
            client.publish("news", str(k))
        wait_until(lambda: len(node.events("msg")) > 100, "messages in the journal")
        node.kill()
        await websocket.wait_closed()
        assert websocket.close_code == 1006
    before = len(node.events())
    with node.journal_path.open("ab") as file:
        file.write(b'{"t":12345,"ev":"ms')  # the torn line that a kill may leave
    node.start()
    lines = node.journal_path.read_bytes().split(b"\n")
    assert lines[before] == b'{"t":12345,"ev":"ms'
    assert json.loads(lines[before + 1])["ev"] == "start"
    assert lines[-1] == b""


async def test_a_stopped_node_that_goes_on_keeps_its_clients(node: NodeProcess, client: redis.Redis) -> None:
    node.env |= {"HEARTBEAT_INTERVAL": "0.4", "HEARTBEAT_TIMEOUT": "0.4", "REDIS_TIMEOUT_MS": "400"}
    node.start()
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "news")
        node.send(signal.SIGSTOP)
        client.publish("news", "meanwhile")
        await asyncio.sleep(1.5)  # several deadlines long
        node.send(signal.SIGCONT)
        assert await websocket.recv() == "meanwhile"
        sweeps = node.metric("node_connections_total")
        await asyncio.sleep(1)  # and several sweeps after it
        client.publish("news", "afterwards")
        assert await websocket.recv() == "afterwards"
        assert (sweeps, node.metric("node_dead_clients_total")) == (1, 0)
    assert node.events("gap") == []


async def test_a_full_disk_is_said_once_and_does_not_stop_the_fan_out(node: NodeProcess, client: redis.Redis) -> None:
    node.env["FANLAB_JOURNAL"] = "/dev/full"
    node.start()
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "news")
        for k in range(10):
            client.publish("news", str(k))
            assert await websocket.recv() == str(k)
            await asyncio.sleep(0.03)
    assert node.log.count("No space left on device") == 1
    assert node.metric("node_journal_errors_total") > 1
    node.send(signal.SIGTERM)
    assert node.wait() == 0
