"""What a backend must offer; all that run.py, faults and sampler see of it. `processes` is one."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

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

    OWN_NODES = "own nodes"
    OWN_REDIS = "own Redis"
    CPU_LIMIT = "CPU limit"
    MEMORY_LIMIT = "memory limit"
    WALL_CLOCK = "wall clock of its own"
    LINK = "link through fanlab"
    PACKET_FILTER = "packet filter of its own"
    PACKET_DELAY = "packets delayed by the kernel"


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


# What helpers find beside what they are told: without it numpy starts a thread per CPU for algebra that none of them
# does, and spends more on those than on itself, while a run waits for all of them to load.
HELPERS_ENV: Final = {"OPENBLAS_NUM_THREADS": "1"}


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
    ws_server: str | None = None  # its name for itself, where ws_url has an address: a Host header; None: as in the URL
    cache_server: str | None = None  # likewise


class Backend(Protocol):
    """Starts units, tells their state, and ends them. Every start is known to the warden before the unit runs."""

    name: str
    python: str  # the interpreter in a helper's argv
    bind_host: str  # what a helper listens on, to be reached by other units
    lost: asyncio.Event  # set when the warden has ended unasked: nothing else works from then on, and `close` cleans up

    @property
    def marks(self) -> Marks:
        """What everything of this run bears, once it is open."""

    def check_kind(self, kind: str) -> None:
        """Raises ScenarioError where nodes of that kind cannot be started. Asked before anything is started."""

    async def open(self) -> None:
        """Get ready to start things; raises EnvironmentFailure when this machine cannot."""

    async def start_redis(self, config: Mapping[str, str], *, limits: Limits = NO_LIMITS) -> RedisEndpoint:
        """Start (or adopt, with --redis-url) Redis and wait until it answers PING."""

    def refusal(self, need: Need) -> str | None:
        """Why a mechanism cannot be had here; None: it can. Asked before anything is started."""

    async def prepare(self, unit: str, need: Need) -> None:
        """Called before a unit starts that a fault is to limit, or whose clock it is to step: once for each need."""

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

    async def execute(self, unit: str, argv: Sequence[str]) -> int:
        """Run a short command where a unit's files are, as the unit's user; returns its exit status."""

    async def own(self, folder: Path) -> None:
        """Remove this folder when everything has ended, even if fanlab is killed. Helpers started later see it."""

    def outside(self, node: NodeEndpoint) -> NodeEndpoint:
        """The node as people on this machine reach it."""

    @property
    def warden_pid(self) -> int:
        """The process that ends everything when it is sent SIGTERM."""

    async def detach(self) -> None:
        """Leave everything running for good; the warden has it. What is left of this object is of no use."""

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

    async def memory_kills(self, unit: str) -> int:
        """How many of the unit's processes the kernel has killed for want of memory; of no other end it tells."""

    async def restart(self, unit: str) -> None:
        """Start a unit that is gone again, at its old address, and wait until it is ready."""

    async def step_clock(self, unit: str, offset_ns: int) -> None:
        """Set the unit's wall clock so much before (negative) or after the machine's; 0: right again."""

    async def wall_clock_s(self, unit: str) -> float | None:
        """The wall clock as the unit's own HTTP server tells it (`Date`), in whole seconds; None: it tells none."""

    async def exited(self, unit: str) -> int:
        """Wait until the unit's process ends, if it runs; its exit status, negative for the signal that ended it."""

    def gone_ns(self, unit: str) -> int | None:
        """When the kernel ended the unit's main process, where `exited` may tell of it late; None: it does not."""

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
