"""The reference node as a real process on a real Redis: subscription, fan-out, the cache, who may come in."""

import asyncio
import json
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from conftest import RealRedis, free_port
from support.node_process import NodeProcess, RawClient, wait_until

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


async def subscribe(websocket: ClientConnection, *channels: str) -> None:
    await websocket.send(json.dumps({"type": "subscribe", "channels": channels}))
    for channel in channels:
        assert json.loads(await websocket.recv()) == {"type": "subscribed", "channel": channel}


def numsub(client: redis.Redis, channel: str) -> int:
    return dict(client.pubsub_numsub(channel))[channel.encode()]


# --- subscription


async def test_a_payload_arrives_verbatim(node: NodeProcess, client: redis.Redis) -> None:
    node.start()
    payloads: list[str | bytes] = [
        "plain",
        "",
        "hällo ☃ 🎈",
        '{"a": [1, "</script>"]}',
        "line\nline\r\n\0",
    ]
    payloads += [b"\xff\xfe", b"\x00\x80" * 1000, b"\xed\xa0\x80"]
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "news")
        for payload in payloads:
            assert client.publish("news", payload) == 1
            assert await websocket.recv() == payload


async def test_pubsub_tells_the_truth_about_the_first_and_the_last_client(
    node: NodeProcess, client: redis.Redis
) -> None:
    node.env["CACHE_CHANNEL"] = ""
    node.start()
    assert client.pubsub_channels() == []
    async with connect(node.ws) as first, connect(node.ws) as second:
        await subscribe(first, "news")
        await subscribe(second, "news", "jobs")
        assert sorted(client.pubsub_channels()) == [b"jobs", b"news"]
        assert (numsub(client, "news"), numsub(client, "jobs")) == (1, 1)
        await first.close()
        await second.send('{"type":"unsubscribe","channels":["jobs"]}')
        assert json.loads(await second.recv()) == {"type": "unsubscribed", "channel": "jobs"}
        wait_until(lambda: client.pubsub_channels() == [b"news"], "jobs left")
        assert client.publish("jobs", "gone") == 0
    wait_until(lambda: client.pubsub_channels() == [], "news left")
    # the listener survives having nothing to listen to
    async with connect(node.ws) as third:
        await subscribe(third, "news")
        client.publish("news", "still here")
        assert await third.recv() == "still here"


async def test_two_channels_come_on_one_connection_in_the_order_published(
    node: NodeProcess, client: redis.Redis
) -> None:
    node.start()
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "news", "jobs")
        sent = [f"{k}" for k in range(200)]
        for k, text in enumerate(sent):
            client.publish(("news", "jobs")[k % 2], text)
        assert [await websocket.recv() for _ in sent] == sent


async def test_leaving_and_coming_back_at_once_loses_no_race(node: NodeProcess, client: redis.Redis) -> None:
    node.start()
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "news")
        for _ in range(50):
            await websocket.send('{"type":"unsubscribe","channels":["news"]}')
            await websocket.send(SUBSCRIBE_NEWS)
            assert json.loads(await websocket.recv())["type"] == "unsubscribed"
            assert await websocket.recv() == SUBSCRIBED_NEWS
            assert client.publish("news", "once") == 1
            assert await websocket.recv() == "once"
        client.publish("news", "last")
        assert await websocket.recv() == "last"  # and no second copy before it


async def test_the_answer_waits_for_redis_and_all_wait_for_the_one_confirmation(
    node: NodeProcess, client: redis.Redis, real_redis: RealRedis
) -> None:
    node.start()
    assert real_redis.process is not None
    async with connect(node.ws) as one, connect(node.ws) as two, connect(node.ws) as three:
        real_redis.process.send_signal(signal.SIGSTOP)
        try:
            for websocket in (one, two, three):
                await websocket.send(SUBSCRIBE_NEWS)
                await websocket.send("no JSON")  # answered at once, so whatever came before it was not
                assert json.loads(await websocket.recv())["type"] == "error"
        finally:
            real_redis.process.send_signal(signal.SIGCONT)
        for websocket in (one, two, three):
            assert await websocket.recv() == SUBSCRIBED_NEWS
        assert numsub(client, "news") == 1
        client.publish("news", "to all")
        assert [await websocket.recv() for websocket in (one, two, three)] == ["to all"] * 3
    wait_until(lambda: node.events("unsubscribed"), "left")
    assert [event["ch"] for event in node.events("subscribed")].count("news") == 1


async def test_what_is_published_right_after_the_answer_arrives(node: NodeProcess, client: redis.Redis) -> None:
    node.start()
    async with connect(node.ws) as websocket:
        for k in range(100):
            await subscribe(websocket, f"c{k}")
            assert client.publish(f"c{k}", f"m{k}") == 1
            assert await websocket.recv() == f"m{k}"


