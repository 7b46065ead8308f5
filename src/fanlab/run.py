"""A run, from scenario to evidence. Read this first: `run` is the table of contents of fanlab.

It starts the system, connects the clients, publishes, breaks things on the timeline, waits until the last message has
come, and leaves a run directory. What the evidence means is worked out afterwards, offline, by `report.write`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from secrets import randbelow
from typing import Any

from fanlab import __version__, clock, provenance
from fanlab.beyond import Beyond, elsewhere
from fanlab.errors import FanlabError
from fanlab.faults.catalogue import prepare, refuse_impossible
from fanlab.faults.fault import Means
from fanlab.faults.inject import FaultFailure, FaultJournal, clock_reaches, inject_all
from fanlab.faults.keeping import Keeper
from fanlab.faults.laying import Links, wanted
from fanlab.faults.timeline import PlannedFault, resolve
from fanlab.gatewatch import GateWatch, most_owed, told
from fanlab.ledger.clocks import Moment
from fanlab.ledger.events import FaultStamp
from fanlab.load.caps import refuse_excess
from fanlab.load.remotes import Remotes
from fanlab.load.session import LoadSession
from fanlab.predict import predict
from fanlab.progress import Event, FaultTold, Invited, Joined, Listener, PhaseBegan, Tick, Warned, harmless
from fanlab.redaction import Secrets, hide_in_files, secrets_of_settings, secrets_of_url, secrets_of_words, texts_in
from fanlab.rediswatch import RedisWatch
from fanlab.rundir import RunDir, write_json
from fanlab.sampler import Sampler
from fanlab.scenario.gates import parse_gate
from fanlab.scenario.loader import Loaded
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import Plan, make_plan
from fanlab.scenario.redacted import redacted, secrets_of
from fanlab.topology.backend import REDIS, Backend, Limits, NodeEndpoint, RedisEndpoint
from fanlab.topology.choose import BackendName, make_backend
from fanlab.topology.manifest import node_folder, read_manifest
from fanlab.topology.reach import Reach
from fanlab.topology.redis import redact
from fanlab.topology.redis import redacted as urls_redacted
from fanlab.topology.targets import matched
from fanlab.topology.wardenclient import describe_status, lost_warden
from fanlab.units import format_duration
from fanlab.watch import ExpectedExit, UnplannedExit, Watch
from fanlab.witnessing import Witnessing

TICK_S = 0.25
CONNECT_DEADLINE_S = 30.0
LEAD_NS = 200 * clock.NS_PER_MS  # between telling everyone the epoch and the first message
_RUN_TAGS = 1 << 16
_STATES = ("starting", "running", "complete", "stopped", "aborted", "failed", "quiet", "deadline")


@dataclass(frozen=True, slots=True)
class Request:
    """What to run, where to (a run directory that has been created), and with what means.

    `command` is the command line as it was given: what is secret in it is masked here, as in all that a run writes.
    """

    loaded: Loaded
    rundir: RunDir
    command: Sequence[str]
    redis_url: str | None = None
    workers: int = 1
    backend: BackendName = "process"
    beyond: Beyond = field(default_factory=Beyond)


@dataclass(slots=True)
class _Run:
    """What the phases share."""

    request: Request
    listener: Listener
    scenario: Scenario
    plan: Plan
    timeline: tuple[PlannedFault, ...]
    backend: Backend
    manifest: dict[str, Any]
    run_tag: int
    secrets: Secrets
    reach: Reach
    remotes: Remotes | None = None
    zero_ns: int | None = None
    stopped: bool = False  # by a gate
    failures: list[FaultFailure] = field(default_factory=list)

    def notify(self, event: Event) -> None:
        """Tell whoever listens, and no secrets."""
        self.listener(Warned(self.secrets.hide(event.message)) if isinstance(event, Warned) else event)

    def learn(self, values: Iterable[str]) -> None:
        """There are more secrets. What is a name in this run stays one: it cannot be hidden in what names it."""
        self.secrets = self.secrets.besides(values).but((*texts_in(self.manifest), *_STATES))


async def run(request: Request, notify: Listener) -> None:
    """Do the run; afterwards its directory holds all evidence, whatever happened.

    Raises EnvironmentFailure when the system cannot be started, and passes on a cancellation (Ctrl-C) after the
    processes are gone and the manifest says `aborted`.
    """
    this = _prepare(request, harmless(notify))
    _write_manifest(this, status="starting")
    try:
        redis = await _start_redis(this)
        async with (
            _owned(this.backend),
            Keeper(
                this.backend,
                request.rundir,
                this.timeline,
                redis.url,
                warn=lambda text: this.notify(Warned(text)),
            ),
            Links(this.backend, request.rundir, wanted(this.timeline), seed=this.scenario.seed) as links,
            _launched(this) as load,
            _system(this, redis, links) as nodes,
            _watching(this, redis) as watch,
            _gathering(this, redis) as witness,
            _loading(this, load, redis, nodes),
        ):
            if witness is not None:
                await witness.subscribed()
            await _connect(this, load)
            await _compare_clocks(this, load, "before")
            await _set_epoch(this, load)
            async with _sampling(this, redis), _ticking(this, load):
                await _until_a_gate_fails(this, load, _measure(this, load, _means(this, redis, nodes, links), watch))
                if not this.stopped:
                    await _drain(this, load)
                    links.check()
                    await _sweep(this, load)
            await _compare_clocks(this, load, "after")
            notify(PhaseBegan("leave", "clients close, journals are completed"))
            await load.leave()
        if this.remotes is not None:
            this.remotes.check_home()
        _write_manifest(this, status="stopped" if this.stopped else "complete")
    except asyncio.CancelledError:
        _write_manifest(this, status="aborted")
        raise
    except BaseException as error:
        if isinstance(error, FanlabError):
            error.reword(this.secrets.hide)
        _write_manifest(this, status="failed", error=str(error))
        raise
    finally:
        await _close(this)


def _prepare(request: Request, listener: Listener) -> _Run:
    scenario = request.loaded.scenario
    secrets = Secrets(_secrets(request))
    shown = redacted(request.loaded, secrets)
    plan = make_plan(scenario)
    timeline = resolve(scenario, plan)
    run_tag = randbelow(_RUN_TAGS)  # tells this run's messages from a neighbour's; nothing depends on its value
    manifest = {
        "schema_version": 1,
        "fanlab_version": __version__,
        "status": "starting",
        "started_utc": clock.utc_stamp(),
        "command": [secrets.hide(urls_redacted(word)) for word in request.command],
        "scenario": shown.scenario.model_dump(mode="json"),
        "scenario_source": secrets.hide(shown.source),
        "scenario_sha256": request.loaded.sha256,
        "matrix_cell": shown.cell,
        "gate_places": [asdict(place) for place in shown.gate_places],
        "seed": scenario.seed,
        "backend": request.backend,
        "workers": request.workers + (request.beyond.invitation.expect if request.beyond.invitation else 0),
        "run_tag": run_tag,
        "plan": asdict(make_plan(shown.scenario)),
        "predictions": [asdict(prediction) for prediction in predict(scenario, plan)],
        "faults": [asdict(fault) for fault in timeline],
        "fault_failures": [],
        "unplanned_exits": [],
        "expected_exits": [],
        "phases": {
            "publish_start_ns": None,
            "zero_ns": None,
            "measure_end_ns": None,
            "drain_end_ns": None,
            "drain_ended_by": None,
        },
        "redis": None,
        "journaling_nodes": [],
        "caching_nodes": [],
        "backend_facts": {},
        "host": provenance.host(),
        "versions": provenance.versions(),
        "limits": provenance.limits(),
        "clock": provenance.clock_facts(),
    }
    reach = Reach(request.beyond.allow)
    backend = make_backend(
        request.backend,
        request.rundir,
        redis_url=request.redis_url,
        targets=request.beyond.targets,
        reach=reach,
        host=request.beyond.system_host,
    )
    this = _Run(request, listener, scenario, plan, timeline, backend, manifest, run_tag, secrets, reach)
    this.learn(())
    return this


def _secrets(request: Request) -> Iterator[str]:
    yield from secrets_of(request.loaded.scenario)
    yield from secrets_of_words(request.command)
    yield from secrets_of_url(request.redis_url or "")
    yield from request.beyond.secrets()
    yield from secrets_of_settings(os.environ)


def _known_to_nodes(this: _Run, redis: RedisEndpoint) -> set[str]:
    """The secrets that nodes know and may say: no more goes to workers on other hosts, and never the token."""
    known = {*secrets_of(this.scenario), *this.request.beyond.secrets_of_targets(), *secrets_of_url(redis.url)}
    for kind in {node.kind for node in this.plan.nodes}:
        known |= {*read_manifest(node_folder(kind)).secrets()}
    return known & this.secrets.values


async def _start_redis(this: _Run) -> RedisEndpoint:
    """Redis comes before all others. A node.yaml that cannot be used is told before anything is started."""
    for kind in sorted({node.kind for node in this.plan.nodes}):
        this.backend.check_kind(kind)
        this.learn(read_manifest(node_folder(kind)).secrets())
    refuse_impossible(this.timeline, this.backend)
    await _look_beyond(this)
    await _gather_workers(this)
    containers = ", in containers; their images are made the first time" if this.request.backend == "docker" else ""
    this.notify(PhaseBegan("start", f"Redis and {len(this.plan.nodes)} nodes{containers}"))
    await this.backend.open()
    this.manifest["backend_facts"] = this.backend.facts()
    _write_manifest(this)
    await prepare(this.timeline, this.backend)
    shared = this.scenario.topology.redis
    redis = await this.backend.start_redis(shared.config, limits=Limits(shared.cpus, shared.memory_bytes))
    this.learn(secrets_of_url(redis.url))
    this.manifest["redis"] = {"url": redact(redis.url), "source": redis.source, "version": redis.version}
    return redis


@asynccontextmanager
async def _owned(backend: Backend) -> AsyncIterator[None]:
    """For as long as the warden is there to own all that runs; the block is given up, and that is told, when it is not.

    Raises EnvironmentFailure then, also where the block has noticed it first, by what ended with the warden.
    """
    block = asyncio.current_task()

    async def mind() -> None:
        await backend.lost.wait()
        if block is not None and not block.cancelling():
            block.cancel()

    minding = asyncio.create_task(mind(), name="minding the warden")
    try:
        yield
    except asyncio.CancelledError:
        if not backend.lost.is_set() or block is None or block.uncancel():  # it is somebody at the terminal
            raise
        raise lost_warden() from None
    except FanlabError as error:
        if backend.lost.is_set():
            raise lost_warden() from error
        raise
    finally:
        minding.cancel()


@asynccontextmanager
async def _system(this: _Run, redis: RedisEndpoint, links: Links) -> AsyncIterator[list[NodeEndpoint]]:
    """All nodes at once, as clients reach them. The backend ends them."""
    urls = {node.id: await links.redis_url(node.id, redis.inside_url) for node in this.plan.nodes}
    started = await _all_or_nothing(
        [this.backend.start_node(node, redis_url=urls[node.id]) for node in this.plan.nodes]
    )
    nodes = [await links.before(node) for node in started]
    this.manifest["journaling_nodes"] = [node.id for node in nodes if node.journals]
    this.manifest["backend_facts"] = this.backend.facts()
    this.manifest["caching_nodes"] = [node.id for node in nodes if node.cache_url is not None]
    _write_manifest(this)
    yield nodes


def _means(this: _Run, redis: RedisEndpoint, nodes: Sequence[NodeEndpoint], links: Links) -> Means:
    by_id = {node.id: node for node in nodes}
    plan, rundir = this.plan, this.request.rundir
    return Means(
        this.backend,
        redis.url,
        links.client,
        by_id,
        plan.channels,
        rundir,
        this.scenario.seed,
        warn=lambda text: this.notify(Warned(text)),
    )


async def _look_beyond(this: _Run) -> None:
    """What is loaded and was not started here: is it complete, may it be loaded, and with as much?"""
    beyond = this.request.beyond
    if beyond.targets is not None:
        matched(beyond.targets, this.plan.nodes)
    other_hosts = elsewhere(await beyond.places(this.request.redis_url, this.reach))
    refuse_excess(this.scenario, beyond.caps, other_hosts)


async def _gather_workers(this: _Run) -> None:
    """Wait for the workers of other hosts, before there is anything that would wait for them."""
    wanted = this.request.beyond.invitation
    if wanted is None:
        return
    this.remotes = Remotes(wanted, this.request.rundir, first_index=this.request.workers + 1)
    await this.remotes.open()
    this.notify(Invited(wanted.expect, this.remotes.command()))
    await this.remotes.gathered(lambda remote: this.notify(Joined(remote.name)))


def _watching(this: _Run, redis: RedisEndpoint) -> Watch:
    def tell(death: UnplannedExit) -> None:
        this.manifest["unplanned_exits"].append(death)
        when = "" if death["t_s"] is None else f" at {death['t_s']:.2f} s"
        how, log = describe_status(death["status"]), this.request.rundir.logs / f"{death['unit']}.log"
        this.notify(Warned(f"{death['unit']} has ended by itself{when} ({how}); its last words are in {log}"))
        _write_manifest(this)

    def expected(end: ExpectedExit) -> None:
        this.manifest["expected_exits"].append(end)
        _write_manifest(this)

    units = [node.id for node in this.plan.nodes] + ([REDIS] if redis.pid is not None else [])
    return Watch(this.backend, units, lambda: this.zero_ns, tell, expected)


@asynccontextmanager
async def _gathering(this: _Run, redis: RedisEndpoint) -> AsyncIterator[Witnessing | None]:
    """The evidence beside the load's and the nodes' own journals, for as long as the block lasts."""
    asked = this.scenario.evidence
    async with AsyncExitStack() as stack:
        if asked.redis_watch:
            await stack.enter_async_context(_redis_watch(this, redis))
        yield await stack.enter_async_context(_witness(this, redis)) if asked.witness else None


def _redis_watch(this: _Run, redis: RedisEndpoint) -> RedisWatch:
    return RedisWatch(
        this.request.rundir.redis_journal,
        redis_url=redis.url,
        log=None if redis.pid is None else this.request.rundir.logs / f"{REDIS}.log",
        pids=lambda: {node.id: this.backend.pid(node.id) for node in this.plan.nodes},
        addresses=_addresses(this),
    )


def _addresses(this: _Run) -> dict[str, str]:
    """Of nodes that have one of their own, by it."""
    return {address: node.id for node in this.plan.nodes if (address := this.backend.address(node.id)) is not None}


def _witness(this: _Run, redis: RedisEndpoint) -> Witnessing:
    return Witnessing(
        this.backend,
        this.request.rundir,
        redis_url=redis.inside_url,
        channels=this.plan.channels,
        run_tag=this.run_tag,
        streams=len(this.plan.streams),
        warn=lambda text: this.notify(Warned(text)),
    )


async def _all_or_nothing(starts: Sequence[Any]) -> list[NodeEndpoint]:
    """Await all; the first failure cancels the others and is the one that is raised."""
    tasks = [asyncio.ensure_future(start) for start in starts]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _launched(this: _Run) -> AsyncIterator[LoadSession]:
    """Locust's processes, which load what they need while the system starts."""
    load = LoadSession(
        this.backend,
        this.scenario,
        this.plan,
        this.request.rundir,
        run_tag=this.run_tag,
        workers=this.request.workers,
        remotes=this.remotes,
    )
    try:
        await load.launch()
        yield load
    finally:
        await load.close()


