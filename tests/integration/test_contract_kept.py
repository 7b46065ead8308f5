"""What nodes/PROTOCOL.md asks of a node, asked of every kind that keeps to it, by sockets, signals and journals."""

import asyncio
import json
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from conftest import RealRedis, free_port
from support.node_kinds import KINDS, environment, nodes_folder
from support.node_process import NodeProcess, RawClient, eventually, wait_until
from support.silent_link import SilentLink

pytestmark = pytest.mark.system

MakeNode = Callable[..., NodeProcess]


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, real_redis: RealRedis, tmp_path: Path) -> Iterator[MakeNode]:
    """Makes the test's node, with settings by the names that all kinds share; it is not started yet."""
    made: list[NodeProcess] = []

    def make_node(**settings: int) -> NodeProcess:
        env = environment(request.param, **settings)
        nodes = nodes_folder(request.param, request)
        made.append(NodeProcess(free_port(), real_redis.url, tmp_path, env, request.param, nodes))
        return made[-1]

    try:
        yield make_node
    finally:
        for node in made:
            node.kill()


@pytest.fixture
def client(redis_server: str) -> Iterator[redis.Redis]:
    """Redis as a publisher sees it."""
    with closing(redis.Redis.from_url(redis_server)) as connection:
        yield connection


async def say(websocket: ClientConnection, verb: str, *channels: str) -> None:
    await websocket.send(json.dumps({"type": verb, "channels": channels}))


async def subscribe(websocket: ClientConnection, *channels: str) -> None:
    await say(websocket, "subscribe", *channels)
    for channel in channels:
        assert json.loads(await websocket.recv()) == {"type": "subscribed", "channel": channel}


def channels_of(client: redis.Redis) -> set[str]:
    """The channels that clients are the reason for; a node's own are left out."""
    return {name.decode() for name in client.pubsub_channels()} - {"user:updated"}


def numsub(client: redis.Redis, channel: str) -> int:
    return dict(client.pubsub_numsub(channel))[channel.encode()]


def raw_subscriber(node: NodeProcess, number: int) -> RawClient:
    raw = RawClient(node.port, client=number)
    raw.send_text('{"type":"subscribe","channels":["news"]}')
    assert json.loads(raw.frame()[1]) == {"type": "subscribed", "channel": "news"}
    return raw


# Section 4: the client protocol


async def test_payloads_arrive_as_they_were_published(make: MakeNode, client: redis.Redis) -> None:
    node = make().start()
    payloads: list[str | bytes] = ["plain", "", "hällo ☃ 🎈", '{"a": [1, "</script>"]}', "line\nline\r\n\0"]
    payloads += [b"\xff\xfe", b"\x00\x80" * 1000, b"\xed\xa0\x80", "x" * 100_000]
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "news")
        for payload in payloads:
            assert client.publish("news", payload) == 1
            assert await websocket.recv() == payload


async def test_what_cannot_be_done_is_answered_and_nothing_of_it_is_done(make: MakeNode, client: redis.Redis) -> None:
    node = make().start()
    names: list[Any] = [None, "news", {}, [], [""], ["good", 7], ["good", None], [["news"]], ["good", "\ud800"]]
    names.append(["x" * 10_000])
    wrong: list[Any] = [None, [], {}, 7, "subscribe", {"type": 1}, {"type": "subscribe"}, {"type": "hello"}]
    wrong += [{"type": verb, "channels": bad} for verb in ("subscribe", "unsubscribe") for bad in names]
    frames: list[str | bytes] = [*map(json.dumps, wrong), "", "{", "\0", "[" * 60_000, "NaN", b"", b"\xff\x00", b"{}"]
    async with connect(node.ws) as websocket:
        for frame in frames:
            await websocket.send(frame)
            answer = json.loads(await websocket.recv())
            assert answer["type"] == "error", frame
            assert answer["reason"], frame
        await subscribe(websocket, "news")
        assert channels_of(client) == {"news"}


async def test_a_channel_that_redis_refuses_is_refused_with_its_name(make: MakeNode, client: redis.Redis) -> None:
    node = make().start()
    client.execute_command("ACL", "SETUSER", "default", "resetchannels", "&news", "&user:updated")
    async with connect(node.ws) as websocket:
        await say(websocket, "subscribe", "jobs", "news")
        answers = {answer["channel"]: answer for answer in [json.loads(await websocket.recv()) for _ in range(2)]}
        assert answers["jobs"]["type"] == "error"
        assert answers["jobs"]["reason"]
        assert answers["news"] == {"type": "subscribed", "channel": "news"}
        client.publish("news", "still here")
        assert await websocket.recv() == "still here"
        assert channels_of(client) == {"news"}


