"""By hand: leave a scenario's system running (`up`), publish to it, look at it, and end it (`down`).

What runs is written to up.json in the state folder: $FANLAB_STATE_DIR, else $XDG_STATE_HOME/fanlab, else
~/.local/state/fanlab. The warden's pid is trusted only together with its start time and this boot's id, so that a
process which has since been given that pid is never touched.
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psutil
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry

from fanlab import clock
from fanlab.errors import EnvironmentFailure
from fanlab.rundir import RunDir, write_json
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import Plan
from fanlab.topology.backend import Limits, NodeEndpoint
from fanlab.topology.choose import BackendName, make_backend
from fanlab.topology.redis import redact
from fanlab.topology.warden import ENDED_WITHIN_S, read_stat

REDIS_TIMEOUT_S: Final = 5.0
POLL_S: Final = 0.05
_SCHEMA_VERSION: Final = 1
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UpState:
    """What `up` left running, and how to know it again. Its logs are in `folder`/nodes."""

    warden_pid: int
    warden_start: str
    boot_id: str | None
    started_utc: str
    scenario: str
    folder: str
    redis_url: str
    redis_source: str
    redis_version: str
    nodes: tuple[NodeEndpoint, ...]


async def up(
    scenario: Scenario, plan: Plan, *, redis_url: str | None = None, backend: BackendName = "process"
) -> UpState:
    """Start Redis and the plan's nodes, and leave them running.

    Raises EnvironmentFailure if something is up already or being started, and whatever starting it raises; then
    nothing is left behind.
    """
    with _only_one() as folder:
        running = read_state()
        if running is not None:
            raise EnvironmentFailure(
                f"{running.scenario} is up already, since {running.started_utc}", hint="end it with `fanlab down`"
            )
        rundir = _fresh(folder / "system")
        started = make_backend(backend, rundir, redis_url=redis_url)
        try:
            await started.open()
            shared = scenario.topology.redis
            redis = await started.start_redis(shared.config, limits=Limits(shared.cpus, shared.memory_bytes))
            async with asyncio.TaskGroup() as group:
                starting = [group.create_task(started.start_node(node)) for node in plan.nodes]
            state = UpState(
                warden_pid=started.warden_pid,
                warden_start=_start_mark(started.warden_pid) or "",
                boot_id=clock.boot_id(),
                started_utc=clock.utc_stamp(),
                scenario=scenario.name,
                folder=str(rundir.path),
                redis_url=redis.url,
                redis_source=redis.source,
                redis_version=redis.version,
                nodes=tuple(started.outside(task.result()) for task in starting),
            )
            # Before the warden lets go: from there on nothing but this file knows of it.
            write_json(_state_file(folder), {"schema_version": _SCHEMA_VERSION, **asdict(state)}, private=True)
            await started.detach()
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors
        finally:
            await started.close()  # nothing to close once detached
    return state


def read_state() -> UpState | None:
    """What is up, or None. A file left by a system that has ended is removed, with a warning in the log."""
    file = _state_file(state_folder())
    try:
        state = _parse(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise EnvironmentFailure(
            f"{file} cannot be read: {error}", hint="end what it tells of, if anything, and remove the file"
        ) from error
    if _alive(state):
        return state
    _log.warning(
        "%s, up since %s, has ended by itself; its state is cleared, and `fanlab sweep` removes what it may have left",
        state.scenario,
        state.started_utc,
    )
    file.unlink(missing_ok=True)
    return None


def down() -> bool:
    """End what `up` started, and wait until it is gone; False if nothing is up.

    Raises EnvironmentFailure if it does not end in time.
    """
    state = read_state()
    if state is None:
        return False
    if not _end(state):
        raise EnvironmentFailure(
            f"what was up does not end: process {state.warden_pid} is still there after {ENDED_WITHIN_S:g} s",
            hint=f"look at it with `ps --forest -g {state.warden_pid}`",
        )
    _state_file(state_folder()).unlink(missing_ok=True)
    return True


def publish(channel: str, message: str) -> int:
    """PUBLISH, once, without a retry; returns how many subscribers Redis counted."""
    return int(_ask(lambda redis: redis.publish(channel, message)))


def channels() -> list[str]:
    """PUBSUB CHANNELS: those with a live subscriber, sorted."""
    return sorted(map(str, _ask(lambda redis: redis.pubsub_channels())))


def numsub(channels: Sequence[str]) -> dict[str, int]:
    """PUBSUB NUMSUB: subscribers by channel. They are nodes' connections, not the clients behind them."""
    return {str(channel): int(count) for channel, count in _ask(lambda redis: redis.pubsub_numsub(*channels))}


