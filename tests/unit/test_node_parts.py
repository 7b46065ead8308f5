"""The reference node's other pure parts: settings, commands, journal, heartbeat, cache, gate, frames, metrics."""

import asyncio
import errno
import json
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis.exceptions

# --- settings


def test_settings_have_defaults(node_modules: SimpleNamespace) -> None:
    settings = node_modules.settings.from_environment({})
    assert (settings.host, settings.port, settings.journal) == ("127.0.0.1", 8765, None)
    assert (settings.slow_client, settings.client_buffer_bytes) == ("close", 1 << 20)
    assert settings.cache_channel == "user:updated"


def test_an_empty_cache_channel_turns_the_cache_off(node_modules: SimpleNamespace) -> None:
    assert node_modules.settings.from_environment({"CACHE_CHANNEL": ""}).cache_channel is None


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("FANLAB_PORT", "http", "is no number"),
        ("FANLAB_PORT", "70000", "out of range"),
        ("FANLAB_PORT", "80.5", "no whole number"),
        ("FANLAB_PORT", "", "is no number"),
        ("FANLAB_HOST", " ", "is empty"),
        ("FANLAB_REDIS_URL", "http://x", "no Redis URL"),
        ("CLIENT_BUFFER_BYTES", "0", "out of range"),
        ("CLIENT_BUFFER_BYTES", "nan", "out of range"),
        ("SLOW_CLIENT", "wait", "close, drop-newest"),
        ("HEARTBEAT_TIMEOUT", "-1", "out of range"),
        ("REDIS_RETRY_MS", "soon", "is no number"),
        ("ALLOWED_ORIGINS", "https://a.example, example.com", "'example.com'"),
        ("ALLOWED_ORIGINS", "https://a.example/path", "no origin"),
    ],
)
def test_a_bad_setting_is_one_sentence(node_modules: SimpleNamespace, name: str, value: str, words: str) -> None:
    with pytest.raises(node_modules.settings.SettingError, match=re.escape(words)) as caught:
        node_modules.settings.from_environment({name: value})
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


# --- commands


def parse(modules: SimpleNamespace, frame: str | bytes) -> Any:
    return modules.commands.parse(frame, max_channels=3, max_channel_bytes=10)


def test_a_command_keeps_its_order_and_loses_its_duplicates(node_modules: SimpleNamespace) -> None:
    command = parse(node_modules, '{"type":"subscribe","channels":["b","a","b"]}')
    assert (command.verb, command.channels) == ("subscribe", ("b", "a"))


@pytest.mark.parametrize(
    "frame",
    [
        b"{}",
        "",
        "{",
        "null",
        "[]",
        "7",
        '"subscribe"',
        "[" * 50_000,
        "{}",
        '{"type":"publish","channels":["a"]}',
        '{"type":["subscribe"],"channels":["a"]}',
        '{"type":{},"channels":["a"]}',
        '{"type":"subscribe"}',
        '{"type":"subscribe","channels":"a"}',
        '{"type":"subscribe","channels":{}}',
        '{"type":"subscribe","channels":[]}',
        '{"type":"subscribe","channels":[""]}',
        '{"type":"subscribe","channels":[1]}',
        '{"type":"subscribe","channels":[null]}',
        '{"type":"subscribe","channels":[["a"]]}',
        '{"type":"subscribe","channels":["a","b","c","d"]}',
        '{"type":"subscribe","channels":["elevenchars"]}',
        '{"type":"subscribe","channels":["äöüäöü"]}',
        '{"type":"subscribe","channels":["\\ud800"]}',
        '{"type":"subscribe","channels":[' + "9" * 5000 + "]}",
    ],
)
def test_what_is_no_command_is_refused_with_a_reason(node_modules: SimpleNamespace, frame: str | bytes) -> None:
    with pytest.raises(node_modules.commands.CommandError) as caught:
        parse(node_modules, frame)
    node_modules.commands.error(str(caught.value))  # it can be told
    assert 10 < len(str(caught.value)) < 200


# --- journal


@pytest.fixture
def journal_path(tmp_path: Path) -> Path:
    return tmp_path / "node-1.jsonl"


def get(path: Path) -> bytes:
    return path.read_bytes()