async def test_broken_protocols_cost_their_own_connection_only(make: MakeNode, client: redis.Redis) -> None:
    node = make().start()
    async with connect(node.ws) as good:
        await subscribe(good, "news")
        for head in (b"\x81\x05hello", b"\x83\x80\0\0\0\0", b"\xf1\x80\0\0\0\0", b"\x81\xff" + b"\xff" * 8):
            raw = RawClient(node.port)
            raw.socket.sendall(head)
            raw.wait_end()
            raw.close()
        for text in (b"\x16\x03\x01 TLS\r\n\r\n", b"POST /ws HTTP/1.1\r\n\r\n", b"GET /nowhere HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", node.port), timeout=30) as connection:
                connection.sendall(text)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
        for path in ("/nowhere", "/ws") * 20:  # a handshake that its client does not stay for
            with socket.create_connection(("127.0.0.1", node.port), timeout=30) as connection:
                connection.sendall(
                    f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
                )
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not end
        client.publish("news", "untouched")
        assert await good.recv() == "untouched"


async def test_the_answer_waits_for_redis_and_all_wait_for_one_subscription(
    make: MakeNode, client: redis.Redis, real_redis: RealRedis
) -> None:
    node = make().start()
    assert real_redis.process is not None
    async with connect(node.ws) as one, connect(node.ws) as two, connect(node.ws) as three:
        real_redis.process.send_signal(signal.SIGSTOP)
        try:
            for websocket in (one, two, three):
                await say(websocket, "subscribe", "news")
                await websocket.send("no JSON")  # answered at once, so whatever came before it was not
                assert json.loads(await websocket.recv())["type"] == "error"
        finally:
            real_redis.process.send_signal(signal.SIGCONT)
        for websocket in (one, two, three):
            assert json.loads(await websocket.recv()) == {"type": "subscribed", "channel": "news"}
        assert numsub(client, "news") == 1
        client.publish("news", "to all")
        assert [await websocket.recv() for websocket in (one, two, three)] == ["to all"] * 3
    wait_until(lambda: node.events("unsubscribed"), "left")
    assert [event["ch"] for event in node.events("subscribed")].count("news") == 1


async def test_what_is_published_right_after_the_answer_arrives(make: MakeNode, client: redis.Redis) -> None:
    node = make().start()
    async with connect(node.ws) as websocket:
        for k in range(90):
            await subscribe(websocket, f"c{k}")
            assert client.publish(f"c{k}", f"m{k}") == 1
            assert await websocket.recv() == f"m{k}"


# Section 7: what fanlab checks


async def test_redis_is_told_of_the_first_client_and_of_the_last(make: MakeNode, client: redis.Redis) -> None:
    node = make().start()
    assert channels_of(client) == set()
    async with connect(node.ws) as first, connect(node.ws) as second:
        await subscribe(first, "news")
        await subscribe(second, "news", "jobs")
        assert (numsub(client, "news"), numsub(client, "jobs")) == (1, 1)
        assert {entry["name"] for entry in client.client_list(_type="pubsub")} == {"node-1"}
        await first.close()
        await say(second, "unsubscribe", "jobs")
        assert json.loads(await second.recv()) == {"type": "unsubscribed", "channel": "jobs"}
        wait_until(lambda: channels_of(client) == {"news"}, "jobs left")
    wait_until(lambda: channels_of(client) == set(), "news left")
    async with connect(node.ws) as third:  # the connection survives having nothing to listen to
        await subscribe(third, "news")
        client.publish("news", "still here")
        assert await third.recv() == "still here"


async def test_two_channels_come_in_the_order_published(make: MakeNode, client: redis.Redis) -> None:
    node = make().start()
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "news", "jobs")
        sent = [f"{k}" for k in range(500)]
        with client.pipeline(transaction=False) as pipeline:
            for k, text in enumerate(sent):
                pipeline.publish(("news", "jobs")[k % 2], text)
            pipeline.execute()
        assert [await websocket.recv() for _ in sent] == sent


