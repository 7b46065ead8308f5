"""The parent's handle on the load: start it, give it the epoch, watch it, drain it, end it.

Locust's master and workers run as processes of the backend. Each is connected to the parent by a Unix socket in a
private folder: orders go to the master, and a connection that ends unasked means that its process is dead. Workers on
other hosts come with connections of their own, see `load.remotes`.
"""

import asyncio
import functools
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from fanlab.clock import NS_PER_S, now_ns
from fanlab.errors import EnvironmentFailure, FanlabError, HarnessError, MeasurementError, NodeFailure
from fanlab.ledger.clocks import Moment
from fanlab.load import bulk
from fanlab.load.clocksync import ClockExchanges, ExchangeLine
from fanlab.load.config import LoadConfig, make_config
from fanlab.load.limits import connections_allowed
from fanlab.load.lines import MASTER, READERS, Lines
from fanlab.load.protocols import protocol
from fanlab.load.reading import everything
from fanlab.load.redis_link import parse_redis_url
from fanlab.load.remotes import Remote, Remotes
from fanlab.load.totals import LoadSnapshot, Totals
from fanlab.load.wire import Message
from fanlab.rundir import RunDir
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import Plan
from fanlab.topology.backend import Backend, NodeEndpoint, UnitState
from fanlab.topology.private import private_folder

__all__ = ["LoadSession", "LoadSnapshot"]

START_S = 30.0
LEAVE_S = 15.0
CONFIG, CONTROL = "load.json", "control"  # in the load's private folder
_LOG_LINES = 20
_LONGEST_SOCKET = 100  # Linux takes 107 bytes, other systems fewer
_LOOK_S = 0.5
_SWEEP_S = 15.0  # for the sweep of the caches, and
_SWEEP_PER_ENTRY_S = 0.02  # for each entry of the node that has most to be read


