"""Secrets by where they stand and by value: masked in every spelling, and nothing else is."""

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanlab.redaction import (
    MARK,
    Secrets,
    hide_in_files,
    hide_setting,
    hide_urls,
    hide_word,
    looks_secret,
    secrets_of_settings,
    secrets_of_url,
    secrets_of_words,
    texts_in,
)
from fanlab.scenario.loader import load_text
from fanlab.scenario.redacted import redacted, secrets_of
from support.examples import examples


@pytest.mark.parametrize(
    "name",
    [
        *(
            "AUTH_TOKEN",
            "API_KEY",
            "APIKEY",
            "KEY_ID",
            "DB_PASSWORD",
            "PGPASSWORD",
            "PASS",
            "REDIS_AUTH",
            "CREDENTIALS",
        ),
        *("requirepass", "masterauth", "topology.nodes.env.CLIENT_SECRET", "tls-key-file-pass", "db_pwd", "Passphrase"),
    ],
)
def test_these_names_look_secret(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "PWD", "CACHE_CHANNEL", "KEYBOARD", "notify-keyspace-events", "AUTHORS", "COMPASS", "SLOW_CLIENT"),
        *("client-output-buffer-limit", "topology.nodes.count", "API_KEY.count", ""),
    ],
)
def test_these_do_not(name: str) -> None:
    assert not looks_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://me:pw@host/0", "redis://me:***@host/0"),
        ("redis://:p@w@host", "redis://:***@host"),
        ("redis://token@host", "redis://***@host"),
        ("redis://@host", "redis://@host"),
        ("at redis://a:b@h and amqps://c:d@e.", "at redis://a:***@h and amqps://c:***@e."),
        ("https://h/x?token=t&page=2&api_key=k#top", "https://h/x?token=***&page=2&api_key=***#top"),
        ("https://example.org/x @someone", "https://example.org/x @someone"),
        ("what?secret=", "what?secret=***"),
    ],
)
def test_urls(text: str, shown: str) -> None:
    assert hide_urls(text) == shown


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("redis://u:pa/ss@h", "redis://u:***@h"),  # not as a URL should be, and yet given
        ("--redis-url=redis://u:pa?ss@h/0", "--redis-url=redis://u:***@h/0"),
        ("redis://redis@redis", "redis://***@redis"),
        ("topology.nodes.env.API_KEY=a b=c", "topology.nodes.env.API_KEY=***"),
        ("topology.nodes.env=AUTH_TOKEN=a&b", "topology.nodes.env=AUTH_TOKEN=***"),
        ("topology.nodes.env={API_KEY: 'a b', HZ: 5}", "topology.nodes.env={API_KEY: ***, HZ: 5}"),
        ('topology.nodes.env={"API_KEY": "a b"}', 'topology.nodes.env={"API_KEY": ***}'),
        ("topology.nodes.count=3", "topology.nodes.count=3"),
        ("=" * 50_000, "=" * 50_000),
        ("--trace", "--trace"),
        ("redis://:my-secret@h/0?db=1", "redis://:***@h/0?db=1"),
    ],
)
def test_words_of_a_command_line(word: str, shown: str) -> None:
    assert hide_word(word) == shown


def test_secrets_are_taken_from_where_they_stand() -> None:
    words = ["run", "x.yaml", "--redis-url", "redis://u:pa%2Fss@h", "--set", "a.env.API_KEY='key'", "--set", "n=3"]
    assert {*secrets_of_words(words)} >= {"pa%2Fss", "key"}
    assert "a-token" in {*secrets_of_words(["fanlab", "worker", "--token", "a-token"])}
    assert "quickstart" not in {*secrets_of_words(["fanlab", "run", "--trace", "quickstart"])}
    assert {*secrets_of_url("wss://u:p@h/ws?room=r&k&token=t")} - {""} == {"p", "r", "k", "t"}
    env = {"A_TOKEN": "t", "URL": "amqp://u:p@h?auth_token=q", "N": "5"}
    assert {*secrets_of_settings(env)} == {"t", "p", "q"}


@settings(max_examples=examples(300))
@given(st.text(min_size=6, max_size=40).filter(lambda text: len(text.strip()) >= 6), st.text(max_size=10))
def test_a_value_is_masked_in_every_spelling(value: str, around: str) -> None:
    secrets = Secrets([value])
    spelt = [value, repr(value)[1:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]]
    spelt.append(quote(value, safe="", errors="surrogatepass"))
    for form in spelt:
        shown = secrets.hide(f"{around}|{form}|{around}")
        assert f"|{form}|" not in shown or form in around