@asynccontextmanager
async def _loading(
    this: _Run, load: LoadSession, redis: RedisEndpoint, nodes: Sequence[NodeEndpoint]
) -> AsyncIterator[None]:
    """Locust and its engines, ready for clients. They end before what bears witness of them does."""
    try:
        await load.start(
            nodes,
            redis.inside_url,
            secrets=sorted(this.secrets.values),
            secrets_abroad=sorted(_known_to_nodes(this, redis)),
        )
        if this.remotes is not None:
            this.manifest["remote_workers"] = this.remotes.facts()
        yield
    finally:
        await load.close()


async def _connect(this: _Run, load: LoadSession) -> None:
    clients = sum(group.count for group in this.scenario.clients if group.join_ns is None)
    this.notify(PhaseBegan("connect", f"{clients} clients"))
    spawning_s = sum(group.count / group.spawn_rate_per_s for group in this.scenario.clients if group.join_ns is None)
    async with _ticking(this, load):
        snapshot = await load.connect(CONNECT_DEADLINE_S + spawning_s)
    if snapshot.connected < clients:
        why = f": {load.connect_error}" if load.connect_error else ""
        this.notify(Warned(f"only {snapshot.connected} of {clients} clients are connected and subscribed{why}"))


async def _set_epoch(this: _Run, load: LoadSession) -> None:
    """Choose the instant at which publishing begins, and tell it to everyone before it comes."""
    phases = this.scenario.phases
    start_ns = clock.now_ns() + LEAD_NS
    zero_ns = start_ns + phases.warm_up_ns
    end_ns = zero_ns + phases.measure_ns
    this.zero_ns = zero_ns
    this.manifest["phases"] |= {"publish_start_ns": start_ns, "zero_ns": zero_ns, "measure_end_ns": end_ns}
    _write_manifest(this, status="running")
    await load.begin(start_ns, zero_ns, end_ns)
    detail = f"{format_duration(phases.warm_up_ns)} warm-up, {format_duration(phases.measure_ns)} measured"
    this.notify(PhaseBegan("measure", detail))


