"""Each saboteur of nodes/saboteurs/ shows its fault when triggered, and none without. The proxy is tested apart."""

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis

from conftest import RealRedis, free_port
from fanlab.ledger.records import MARK_LENGTH, Token, encode_token
from fanlab.resources import node_folders
from support.node_process import NodeProcess, RawClient, wait_until

pytestmark = pytest.mark.system

KINDS = sorted(kind for kind in node_folders() if kind.startswith("saboteurs/"))
UNTRIGGERED = {"saboteurs/write-fails": {"FAIL_EVERY": "0"}, "saboteurs/cut-link": {"CUT_FOR": "0"}}
_fences = count()

Start = Callable[..., NodeProcess]


@pytest.fixture
def start(redis_server: str, tmp_path: Path) -> Iterator[Start]:
    """Starts saboteurs: `start("crosstalk", PATTERN="x")`."""
    nodes: list[NodeProcess] = []

    def begin(name: str, **env: str) -> NodeProcess:
        nodes.append(NodeProcess(free_port(), redis_server, tmp_path, env, f"saboteurs/{name}"))
        return nodes[-1].start()

    try:
        yield begin
    finally:
        for node in nodes:
            node.kill()


@pytest.fixture
def bus(redis_server: str) -> Iterator[redis.Redis]:
    """Redis as a publisher sees it."""
    with closing(redis.Redis.from_url(redis_server)) as connection:
        yield connection


def payload(seq: int, stream: int = 0, filler: str = "") -> str:
    return encode_token(Token(1, stream, seq, 1, 0)).decode() + filler


def seq_of(text: str) -> int:
    return int(text[11:MARK_LENGTH], 16)


def join(node: NodeProcess, *channels: str, client: int | None = None) -> RawClient:
    """A client that is subscribed."""
    raw = RawClient(node.port, client)
    raw.send_text(json.dumps({"type": "subscribe", "channels": channels}))
    for _ in channels:
        assert json.loads(raw.frame()[1])["type"] == "subscribed"
    return raw


def fence(raw: RawClient) -> list[str]:
    """All that came until Redis confirmed a new channel: Redis answers in order, so nothing older is still to come."""
    channel = f"fence-{next(_fences)}"
    raw.send_text(json.dumps({"type": "subscribe", "channels": [channel]}))
    return until(raw, json.dumps({"type": "subscribed", "channel": channel}, separators=(",", ":")))


def until(raw: RawClient, last: str) -> list[str]:
    """All that came before this text."""
    found = []
    while (text := raw.frame()[1].decode()) != last:
        found.append(text)
    return found


def publish(bus: redis.Redis, *messages: tuple[str, str]) -> list[int]:
    """(channel, payload) each, in one go; how many receivers Redis counted for each."""
    pipe = bus.pipeline(transaction=False)
    for channel, text in messages:
        pipe.publish(channel, text)
    return list(pipe.execute())


def numsub(bus: redis.Redis, channel: str) -> int:
    return int(dict(bus.pubsub_numsub(channel))[channel.encode()])


def cut(node: NodeProcess, bus: redis.Redis) -> None:
    """Kill the node's connection to Redis, and wait until it has another."""
    wait_until(lambda: "up" in states(node), "the journal flushed")
    ups = states(node).count("up")
    assert bus.client_kill_filter(_type="pubsub")
    wait_until(lambda: states(node).count("up") > ups, "a new session")


def states(node: NodeProcess) -> list[str]:
    """What the node's journal says of its connection to Redis."""
    return [event["state"] for event in node.events("redis")]


def test_without_its_trigger_each_is_as_good_as_the_good_node(
    redis_server: str, bus: redis.Redis, tmp_path: Path
) -> None:
    assert len(KINDS) >= 17
    nodes = [NodeProcess(free_port(), redis_server, tmp_path, UNTRIGGERED.get(kind, {}), kind) for kind in KINDS]
    try:
        for node in nodes:
            node.spawn()
        for node in nodes:
            node.wait_ready()
        clients = [join(node, "news", "jobs", client=k) for node in nodes for k in range(2)]
        wait_until(lambda: numsub(bus, "news") == numsub(bus, "jobs") == len(nodes), "subscribed at Redis")
        sent = [
            (channel, payload(seq, stream)) for seq in range(1, 21) for stream, channel in enumerate(("news", "jobs"))
        ]
        for message in sent:
            assert publish(bus, message) == [len(nodes)]
        for raw in clients:
            assert [raw.frame()[1].decode() for _ in sent] == [text for _, text in sent]
            assert fence(raw) == []
            raw.close()
    finally:
        for node in nodes:
            node.kill()