async def test_leaving_and_coming_back_at_once_loses_nothing_and_doubles_nothing(
    make: MakeNode, client: redis.Redis
) -> None:
    node = make().start()
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "news")
        for _ in range(50):
            await say(websocket, "unsubscribe", "news")
            await say(websocket, "subscribe", "news")
            assert json.loads(await websocket.recv())["type"] == "unsubscribed"
            assert json.loads(await websocket.recv())["type"] == "subscribed"
            assert client.publish("news", "once") == 1
            assert await websocket.recv() == "once"
        client.publish("news", "last")
        assert await websocket.recv() == "last"  # and no second copy before it


async def test_subscribing_again_is_answered_again(make: MakeNode, client: redis.Redis) -> None:
    node = make().start()
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "news")
        await subscribe(websocket, "news", "jobs")
        assert client.publish("news", "once") == 1
        client.publish("jobs", "end")
        assert [await websocket.recv(), await websocket.recv()] == ["once", "end"]


async def test_the_journal_says_who_got_what(make: MakeNode, client: redis.Redis) -> None:
    node = make().start()
    token = "fl1002a0001" + "00000007" + "0" * 28
    async with connect(node.ws) as one, connect(node.ws) as two:
        await subscribe(one, "news")
        await subscribe(two, "news")
        before_ns = time.monotonic_ns()
        client.publish("news", f'{{"data":"{token}"}}')
        client.publish("news", "no token")
        assert [await one.recv(), await one.recv()] == [await two.recv(), await two.recv()]
    wait_until(lambda: len(node.events("msg")) == 2, "two messages in the journal")
    first, second = node.events("msg")
    assert (first["ch"], first["mark"], first["n"]) == ("news", token[:19], 2)
    assert "mark" not in second
    assert before_ns < first["t"] <= first["done"] <= second["t"] <= second["done"] < time.monotonic_ns()
    assert node.events()[0] | {"t": 0, "pid": 0} == {"t": 0, "ev": "start", "node": "node-1", "pid": 0}
    assert node.events("drop") == []


def test_the_cache_holds_the_last_message_of_each_key(make: MakeNode, client: redis.Redis) -> None:
    node = make().start()
    tokens = ["fl1002a0001" + f"{seq:08x}" + "0" * 28 for seq in (1, 2, 3)]
    assert node.get("/cache/a").status == 404
    for key, token in zip(("a", "b", "a"), tokens, strict=True):
        client.publish("user:updated", json.dumps({"id": key, "token": token, "pad": ""}))
    client.publish("user:updated", "no object")
    wait_until(lambda: tokens[2] in node.get("/cache/a").text, "refreshed")
    assert tokens[0] not in node.get("/cache/a").text
    assert tokens[1] in node.get("/cache/b").text
    wait_until(lambda: len(node.events("cache")) == 3, "three lines in the journal")
    assert [(event["key"], event["mark"]) for event in node.events("cache")] == [
        (key, token[:19]) for key, token in zip(("a", "b", "a"), tokens, strict=True)
    ]


# Section 6: Redis breaks


async def test_what_a_killed_subscription_lost_lies_in_gaps(make: MakeNode, client: redis.Redis) -> None:
    node = make().start()
    sent_ns: dict[str, int] = {}

    def publish(sink: redis.Redis, numbers: range) -> None:
        for k in numbers:
            sent_ns[str(k)] = time.monotonic_ns()
            sink.publish("news", str(k))

    def work() -> None:
        for start in (0, 1000, 2000):
            publish(client, range(start, start + 900))
            with client.pipeline(transaction=False) as pipeline:  # Redis does it in one go: 100 go to nobody
                pipeline.client_kill_filter(_type="pubsub")
                publish(pipeline, range(start + 900, start + 1000))
                pipeline.execute()
            wait_until(lambda: numsub(client, "news") == 1, "subscribed again")

    async with connect(node.ws, max_queue=None) as websocket:
        await subscribe(websocket, "news")
        await asyncio.to_thread(work)
        await eventually(lambda: len(node.events("gap")) == 6, "a gap for each channel, each time")
        client.publish("news", "end")
        got = []
        while (text := await websocket.recv()) != "end":
            got.append(str(text))
    gaps = [(gap["from"], gap["to"]) for gap in node.events("gap") if gap["ch"] == "news"]
    assert len(gaps) == 3
    assert got == sorted(set(got), key=int)
    lost = sent_ns.keys() - set(got)
    assert len(lost) >= 300
    assert {k for k in lost if not any(start <= sent_ns[k] <= end for start, end in gaps)} == set()
    assert all(start <= end for start, end in gaps)
    assert [event["state"] for event in node.events("redis")] == ["up", *["down", "up"] * 3]
    assert [event["ch"] for event in node.events("subscribed")].count("news") == 4