class LoadSession:
    """One run's load. Call launch, start, connect, begin, published, leave, close, in this order; close at any time.

    A load process that dies unasked makes every later call raise MeasurementError (EnvironmentFailure during start and
    connect, or when its disk is full); `on_failure` is called at once.
    """

    def __init__(
        self,
        backend: Backend,
        scenario: Scenario,
        plan: Plan,
        rundir: RunDir,
        *,
        run_tag: int,
        workers: int = 1,
        remotes: Remotes | None = None,
        on_failure: Callable[[FanlabError], None] | None = None,
    ) -> None:
        self._backend = backend
        self._rundir = rundir
        self._local_workers = workers
        self._remotes = remotes
        self._workers = workers + (len(remotes.joined) if remotes else 0)
        self._on_failure = on_failure
        self._make_config = functools.partial(
            make_config,
            scenario,
            plan,
            run_tag=run_tag,
            journal=rundir.journal.resolve(),
            stats=rundir.locust.resolve() / "locust",
        )
        self._made: LoadConfig | None = None
        self._folder: Path | None = None
        self._lines = Lines(self._told, self._hung_up)
        self._totals = Totals()
        self._clocks = ClockExchanges(self._tell_worker)
        self._connected_workers: set[str] = set()
        self._spawned = False
        self._publishing: set[int] = set()  # workers with a publishers engine
        self._published: set[int] = set()
        self._engines: set[tuple[int, str]] = set()
        self._ended: set[tuple[int, str]] = set()
        self._swept = False
        self._running = False  # the system was up: a death from here on spoils a measurement
        self._over = False  # from here on processes end because they were asked to
        self._failure: FanlabError | None = None
        self._changed = asyncio.Event()

    @property
    def failure(self) -> FanlabError | None:
        """What went wrong, once something has."""
        return self._failure

    def snapshot(self) -> LoadSnapshot:
        """Totals as of a fraction of a second ago."""
        return self._totals.snapshot()

    async def launch(self) -> None:
        """Start Locust's master and workers, which take a while to load; they wait to be configured by `start`."""
        self._folder = await private_folder(self._backend)
        control = self._folder / CONTROL
        if len(str(control)) > _LONGEST_SOCKET:
            raise EnvironmentFailure(
                f"{control} is too long a name for a Unix socket", hint="set TMPDIR to a folder with a short path"
            )
        await self._lines.listen(control)
        await self._start_helper(MASTER, "fanlab.load.master", ["--host", self._backend.bind_host])
        for unit, index in self._local_units():
            arguments = ["--index", str(index), "--workers", str(self._workers)]
            await self._start_helper(unit, "fanlab.load.worker", arguments)

    async def start(
        self,
        nodes: Sequence[NodeEndpoint],
        redis_url: str,
        *,
        secrets: Sequence[str] = (),
        secrets_abroad: Sequence[str] = (),
    ) -> None:
        """Tell the load what there is, and wait until it is ready for clients. Raises EnvironmentFailure.

        `secrets` are what no journal may hold; `secrets_abroad` those of them that workers on other hosts are told.
        """
        self._made = self._make_config(nodes=nodes, redis_url=redis_url, secrets=secrets)
        self._check_means()
        self._made.write(self._folder_of_its_own / CONFIG)
        self._lines.configured()
        if self._config.readers:
            await self._start_helper(READERS, "fanlab.load.readers", [])
            self._engines.add((0, "readers"))
        units = [unit for unit, _ in self._local_units()]
        if self._remotes is not None:
            units += await self._set_up(self._remotes, secrets_abroad)
        await self._wait(lambda: MASTER in self._lines.hellos, START_S, "Locust's master to start", MASTER)
        master = {"op": "master", "host": self._backend.host_of(MASTER), "port": self._lines.hellos[MASTER]["port"]}
        if self._remotes is not None:
            self._remotes.lead_to((master["host"], master["port"]))
        for unit in units:
            await self._wait(
                functools.partial(self._lines.hellos.__contains__, unit), START_S, f"{unit} to start", unit
            )
            self._lines.tell(unit, master)
        await self._wait(
            lambda: len(self._connected_workers) >= self._workers, START_S, "the workers to find Locust's master"
        )
        if self._config.readers:
            await self._wait(lambda: READERS in self._lines.hellos, START_S, "the readers to start", READERS)
        # Orders to an engine that is still starting would queue up, and its clients all begin at once.
        sure = self._sure_engines + bool(self._config.readers)
        await self._wait(lambda: len(self._engines) >= sure, START_S, "the load engines to start")

    async def connect(self, deadline_s: float) -> LoadSnapshot:
        """Spawn clients (not those that join later) and publishers; returns when all are ready, or at the deadline."""
        self._order({"op": "spawn"})
        expected = sum(group.count for group in self._config.clients if group.join_ns is None)
        streams = self._config.stream_count

        def ready() -> bool:
            return self._spawned and self.snapshot().connected >= expected and self._totals.publishers_up() >= streams

        await self._until(ready, deadline_s)
        if self._totals.publishers_up() < streams:
            raise EnvironmentFailure(
                f"the publishers cannot connect to Redis: {self._totals.redis_error() or 'they did not start in time'}",
                hint="see nodes/load-1.log in the run directory",
            )
        if expected and not self.snapshot().connected:
            raise EnvironmentFailure(
                f"none of {expected} clients could connect and subscribe: "
                f"{self.connect_error or 'no node confirmed a subscription'}",
                hint="check `websocket` and `protocol` in node.yaml, and nodes/<id>.log in the run directory",
            )
        return self.snapshot()

    @property
    def connect_error(self) -> str | None:
        """Why a client could not connect the last time that one could not; None if all could."""
        return self._totals.connect_error()

    async def begin(self, publish_start_ns: int, zero_ns: int, publish_end_ns: int) -> None:
        """Tell everyone the epoch. Publishers start by themselves at that instant, and later groups join by it."""
        self._running = True
        epoch = {"publish_start_ns": publish_start_ns, "zero_ns": zero_ns, "publish_end_ns": publish_end_ns}
        self._order({"op": "begin", **epoch})
        self._tell_readers({"op": "begin", **epoch})
        self._check()

    async def exchange_clocks(self, moment: Moment) -> list[ExchangeLine]:
        """Compare this process's clock with the engines'; returns all that was found so far in this run."""
        await self._clocks.exchange(moment, self._engines)
        return self._clocks.kept

    async def published(self, deadline_s: float) -> None:
        """Wait until every slot was tried and every outcome is known. Raises MeasurementError at the deadline."""
        if not await self._until(lambda: self._published >= self._publishing, deadline_s):
            raise MeasurementError(f"after {deadline_s:g} s some publishes still have no outcome")

    async def sweep(self) -> None:
        """Read every cache entry at every node once, if there are readers. Raises MeasurementError at the deadline."""
        if not self._config.readers:
            return
        self._check()
        self._tell_readers({"op": "sweep"})
        most = max(len(found) for found in everything(self._config).values())
        deadline_s = _SWEEP_S + _SWEEP_PER_ENTRY_S * most
        if not await self._until(lambda: self._swept, deadline_s):
            raise MeasurementError(f"after {deadline_s:g} s the caches have not all been read")

    async def leave(self) -> None:
        """All clients leave of their own will, and every engine completes its stripe. Raises MeasurementError."""
        self._check()
        self._order({"op": "leave"})
        self._tell_readers({"op": "leave"})
        if not await self._until(lambda: self._ended >= self._engines, LEAVE_S):
            missing = ", ".join(f"load-{worker}/{role}" for worker, role in sorted(self._engines - self._ended))
            raise MeasurementError(f"after {LEAVE_S:g} s these engines have not completed their journals: {missing}")

    async def close(self) -> None:
        """End everything. Safe at any time, and twice."""
        if self._folder is None:
            return
        self._over = True
        self._lines.refuse()
        self._tell_readers({"op": "quit"})
        # The master ends the workers, so that their last statistics come in; without one each is told by itself.
        for unit in [MASTER] if MASTER in self._lines.open else self._lines.open:
            self._lines.tell(unit, {"op": "quit"})
        try:
            if self._remotes is not None:
                await self._remotes.bring_home()
            await self._until_hung_up(LEAVE_S)
        finally:
            self._lines.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @property
    def _config(self) -> LoadConfig:
        if self._made is None:
            raise HarnessError("the load has not been told what there is")
        return self._made

    @property
    def _folder_of_its_own(self) -> Path:
        if self._folder is None:
            raise HarnessError("the load has not been launched, or is over")
        return self._folder

    def _local_units(self) -> list[tuple[str, int]]:
        """Their names, and the numbers of their workers."""
        return [(f"load-{index}", index) for index in range(1, self._local_workers + 1)]

    @property
    def _sure_engines(self) -> int:
        """How many engines the workers start at once; a worker that may get no user starts its engines when it does."""
        users = (self._config.client_count, self._config.stream_count)
        return sum(self._workers for count in users if count >= self._workers)

    def _check_means(self) -> None:
        """What an engine would refuse, refused here, where it is seen best."""
        per_worker = -(-self._config.client_count // self._workers)
        if self._local_workers and per_worker > connections_allowed():
            raise EnvironmentFailure(
                f"{per_worker} clients per load worker need more files than this system allows a process to open",
                hint=f"raise `ulimit -n`, or use --workers {-(-self._config.client_count // connections_allowed())}",
            )
        if self._remotes is not None:
            self._remotes.check_means(per_worker, [node.url for node in self._config.nodes], self._config.redis_url)
        parse_redis_url(self._config.redis_url)
        for node in self._config.nodes:
            protocol(node.protocol)

    async def _set_up(self, remotes: Remotes, secrets: Sequence[str]) -> list[str]:
        """Give workers on other hosts what local ones have in files, and listen to them; returns their names."""
        for remote in remotes.joined:
            remote.hear = functools.partial(self._lines.heard, unit=remote.unit, writer=remote.writer)
            remote.hung_up = functools.partial(self._lines.hung_up, remote.unit)
        config = replace(self._config, secrets=tuple(secrets)).to_json()
        await asyncio.gather(*(remotes.configure(remote, config, self._workers) for remote in remotes.joined))
        return [remote.unit for remote in remotes.joined]

    async def _start_helper(self, unit: str, module: str, arguments: Sequence[str]) -> None:
        folder = self._folder_of_its_own
        told = ["--config", str(folder / CONFIG), "--control", str(folder / CONTROL), *arguments]
        argv = [self._backend.python, "-m", module, *told]
        receive = os.environ.get(bulk.VARIABLE)
        env = {bulk.VARIABLE: receive} if receive is not None else {}  # a container has nothing of our own else
        await self._backend.start_helper(unit, argv, env, self._rundir.logs / f"{unit}.log")

    def _tell_worker(self, worker: int, message: Message) -> None:
        self._lines.tell(f"load-{worker}", message)

    def _order(self, message: Message) -> None:
        if not self._lines.tell(MASTER, message):
            raise HarnessError("the load has no Locust master (any more)")

    def _tell_readers(self, message: Message) -> None:
        self._lines.tell(READERS, message)

    def _hung_up(self, unit: str) -> None:
        if not self._over:
            remote = self._remote(unit)
            lost = "" if remote is None else f", or the connection to {remote.facts.get('host')} is lost"
            self._fail(f"{unit} has died unasked{lost}", unit=unit)
        self._changed.set()

    def _told(self, message: Message) -> None:
        match message["ev"]:
            case "worker-connected":
                self._connected_workers.add(str(message["id"]))
            case "spawned":
                self._spawned = True
            case "ready":
                self._engines.add((int(message["worker"]), str(message["role"])))
                if message["role"] == "publishers":
                    self._publishing.add(int(message["worker"]))
            case "clock":
                self._clocks.answered(message, now_ns())
            case "counts" | "batch":
                self._totals.told(message)
            case "published":
                self._published.add(int(message["worker"]))
            case "swept":
                self._swept = True
            case "ended":
                self._ended.add((int(message["worker"]), str(message["role"])))
            case "fatal":
                unit = f"load-{message['worker']}"
                self._fail(f"{unit} cannot go on: {message['error']}", unit=unit, environment=True)
            case "engine-died" | "worker-died":
                unit = f"load-{message['worker']}"
                whose = f"the {message['role']} engine of {unit}" if "role" in message else unit
                self._fail(f"{whose} has died ({message['code']})", unit=unit)
        self._changed.set()

    def _fail(self, what: str, *, unit: str, environment: bool = False) -> None:
        if self._failure is not None:
            return
        if environment or not self._running:
            self._failure = NodeFailure(what, log_tail=self._log_tail(unit), hint="free what it lacks, and run again")
        else:
            self._failure = MeasurementError(what, hint=f"its last words are in {self._rundir.logs / unit}.log")
        if self._on_failure is not None:
            self._on_failure(self._failure)

    def _log_tail(self, unit: str) -> list[str]:
        try:
            return (self._rundir.logs / f"{unit}.log").read_text("utf-8", "replace").splitlines()[-_LOG_LINES:]
        except OSError:
            return []

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _until(self, condition: Callable[[], bool], deadline_s: float) -> bool:
        """Wait for `condition`; False at the deadline. Raises the failure, if there is one."""
        deadline_ns = now_ns() + round(deadline_s * NS_PER_S)
        while True:
            self._check()
            self._changed.clear()
            if condition():
                return True
            left_s = (deadline_ns - now_ns()) / NS_PER_S
            if left_s <= 0:
                return False
            try:
                async with asyncio.timeout(left_s):  # not wait_for: on Python 3.11 it can swallow a cancellation
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _wait(self, condition: Callable[[], bool], deadline_s: float, what: str, unit: str = MASTER) -> None:
        deadline_ns = now_ns() + round(deadline_s * NS_PER_S)
        while not await self._until(condition, _LOOK_S):
            if self._remote(unit) is None and self._backend.state(unit) is UnitState.GONE:
                raise NodeFailure(f"{unit} ended while fanlab waited for {what}", log_tail=self._log_tail(unit))
            if now_ns() >= deadline_ns:
                raise NodeFailure(f"waited {deadline_s:g} s for {what}", log_tail=self._log_tail(unit))

    def _remote(self, unit: str) -> Remote | None:
        return None if self._remotes is None else self._remotes.find(unit)

    async def _until_hung_up(self, deadline_s: float) -> None:
        """Wait until every process has ended its line."""
        deadline_ns = now_ns() + round(deadline_s * NS_PER_S)
        while self._lines.open and now_ns() < deadline_ns:
            self._changed.clear()
            try:
                async with asyncio.timeout((deadline_ns - now_ns()) / NS_PER_S):
                    await self._changed.wait()
            except TimeoutError:
                return