def test_what_a_cut_line_still_holds_of_one_is_masked() -> None:
    assert Secrets(["correct-horse"]).hide("so it is correct-ho") == "so it is ***"
    assert Secrets(["correct-horse"]).hide("so it is corre") == "so it is corre"


def test_lines_of_a_long_one_are_masked_one_by_one() -> None:
    assert Secrets(["-----BEGIN-----\nabcdefgh\n"]).hide("  | abcdefgh") == "  | ***"


def test_short_values_are_masked_where_they_stand_only() -> None:
    secrets = Secrets(["1", "redis", ""])
    assert secrets.hide("redis-server 1.1 at redis://u:1@h") == "redis-server 1.1 at redis://u:***@h"


def test_what_is_a_name_in_the_run_stays_one() -> None:
    secrets = Secrets(["quickstart", "hunter22"]).but(["reports/runs/quickstart/x", "node-1"])
    assert secrets.hide("quickstart hunter22") == "quickstart ***"


def test_plain_data_keeps_its_keys_numbers_and_shape() -> None:
    data = {"hunter22": ["hunter22", 5, None, {"x": "a hunter22"}], "t": ("hunter22",)}
    assert Secrets(["hunter22"]).hide_in(data) == {"hunter22": [MARK, 5, None, {"x": f"a {MARK}"}], "t": [MARK]}
    assert list(texts_in(data)) == ["hunter22", "a hunter22", "hunter22"]
    assert hide_setting("env", {"API_KEY": "x", "N": 5, "U": "r://a:b@c"}, Secrets()) == {
        "API_KEY": MARK,
        "N": 5,
        "U": "r://a:***@c",
    }


def test_a_scenario_without_its_secrets_is_otherwise_the_same() -> None:
    text = """
name: t
question: Is hunter22 shown?
topology:
  nodes: {kind: websockets, count: 2, env: {API_KEY: hunter22, HZ: 5}}
  redis: {config: {maxmemory: 1mb, masterauth: other-one}}
channels: [news]
clients: [{group: g, count: 1, channels: [news]}]
publishers: [{name: p, channel: news, rate: 1/s}]
matrix: {topology.nodes.env.API_KEY: [hunter22]}
"""
    (loaded,) = load_text(text, "f.yaml")
    secrets = Secrets(secrets_of(loaded.scenario))
    shown = redacted(loaded, secrets)
    assert secrets.values == {"hunter22", "other-one"}
    assert shown.scenario.question == "Is *** shown?"
    assert shown.scenario.topology.nodes[0].env == {"API_KEY": MARK, "HZ": "5"}
    assert shown.scenario.topology.redis.config == {"maxmemory": "1mb", "masterauth": MARK}
    assert shown.cell == {"topology.nodes.env.API_KEY": MARK}
    assert (shown.sha256, shown.scenario.clients) == (loaded.sha256, loaded.scenario.clients)
    assert loaded.scenario.topology.nodes[0].env["API_KEY"] == "hunter22"


def test_in_files_texts_are_masked_and_evidence_is_not(tmp_path: Path) -> None:
    secret = "123456"  # the worst of all: it could be a part of any number
    journal = [
        {"t": 81234567, "ev": "msg", "ch": "news", "mark": "fl0123456789", "n": 3, "done": 91234569},
        {"t": 81234568, "ev": "redis", "state": "down", "error": f"it was {secret}", "more": [secret, {"x": secret}]},
    ]
    lines = [json.dumps(event, separators=(",", ":")) for event in journal]
    (tmp_path / "node-1.jsonl").write_text("\n".join([*lines, '{"torn":"123456']))
    (tmp_path / "node-1.log").write_bytes(b"\xff pin 123456\n")
    (tmp_path / "clients.stripe").write_bytes(b"123456")
    (tmp_path / "link.log").symlink_to(tmp_path / "elsewhere.txt")
    (tmp_path / "elsewhere.txt").write_text(secret)
    (tmp_path / "empty.log").touch()
    hide_in_files(tmp_path, Secrets([secret]))
    first, second, torn = (tmp_path / "node-1.jsonl").read_text().splitlines()
    assert first == lines[0]
    assert json.loads(second) == journal[1] | {"error": "it was ***", "more": [MARK, {"x": MARK}]}
    assert torn == '{"torn":"***'
    assert (tmp_path / "node-1.log").read_bytes() == b"\xff pin ***\n"
    assert (tmp_path / "clients.stripe").read_bytes() == b"123456"
    assert (tmp_path / "elsewhere.txt").read_text() == secret
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "clients.stripe",
        "elsewhere.txt",
        "empty.log",
        "link.log",
        "node-1.jsonl",
        "node-1.log",
    ]