async def test_redis_killed_and_restarted_costs_no_client_its_connection(
    make: MakeNode, client: redis.Redis, real_redis: RealRedis
) -> None:
    node = make().start()
    async with connect(node.ws) as websocket, connect(node.ws) as leaver:
        await subscribe(websocket, "news")
        await subscribe(leaver, "gone")
        real_redis.kill()
        wait_until(lambda: node.get("/readyz").status == 503, "not ready")
        assert len(node.get("/readyz").text.splitlines()) == 1
        await say(websocket, "subscribe", "jobs")  # waits, and is answered when Redis is back
        await leaver.close()
        end = time.monotonic() + 5  # longer than some client libraries would try
        while time.monotonic() < end:
            assert node.get("/livez").status == 200
            assert node.get("/readyz").status == 503
            await asyncio.sleep(0.1)
        real_redis.start()
        node.wait_ready()
        assert json.loads(await websocket.recv()) == {"type": "subscribed", "channel": "jobs"}
        wait_until(lambda: channels_of(client) == {"news", "jobs"}, "subscribed to these and no others")
        client.publish("news", "back")
        assert await websocket.recv() == "back"
        # whoever was there when Redis went missed something, though it left before Redis came back
        await eventually(lambda: {gap["ch"] for gap in node.events("gap")} >= {"news", "gone"}, "gaps")
        assert "jobs" not in {gap["ch"] for gap in node.events("gap")}


async def test_a_channel_that_was_being_left_when_redis_died_stays_left(
    make: MakeNode, client: redis.Redis, real_redis: RealRedis
) -> None:
    node = make().start()
    assert real_redis.process is not None
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "news", "jobs")
        real_redis.process.send_signal(signal.SIGSTOP)
        await say(websocket, "unsubscribe", "news", "jobs")
        assert json.loads(await websocket.recv())["type"] == "unsubscribed"
        assert json.loads(await websocket.recv())["type"] == "unsubscribed"
        await say(websocket, "subscribe", "jobs")  # and comes back before Redis knows that it went
        await websocket.send("no JSON")
        assert json.loads(await websocket.recv())["type"] == "error"
        real_redis.kill()
        wait_until(lambda: node.get("/readyz").status == 503, "not ready")
        real_redis.start()
        assert json.loads(await websocket.recv()) == {"type": "subscribed", "channel": "jobs"}
        wait_until(lambda: channels_of(client) == {"jobs"}, "subscribed to jobs alone")
        assert client.publish("jobs", "back") == 1
        assert await websocket.recv() == "back"


def test_a_node_waits_for_a_redis_that_comes_later(make: MakeNode, real_redis: RealRedis) -> None:
    real_redis.kill()
    node = make().spawn()
    wait_until(lambda: node.get("/livez").status == 200, "alive")
    assert node.get("/readyz").status == 503
    real_redis.start()
    node.wait_ready()
    assert node.events("gap") == []
    assert {event.get("why") for event in node.events("redis") if event["state"] == "down"} == {"refused"}


async def test_a_redis_that_says_nothing_is_given_up(
    make: MakeNode, client: redis.Redis, real_redis: RealRedis
) -> None:
    node = make(redis_ping_ms=100, redis_timeout_ms=500).start()
    assert real_redis.process is not None
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "news")
        real_redis.process.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: node.get("/readyz").status == 503, "not ready")
            assert node.get("/livez").status == 200
            await asyncio.sleep(1.5)  # it tries again meanwhile, and is not answered
        finally:
            real_redis.process.send_signal(signal.SIGCONT)
        node.wait_ready()
        wait_until(lambda: "news" in [gap["ch"] for gap in node.events("gap")], "a gap")
        client.publish("news", "back")
        assert await websocket.recv() == "back"
        wait_until(lambda: numsub(client, "news") == 1, "one subscription")
    assert "timeout" in {event.get("why") for event in node.events("redis")}


async def test_a_link_that_goes_silent_is_given_up_and_so_is_the_next_one(
    make: MakeNode, client: redis.Redis, real_redis: RealRedis
) -> None:
    with SilentLink(real_redis.url) as link:
        node = make(redis_ping_ms=100, redis_timeout_ms=500)
        node.redis_url = link.url
        node.start()
        async with connect(node.ws) as websocket:
            await subscribe(websocket, "news")
            before = link.accepted
            link.silence()
            client.publish("news", "lost")
            wait_until(lambda: node.get("/readyz").status == 503, "not ready")
            wait_until(lambda: link.accepted > before, "another connection, which is accepted, and never answered")
            link.heal()
            node.wait_ready()
            client.publish("news", "back")
            assert await websocket.recv() == "back"
            wait_until(lambda: "news" in [gap["ch"] for gap in node.events("gap")], "a gap")
        node.kill()


