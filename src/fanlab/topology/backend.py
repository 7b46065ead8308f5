"""What a backend must offer; all that run.py, faults and sampler see of it. `processes` is one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from fanlab.scenario.plan import NodeSpec

REDIS = "redis"  # the unit name of Redis; nodes are units by their id


class UnitState(StrEnum):
    """What a unit is doing, as the operating system sees it."""

    RUNNING = "running"
    PAUSED = "paused"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class RedisEndpoint:
    """Where Redis is, and which one it is: for the manifest."""

    url: str
    source: str  # "--redis-url", a path found on PATH, or the wheel
    version: str
    pid: int | None  # None: not ours


@dataclass(frozen=True, slots=True)
class NodeEndpoint:
    """Where a node listens. The address stays the same across restarts."""

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

    async def open(self) -> None:
        """Get ready to start things; raises EnvironmentFailure when this machine cannot."""

    async def start_redis(self, config: Mapping[str, str]) -> RedisEndpoint:
        """Start (or adopt, with --redis-url) Redis and wait until it answers PING."""

    async def start_node(self, node: NodeSpec) -> NodeEndpoint:
        """Start a node and wait until its readiness probe passes; raises NodeFailure with its last log lines."""

    async def start_helper(self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path) -> int:
        """Start one of fanlab's own processes (a load worker) beside the system; returns its pid."""

    async def own(self, folder: Path) -> None:
        """Remove this folder when everything has ended, even if fanlab is killed."""

    def helpers(self) -> dict[str, int]:
        """The running helpers' names and pids."""

    async def signal(self, unit: str, signum: int) -> None:
        """Send a signal to a unit's main process: SIGKILL, SIGTERM, SIGSTOP, SIGCONT."""

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
