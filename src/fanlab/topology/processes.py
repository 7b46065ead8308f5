"""The process backend: Redis, nodes and helpers as processes of this machine, on 127.0.0.1, owned by a warden."""

import asyncio
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from fanlab.errors import EnvironmentFailure, HarnessError, NodeFailure
from fanlab.rundir import RunDir
from fanlab.scenario.plan import NodeSpec
from fanlab.topology import cgroups, redis, walltime
from fanlab.topology.backend import HELPERS_ENV, NO_LIMITS, REDIS, Limits, Need, NodeEndpoint, RedisEndpoint, UnitState
from fanlab.topology.cgroups import Group
from fanlab.topology.labels import Marks
from fanlab.topology.logtail import tail
from fanlab.topology.manifest import NodeManifest, node_folder, read_manifest
from fanlab.topology.ports import HOST, Reservation, reserve
from fanlab.topology.private import private_folder
from fanlab.topology.reach import Reach, is_loopback
from fanlab.topology.ready import HttpProbe, Readiness
from fanlab.topology.walltime import WallTime
from fanlab.topology.wardenclient import WardenClient

NODE_GRACE_S: Final = 3.0  # for nodes and helpers to end in good order, with Redis still there
LAST_GRACE_S: Final = 1.0  # for Redis, and for what the nodes left behind
EXIT_TOLD_S: Final = 5.0  # between an exit and the warden's word of it
_ONE_NETWORK: Final = (
    "processes share this machine's own network, in which fanlab changes nothing: use --backend docker, or `by: link`"
)
FULL_BYTES: Final = 65_536  # a disk with less is full
_STATES: Final = {
    psutil.STATUS_STOPPED: UnitState.PAUSED,
    psutil.STATUS_ZOMBIE: UnitState.GONE,
    psutil.STATUS_DEAD: UnitState.GONE,
}
# What a program needs to find its files and its language; nothing else of this environment reaches a unit.
_PASSED_ON: Final = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LC_ALL", "LC_CTYPE"),
    *("LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "VIRTUAL_ENV"),
)


@dataclass(slots=True)
class _Unit:
    """One thing that was started: all it takes to start it again, and to tell whether it serves."""

    argv: list[str]
    env: dict[str, str]
    cwd: Path
    log: Path
    become_ready: Callable[[], Awaitable[None]] | None = None  # None: a helper
    probe: Callable[[], Awaitable[bool]] | None = None
    http: HttpProbe | None = None  # a node's
    pid: int = 0