# Section 6: clients and signals


async def test_a_slow_client_is_told_1013_and_nobody_else_notices(make: MakeNode, client: redis.Redis) -> None:
    node = make(buffer_bytes=262_144, close_ms=30_000).start()
    slow = raw_subscriber(node, 12)
    async with connect(node.ws) as fast:
        await subscribe(fast, "news")
        sent: list[str] = []
        while not node.events("drop"):
            assert len(sent) < 4000, "the slow client's kernel buffers never fill"
            for _ in range(16):
                sent.append(f"{len(sent):06d}" + "x" * 16_000)
                client.publish("news", sent[-1])
            assert [await fast.recv() for _ in range(16)] == sent[-16:]
        assert await asyncio.to_thread(slow.wait_end) == 1013
    slow.close()
    wait_until(lambda: len(node.events("msg")) == len(sent), "all messages in the journal")
    drops = node.events("drop")
    assert drops[0]["why"] == "slow"
    assert {drop["why"] for drop in drops[1:]} <= {"closing"}
    assert {tuple(drop["who"]) for drop in drops} == {(12,)}
    dropped = {drop["t"] for drop in drops}
    assert all(event["n"] + (event["t"] in dropped) == 2 for event in node.events("msg"))


async def test_a_slow_client_that_never_reads_again_is_terminated(make: MakeNode, client: redis.Redis) -> None:
    node = make(buffer_bytes=65_536, close_ms=300).start()
    slow = raw_subscriber(node, 12)
    while not node.events("drop"):
        for _ in range(16):
            client.publish("news", "x" * 60_000)
    await eventually(lambda: channels_of(client) == set(), "gone")
    slow.close()


async def test_a_client_that_answers_no_ping_is_given_up(make: MakeNode, client: redis.Redis) -> None:
    node = make(heartbeat_ms=200, patience_ms=200).start()
    dead = raw_subscriber(node, 12)
    async with connect(node.ws) as alive:
        await subscribe(alive, "news")
        assert await asyncio.to_thread(dead.wait_end) is None
        client.publish("news", "to the living")
        assert await alive.recv() == "to the living"
    dead.close()


async def test_sigterm_closes_clients_with_1001_and_exits_0(make: MakeNode, client: redis.Redis) -> None:
    node = make().start()
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


async def test_sigterm_does_not_wait_for_a_client_that_is_stuck(make: MakeNode, client: redis.Redis) -> None:
    node = make(buffer_bytes=1 << 28, close_ms=500).start()
    stuck = raw_subscriber(node, 12)
    for _ in range(200):
        client.publish("news", "x" * 64_000)
    wait_until(lambda: len(node.events("msg")) == 200, "written, as far as it goes")
    node.send(signal.SIGTERM)
    assert node.wait() == 0
    assert node.events()[-1]["ev"] == "stop"
    stuck.close()


async def test_sigkill_leaves_a_journal_that_the_next_process_goes_on_with(make: MakeNode, client: redis.Redis) -> None:
    node = make().start()
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
    wait_until(lambda: node.journal_path.read_bytes().count(b"\n") > before + 1, "the next process's first line")
    lines = node.journal_path.read_bytes().split(b"\n")
    assert lines[before] == b'{"t":12345,"ev":"ms'
    assert json.loads(lines[before + 1])["ev"] == "start"


async def test_a_stopped_node_that_goes_on_keeps_its_clients_and_its_subscription(
    make: MakeNode, client: redis.Redis
) -> None:
    node = make(heartbeat_ms=400, redis_ping_ms=100, redis_timeout_ms=400).start()
    async with connect(node.ws) as websocket:
        await subscribe(websocket, "news")
        for _ in range(2):
            node.send(signal.SIGSTOP)
            client.publish("news", "meanwhile")
            await asyncio.sleep(1.5)  # several deadlines long
            node.send(signal.SIGCONT)
            assert await websocket.recv() == "meanwhile"
        await asyncio.sleep(1)  # and several sweeps after it
        client.publish("news", "afterwards")
        assert await websocket.recv() == "afterwards"
    assert node.events("gap") == []
    assert [event["state"] for event in node.events("redis")] == ["up"]