async def _measure(this: _Run, load: LoadSession, means: Means, watch: Watch) -> None:
    """The timeline runs beside the load. Done when every slot is published and every fault is over."""
    zero_ns = this.zero_ns or 0

    def told(stamp: FaultStamp) -> None:
        watch.stamped(stamp)
        this.notify(FaultTold((stamp["t"] - zero_ns) / clock.NS_PER_S, stamp))

    journal = FaultJournal(this.request.rundir.faults, told)
    try:
        halfway = asyncio.ensure_future(_compare_clocks_halfway(this, load))
        faults = asyncio.ensure_future(inject_all(this.timeline, zero_ns, means, journal))
        try:
            await _publishing_ends(load, zero_ns + this.scenario.phases.measure_ns)
            timeout_ns = max(publisher.timeout_ns for publisher in this.scenario.publishers)
            await load.published(timeout_ns / clock.NS_PER_S + this.scenario.phases.drain.deadline_ns / clock.NS_PER_S)
            this.failures = await faults
            await halfway
        finally:
            faults.cancel()
            halfway.cancel()
            await asyncio.gather(faults, halfway, return_exceptions=True)
    finally:
        journal.close()
    for failure in this.failures:
        this.notify(Warned(f"{failure.fault.name} at {format_duration(failure.fault.at_ns)}: {failure.why}"))
    this.manifest["fault_failures"] = [{"fault": failure.fault.id, "why": failure.why} for failure in this.failures]


