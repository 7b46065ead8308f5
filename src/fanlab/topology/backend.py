"""What a backend must offer; all that run.py, faults and sampler see of it. `processes` is one."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from fanlab.scenario.plan import NodeSpec
from fanlab.topology.labels import Marks

REDIS = "redis"  # the unit name of Redis; nodes are units by their id


class UnitState(StrEnum):
    """What a unit is doing, as the operating system sees it."""

    RUNNING = "running"
    PAUSED = "paused"
    GONE = "gone"


class Need(StrEnum):
    """A mechanism that some faults need, and not every backend has on every machine."""

    OWN_REDIS = "own Redis"
    CPU_LIMIT = "CPU limit"
    MEMORY_LIMIT = "memory limit"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a unit may use at most from its start on; None: all there is."""

    cpus: float | None = None
    memory_bytes: int | None = None


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class RedisEndpoint:
    """Where Redis is, and which one it is: for the manifest."""

    url: str  # as fanlab's own process reaches it
    source: str  # "--redis-url", a path found on PATH, or the wheel
    version: str
    pid: int | None  # None: not ours
    inside_url: str  # as nodes and helpers reach it


@dataclass(frozen=True, slots=True)
class NodeEndpoint:
    """Where a node listens, as helpers reach it. The address stays the same across restarts."""

    id: str
    index: int
    ws_url: str
    http_url: str
    protocol: str
    journals: bool
    cache_url: str | None = None  # with {key} in it; None: it has no cache to read


class Backend(Protocol):
    """Starts units, tells their state, and ends them. Every start is known to the warden before the unit runs."""

    name: str
    python: str  # the interpreter in a helper's argv
    bind_host: str  # what a helper listens on, to be reached by other units
    lost: asyncio.Event  # set when the warden has ended unasked: nothing else works from then on, and `close` cleans up

    @property
    def marks(self) -> Marks:
        """What everything of this run bears, once it is open."""

    async def open(self) -> None:
        """Get ready to start things; raises EnvironmentFailure when this machine cannot."""

    async def start_redis(self, config: Mapping[str, str], *, limits: Limits = NO_LIMITS) -> RedisEndpoint:
        """Start (or adopt, with --redis-url) Redis and wait until it answers PING."""

    def refusal(self, need: Need) -> str | None:
        """Why a mechanism cannot be had here; None: it can. Asked before anything is started."""

    async def prepare_limit(self, unit: str, need: Need) -> None:
        """Called before a unit starts that is to be limited later: once for each of the two kinds of limit."""

    async def start_node(self, node: NodeSpec, *, redis_url: str | None = None) -> NodeEndpoint:
        """Start a node and wait until its readiness probe passes; raises NodeFailure with its last log lines.

        `redis_url` is what it is told instead of Redis' own address.
        """

    async def start_helper(self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path) -> int:
        """Start one of fanlab's own processes (a load worker) beside the system; returns its pid."""

    def host_of(self, unit: str) -> str:
        """The name or address by which other units reach it."""

    def address(self, unit: str) -> str | None:
        """The address that is this unit's alone; None: units share one, and are told apart by their processes."""

    def facts(self) -> dict[str, Any]:
        """What the manifest is to say of it, beside its name."""

    async def own(self, folder: Path) -> None:
        """Remove this folder when everything has ended, even if fanlab is killed. Helpers started later see it."""

    def helpers(self) -> dict[str, int]:
        """The running helpers' names and pids."""

    async def signal(self, unit: str, signum: int) -> None:
        """Send a signal to a unit: SIGKILL, SIGTERM. To stop it for a while, `freeze` it."""

    async def freeze(self, unit: str) -> None:
        """Let the unit run no further: its state is PAUSED then."""

    async def thaw(self, unit: str) -> None:
        """Let a frozen unit go on."""

    async def limit_cpu(self, unit: str, cores: float | None) -> None:
        """Give the unit at most so many cores; None: as many as it had at its start."""

    async def cpu_limit(self, unit: str) -> float | None:
        """The cores that the kernel allows the unit now; None: no limit."""

    async def limit_memory(self, unit: str, limit_bytes: int | None) -> None:
        """Give the unit at most so much memory, past which the kernel kills it; None: as at its start."""

    async def memory_limit(self, unit: str) -> int | None:
        """The bytes that the kernel allows the unit now; None: no limit."""

    async def restart(self, unit: str) -> None:
        """Start a unit that is gone again, at its old address, and wait until it is ready."""

    async def exited(self, unit: str) -> int:
        """Wait until the unit's process ends, if it runs; its exit status, negative for the signal that ended it."""

    def state(self, unit: str) -> UnitState:
        """The unit's state now, as the operating system tells it."""

    def pid(self, unit: str) -> int | None:
        """The unit's main process, or None while it is gone or not ours."""

    async def probe(self, unit: str) -> bool:
        """Whether the unit answers right now (PING, or the node's readiness URL), within a second."""

    def log_tail(self, unit: str, lines: int = 20) -> list[str]:
        """The unit's last log lines."""

    async def close(self) -> None:
        """End everything that was started, and wait until it is gone. Safe to call twice."""