def state_folder() -> Path:
    """The folder of up.json, whether it exists or not."""
    if named := os.environ.get("FANLAB_STATE_DIR"):
        return Path(named).absolute()
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base).absolute() / "fanlab"


def _ask(question: Callable[["Redis"], Any]) -> Any:
    state = read_state()
    if state is None:
        raise EnvironmentFailure("nothing is up", hint="start a system with `fanlab up FILE`")
    client = Redis.from_url(
        state.redis_url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=REDIS_TIMEOUT_S,
        decode_responses=True,
        encoding_errors="replace",
    )
    try:
        with client:
            return question(client)
    except RedisTimeout as error:
        raise EnvironmentFailure(
            f"the Redis at {redact(state.redis_url)} did not answer within {REDIS_TIMEOUT_S:g} s; "
            "what was asked of it may have been done or not"
        ) from error
    except (RedisError, OSError) as error:
        raise EnvironmentFailure(
            f"the Redis at {redact(state.redis_url)} does not answer: {error}",
            hint=f"see {state.folder}/nodes/redis.log, or start afresh: `fanlab down`, then `fanlab up`",
        ) from error


@contextlib.contextmanager
def _only_one() -> Iterator[Path]:
    """The state folder, private and held by this process alone."""
    folder = state_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EnvironmentFailure(
            f"the state folder {folder} cannot be written: {error.strerror}", hint="name another in FANLAB_STATE_DIR"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EnvironmentFailure("another `fanlab up` is starting a system just now") from error
        yield folder
    finally:
        os.close(lock)


def _fresh(path: Path) -> RunDir:
    """The folder for logs and journals, emptied of the last system's."""
    shutil.rmtree(path, ignore_errors=True)
    rundir = RunDir(path)
    rundir.create()
    return rundir


def _parse(data: dict[str, Any]) -> UpState:
    if data.pop("schema_version") != _SCHEMA_VERSION:
        raise ValueError("it is of another version of fanlab")
    nodes = tuple(NodeEndpoint(**node) for node in data.pop("nodes"))
    return UpState(**data, nodes=nodes)


def _state_file(folder: Path) -> Path:
    return folder / "up.json"


def _start_mark(pid: int) -> str | None:
    """When the process began, in a form that is equal if and only if it is the same process; None if it is gone."""
    if sys.platform != "linux":
        try:
            return str(psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None
    stat = read_stat(pid)
    return None if stat is None or stat.state in "ZX" else str(stat.start_ticks)


def _alive(state: UpState) -> bool:
    return state.boot_id == clock.boot_id() and _start_mark(state.warden_pid) == state.warden_start


def _end(state: UpState) -> bool:
    """SIGTERM to the warden, which ends its whole tree before itself; whether that has happened in time."""
    if sys.platform != "linux":
        os.kill(state.warden_pid, signal.SIGTERM)
        end = time.monotonic() + ENDED_WITHIN_S
        while _alive(state) and time.monotonic() < end:
            time.sleep(POLL_S)
        return not _alive(state)
    try:
        fd = os.pidfd_open(state.warden_pid)
    except ProcessLookupError:
        return True
    try:
        if not _alive(state):  # the descriptor may be of a later process
            return True
        signal.pidfd_send_signal(fd, signal.SIGTERM)
        return bool(select.select([fd], [], [], ENDED_WITHIN_S)[0])
    finally:
        os.close(fd)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """One of several failures: they mostly have one cause."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