async def test_the_journal_says_who_got_what(node: NodeProcess, client: redis.Redis) -> None:
    node.start()
    token = "fl1002a0001" + "00000007" + "0" * 28
    async with connect(node.ws) as one, connect(node.ws) as two:
        await subscribe(one, "news")
        await subscribe(two, "news")
        client.publish("news", f'{{"data":"{token}"}}')
        client.publish("news", "no token")
        assert [await one.recv(), await one.recv()] == [await two.recv(), await two.recv()]
    wait_until(lambda: len(node.events("msg")) == 2, "two messages in the journal")
    first, second = node.events("msg")
    assert (first["ch"], first["mark"], first["n"]) == ("news", token[:19], 2)
    assert "mark" not in second
    assert first["t"] <= first["done"] <= second["t"] <= second["done"]
    assert node.events()[0]["ev"] == "start"
    assert node.events("drop") == []


# --- bad input


def malformed() -> list[str | bytes]:
    wrong: list[Any] = [None, [], {}, 7, "subscribe", [1], {"type": 1}, {"type": "subscribe"}, {"type": "hello"}]
    wrong += [{"type": verb, "channels": bad} for verb in ("subscribe", "unsubscribe") for bad in WRONG_CHANNELS]
    return [*map(json.dumps, wrong), "", "{", "\0", "[" * 60_000, "9" * 5000, "NaN", b"", b"\xff\x00", b"{}"]


WRONG_CHANNELS: list[Any] = [
    None,
    "news",
    7,
    {},
    [],
    [""],
    [None],
    [7],
    [["news"]],
    ["\ud800"],
    ["x" * 257],
    ["y"] * 101,
]


async def test_malformed_frames_are_answered_and_nothing_else_happens(node: NodeProcess) -> None:
    node.start()
    async with connect(node.ws) as websocket:
        for frame in malformed():
            await websocket.send(frame)
            answer = json.loads(await websocket.recv())
            assert set(answer) == {"type", "reason"}, frame
            assert answer["type"] == "error"
        await subscribe(websocket, "news")
    assert len(malformed()) > 30
    assert node.metric("node_bad_commands_total") == len(malformed())
    assert "Traceback" not in node.log


async def test_a_client_may_have_so_many_channels_and_no_more(node: NodeProcess) -> None:
    node.env["MAX_CHANNELS"] = "3"
    node.start()
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "a", "b")
        await websocket.send('{"type":"subscribe","channels":["c","d"]}')
        assert "too many channels" in json.loads(await websocket.recv())["reason"]
        await subscribe(websocket, "b", "c")  # one of them is not new


async def test_broken_protocols_cost_their_own_connection_only(node: NodeProcess, client: redis.Redis) -> None:
    node.start()
    async with connect(node.ws) as good:
        await subscribe(good, "news")
        for head in (b"\x81\x05hello", b"\x83\x80\0\0\0\0", b"\xf1\x80\0\0\0\0", b"\x81\xff" + b"\xff" * 8):
            raw = RawClient(node.port)
            raw.socket.sendall(head)
            raw.wait_end()
            raw.close()
        for text in (b"\x16\x03\x01 TLS\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n", b"GET /ws HTTP/1.1\r\n\r\n", b"\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", node.port), timeout=30) as connection:
                connection.sendall(text)
                while connection.recv(4096):
                    pass
        async with connect(node.ws) as big:
            await big.send("x" * 100_000)
            await big.wait_closed()
            assert big.close_code == 1009
        client.publish("news", "untouched")
        assert await good.recv() == "untouched"
    assert "Traceback" not in node.log


# --- who may come in


async def test_a_token_is_asked_for_where_one_is_set(node: NodeProcess) -> None:
    node.env["AUTH_TOKEN"] = "sesame"
    node.start()
    for url, headers in ((node.ws, {}), (f"{node.ws}?token=nope", {}), (node.ws, {"Authorization": "Bearer nope"})):
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, additional_headers=headers)
        assert refused.value.response.status_code == 401
    for url, headers in ((f"{node.ws}?token=sesame", {}), (node.ws, {"Authorization": "Bearer sesame"})):
        async with connect(url, additional_headers=headers) as websocket:
            await subscribe(websocket, "news")
    assert node.get("/cache").status == 401
    assert node.get("/cache?token=sesame").status == 200
    assert node.get("/livez").status == node.get("/readyz").status == node.get("/metrics").status == 200


async def test_pages_of_other_origins_are_refused(node: NodeProcess) -> None:
    node.start()
    with pytest.raises(InvalidStatus) as refused:
        await connect(node.ws, origin="https://evil.example")  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403
    async with connect(node.ws, origin=f"http://127.0.0.1:{node.port}") as websocket:  # type: ignore[arg-type]
        await subscribe(websocket, "news")


