"""The Docker backend: Redis, nodes and helpers as containers on a network of their own, at an engine of this machine.

Units reach one another by addresses of that network, fanlab's own process reaches Redis and the nodes by ports on
127.0.0.1. Everything is labelled, and the warden removes by that label whatever is left when fanlab ends. The engine
must be on this machine: the journals' clock is this boot's, and journals come by bind mounts.
docs/adr/0014-containers.md says why it is so.
"""

import asyncio
import shlex
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from fanlab.errors import EnvironmentFailure, HarnessError
from fanlab.rundir import RunDir
from fanlab.scenario.plan import NodeSpec
from fanlab.topology import images, netem, packetfilter, redis, walltime
from fanlab.topology.backend import HELPERS_ENV, NO_LIMITS, REDIS, Limits, Need, NodeEndpoint, RedisEndpoint, UnitState
from fanlab.topology.containerprocess import ContainerProcess
from fanlab.topology.containerspec import PERIOD_US, ContainerSpec, Published
from fanlab.topology.dockersite import Site, open_site
from fanlab.topology.labels import Marks
from fanlab.topology.logtail import tail
from fanlab.topology.manifest import node_folder, read_manifest
from fanlab.topology.ports import HOST, Reservation, reserve
from fanlab.topology.private import private_folder
from fanlab.topology.ready import HttpProbe, Readiness
from fanlab.topology.sharedfiles import NODE_JOURNALS
from fanlab.topology.squeeze import squeeze
from fanlab.topology.walltime import WallTime

GRACE_S: Final = 3.0  # for nodes and helpers to end in good order, with Redis still there
LAST_GRACE_S: Final = 1.0
EXIT_TOLD_S: Final = 10.0  # between a container's end and the engine's word of it
REDIS_PORT: Final = 6379
_SCRATCH: Final = Path("/tmp")  # noqa: S108 - inside a container, which has it alone
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - inside a container, whose network is the run's own
_NO_LIMIT: Final = -1
_ALL_MEMORY: Final = 2**62  # an engine takes no -1 for memory; so much is no limit, to the kernel and to us
_SMALLEST_QUOTA_US: Final = 1000


@dataclass(slots=True)
class _Unit:
    """A container, and what it takes to start it again and to tell whether it serves."""

    name: str
    id: str
    spec: ContainerSpec
    log: Path
    title: str  # what the log says of a start
    become_ready: Callable[[ContainerProcess], Awaitable[None]] | None = None  # None: a helper
    probe: Callable[[], Awaitable[bool]] | None = None
    http: HttpProbe | None = None  # a node's
    process: ContainerProcess | None = None  # the one that runs, or the last one that did