class ProcessBackend:
    """Backend on local processes. Logs go to the run directory; `redis_url` adopts a Redis instead of starting one."""

    name = "process"
    python = sys.executable
    bind_host = HOST

    def __init__(
        self, rundir: RunDir, *, redis_url: str | None = None, reach: Reach | None = None, host: str = HOST
    ) -> None:
        """`reach` says whether a Redis that is adopted may be where it is; without one, on this machine only.

        `host` is where nodes and Redis listen. Where other hosts reach them, Redis has a password.
        """
        self._rundir = rundir
        self._host = host
        self._adopted_url = redis_url
        self._reach = reach or Reach()
        self._redis_url: str | None = None
        self._client: WardenClient | None = None
        self._units: dict[str, _Unit] = {}
        self._reservations: list[Reservation] = []
        self._executed = 0
        self._clocks: dict[str, WallTime] = {}
        self._groups: dict[tuple[str, Need], Group] = {}
        self.lost = asyncio.Event()

    # Starting

    def check_kind(self, kind: str) -> None:
        """Raises ScenarioError for a kind that there is not, or whose node.yaml cannot be used."""
        read_manifest(node_folder(kind))

    async def open(self) -> None:
        """Start the warden. Raises EnvironmentFailure if it cannot run or write its log."""
        self._client = await WardenClient.start(self._rundir.logs / "warden.log", lost=self.lost)

    @property
    def warden_pid(self) -> int:
        """The pid of the process that owns all others."""
        return self._warden.pid

    @property
    def marks(self) -> Marks:
        """What the run's processes, groups and folders bear."""
        return Marks(self._warden.run_id, self._warden.owner, str(self._rundir.path.absolute()))

    async def start_redis(self, config: Mapping[str, str], *, limits: Limits = NO_LIMITS) -> RedisEndpoint:
        """Start (or adopt) Redis and wait until it answers.

        Raises EnvironmentFailure: no server on this machine, a setting that is not the scenario's to make, an address
        that is not local; NodeFailure with the log's last lines if the server does not come up.
        """
        _refuse(REDIS, limits)
        if self._adopted_url is not None:
            if config:
                raise EnvironmentFailure(
                    f"topology.redis.config ({', '.join(config)}) cannot be applied to the Redis of --redis-url",
                    hint="leave --redis-url out, or set it there and remove it from the scenario",
                )
            found = await redis.adopt(self._adopted_url, self._reach)
            self._adopted_url = self._redis_url = found.url
            return RedisEndpoint(found.url, "--redis-url", found.version, None, found.url)
        server = await asyncio.to_thread(redis.find_server)
        port = self._reserve()
        folder = await private_folder(self)
        argv = redis.server_argv(server.path, port.host, port.port, folder, config)
        login = ""
        if not is_loopback(port.host):
            login = f":{redis.locked(argv, folder)}@"
        url = f"redis://{login}{port.host}:{port.port}/0"
        unit = _Unit(argv, _passed_on(), folder, self._rundir.logs / "redis.log")
        version = server.version

        async def become_ready() -> None:
            nonlocal version
            exit_ = self._warden.wait_exit(REDIS)
            version = (await redis.wait_ready(url, unit.pid, exit_, lambda: self.log_tail(REDIS))).version

        unit.become_ready = become_ready
        unit.probe = lambda: redis.answers(url)
        await self._start(REDIS, unit)
        self._redis_url = url
        return RedisEndpoint(url, server.source, version, unit.pid, url)

    def refusal(self, need: Need) -> str | None:
        """Why a mechanism cannot be had here; None: it can."""
        if need in (Need.OWN_NODES, Need.LINK):
            return None
        if need is Need.OWN_REDIS:
            return None if self._adopted_url is None else "it needs a Redis that fanlab started: leave --redis-url out"
        if need is Need.WALL_CLOCK:
            return None if walltime.installed() else f"it needs {walltime.PACKAGE} (apt-get install {walltime.PACKAGE})"
        if need in (Need.PACKET_FILTER, Need.PACKET_DELAY):
            return _ONE_NETWORK
        return cgroups.refusal(need)

    async def prepare(self, unit: str, need: Need) -> None:
        """Have this unit start in a cgroup, or with a wall clock of its own; the warden removes both at the end."""
        if need is Need.WALL_CLOCK:
            self._clocks[unit] = WallTime.new(await private_folder(self))
            return
        group = Group(cgroups.CONTROLLERS[need], cgroups.group_name(self.marks, unit))
        await self.own(group.path)
        group.make()
        self._groups[unit, need] = group

    async def start_node(self, node: NodeSpec, *, redis_url: str | None = None) -> NodeEndpoint:
        """Start a node and wait until its readiness URL answers 200. `redis_url` is told instead of Redis' own.

        Raises ScenarioError for a bad manifest or environment, NodeFailure, with what was seen last and the last log
        lines, if it does not get ready, and EnvironmentFailure if it cannot be started at all.
        """
        _refuse(node.id, Limits(node.cpus, node.memory_bytes))
        folder = node_folder(node.kind)
        manifest = read_manifest(folder)
        port = self._reserve()
        probe = HttpProbe(port.host, port.port, manifest.ready.path)
        argv = manifest.argv()
        env = self._node_environment(node, manifest, port, redis_url)
        unit = _Unit(argv, env, folder, self._rundir.logs / f"{node.id}.log", http=probe)
        install = manifest.install_argv()
        readiness = Readiness(
            node.id,
            probe,
            manifest.ready.timeout_ns,
            _typed(folder, argv),
            log_tail=lambda: self.log_tail(node.id),
            install=None if install is None else _typed(folder, install),
        )

        async def answers() -> bool:
            return (await probe.look()).ready

        unit.become_ready = lambda: readiness.wait(self._warden.wait_exit(node.id))
        unit.probe = answers
        await self._start(node.id, unit)
        return NodeEndpoint(
            id=node.id,
            index=node.index,
            ws_url=f"ws://{port.host}:{port.port}{manifest.websocket}",
            http_url=f"http://{port.host}:{port.port}",
            protocol=manifest.protocol,
            journals=node.journal and manifest.environment.journal is not None,
            cache_url=None if manifest.cache is None else f"http://{port.host}:{port.port}{manifest.cache}",
        )

    async def start_helper(self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path) -> int:
        """Start one of fanlab's own processes, with all of fanlab's environment under `env`; returns its pid."""
        unit = _Unit(list(argv), {**HELPERS_ENV, **os.environ, **env}, Path.cwd(), log)
        await self._start(name, unit)
        return unit.pid

    async def execute(self, unit: str, argv: Sequence[str]) -> int:
        """Run a short command in a unit's folder and environment; what it prints goes to the unit's log."""
        of = self._unit(unit)
        self._executed += 1
        name = f"{unit}-command-{self._executed}"
        await self._warden.spawn(name, argv, env=of.env, cwd=of.cwd, log=of.log)
        return (await self._warden.wait_exit(name)).status

    def host_of(self, unit: str) -> str:  # noqa: ARG002 - one for all
        """By what address others reach a unit."""
        return HOST

    def address(self, unit: str) -> str | None:  # noqa: ARG002 - they share 127.0.0.1
        """None: units are told apart by their processes."""
        return None

    def facts(self) -> dict[str, Any]:
        """By which mark the run's processes are known."""
        return {"run_id": self.marks.run_id}

    def outside(self, node: NodeEndpoint) -> NodeEndpoint:
        """The same for everybody."""
        return node

    async def own(self, folder: Path) -> None:
        """Remove this folder when everything has ended: the warden does it, which outlives a killed fanlab."""
        await self._warden.own(folder)

    async def restart(self, unit: str) -> None:
        """Start a unit that is gone again, at its old address, and wait until it is ready; fails as its start does."""
        if self.state(unit) is not UnitState.GONE:
            raise HarnessError(f"{unit} still runs, so it cannot be started again")
        try:
            async with asyncio.timeout(EXIT_TOLD_S):
                await self._warden.wait_exit(unit)
        except TimeoutError:
            raise EnvironmentFailure(f"{unit} has been killed, but the kernel does not let it go") from None
        await self._start(unit, self._unit(unit))

    async def _start(self, name: str, unit: _Unit) -> None:
        groups = [group.path for (limited, _), group in self._groups.items() if limited == name]
        unit.pid = await self._warden.spawn(name, unit.argv, env=unit.env, cwd=unit.cwd, log=unit.log, groups=groups)
        self._units[name] = unit
        if unit.become_ready is None:
            return
        try:
            await unit.become_ready()
        except NodeFailure as error:
            if _is_full(unit.log.parent):
                raise EnvironmentFailure(
                    f"the disk is full, so {name} cannot work ({error.message})",
                    hint=f"free some space under {unit.log.parent}, or put the run elsewhere with --out",
                ) from error
            raise

    def _node_environment(
        self, node: NodeSpec, manifest: NodeManifest, port: Reservation, redis_url: str | None
    ) -> dict[str, str]:
        if self._redis_url is None:
            raise HarnessError("start_redis comes before start_node")
        told = manifest.told(
            node,
            host=port.host,
            port=port.port,
            redis_url=redis_url or self._redis_url,
            journal=str((self._rundir.journal / f"{node.id}.jsonl").absolute()),
        )
        clock = self._clocks[node.id].environment if node.id in self._clocks else {}
        return {**_passed_on(), **told, **clock}

    # Watching

    async def signal(self, unit: str, signum: int) -> None:
        """Send a signal to a unit and its process group. Raises EnvironmentFailure if it is gone, or not ours."""
        self._unit(unit)
        await self._warden.signal(unit, signum)

    async def freeze(self, unit: str) -> None:
        """SIGSTOP to the unit's process group."""
        await self.signal(unit, signal.SIGSTOP)

    async def thaw(self, unit: str) -> None:
        """SIGCONT to the unit's process group."""
        await self.signal(unit, signal.SIGCONT)

    async def limit_cpu(self, unit: str, cores: float | None) -> None:
        """At most so many cores; None: no limit. Raises EnvironmentFailure unless `prepare` came first."""
        self._group(unit, Need.CPU_LIMIT).set_cores(cores)

    async def cpu_limit(self, unit: str) -> float | None:
        """The cores that the kernel allows it now."""
        return self._group(unit, Need.CPU_LIMIT).cores()

    async def limit_memory(self, unit: str, limit_bytes: int | None) -> None:
        """At most so many bytes; None: no limit. Raises EnvironmentFailure unless `prepare` came first."""
        self._group(unit, Need.MEMORY_LIMIT).set_memory(limit_bytes)

    async def memory_limit(self, unit: str) -> int | None:
        """The bytes that the kernel allows it now."""
        return self._group(unit, Need.MEMORY_LIMIT).memory()

    async def memory_kills(self, unit: str) -> int:
        """Those that the kernel has counted since the unit was prepared."""
        return self._group(unit, Need.MEMORY_LIMIT).kills()

    async def step_clock(self, unit: str, offset_ns: int) -> None:
        """Set its wall clock so much off the machine's. Raises HarnessError unless `prepare` came first."""
        if unit not in self._clocks:
            raise HarnessError(f"{unit} was not prepared for a {Need.WALL_CLOCK}")
        self._clocks[unit].step(offset_ns)

    async def wall_clock_s(self, unit: str) -> float | None:
        """What its HTTP server says of the time, in whole seconds."""
        probe = self._unit(unit).http
        return None if probe is None else await probe.date()

    def _group(self, unit: str, need: Need) -> Group:
        if (unit, need) not in self._groups:
            raise HarnessError(f"{unit} was not prepared for a {need}")
        return self._groups[unit, need]

    async def exited(self, unit: str) -> int:
        """Wait until the unit's process ends; returns its status, negative for the signal that ended it."""
        self._unit(unit)
        return (await self._warden.wait_exit(unit)).status

    def gone_ns(self, unit: str) -> int | None:  # noqa: ARG002 - whoever it is
        """None: the warden tells at once."""
        return None

    def state(self, unit: str) -> UnitState:
        """The unit's state now. An adopted Redis is taken to run: `probe` tells."""
        if unit == REDIS and self._adopted_url is not None:
            return UnitState.RUNNING
        pid = self._unit(unit).pid
        if not self._warden.running(unit):
            return UnitState.GONE
        try:
            return _STATES.get(psutil.Process(pid).status(), UnitState.RUNNING)
        except psutil.NoSuchProcess:
            return UnitState.GONE

    def pid(self, unit: str) -> int | None:
        """The unit's main process, or None while it is gone or not ours."""
        if unit not in self._units or self.state(unit) is UnitState.GONE:
            return None
        return self._units[unit].pid

    def helpers(self) -> dict[str, int]:
        """The running helpers' names and pids."""
        return {
            name: unit.pid
            for name, unit in self._units.items()
            if unit.become_ready is None and self.state(name) is not UnitState.GONE
        }

    async def probe(self, unit: str) -> bool:
        """Whether the unit answers right now, within a second; a helper does if it runs."""
        if unit == REDIS and self._adopted_url is not None:
            return await redis.answers(self._adopted_url)
        probe = self._unit(unit).probe
        return self.state(unit) is UnitState.RUNNING if probe is None else await probe()

    def log_tail(self, unit: str, lines: int = 20) -> list[str]:
        """The unit's last log lines; none if it has no log."""
        if unit not in self._units:
            return []
        return tail(self._units[unit].log, lines)

    # Ending

    async def close(self) -> None:
        """End everything that was started, nodes and helpers before Redis, and wait until it is gone. Repeatable."""
        if self._client is None:
            return
        try:
            await self._end_nodes(self._client)
        finally:  # a Ctrl-C that comes just now included
            try:
                await self._client.shutdown(LAST_GRACE_S)
            finally:
                self._release()

    async def detach(self) -> None:
        """Leave everything running for good. What is left of this object is of no use."""
        await self._warden.detach()
        self._client = None
        self._release()

    async def _end_nodes(self, client: WardenClient) -> None:
        names = [name for name in self._units if name != REDIS and client.running(name)]
        asked = (client.signal(name, signum) for name in names for signum in (signal.SIGTERM, signal.SIGCONT))
        try:
            async with asyncio.timeout(NODE_GRACE_S):
                outcomes = await asyncio.gather(*asked, return_exceptions=True)
        except TimeoutError:
            return  # the warden does not answer: its shutdown has a deadline and a last resort
        for outcome in outcomes:
            # EnvironmentFailure: it ended by itself just now, or the warden is lost and everything with it
            if isinstance(outcome, BaseException) and not isinstance(outcome, EnvironmentFailure):
                raise outcome
        exits = [asyncio.ensure_future(client.wait_exit(name)) for name in names if client.running(name)]
        if exits:
            _, late = await asyncio.wait(exits, timeout=NODE_GRACE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*exits, return_exceptions=True)

    def _release(self) -> None:
        for reservation in self._reservations:
            reservation.close()

    # Lookups

    @property
    def _warden(self) -> WardenClient:
        if self._client is None:
            raise HarnessError("open() the backend first")
        return self._client

    def _reserve(self) -> Reservation:
        reservation = reserve(self._host)
        self._reservations.append(reservation)
        return reservation

    def _unit(self, name: str) -> _Unit:
        if name == REDIS and self._adopted_url is not None:
            raise EnvironmentFailure("this Redis is not fanlab's to touch", hint="leave --redis-url out")
        if name not in self._units:
            raise HarnessError(f"{name} was never started")
        return self._units[name]


def _refuse(unit: str, limits: Limits) -> None:
    """Raises EnvironmentFailure for limits that are to hold from the start: a process here has none of its own."""
    if limits != NO_LIMITS:
        raise EnvironmentFailure(
            f"`cpus` and `memory` of {unit} need a container: local processes have no such limits",
            hint="run it with --backend docker, or leave them out",
        )


def _typed(folder: Path, argv: Sequence[str]) -> str:
    """A command, as a person would type it."""
    return f"cd {shlex.quote(str(folder))} && {shlex.join(argv)}"


def _passed_on() -> dict[str, str]:
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def _is_full(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < FULL_BYTES
