"""nodes/PROTOCOL.md, executed: its manifest, its frames and its journal against fanlab and nodes that keep to it."""

import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from websockets.asyncio.client import connect

from conftest import free_port
from fanlab.ledger import events
from fanlab.ledger.records import MARK_LENGTH, TOKEN_LENGTH, Token, encode_token
from fanlab.load.protocols import protocol
from fanlab.topology.manifest import Environment, NodeManifest, read_manifest
from support.node_kinds import KINDS, environment, nodes_folder
from support.node_process import FOLDER, NodeProcess, RawClient, eventually, wait_until

DOCUMENT = (FOLDER.parent / "PROTOCOL.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+) (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `(\w+)` *\|(.*?)\|", re.MULTILINE)
FIELD = re.compile(r"`(\w+)` ([^,?\s]+)(\?)?")
TYPES: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    "int[]": lambda value: isinstance(value, list) and bool(value) and all(TYPES["int"](one) for one in value),
    "up\\|down": lambda value: value in ("up", "down"),
}


def blocks(kind: str) -> list[str]:
    """The fenced examples of a kind, in the document's order."""
    return [text for _, marked, text in FENCE.findall(DOCUMENT) if marked == kind]


def section(number: int) -> str:
    """A section's text."""
    return DOCUMENT.split(f"\n## {number}. ")[1].split("\n## ")[0]


def journal_schema() -> dict[str, dict[str, tuple[str, bool]]]:
    """Event -> field -> (type, optional), from the table of section 5."""
    rows = re.findall(r"^\| `(\w+)` +\| (.*?) +\| \w", section(5), re.MULTILINE)
    return {
        name: {field: (type_, optional == "?") for field, type_, optional in FIELD.findall(fields)}
        for name, fields in [*rows, ("stop", "")]
    }


SCHEMA = journal_schema()


def check_event(event: dict[str, Any]) -> None:
    """Fails unless the event is exactly what the document says."""
    fields = {"t": ("int", False), **SCHEMA[event["ev"]]}
    assert {name for name, (_, optional) in fields.items() if not optional} <= event.keys() - {"ev"}, event
    assert event.keys() - {"ev"} <= fields.keys(), event
    for name, (type_, _) in fields.items():
        assert name not in event or TYPES[type_](event[name]), event
    if "mark" in event:
        assert re.fullmatch(r"fl1[0-9a-f]{16}", event["mark"]), event
    assert event["ev"] != "gap" or event["from"] <= event["to"], event
    assert event["ev"] != "msg" or event["t"] <= event["done"], event