class DockerBackend:
    """Backend on containers. Logs go to the run directory, as they are written."""

    name = "docker"
    python = "python"
    bind_host = _EVERYWHERE

    def __init__(self, rundir: RunDir) -> None:
        self._rundir = rundir
        self._opened: Site | None = None
        self._units: dict[str, _Unit] = {}
        self._reservations: list[Reservation] = []
        self._clocks: dict[str, WallTime] = {}
        self._redis_url: str | None = None
        self.lost = asyncio.Event()

    # Starting

    def check_kind(self, kind: str) -> None:
        """Raises ScenarioError for a kind that there is not, or that says nothing of containers."""
        folder = node_folder(kind)
        read_manifest(folder).container_build(folder)

    async def open(self) -> None:
        """Find the engine, and make what all units need there.

        Raises EnvironmentFailure: no engine, or one that is not on this machine or cannot do what a run needs.
        """
        self._opened = await open_site(self._rundir, self.lost)

    @property
    def marks(self) -> Marks:
        """What the run's containers, networks and folders bear."""
        return self._site.marks

    def facts(self) -> dict[str, Any]:
        """For the manifest: which engine, and which images were used."""
        engine, api = self._site.engine, ".".join(map(str, self._site.engine.api_version))
        run_id, used = self._site.marks.run_id, self._site.images.used()
        return {"engine": engine.version, "api": api, "run_id": run_id, "images": used}

    async def start_redis(self, config: Mapping[str, str], *, limits: Limits = NO_LIMITS) -> RedisEndpoint:
        """Start Redis and wait until it answers.

        Raises EnvironmentFailure for a setting that is not the scenario's to make; NodeFailure with the last lines of
        the build or the log if its image cannot be built or the server does not come up.
        """
        argv = redis.server_argv(Path("redis-server"), _EVERYWHERE, REDIS_PORT, _SCRATCH, config, protected=False)
        image = await self._site.images.tag_of(images.redis_recipe())
        port = self._reserve()
        url = f"redis://{port.host}:{port.port}/0"
        version = ""

        async def become_ready(process: ContainerProcess) -> None:
            nonlocal version
            version = (await redis.wait_ready(url, None, process.exited(), lambda: self.log_tail(REDIS))).version

        spec = replace(
            await self._site.spec(REDIS, image, argv, {}),
            published=Published(REDIS_PORT, port.port),
            cpus=limits.cpus,
            memory_bytes=limits.memory_bytes,
        )
        unit = await self._create(REDIS, spec, self._rundir.logs / f"{REDIS}.log", become_ready)
        unit.probe = lambda: redis.answers(url)
        await self._start(unit)
        self._redis_url = f"redis://{self.host_of(REDIS)}:{REDIS_PORT}/0"
        return RedisEndpoint(url, f"image {image}", version, self.pid(REDIS), self._redis_url)

    def refusal(self, need: Need) -> str | None:
        """Why a mechanism cannot be had at this engine; None: it can, as far as is known before the engine is asked."""
        if need is Need.PACKET_FILTER:
            return packetfilter.refusal()
        if need is Need.PACKET_DELAY:
            return netem.refusal()
        lacks = {Need.CPU_LIMIT: "CpuCfsQuota", Need.MEMORY_LIMIT: "MemoryLimit"}
        if self._opened is None or need not in lacks or self._opened.engine.info.get(lacks[need], True):
            return None
        return f"the Docker engine {self._opened.engine.version} cannot set a {need} on this kernel"

    async def prepare(self, unit: str, need: Need) -> None:
        """A container is within reach of limits from its start; a wall clock of its own is one more folder of ours."""
        if need is Need.WALL_CLOCK:
            self._clocks[unit] = WallTime.new(await private_folder(self))

    async def start_node(self, node: NodeSpec, *, redis_url: str | None = None) -> NodeEndpoint:
        """Start a node and wait until its readiness URL answers 200. `redis_url` is told instead of Redis' own.

        Raises ScenarioError for a bad manifest or environment or a kind that is not made for containers, NodeFailure,
        with the last lines of the build or of the log, and EnvironmentFailure if it cannot be started at all.
        """
        folder = node_folder(node.kind)
        manifest = read_manifest(folder)
        build = manifest.container_build(folder)
        if self._redis_url is None:
            raise HarnessError("start_redis comes before start_node")
        told = manifest.told(
            node,
            host=_EVERYWHERE,
            port=build.port,
            redis_url=redis_url or self._redis_url,
            journal=f"{NODE_JOURNALS}/{node.id}.jsonl",
        )
        image = await self._site.images.tag_of(await asyncio.to_thread(images.node_recipe, folder, build))
        journals = node.journal and manifest.environment.journal is not None
        mounts = [self._site.files.journal_of(node.id)] if journals else []
        clock = self._clocks.get(node.id)
        if clock is not None:
            mounts.append(self._site.files.at_its_own_path(clock.folder))
        port = self._reserve()
        spec = replace(
            await self._site.spec(node.id, image, build.argv, {**told, **(clock.environment if clock else {})}),
            published=Published(build.port, port.port),
            mounts=tuple(mounts),
            cpus=node.cpus,
            memory_bytes=node.memory_bytes,
        )
        probe = HttpProbe(port.host, port.port, manifest.ready.path)
        by_hand = f"docker run --rm -it {image} {shlex.join(build.argv or ())}".rstrip()
        readiness = Readiness(node.id, probe, manifest.ready.timeout_ns, by_hand, lambda: self.log_tail(node.id))

        async def answers() -> bool:
            return (await probe.look()).ready

        log = self._rundir.logs / f"{node.id}.log"
        unit = await self._create(node.id, spec, log, lambda process: readiness.wait(process.exited()))
        unit.probe, unit.http = answers, probe
        await self._start(unit)
        if clock is not None:
            await self._check_clock(node.id, image)
        inside = f"{self.host_of(node.id)}:{build.port}"
        return NodeEndpoint(
            id=node.id,
            index=node.index,
            ws_url=f"ws://{inside}{manifest.websocket}",
            http_url=f"http://{inside}",
            protocol=manifest.protocol,
            journals=journals,
            cache_url=None if manifest.cache is None else f"http://{inside}{manifest.cache}",
        )

    async def start_helper(self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path) -> int:
        """Start one of fanlab's own processes, with the journals and all owned folders at their own paths."""
        image = await self._site.images.tag_of(images.helpers_recipe())
        spec = replace(
            await self._site.spec(name, image, argv, {**HELPERS_ENV, **env}), mounts=self._site.files.for_helpers()
        )
        unit = await self._create(name, spec, log, None)
        await self._start(unit)
        return self._process(name).pid

    async def execute(self, unit: str, argv: Sequence[str]) -> int:
        """Run a short command in a unit's container, as its user; returns its exit status."""
        id_ = self._unit(unit).id

        def run(api: Any) -> int:
            made = api.exec_create(id_, list(argv))["Id"]
            api.exec_start(made)
            return int(api.exec_inspect(made)["ExitCode"])

        return int(await self._site.engine.ask(f"run a command in {unit}", run))

    def host_of(self, unit: str) -> str:
        """The unit's address on the run's network, which it has before it starts and keeps."""
        return self._site.addresses.of(unit)

    def address(self, unit: str) -> str | None:
        """The same: others see it connect from there, and nobody else."""
        return self.host_of(unit)

    def outside(self, node: NodeEndpoint) -> NodeEndpoint:
        """The node at the port on 127.0.0.1 that its container publishes."""
        published = self._unit(node.id).spec.published
        if published is None:
            raise HarnessError(f"{node.id} publishes no port")
        inside, here = f"//{self.host_of(node.id)}:{published.port}", f"//{HOST}:{published.host_port}"
        return replace(
            node,
            ws_url=node.ws_url.replace(inside, here, 1),
            http_url=node.http_url.replace(inside, here, 1),
            cache_url=None if node.cache_url is None else node.cache_url.replace(inside, here, 1),
        )

    async def own(self, folder: Path) -> None:
        """Remove this folder when everything has ended. Helpers started later see it."""
        await self._site.warden.own(folder)
        self._site.files.add(folder)

    async def restart(self, unit: str) -> None:
        """Start a unit that is gone again, at its old address, and wait until it is ready; fails as its start does."""
        if self.state(unit) is not UnitState.GONE:
            raise HarnessError(f"{unit} still runs, so it cannot be started again")
        try:
            async with asyncio.timeout(EXIT_TOLD_S):
                await self._process(unit).exited()
        except TimeoutError:
            raise EnvironmentFailure(f"{unit} has been killed, but the engine does not say that it is gone") from None
        await self._start(self._unit(unit))

    async def _create(
        self,
        name: str,
        spec: ContainerSpec,
        log: Path,
        become_ready: Callable[[ContainerProcess], Awaitable[None]] | None,
    ) -> _Unit:
        if name in self._units:
            raise HarnessError(f"{name} has been started before")
        engine, called = self._site.engine, self._site.marks.name(name)
        body = spec.body(engine.api_version)
        made = await engine.ask(
            f"make a container for {name}", lambda api: api.create_container_from_config(body, called)
        )
        title = f"container {called}: {shlex.join(spec.argv) if spec.argv else 'as its image says'}"
        unit = self._units[name] = _Unit(name, made["Id"], spec, log, title, become_ready)
        return unit

    async def _start(self, unit: _Unit) -> None:
        unit.process = await ContainerProcess.start(self._site.engine, unit.name, unit.id, unit.log, unit.title)
        if unit.become_ready is not None:
            await unit.become_ready(unit.process)

    # Acting on units

    async def signal(self, unit: str, signum: int) -> None:
        """Send a signal to a unit. SIGKILL ends all of it; any other goes to its main process.

        Raises EnvironmentFailure if it is gone.
        """
        if signum in (signal.SIGSTOP, signal.SIGCONT):
            raise HarnessError("a container is stopped for a while by freeze, and goes on by thaw")
        name = signal.Signals(signum).name
        await self._act(unit, f"send {unit} {name}", lambda api, id_: api.kill(id_, name))

    async def freeze(self, unit: str) -> None:
        """Stop all of its processes, by its cgroup's freezer."""
        await self._act(unit, f"freeze {unit}", lambda api, id_: api.pause(id_))

    async def thaw(self, unit: str) -> None:
        """Let them go on."""
        await self._act(unit, f"thaw {unit}", lambda api, id_: api.unpause(id_))

    async def limit_cpu(self, unit: str, cores: float | None) -> None:
        """At most so many cores; None: as at its start. Raises EnvironmentFailure if the kernel refuses it."""
        wanted = self._unit(unit).spec.cpus if cores is None else cores
        quota = _NO_LIMIT if wanted is None else max(_SMALLEST_QUOTA_US, round(wanted * PERIOD_US))
        await self._update(unit, f"limit the CPU of {unit}", cpu_period=PERIOD_US, cpu_quota=quota)

    async def cpu_limit(self, unit: str) -> float | None:
        """The cores that the kernel allows it now."""
        return self._process(unit).group(Need.CPU_LIMIT).cores()

    async def limit_memory(self, unit: str, limit_bytes: int | None) -> None:
        """At most so many bytes; None: as at its start. Raises EnvironmentFailure if the kernel refuses it.

        Version 1 of cgroups takes no limit below what is in use: it gets the least that it takes, and the next page is
        too much.
        """
        wanted = self._unit(unit).spec.memory_bytes if limit_bytes is None else limit_bytes

        async def update(size: int) -> None:
            await self._update(unit, f"limit the memory of {unit}", mem_limit=size, memswap_limit=size)

        if wanted is None:
            await update(_ALL_MEMORY)
        else:
            await squeeze(update, self._process(unit).group(Need.MEMORY_LIMIT).usage, wanted)

    async def memory_limit(self, unit: str) -> int | None:
        """The bytes that the kernel allows it now."""
        return self._process(unit).group(Need.MEMORY_LIMIT).memory()

    async def memory_kills(self, unit: str) -> int:
        """Those that the kernel has counted; when its cgroup has gone with it, whether it was killed, too.

        An engine may miss what it is to say of memory then, so a SIGKILL is taken for one: nobody else sends any to a
        unit whose memory is limited.
        """
        process = self._process(unit)
        if self.state(unit) is not UnitState.GONE:
            return process.note_memory_kills()
        return process.memory_kills + ((await process.exited()).status == -signal.SIGKILL)

    async def step_clock(self, unit: str, offset_ns: int) -> None:
        """Set its wall clock so much off the machine's. Raises HarnessError unless `prepare` came first."""
        if unit not in self._clocks:
            raise HarnessError(f"{unit} was not prepared for a {Need.WALL_CLOCK}")
        self._clocks[unit].step(offset_ns)

    async def wall_clock_s(self, unit: str) -> float | None:
        """What its HTTP server says of the time, in whole seconds."""
        probe = self._unit(unit).http
        return None if probe is None else await probe.date()

    async def _check_clock(self, unit: str, image: str) -> None:
        """Raises EnvironmentFailure where the image lacks what its clock is stepped by: the loader only grumbles."""
        if await self.execute(unit, ["sh", "-c", "ls /usr/lib/*/faketime/libfaketime.so.1"]) != 0:
            raise EnvironmentFailure(
                f"clock-step {unit} cannot be done: its image {image} has no {walltime.PACKAGE}",
                hint=f"install it in the node's Dockerfile (Debian: apt-get install {walltime.PACKAGE})",
            )

    async def _update(self, unit: str, what: str, **settings: int) -> None:
        """Of one that is gone, too: then it holds from its next start on."""
        id_ = self._unit(unit).id
        await self._site.engine.ask(what, lambda api: api.update_container(id_, **settings))

    async def _act(self, unit: str, what: str, call: Callable[[Any, str], Any]) -> None:
        id_ = self._unit(unit).id
        if self.state(unit) is UnitState.GONE:
            raise EnvironmentFailure(f"the Docker engine could not {what}: it runs no more")
        await self._site.engine.ask(what, lambda api: call(api, id_))

    # Watching

    async def exited(self, unit: str) -> int:
        """Wait until the unit's process ends; returns its status, negative for the signal that ended it."""
        return (await self._process(unit).exited()).status

    def gone_ns(self, unit: str) -> int | None:
        """The engine tells of an end when it has seen to all that belongs to it, and that may take it a while."""
        return self._process(unit).gone_ns

    def state(self, unit: str) -> UnitState:
        """The unit's state now, as this machine's kernel tells it."""
        return self._process(unit).state()

    def pid(self, unit: str) -> int | None:
        """The unit's main process, by its number on this machine, or None while it is gone."""
        process = self._units[unit].process if unit in self._units else None
        return None if process is None or process.state() is UnitState.GONE else process.pid

    def helpers(self) -> dict[str, int]:
        """The running helpers' names and pids."""
        found = {name: self.pid(name) for name, unit in self._units.items() if unit.become_ready is None}
        return {name: pid for name, pid in found.items() if pid is not None}

    async def probe(self, unit: str) -> bool:
        """Whether the unit answers right now, within a second; a helper does if it runs."""
        probe = self._unit(unit).probe
        return self.state(unit) is UnitState.RUNNING if probe is None else await probe()

    def log_tail(self, unit: str, lines: int = 20) -> list[str]:
        """The unit's last log lines; none if it has no log."""
        return tail(self._units[unit].log, lines) if unit in self._units else []

    # Ending

    @property
    def warden_pid(self) -> int:
        """The process that answers for all containers."""
        return self._site.warden.pid

    async def detach(self) -> None:
        """Leave everything running; from here on the engine keeps what containers say (`docker logs`)."""
        await self._site.warden.detach()
        self._opened = None
        self._release()

    async def close(self) -> None:
        """End everything that was started, nodes and helpers before Redis, and remove it. Repeatable.

        Raises EnvironmentFailure, naming it, if something cannot be removed.
        """
        site = self._opened
        if site is None:
            return
        try:
            await site.engine.calls_end()
            await self._end([name for name in self._units if name != REDIS], GRACE_S)
            await self._end([REDIS] if REDIS in self._units else [], LAST_GRACE_S)
        finally:  # a Ctrl-C that comes just now included
            try:
                await site.warden.shutdown(LAST_GRACE_S)  # it removes all that bears the run's label
            finally:
                self._opened = None
                self._release()
        await site.nothing_is_left()

    async def _end(self, names: Iterable[str], grace_s: float) -> None:
        """Ask units to end, and wait for a while; what is still there is removed by force, as a matter of course."""
        alive = [name for name in names if self.pid(name) is not None]
        await _all_done(self.thaw(name) for name in alive if self.state(name) is UnitState.PAUSED)
        await _all_done(self.signal(name, signal.SIGTERM) for name in alive)
        exits = [asyncio.ensure_future(self._process(name).exited()) for name in alive]
        if exits:
            await asyncio.wait(exits, timeout=grace_s)
            for task in exits:
                task.cancel()
            await asyncio.gather(*exits, return_exceptions=True)

    def _release(self) -> None:
        for reservation in self._reservations:
            reservation.close()

    # Lookups

    @property
    def _site(self) -> Site:
        if self._opened is None:
            raise HarnessError("open() the backend first")
        return self._opened

    def _reserve(self) -> Reservation:
        reservation = reserve()
        self._reservations.append(reservation)
        return reservation

    def _unit(self, name: str) -> _Unit:
        if name not in self._units:
            raise HarnessError(f"{name} was never started")
        return self._units[name]

    def _process(self, name: str) -> ContainerProcess:
        process = self._unit(name).process
        if process is None:
            raise HarnessError(f"{name} was never started")
        return process


async def _all_done(calls: Iterable[Awaitable[None]]) -> None:
    """What has ended by itself in between, or is beyond the engine, is none of our business at the end."""
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, EnvironmentFailure):
            raise outcome