def test_forgets_to_resubscribe(start: Start, bus: redis.Redis) -> None:
    node = start("forgets-to-resubscribe")
    raw = join(node, "news")
    cut(node, bus)
    assert publish(bus, ("news", payload(1))) == [0]
    assert fence(raw) == []
    assert node.get("/readyz").status == 200
    assert node.events("gap") == []


def test_partial_resubscribe(start: Start, bus: redis.Redis) -> None:
    node = start("partial-resubscribe")
    raw = join(node, "jobs", "news")
    cut(node, bus)
    wait_until(lambda: numsub(bus, "jobs"), "one of them is back")
    assert publish(bus, ("news", payload(1)), ("jobs", payload(1, 1))) == [0, 1]
    assert fence(raw) == [payload(1, 1)]


def test_deaf_after_restart(start: Start, bus: redis.Redis, real_redis: RealRedis) -> None:
    node = start("deaf-after-restart")
    raw = join(node, "news")
    cut(node, bus)
    wait_until(lambda: numsub(bus, "news"), "subscribed")
    publish(bus, ("news", payload(1)))
    assert fence(raw) == [payload(1)]  # a cut alone is survived
    real_redis.kill()
    wait_until(lambda: states(node)[-2:] == ["down", "down"], "a failed attempt")
    real_redis.start()
    node.wait_ready()
    wait_until(lambda: numsub(bus, "news"), "subscribed again")
    assert publish(bus, ("news", payload(2))) == [1]
    assert fence(raw) == []
    wait_until(lambda: [gap["ch"] for gap in node.events("gap")].count("news") == 2, "a gap for each break")


def test_spins_after_keepalive_death(start: Start, bus: redis.Redis) -> None:
    node = start("spins-after-keepalive-death")
    wait_until(lambda: states(node) == ["up"], "the journal flushed")
    assert bus.client_kill_filter(_type="pubsub") == 1

    def unanswered() -> bool:
        with socket.create_connection(("127.0.0.1", node.port)) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            connection.settimeout(0.5)
            try:
                return connection.recv(1) == b""
            except TimeoutError:
                return True

    wait_until(unanswered, "hung")
    assert node.process is not None
    assert node.process.poll() is None
    assert states(node) == ["up"]


def test_stops_listener_with_last_unsubscribe(start: Start, bus: redis.Redis) -> None:
    node = start("stops-listener-with-last-unsubscribe")
    first, stays = join(node, "news"), join(node, "jobs")
    first.close()
    wait_until(lambda: node.events("unsubscribed"), "one channel left")
    publish(bus, ("jobs", payload(1)))
    assert fence(stays) == [payload(1)]
    stays.close()
    wait_until(lambda: len(node.events("unsubscribed")) >= 3, "the last ones left")
    late = join(node, "news")
    assert publish(bus, ("news", payload(2))) == [1]
    assert fence(late) == []


def test_acknowledges_early(start: Start, bus: redis.Redis) -> None:
    node = start("acknowledges-early", REDIS_LAG_MS="1000")
    raw = join(node, "news")
    assert publish(bus, ("news", payload(1))) == [0]
    wait_until(lambda: numsub(bus, "news"), "subscribed")
    assert publish(bus, ("news", payload(2))) == [1]
    assert raw.frame()[1].decode() == payload(2)


def test_drops_others_on_leave(start: Start, bus: redis.Redis) -> None:
    node = start("drops-others-on-leave")
    stays, goes = join(node, "news"), join(node, "news")
    goes.close()
    wait_until(lambda: node.events("unsubscribed"), "left for all")
    assert publish(bus, ("news", payload(1))) == [0]
    wait_until(lambda: numsub(bus, "news"), "noticed")
    publish(bus, ("news", payload(2)))
    assert fence(stays) == [payload(2)]
    assert node.events("gap") == []