def test_the_table_is_read_as_it_is_written() -> None:
    assert set(SCHEMA) == {"start", "redis", "subscribed", "unsubscribed", "gap", "msg", "drop", "cache", "stop"}
    assert SCHEMA["msg"] == {
        "ch": ("str", False),
        "mark": ("str", True),
        "n": ("int", False),
        "done": ("int", False),
    }
    assert all(type_ in TYPES for fields in SCHEMA.values() for type_, _ in fields.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"t": 1, "ev": "subscribed"},
        {"ev": "stop"},
        {"t": 1.5, "ev": "stop"},
        {"t": 1, "ev": "stop", "why": "x"},
        {"t": 1, "ev": "redis", "state": "maybe"},
        {"t": 1, "ev": "drop", "ch": "a", "n": 1, "why": "slow", "who": ["1"]},
        {"t": 1, "ev": "drop", "ch": "a", "n": 1, "why": "slow", "who": []},
        {"t": 1, "ev": "gap", "ch": "a", "from": 2, "to": 1},
        {"t": 1, "ev": "msg", "ch": "a", "n": "1", "done": 2},
        {"t": 1, "ev": "msg", "ch": "a", "n": 1, "done": 2, "mark": "fl1"},
    ],
)
def test_the_check_of_events_can_fail(wrong: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        check_event(wrong)


def test_each_event_has_an_example_and_each_example_is_right() -> None:
    (text,) = blocks("journal")
    examples = [json.loads(line) for line in text.splitlines()]
    assert {event["ev"] for event in examples} == set(SCHEMA)
    for event in examples:
        check_event(event)


def test_fanlab_reads_the_events_that_the_contract_has() -> None:
    rows = re.findall(r"^\| (\w+) +\| (.*?) +\| .*\|$", (events.__doc__ or "").split("Node events")[1], re.MULTILINE)
    stated = {
        name: {re.sub(r" \(.*\)|\?", "", field) for field in fields.split(", ")} for name, fields in rows if fields
    }
    assert stated["gap"] == {"ch", "from", "to"}
    assert {name: set(fields) for name, fields in SCHEMA.items() if fields} == {
        name: fields for name, fields in stated.items() if name not in ("ev", "stop")
    }


def test_the_manifest_example_is_the_reference_nodes_own() -> None:
    (text,) = blocks("manifest")
    example = NodeManifest.model_validate(yaml.safe_load(text))
    real = read_manifest(FOLDER)
    assert example.model_dump(exclude={"description"}) == real.model_dump(exclude={"description"})


def test_the_environment_table_names_what_fanlab_tells() -> None:
    assert [key for key, _ in ROW.findall(section(2))] == list(Environment.model_fields)


def test_the_token_is_as_the_document_says() -> None:
    token = encode_token(Token(42, 1, 7, 1, 0)).decode()
    assert re.fullmatch(r"fl1[0-9a-f]{44}", token)
    assert (len(token), MARK_LENGTH) == (TOKEN_LENGTH, 19) == (47, 19)
    assert token[:MARK_LENGTH] in blocks("journal")[0]  # "message 7 of stream 1"


def test_fanlabs_clients_speak_the_documents_frames() -> None:
    spoken = protocol("json")
    asked = json.loads(blocks("client")[0])
    assert [json.loads(frame) for frame in spoken.subscribe(asked["channels"])] == [asked]
    answers = [(json.loads(text), list(spoken.confirmed(text.encode()))) for text in blocks("node")]
    assert [confirmed for _, confirmed in answers] == [["news"], [], []]


@pytest.mark.parametrize(
    ("source", "reads"),
    [
        ("websockets/settings.py", r'environ(?:\.get\(|, )"([A-Z_]+)"'),
        ("ws-node/server.js", r"(?:process\.env\.|setting\(')([A-Z_]+)"),
    ],
)
def test_the_settings_table_names_every_variable(source: str, reads: str) -> None:
    code = FOLDER.parent / source
    read = set(re.findall(reads, code.read_text(encoding="utf-8")))
    rows = re.findall(r"^\| ([A-Z_, ]+) \|", (code.parent / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for row in rows for name in row.split(", ")} == read


@pytest.fixture(params=KINDS)
def node(request: pytest.FixtureRequest, redis_server: str, tmp_path: Path) -> Iterator[NodeProcess]:
    kind: str = request.param
    env = environment(kind, buffer_bytes=65_536, close_ms=500)
    process = NodeProcess(free_port(), redis_server, tmp_path, env, kind, nodes_folder(kind, request))
    try:
        yield process.start()
    finally:
        process.kill()


@pytest.mark.system
async def test_the_frames_of_the_document_are_those_of_the_node(node: NodeProcess) -> None:
    subscribe, unsubscribe = blocks("client")
    subscribed, unsubscribed, error = map(json.loads, blocks("node"))
    async with connect(node.ws) as websocket:
        await websocket.send(subscribe)
        assert json.loads(await websocket.recv()) == subscribed
        assert json.loads(await websocket.recv()) == {**subscribed, "channel": "jobs"}
        await websocket.send(unsubscribe)
        assert json.loads(await websocket.recv()) == unsubscribed
        await websocket.send("[}")
        assert json.loads(await websocket.recv()) == error


@pytest.mark.system
async def test_a_real_journal_keeps_to_the_document(node: NodeProcess, redis_server: str) -> None:
    with closing(redis.Redis.from_url(redis_server)) as client:
        slow = RawClient(node.port, client=12)
        slow.send_text('{"type":"subscribe","channels":["news"]}')
        slow.frame()
        token = encode_token(Token(42, 1, 7, 1, 0))
        while not node.events("drop"):
            for _ in range(16):
                client.publish("news", token + b"x" * 60_000)
        await eventually(lambda: "news" in {event["ch"] for event in node.events("unsubscribed")}, "news left")
        client.client_kill_filter(_type="pubsub")
        wait_until(lambda: node.events("gap"), "a gap")

        def refreshed() -> Any:  # the first gap may be of a buffer that Redis closed, and the kill's be still open
            client.publish("user:updated", '{"id":1}')
            return node.events("cache")

        wait_until(refreshed, "the cache refreshed")
        node.send(signal.SIGTERM)
        assert node.wait() == 0
        slow.close()
    seen = node.events()
    assert {event["ev"] for event in seen} == set(SCHEMA)
    for event in seen:
        check_event(event)
    assert {event["mark"] for event in seen if "mark" in event} == {token[:MARK_LENGTH].decode()}
    assert {tuple(event["who"]) for event in seen if event["ev"] == "drop"} == {(12,)}
    assert {event.get("why") for event in seen if event["ev"] == "redis"} == {None, "closed"}