async def _until_a_gate_fails(this: _Run, load: LoadSession, phase: Coroutine[Any, Any, None]) -> None:
    """The phase; it is given up as soon as a gate that says `else abort` is seen to fail."""
    watch = GateWatch([parse_gate(expr) for expr in this.scenario.gates], most_owed(this.scenario))
    if watch.idle:
        await phase
        return
    work = asyncio.create_task(phase, name="measure")
    try:
        while not work.done():
            await asyncio.wait({work}, timeout=TICK_S)
            stop = watch.look(clock.now_ns() - (this.zero_ns or 0), load.snapshot())
            if stop is not None and not work.done():
                this.stopped = True
                this.manifest["stopped"] = stop.to_json()
                this.notify(Warned(told(stop, parse_gate(stop.expr))))
                work.cancel()
        await asyncio.gather(work, return_exceptions=this.stopped)
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def _compare_clocks(this: _Run, load: LoadSession, moment: Moment) -> None:
    this.manifest["clock"]["exchanges"] = await load.exchange_clocks(moment)


async def _compare_clocks_halfway(this: _Run, load: LoadSession) -> None:
    await clock_reaches((this.zero_ns or 0) + this.scenario.phases.measure_ns // 2)
    await _compare_clocks(this, load, "during")


async def _publishing_ends(load: LoadSession, end_ns: int) -> None:
    """Wait for that instant; a load that dies before it ends the run at once."""
    while load.failure is None and clock.now_ns() < end_ns:
        await clock_reaches(min(end_ns, clock.now_ns() + round(TICK_S * clock.NS_PER_S)))
    if load.failure is not None:
        raise load.failure


async def _drain(this: _Run, load: LoadSession) -> None:
    """Wait until nothing has come for `quiet` and everyone who can come back is back; at most until the deadline."""
    drain = this.scenario.phases.drain
    this.notify(PhaseBegan("drain", f"until {format_duration(drain.quiet_ns)} pass without a delivery"))
    began_ns = clock.now_ns()
    all_can_return = all(fault.for_ns is not None for fault in this.timeline)
    while load.failure is None:  # else `leave` says so
        now_ns, snapshot = clock.now_ns(), load.snapshot()
        heard_of_ns = snapshot.as_of_ns or began_ns  # an engine that has not reported may have had deliveries since
        quiet = heard_of_ns - max(began_ns, snapshot.last_delivery_ns or 0) >= drain.quiet_ns
        returned = snapshot.reconnecting == 0 or not all_can_return
        overdue = now_ns - began_ns >= drain.deadline_ns
        if (quiet and returned) or overdue:
            break
        await asyncio.sleep(TICK_S / 5)
    this.manifest["phases"] |= {"drain_end_ns": now_ns, "drain_ended_by": "quiet" if quiet else "deadline"}


async def _sweep(this: _Run, load: LoadSession) -> None:
    """What the nodes' caches hold when all has come: what is wrong now stays wrong."""
    if this.scenario.readers:
        this.notify(PhaseBegan("sweep", "each entry of each cache is read once more"))
        await load.sweep()


@asynccontextmanager
async def _ticking(this: _Run, load: LoadSession) -> AsyncIterator[None]:
    """Tell the listener the load's totals now and then, for as long as the block lasts."""

    async def tick() -> None:
        while True:
            t_s = None if this.zero_ns is None else (clock.now_ns() - this.zero_ns) / clock.NS_PER_S
            this.notify(Tick(t_s, load.snapshot()))
            await asyncio.sleep(TICK_S)

    task = asyncio.create_task(tick(), name="ticks")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _sampling(this: _Run, redis: RedisEndpoint) -> Sampler:
    def pids() -> dict[str, int]:
        units = [REDIS, *(node.id for node in this.plan.nodes)]
        found = {unit: this.backend.pid(unit) for unit in units}
        return {unit: pid for unit, pid in found.items() if pid is not None} | this.backend.helpers()

    return Sampler(
        this.request.rundir.samples,
        zero_ns=this.zero_ns or 0,
        redis_url=redis.url,
        channels=this.plan.channels,
        pids=pids,
    )


def _write_manifest(this: _Run, **changes: str) -> None:
    this.manifest |= changes
    write_json(this.request.rundir.manifest, this.secrets.hide_in(this.manifest))


async def _close(this: _Run) -> None:
    """End all that was started. What that leaves in the run directory holds no secret, however it went."""
    try:
        try:
            if this.remotes is not None:
                await this.remotes.close()
        finally:
            await this.backend.close()
    except FanlabError as error:
        error.reword(this.secrets.hide)
        raise
    finally:
        _hide_in_logs(this)


def _hide_in_logs(this: _Run) -> None:
    """What nodes have printed of secrets; nobody writes to their logs and journals any more."""
    try:
        hide_in_files(this.request.rundir.path, this.secrets)
    except OSError as error:
        this.notify(Warned(f"secrets could not be masked in {error.filename}: {error.strerror}"))