def test_drops_oldest_when_full(start: Start, bus: redis.Redis) -> None:
    node = start("drops-oldest-when-full", INNER_QUEUE="16")
    raw = join(node, "news")
    sent = [payload(seq) for seq in range(1, 1001)]
    publish(bus, *[("news", text) for text in sent])
    got = [*until(raw, sent[-1]), sent[-1]]
    assert len(got) < len(sent)
    assert got == sorted(got)
    assert got[-16:] == sent[-16:]
    wait_until(lambda: len(node.events("msg")) == len(got), "a line for each that came out of the queue")


def test_skips_during_fragmented_send(start: Start, bus: redis.Redis) -> None:
    node = start("skips-during-fragmented-send")
    raw = join(node, "news")
    large = payload(1, filler="x" * 9000)
    publish(bus, ("news", large), ("news", payload(2)))
    opcodes, parts = zip(*(raw.frame() for _ in range(4)), strict=True)
    assert opcodes == (1, 0, 0, 0)
    assert b"".join(parts).decode() == large
    wait_until(lambda: fence(raw) == [], "the end of the send")
    publish(bus, ("news", payload(3)))
    assert fence(raw) == [payload(3)]
    wait_until(lambda: [event["n"] for event in node.events("msg")] == [1, 1, 1], "three lines in good faith")


def test_forgets_a_client(start: Start, bus: redis.Redis) -> None:
    node = start("forgets-a-client", SLOTS="2")
    first, second, third = (join(node, "news", client=k) for k in range(3))
    publish(bus, ("news", payload(1)))
    assert [fence(raw) for raw in (first, second, third)] == [[], [payload(1)], [payload(1)]]
    wait_until(lambda: [event["n"] for event in node.events("msg")] == [2], "a line in good faith")
    assert node.events("drop") == []


def test_write_fails(start: Start, bus: redis.Redis) -> None:
    node = start("write-fails", FAIL_EVERY="3")
    raw = join(node, "news")
    publish(bus, *[("news", payload(seq)) for seq in range(1, 8)])
    assert [seq_of(text) for text in fence(raw)] == [1, 2, 4, 5, 7]
    wait_until(lambda: [event["why"] for event in node.events("drop")] == ["write_failed"] * 2, "two drops")


def test_closes_without_goodbye(start: Start, bus: redis.Redis) -> None:
    node = start("closes-without-goodbye")
    raw = join(node, "news")
    cut(node, bus)
    assert raw.wait_end() is None


@pytest.mark.parametrize("restarted", [True, False])
def test_never_confirms(start: Start, *, restarted: bool) -> None:
    node = start("never-confirms")
    join(node, "news", client=1).close()
    wait_until(lambda: node.events("unsubscribed"), "gone")
    if restarted:
        node.kill()
        node.start()
    raw = RawClient(node.port, client=2 if restarted else 1)
    raw.send_text('{"type":"subscribe","channels":["news"]}')
    raw.socket.sendall(b"\x88\x82" + bytes(4) + b"\x03\xe8")
    assert raw.wait_end() == 1000
    raw.close()
    wait_until(lambda: node.metric("node_clients") == 0, "all it said has been read")
    node.send(signal.SIGTERM)
    assert node.wait() == 0
    assert [event["ch"] for event in node.events("subscribed")].count("news") == 1


def test_cut_link(start: Start, bus: redis.Redis) -> None:
    env = {"CUT_AT": "0.1", "CUT_FOR": "1", "REDIS_TIMEOUT_MS": "300", "REDIS_PING_MS": "50"}
    node = start("cut-link", **env)
    raw = join(node, "news")
    wait_until(lambda: "down" in states(node), "given up")
    assert publish(bus, ("news", payload(1))) == [1]  # Redis does not know yet
    wait_until(lambda: node.events("gap"), "the link is back")
    wait_until(lambda: numsub(bus, "news") == 1, "one subscription, and the old one gone")
    publish(bus, ("news", payload(2)))
    assert fence(raw) == [payload(2)]