def put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def test_journal_lines_are_json(node_modules: SimpleNamespace, journal_path: Path) -> None:
    journal = node_modules.journal.FileJournal(journal_path, asyncio.get_running_loop())
    name = json.dumps('a "b"\\\n').encode()
    journal.event(1, "start", node="n", pid=2)
    journal.message(2, name, b"fl1002a000100000007", 5, 3)
    journal.message(2, name, None, 5, 3)
    journal.drop(2, name, b"fl1002a000100000007", 1, "slow")
    journal.drop(2, name, None, 1, "slow")
    journal.drop(2, name, None, 3, "closing", who=[7, 12])
    journal.close()
    journal.close()
    assert lines(journal_path) == [
        {"t": 1, "ev": "start", "node": "n", "pid": 2},
        {"t": 2, "ev": "msg", "ch": 'a "b"\\\n', "mark": "fl1002a000100000007", "n": 5, "done": 3},
        {"t": 2, "ev": "msg", "ch": 'a "b"\\\n', "n": 5, "done": 3},
        {"t": 2, "ev": "drop", "ch": 'a "b"\\\n', "mark": "fl1002a000100000007", "n": 1, "why": "slow"},
        {"t": 2, "ev": "drop", "ch": 'a "b"\\\n', "n": 1, "why": "slow"},
        {"t": 2, "ev": "drop", "ch": 'a "b"\\\n', "n": 3, "why": "closing", "who": [7, 12]},
    ]


@pytest.mark.parametrize(
    ("told", "number"),
    [("12", 12), ("0", 0), (None, None), ("", None), ("-1", None), ("twelve", None), ("1" * 11, None), ("١٢", None)],
)
def test_a_client_number_is_a_number_or_nothing(
    node_modules: SimpleNamespace, told: str | None, number: int | None
) -> None:
    assert node_modules.clients.number_of(told) == number


@pytest.mark.parametrize(
    ("error", "was_up", "why"),
    [
        (redis.exceptions.ConnectionError("Connection closed by server."), True, {"why": "closed"}),
        (ConnectionResetError(), True, {"why": "closed"}),
        (redis.exceptions.ConnectionError("Error 111 connecting to 127.0.0.1:1."), False, {"why": "refused"}),
        (TimeoutError(), False, {"why": "timeout"}),
        (redis.exceptions.TimeoutError("Timeout connecting to server"), False, {"why": "timeout"}),
        (redis.exceptions.ResponseError("NOAUTH Authentication required."), False, {"why": "refused"}),
        (redis.exceptions.ResponseError("unknown command"), True, {}),
    ],
)
def test_why_redis_is_down(node_modules: SimpleNamespace, error: Exception, was_up: bool, why: dict[str, str]) -> None:
    assert node_modules.upstream._why(error, was_up=was_up) == why


def test_silence_is_a_timeout_and_what_nobody_asked_for_is_nobodys_doing(node_modules: SimpleNamespace) -> None:
    upstream = node_modules.upstream
    assert upstream._why(upstream.SilenceError("x"), was_up=True) == {"why": "timeout"}
    assert upstream._why(upstream.OutOfStepError("x"), was_up=True) == {}


async def test_a_torn_line_of_a_killed_process_is_ended_before_the_next(
    node_modules: SimpleNamespace, journal_path: Path
) -> None:
    put(journal_path, b'{"t":1,"ev":"start"}\n{"t":2,"ev":"ms')
    journal = node_modules.journal.FileJournal(journal_path, asyncio.get_running_loop())
    journal.event(3, "start")
    journal.close()
    assert get(journal_path) == b'{"t":1,"ev":"start"}\n{"t":2,"ev":"ms\n{"t":3,"ev":"start"}\n'


