"""The lying proxy as a process: exactly K deeds, those it tells of, those raw clients see, and nothing else."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from websockets.frames import Frame, Opcode

from conftest import free_port
from fanlab.ledger.records import MARK_LENGTH, Token, encode_token
from support.node_process import NodeProcess, RawClient, wait_until

pytestmark = pytest.mark.system

CLIENTS, MESSAGES = 3, 120
LIE = {"LIE_AFTER": "10", "LIE_SPAN": "100", "LIE_SEED": "7"}
SUBSCRIBED = b'{"type":"subscribed","channel":"news"}'

Start = Callable[..., NodeProcess]


@pytest.fixture
def start(redis_server: str, tmp_path: Path) -> Iterator[Start]:
    """Starts one proxy with these settings."""
    nodes: list[NodeProcess] = []

    def begin(**env: str) -> NodeProcess:
        nodes.append(NodeProcess(free_port(), redis_server, tmp_path, env, "saboteurs/lying-proxy"))
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


def payload(seq: int, filler: bytes = b"") -> bytes:
    return encode_token(Token(1, 0, seq, 1, 0)) + filler


SENT = [payload(seq, b" and more") for seq in range(1, MESSAGES + 1)]


def join(node: NodeProcess, client: int | None) -> RawClient:
    raw = RawClient(node.port, client)
    raw.send_text('{"type":"subscribe","channels":["news"]}')
    assert raw.frame() == (1, SUBSCRIBED)
    return raw


def received(raw: RawClient) -> list[bytes]:
    """All that came until the node answered another subscribe."""
    raw.send_text('{"type":"subscribe","channels":["news"]}')
    found = []
    while (text := raw.frame()[1]) != SUBSCRIBED:
        found.append(text)
    return found


def publish(bus: redis.Redis, node: NodeProcess, messages: list[bytes]) -> None:
    """Publish, and wait until the node says that it had them all: its answers follow them on every connection."""
    pipe = bus.pipeline(transaction=False)
    for message in messages:
        pipe.publish("news", message)
    pipe.execute()
    wait_until(lambda: node.metric("node_messages_total") >= len(messages), "all fanned out")


def truth(node: NodeProcess) -> list[dict[str, Any]]:
    path = node.journal_path.with_suffix(".truth.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def number(text: bytes) -> int:
    return int(text[11:MARK_LENGTH], 16)


@pytest.mark.parametrize("mode", ["lose", "duplicate", "reorder", "corrupt"])
@pytest.mark.parametrize("count", [1, 50])
def test_exactly_k_and_the_truth_is_what_clients_saw(start: Start, bus: redis.Redis, mode: str, count: int) -> None:
    node = start(LIE=mode, LIE_COUNT=str(count), **LIE)
    unnamed = join(node, None)
    clients = {100 + k: join(node, 100 + k) for k in range(CLIENTS)}
    publish(bus, node, SENT)
    assert received(unnamed) == SENT
    saw: set[tuple[int, str]] = set()
    for client, raw in clients.items():
        got = received(raw)
        if mode == "lose":
            odd = set(SENT) - set(got)
            assert got == [text for text in SENT if text not in odd]
        elif mode == "duplicate":
            odd = {text for text, copies in Counter(got).items() if copies == 2}
            assert got == [text for text in SENT for _ in range(1 + (text in odd))]
        elif mode == "reorder":
            odd = {text for k, text in enumerate(got) if k and number(got[k - 1]) > number(text)}
            assert sorted(got) == SENT
        else:
            odd = {old for old, new in zip(SENT, got, strict=True) if old != new}
            assert all(
                sum(a != b for a, b in zip(old, new, strict=True)) <= 1 for old, new in zip(SENT, got, strict=True)
            )
        saw |= {(client, text[:MARK_LENGTH].decode()) for text in odd}
    told = truth(node)
    assert {deed["deed"] for deed in told} == {mode}
    assert [deed["t"] for deed in told] == sorted(deed["t"] for deed in told)
    assert len(told) == len(saw) == count
    assert {(deed["client"], deed["mark"]) for deed in told} == saw
    assert all(clients.keys() >= {deed["client"]} and deed["conn"] == deed["client"] - 100 for deed in told)


@pytest.mark.parametrize("mode", ["lose", "duplicate", "reorder", "corrupt"])
def test_on_redis_side_it_lies_to_the_node(start: Start, bus: redis.Redis, mode: str) -> None:
    node = start(LIE=mode, LIE_COUNT="9", LIE_SIDE="redis", **LIE)
    clients = [join(node, k) for k in range(2)]
    pipe = bus.pipeline(transaction=False)
    for message in [*SENT, b"end"]:
        pipe.publish("news", message)
    pipe.execute()
    wait_until(lambda: len(truth(node)) == 9, "the deeds")
    wait_until(lambda: '"n":2' in (node.journal_path.read_text().splitlines() or [""])[-1], "fanned out")
    wait_until(
        lambda: node.metric("node_messages_total") == MESSAGES + 1 + {"lose": -9, "duplicate": 9}.get(mode, 0), "all"
    )
    got = received(clients[0])
    assert got == received(clients[1])
    assert got[-1] == b"end"
    marks = {deed["mark"].encode() for deed in truth(node)}
    if mode == "lose":
        assert got[:-1] == [text for text in SENT if text[:MARK_LENGTH] not in marks]
    elif mode == "duplicate":
        assert got[:-1] == [text for text in SENT for _ in range(1 + (text[:MARK_LENGTH] in marks))]
    elif mode == "reorder":
        assert {t[:MARK_LENGTH] for k, t in enumerate(got[:-1]) if k and number(got[k - 1]) > number(t)} == marks
    else:
        assert {old[:MARK_LENGTH] for old, new in zip(SENT, got, strict=False) if old != new} == marks


def test_with_nothing_ordered_every_byte_is_the_nodes(start: Start, bus: redis.Redis) -> None:
    node = start(LIE="lose", LIE_COUNT="0", **LIE)
    raw = join(node, 1)
    large = payload(MESSAGES + 1, b"x" * 70_000)
    binary = payload(MESSAGES + 2) + b"\xff"
    publish(bus, node, [*SENT, large, binary])
    frames = [bytes(Frame(Opcode.TEXT, text).serialize(mask=False)) for text in (*SENT, large)]
    frames.append(bytes(Frame(Opcode.BINARY, binary).serialize(mask=False)))
    expected = b"".join(frames)
    got = b""
    while len(got) < len(expected):
        got += raw.socket.recv(1 << 16)
    assert got == expected
    assert truth(node) == []


def test_a_delay_delays_every_frame_in_order(start: Start, bus: redis.Redis) -> None:
    node = start(LIE="delay", LIE_DELAY_MS="150")
    raw = join(node, 1)
    began_s = time.monotonic()
    publish(bus, node, SENT)
    assert [raw.frame()[1] for _ in SENT] == SENT
    assert time.monotonic() - began_s >= 0.15
    assert [(deed["deed"], deed["client"], deed["ms"]) for deed in truth(node)] == [("delay", 1, 150.0)]


def test_a_stall_makes_the_first_client_a_slow_one(start: Start, bus: redis.Redis) -> None:
    env = {"CLIENT_BUFFER_BYTES": "65536", "SLOW_CLIENT": "drop-newest"}
    node = start(LIE="stall", LIE_STALL_AT="0.5", LIE_STALL_FOR="3", **env)
    stalled, other = join(node, 1), join(node, 2)
    wait_until(lambda: truth(node), "the stall")
    other.socket.settimeout(0)
    sent = 0

    def dropped() -> bool:
        nonlocal sent
        bus.publish("news", payload(sent + 1, b"x" * 50_000))
        sent += 1
        try:
            while other.socket.recv(1 << 20):
                pass
        except BlockingIOError:
            pass
        return bool(node.events("drop"))

    wait_until(dropped, "a drop")
    assert {event["why"] for event in node.events("drop")} == {"slow"}
    assert all(event["n"] == 1 for event in node.events("drop"))
    assert stalled.frame()[1] == payload(1, b"x" * 50_000)
    assert [(deed["deed"], deed["client"]) for deed in truth(node)] == [("stall", 1)]


def test_an_order_that_cannot_be_carried_out_ends_it(start: Start, bus: redis.Redis) -> None:
    node = start(LIE="lose", LIE_COUNT="101", **LIE)
    raw = join(node, 1)
    bus.publish("news", payload(9))
    bus.publish("news", payload(10))
    assert node.wait() == 2
    raw.close()
    assert "LIE_COUNT=101, and only 1 connections and streams × 100 messages" in node.log


def pid_of_node(node: NodeProcess) -> int:
    return int(wait_until(lambda: node.events("start"), "started")[-1]["pid"])


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_sigterm_ends_both_in_order(start: Start) -> None:
    node = start()
    raw = join(node, 1)
    node.send(signal.SIGTERM)
    assert raw.wait_end() == 1001
    raw.close()
    assert node.wait() == 0
    assert gone(pid_of_node(node))
    assert [event["ev"] for event in node.events()][-1] == "stop"


def test_the_node_dies_with_the_proxy_and_the_proxy_with_the_node(start: Start) -> None:
    node = start()
    pid = pid_of_node(node)
    node.kill()
    wait_until(lambda: gone(pid), "the node gone, too")
    node.start()
    os.kill(pid_of_node(node), signal.SIGKILL)
    assert node.wait() == 128 + signal.SIGKILL