def test_a_short_cut_is_latency_and_no_loss(start: Start, bus: redis.Redis) -> None:
    node = start("cut-link", CUT_AT="0", CUT_FOR="0.5")
    raw = join(node, "news")
    publish(bus, *[("news", payload(seq)) for seq in range(1, 6)])
    assert [seq_of(raw.frame()[1].decode()) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert node.events("gap") == []


def test_duplicates_on_reconnect(start: Start, bus: redis.Redis) -> None:
    node = start("duplicates-on-reconnect", REPLAY="2")
    raw, other = join(node, "news", client=1), join(node, "news", client=2)
    sent = [payload(seq) for seq in range(1, 4)]
    publish(bus, *[("news", text) for text in sent])
    assert fence(raw) == fence(other) == sent
    raw.close()
    assert fence(join(node, "news", client=1)) == sent[1:]
    assert fence(join(node, "news", client=3)) == []
    assert fence(other) == []


def test_leaves_zombies(start: Start, bus: redis.Redis) -> None:
    node = start("leaves-zombies")
    raw, other = join(node, "news", client=1), join(node, "news", client=2)
    raw.close()
    raw = join(node, "news", client=1)
    wait_until(lambda: numsub(bus, "news") == 2, "two subscriptions of one node")
    assert publish(bus, ("news", payload(1))) == [2]
    assert [raw.frame()[1].decode() for _ in range(2)] == [payload(1)] * 2
    assert fence(other) == [payload(1)]


def test_subscribes_twice(start: Start, bus: redis.Redis) -> None:
    node = start("subscribes-twice", PATTERN="new*")
    raw = join(node, "news", "jobs")
    assert publish(bus, ("news", payload(1)), ("jobs", payload(1, 1))) == [2, 1]
    assert fence(raw) == [payload(1), payload(1), payload(1, 1)]


def test_reorders_within_channel(start: Start, bus: redis.Redis) -> None:
    node = start("reorders-within-channel", REORDER_EVERY="3")
    raw = join(node, "news")
    publish(bus, *[("news", payload(seq)) for seq in range(1, 8)])
    assert [seq_of(raw.frame()[1].decode()) for _ in range(7)] == [1, 2, 4, 3, 5, 7, 6]


def test_reorders_across_channels(start: Start, bus: redis.Redis) -> None:
    node = start("reorders-across-channels", SLOW_CHANNEL="jobs")
    raw = join(node, "news", "jobs")
    publish(bus, ("jobs", payload(1, 1)), ("jobs", payload(2, 1)), ("news", payload(1)))
    assert [raw.frame()[1].decode() for _ in range(3)] == [payload(1), payload(1, 1), payload(2, 1)]


def test_crosstalk(start: Start, bus: redis.Redis) -> None:
    node = start("crosstalk")
    raw, other = join(node, "news"), join(node, "jobs*[")
    publish(bus, ("news-internal", payload(1)), ("jobs*[x", payload(2)), ("jobsx", payload(3)), ("news", payload(4)))
    assert fence(raw) == [payload(1), payload(4)]
    assert fence(other) == [payload(2)]


@pytest.mark.parametrize(("where", "at"), [("rest", -1), ("token", 25)])
def test_corrupts_a_byte(start: Start, bus: redis.Redis, where: str, at: int) -> None:
    node = start("corrupts-a-byte", CORRUPT_EVERY="2", CORRUPT_AT=where)
    raw = join(node, "news")
    sent = [payload(seq, filler="xyz") for seq in range(1, 4)]
    publish(bus, *[("news", text) for text in sent])
    got = fence(raw)
    assert [got[0], got[2]] == [sent[0], sent[2]]
    assert [k for k in range(len(sent[1])) if got[1][k] != sent[1][k]] == [at % len(sent[1])]


def test_head_of_line(start: Start, bus: redis.Redis) -> None:
    node = start("head-of-line", SLOW_SEND_MS="200")
    raw = join(node, "news")
    began_s = time.monotonic()
    publish(bus, ("news", payload(1)), ("news", payload(2)))
    assert [raw.frame()[1].decode() for _ in range(2)] == [payload(1), payload(2)]
    assert time.monotonic() - began_s >= 0.39


def test_stale_cache(start: Start, bus: redis.Redis) -> None:
    node = start("stale-cache", STALE_EVERY="2")

    def versions() -> dict[str, Any]:
        return {key: entry["value"]["v"] for key, entry in json.loads(node.get("/cache").text)["entries"].items()}

    keys = [str(key) for key in range(10)]
    publish(bus, *[("user:updated", json.dumps({"id": key, "v": v})) for v in (1, 2) for key in keys])
    publish(bus, ("user:updated", '{"id": "last", "v": 1}'))
    wait_until(lambda: "last" in versions(), "all taken")
    found = versions()
    assert {found[key] for key in keys} == {1, 2}
    wait_until(lambda: len(node.events("cache")) == sum(found.values()), "what the cache took is in the journal")