async def test_allowed_origins_are_let_in(node: NodeProcess) -> None:
    node.env["ALLOWED_ORIGINS"] = "https://app.example, https://other.example"
    node.start()
    async with connect(node.ws, origin="https://app.example") as websocket:  # type: ignore[arg-type]
        await subscribe(websocket, "news")
    with pytest.raises(InvalidStatus):
        await connect(node.ws, origin=f"http://127.0.0.1:{node.port}")  # type: ignore[arg-type]


# --- cache and HTTP


def test_user_updates_refresh_the_cache(node: NodeProcess, client: redis.Redis) -> None:
    node.start()
    assert numsub(client, "user:updated") == 1
    assert node.get("/cache/7").status == 404
    assert client.publish("user:updated", '{"id":7,"name":"Ada"}') == 1
    wait_until(lambda: node.get("/cache/7").status == 200, "cached")
    client.publish("user:updated", "no object")
    client.publish("user:updated", '{"id":"a/b c","name":"Ä"}')
    client.publish("user:updated", '{"id":7,"name":"Ada Lovelace"}')
    wait_until(lambda: json.loads(node.get("/cache/7").text)["version"] == 2, "refreshed")
    assert json.loads(node.get("/cache/7").text)["value"] == {"id": 7, "name": "Ada Lovelace"}
    assert json.loads(node.get("/cache/a%2Fb%20c").text)["value"]["name"] == "Ä"
    everything = json.loads(node.get("/cache").text)
    assert (everything["channel"], everything["size"]) == ("user:updated", 2)


def test_metrics_can_be_scraped(node: NodeProcess) -> None:
    node.start()
    answer = node.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    sample = re.compile(r'(\w+)(?:\{\w+="(?:[^"\\]|\\.)*"\})? (\S+)')
    kinds: dict[str, str] = {}
    for line in answer.text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = sample.fullmatch(line)
            assert match, line
            float(match[2])
            assert match[1] in kinds
    assert set(kinds.values()) == {"counter", "gauge"}
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in kinds.items())
    assert node.metric("node_redis_up") == 1


def test_what_is_not_there_is_404(node: NodeProcess) -> None:
    node.start()
    assert {node.get(path).status for path in ("/nothing", "/cachex", "/ws/", "/livez/x", "/cache/")} == {404}
    assert node.get("/ws").status == 426


# --- settings that do not work


@pytest.mark.parametrize(
    ("env", "status", "words"),
    [
        ({"FANLAB_PORT": "http"}, 2, "FANLAB_PORT='http' is no number"),
        ({"SLOW_CLIENT": "wait"}, 2, "SLOW_CLIENT='wait' is no policy"),
        ({"FANLAB_JOURNAL": "/nowhere/at/all.jsonl"}, 2, "cannot be opened: No such file"),
        ({"FANLAB_HOST": "203.0.113.1"}, 1, "cannot listen on 203.0.113.1"),
    ],
)
def test_a_bad_setting_ends_it_with_a_sentence(tmp_path: Path, env: dict[str, str], status: int, words: str) -> None:
    node = NodeProcess(free_port(), "redis://127.0.0.1:1/0", tmp_path, env)
    assert node.spawn().wait() == status
    assert words in node.log
    assert len(node.log.splitlines()) == 1


def test_a_taken_port_ends_it_with_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        node = NodeProcess(taken.getsockname()[1], "redis://127.0.0.1:1/0", tmp_path)
        assert node.spawn().wait() == 1
    assert "cannot listen" in node.log
    assert "Traceback" not in node.log


async def test_two_hundred_clients_at_once(node: NodeProcess, client: redis.Redis) -> None:
    node.start()
    async with asyncio.TaskGroup() as tasks:
        joined = [tasks.create_task(connect(node.ws).__aenter__()) for _ in range(200)]
    clients = [task.result() for task in joined]
    await asyncio.gather(*(subscribe(websocket, "news") for websocket in clients))
    assert numsub(client, "news") == 1
    for k in range(20):
        client.publish("news", str(k))
    for websocket in clients:
        assert [await websocket.recv() for _ in range(20)] == [str(k) for k in range(20)]
    await asyncio.gather(*(websocket.close() for websocket in clients))
    wait_until(lambda: numsub(client, "news") == 0, "left")


async def test_it_runs_without_uvloop(node: NodeProcess, client: redis.Redis, tmp_path: Path) -> None:
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "uvloop.py").write_text("raise ImportError")
    node.env |= {"PYTHONPATH": str(tmp_path / "absent"), "CLIENT_BUFFER_BYTES": "65536"}
    node.start()
    slow = RawClient(node.port)
    slow.send_text(SUBSCRIBE_NEWS)
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "news")
        while not node.metric("node_slow_closed_total"):
            client.publish("news", "x" * 30_000)
            assert await websocket.recv() == "x" * 30_000
        wait_until(lambda: node.metric("node_clients") == 1, "the slow client gone")
        node.send(signal.SIGTERM)
        await websocket.wait_closed()
        assert websocket.close_code == 1001
    assert node.wait() == 0
    slow.close()