async def test_a_journal_writes_in_batches(
    node_modules: SimpleNamespace, journal_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[bytes] = []
    real = os.write

    def write(fd: int, data: bytes) -> int:
        batches.append(bytes(data))
        return real(fd, data)

    journal = node_modules.journal.FileJournal(journal_path, asyncio.get_running_loop())
    monkeypatch.setattr(os, "write", write)
    for t in range(2000):
        journal.event(t, "x")
    journal.flush()
    assert len(batches) == 1
    assert all(batch.endswith(b"\n") for batch in batches)
    for t in range(20_000):
        journal.event(t, "x")
    assert len(batches) > 2
    assert all(
        node_modules.journal.FLUSH_BYTES <= len(batch) < 2 * node_modules.journal.FLUSH_BYTES for batch in batches[1:]
    )
    journal.close()
    assert len(lines(journal_path)) == 22_000


async def test_a_journal_is_flushed_by_time(node_modules: SimpleNamespace, journal_path: Path) -> None:
    journal = node_modules.journal.FileJournal(journal_path, asyncio.get_running_loop())
    journal.event(1, "x")
    async with asyncio.timeout(10):
        while not get(journal_path):
            await asyncio.sleep(0.001)
    journal.close()


async def test_a_full_disk_is_said_once_and_costs_no_line_once_it_has_room(
    node_modules: SimpleNamespace,
    journal_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real, room = os.write, [7]  # the disk takes seven bytes, then nothing, then all

    def write(fd: int, data: bytes) -> int:
        if room == [0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = real(fd, data[: room[0]] if room else data)
        if room:
            room[0] = 0
        return taken

    journal = node_modules.journal.FileJournal(journal_path, asyncio.get_running_loop())
    monkeypatch.setattr(os, "write", write)
    for t in range(3):
        journal.event(t, "x")
        journal.flush()
    assert journal.errors == 2
    assert [record.message for record in caplog.records].count(caplog.records[0].message) == 1
    assert "No space left" in caplog.text
    room.clear()
    journal.close()
    assert [event["t"] for event in lines(journal_path)] == [0, 1, 2]


async def test_a_disk_that_stays_full_costs_bounded_memory(
    node_modules: SimpleNamespace, journal_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(_: int, __: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(node_modules.journal, "BACKLOG_BYTES", 100_000)
    journal = node_modules.journal.FileJournal(journal_path, asyncio.get_running_loop())
    monkeypatch.setattr(os, "write", write)
    for t in range(10_000):
        journal.event(t, "x", ch="c" * 100)
    assert journal.lines_dropped > 0
    assert len(journal._rest) < 100_000 + 2 * node_modules.journal.FLUSH_BYTES
    journal.close()


def test_the_mark_is_the_head_of_a_whole_token(node_modules: SimpleNamespace) -> None:
    mark_of = node_modules.journal.mark_of
    token = b"fl1" + b"0123456789abcdef" * 2 + b"0123456789ab"
    assert len(token) == 47
    assert mark_of(token) == token[:19]
    assert mark_of(b'{"x":"' + token + b'"}') == token[:19]
    assert mark_of(token[:-1]) is None
    assert mark_of(b"fl1" + b"Z" * 44) is None
    assert mark_of(b"fl1 " + token) == token[:19]
    assert mark_of(b"") is None


# --- heartbeat


class Peer:
    def __init__(self, heard_s: float) -> None:
        self.heard_s = heard_s
        self.asked_s: float | None = None


def run_heartbeat(
    modules: SimpleNamespace, peer: Peer, until_s: float, answers: bool
) -> tuple[list[float], list[float]]:
    heartbeat = modules.heartbeat.Heartbeat(4.0, 4.0, 0.0)
    asked, dead, now = [], [], 0.0
    while now < until_s and not dead:
        now += heartbeat.tick_s
        sweep = heartbeat.sweep(now, [peer])
        if sweep.ask:
            asked.append(now)
            if answers:
                peer.heard_s = now
        if sweep.dead:
            dead.append(now)
    return asked, dead


def test_a_silent_peer_is_asked_once_and_given_up(node_modules: SimpleNamespace) -> None:
    assert run_heartbeat(node_modules, Peer(0.0), 100, answers=False) == ([4.0], [8.0])


def test_a_peer_that_answers_lives(node_modules: SimpleNamespace) -> None:
    asked, dead = run_heartbeat(node_modules, Peer(0.0), 100, answers=True)
    assert dead == []
    assert len(asked) > 10


def test_a_stall_of_this_process_is_not_held_against_its_peers(node_modules: SimpleNamespace) -> None:
    heartbeat, peer = node_modules.heartbeat.Heartbeat(4.0, 4.0, 0.0), Peer(0.0)
    for now in (1.0, 2.0, 3.0, 4.0, 5.0):
        heartbeat.sweep(now, [peer])
    assert peer.asked_s == 4.0
    assert heartbeat.sweep(65.0, [peer]).dead == []  # stopped for a minute; the answer lies in the socket
    peer.heard_s = 65.5
    assert heartbeat.sweep(66.0, [peer]).dead == []
    assert peer.asked_s is None


def test_a_peer_that_was_dead_anyway_dies_soon_after_a_stall(node_modules: SimpleNamespace) -> None:
    heartbeat, peer = node_modules.heartbeat.Heartbeat(4.0, 4.0, 0.0), Peer(0.0)
    for now in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 68.0):
        assert heartbeat.sweep(now, [peer]).dead == []
    assert heartbeat.sweep(69.0, [peer]).dead == [peer]


# --- cache


def test_the_cache_takes_objects_with_an_id(node_modules: SimpleNamespace) -> None:
    cache = node_modules.cache.Cache(2, 100, lambda: "now")
    assert cache.refresh(b'{"id":7,"name":"a"}')
    assert cache.refresh(b'{"id":7,"name":"b"}')
    assert cache.get("7") == {"value": {"id": 7, "name": "b"}, "version": 2, "updated": "now", "maybe_stale": False}
    cache.missed()
    assert cache.get("7")["maybe_stale"]
    assert cache.refresh(b'{"id":7}')
    assert not cache.get("7")["maybe_stale"]


def test_the_cache_is_bounded_by_what_was_refreshed_last(node_modules: SimpleNamespace) -> None:
    cache = node_modules.cache.Cache(2, 100, lambda: "now")
    for key in ("a", "b", "a", "c"):
        cache.refresh(json.dumps({"id": key}).encode())
    assert set(cache.as_dict()["entries"]) == {"a", "c"}
    assert (len(cache), cache.evicted) == (2, 1)


@pytest.mark.parametrize(
    "payload",
    [
        *(
            b"",
            b"x",
            b"[]",
            b"7",
            b"{}",
            b'{"id":null}',
            b'{"id":true}',
            b'{"id":1.5}',
            b'{"id":[]}',
            b"\xff",
            b"[" * 99,
        ),
        b'{"id":1,"x":"' + b"y" * 100 + b'"}',
    ],
)
def test_the_cache_ignores_the_rest(node_modules: SimpleNamespace, payload: bytes) -> None:
    cache = node_modules.cache.Cache(2, 100, lambda: "now")
    assert not cache.refresh(payload)
    assert (len(cache), cache.ignored) == (0, 1)


# --- gate


@pytest.mark.parametrize(
    ("path", "authorization", "admitted"),
    [
        ("/ws", None, False),
        ("/ws?token=s%C3%A9cret", None, True),
        ("/ws?token=wrong&token=s%C3%A9cret", None, True),
        ("/ws?token=", None, False),
        ("/ws", "Bearer sécret", True),
        ("/ws", "bearer sécret", True),
        ("/ws", "Bearer nope", False),
        ("/ws", "Basic sécret", False),
        ("/ws?token=s%C3%A9cret", "Bearer nope", False),
    ],
)
def test_the_token(node_modules: SimpleNamespace, path: str, authorization: str | None, admitted: bool) -> None:
    assert node_modules.web.Gate("sécret", frozenset()).token_ok(path, authorization) is admitted
    assert node_modules.web.Gate(None, frozenset()).token_ok(path, authorization)


@pytest.mark.parametrize(
    ("allowed", "origin", "admitted"),
    [
        ([], None, True),
        ([], "http://node:80", True),
        ([], "http://evil.example", False),
        ([], "null", False),
        (["*"], "http://evil.example", True),
        (["https://app.example"], "https://app.example", True),
        (["https://app.example"], "http://node:80", False),
        (["https://app.example"], "https://app.example.evil", False),
        (["https://app.example"], None, True),
    ],
)
def test_the_origin(node_modules: SimpleNamespace, allowed: list[str], origin: str | None, admitted: bool) -> None:
    assert node_modules.web.Gate(None, frozenset(allowed)).origin_ok(origin, "node:80") is admitted


def test_no_host_admits_no_page(node_modules: SimpleNamespace) -> None:
    assert not node_modules.web.Gate(None, frozenset()).origin_ok("", None)
    assert not node_modules.web.Gate(None, frozenset()).origin_ok("http://x", None)


# --- frames and metrics


@pytest.mark.parametrize(
    ("payload", "head"),
    [
        (b"hello", b"\x81\x05"),
        ("hällo".encode(), b"\x81\x06"),
        (b"", b"\x81\x00"),
        (b"\xff", b"\x82\x01"),
        (b"x" * 126, b"\x81\x7e\x00\x7e"),
        (b"\xed\xa0\x80", b"\x82\x03"),  # a surrogate is no UTF-8
    ],
)
def test_a_frame_is_the_payload_behind_its_head(node_modules: SimpleNamespace, payload: bytes, head: bytes) -> None:
    assert node_modules.clients.payload_frame(payload) == head + payload


def test_metrics_are_escaped(node_modules: SimpleNamespace) -> None:
    metrics = node_modules.metrics
    text = metrics.render([metrics.Metric("m_total", "counter", "Help.", {'a"b\\c\nd': 3.0}, "why")])
    assert text == '# HELP m_total Help.\n# TYPE m_total counter\nm_total{why="a\\"b\\\\c\\nd"} 3\n'
