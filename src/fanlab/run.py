"""A run, from scenario to evidence. Read this first: `run` is the table of contents of fanlab.

It starts the system, connects the clients, publishes, breaks things on the timeline, waits until the last message has
come, and leaves a run directory. What the evidence means is worked out afterwards, offline, by `report.write`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fanlab.beyond import elsewhere
from fanlab.errors import FanlabError
from fanlab.faults.catalogue import prepare, refuse_impossible
from fanlab.faults.fault import Means
from fanlab.faults.keeping import Keeper
from fanlab.faults.laying import Links, wanted
from fanlab.load.caps import refuse_excess
from fanlab.load.remotes import Remotes
from fanlab.load.session import LoadSession
from fanlab.phases import compare_clocks, connect, drain, measure, set_epoch, sweep, ticking, until_a_gate_fails
from fanlab.progress import Invited, Joined, Listener, PhaseBegan, Warned, harmless
from fanlab.redaction import secrets_of_url
from fanlab.rediswatch import RedisWatch
from fanlab.runstate import Request, Run, hide_in_logs, known_to_nodes, prepare_run, write_manifest
from fanlab.sampler import Sampler
from fanlab.topology.backend import REDIS, Backend, Limits, NodeEndpoint, RedisEndpoint
from fanlab.topology.manifest import node_folder, read_manifest
from fanlab.topology.redis import redact
from fanlab.topology.targets import matched
from fanlab.topology.wardenclient import describe_status, lost_warden
from fanlab.watch import ExpectedExit, UnplannedExit, Watch
from fanlab.witnessing import Witnessing

__all__ = ["Request", "run"]


async def run(request: Request, notify: Listener) -> None:
    """Do the run; afterwards its directory holds all evidence, whatever happened.

    Raises EnvironmentFailure when the system cannot be started, and passes on a cancellation (Ctrl-C) after the
    processes are gone and the manifest says `aborted`.
    """
    this = prepare_run(request, harmless(notify))
    write_manifest(this, status="starting")
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
            await connect(this, load)
            await compare_clocks(this, load, "before")
            await set_epoch(this, load)
            async with _sampling(this, redis), ticking(this, load):
                await until_a_gate_fails(this, load, measure(this, load, _means(this, redis, nodes, links), watch))
                if not this.stopped:
                    await drain(this, load)
                    links.check()
                    await sweep(this, load)
            await compare_clocks(this, load, "after")
            notify(PhaseBegan("leave", "clients close, journals are completed"))
            await load.leave()
        if this.remotes is not None:
            this.remotes.check_home()
        write_manifest(this, status="stopped" if this.stopped else "complete")
    except asyncio.CancelledError:
        write_manifest(this, status="aborted")
        raise
    except BaseException as error:
        if isinstance(error, FanlabError):
            error.reword(this.secrets.hide)
        write_manifest(this, status="failed", error=str(error))
        raise
    finally:
        await _close(this)


async def _start_redis(this: Run) -> RedisEndpoint:
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
    write_manifest(this)
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
async def _system(this: Run, redis: RedisEndpoint, links: Links) -> AsyncIterator[list[NodeEndpoint]]:
    """All nodes at once, as clients reach them. The backend ends them."""
    urls = {node.id: await links.redis_url(node.id, redis.inside_url) for node in this.plan.nodes}
    started = await _all_or_nothing(
        [this.backend.start_node(node, redis_url=urls[node.id]) for node in this.plan.nodes]
    )
    nodes = [await links.before(node) for node in started]
    this.manifest["journaling_nodes"] = [node.id for node in nodes if node.journals]
    this.manifest["backend_facts"] = this.backend.facts()
    this.manifest["caching_nodes"] = [node.id for node in nodes if node.cache_url is not None]
    write_manifest(this)
    yield nodes


def _means(this: Run, redis: RedisEndpoint, nodes: Sequence[NodeEndpoint], links: Links) -> Means:
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


async def _look_beyond(this: Run) -> None:
    """What is loaded and was not started here: is it complete, may it be loaded, and with as much?"""
    beyond = this.request.beyond
    if beyond.targets is not None:
        matched(beyond.targets, this.plan.nodes)
    other_hosts = elsewhere(await beyond.places(this.request.redis_url, this.reach))
    refuse_excess(this.scenario, beyond.caps, other_hosts)


async def _gather_workers(this: Run) -> None:
    """Wait for the workers of other hosts, before there is anything that would wait for them."""
    wanted = this.request.beyond.invitation
    if wanted is None:
        return
    this.remotes = Remotes(wanted, this.request.rundir, first_index=this.request.workers + 1)
    await this.remotes.open()
    this.notify(Invited(wanted.expect, this.remotes.command()))
    await this.remotes.gathered(lambda remote: this.notify(Joined(remote.name)))


def _watching(this: Run, redis: RedisEndpoint) -> Watch:
    def tell(death: UnplannedExit) -> None:
        this.manifest["unplanned_exits"].append(death)
        when = "" if death["t_s"] is None else f" at {death['t_s']:.2f} s"
        how, log = describe_status(death["status"]), this.request.rundir.logs / f"{death['unit']}.log"
        this.notify(Warned(f"{death['unit']} has ended by itself{when} ({how}); its last words are in {log}"))
        write_manifest(this)

    def expected(end: ExpectedExit) -> None:
        this.manifest["expected_exits"].append(end)
        write_manifest(this)

    units = [node.id for node in this.plan.nodes] + ([REDIS] if redis.pid is not None else [])
    return Watch(this.backend, units, lambda: this.zero_ns, tell, expected)


@asynccontextmanager
async def _gathering(this: Run, redis: RedisEndpoint) -> AsyncIterator[Witnessing | None]:
    """The evidence beside the load's and the nodes' own journals, for as long as the block lasts."""
    asked = this.scenario.evidence
    async with AsyncExitStack() as stack:
        if asked.redis_watch:
            await stack.enter_async_context(_redis_watch(this, redis))
        yield await stack.enter_async_context(_witness(this, redis)) if asked.witness else None


def _redis_watch(this: Run, redis: RedisEndpoint) -> RedisWatch:
    return RedisWatch(
        this.request.rundir.redis_journal,
        redis_url=redis.url,
        log=None if redis.pid is None else this.request.rundir.logs / f"{REDIS}.log",
        pids=lambda: {node.id: this.backend.pid(node.id) for node in this.plan.nodes},
        addresses=_addresses(this),
    )


def _addresses(this: Run) -> dict[str, str]:
    """Of nodes that have one of their own, by it."""
    return {address: node.id for node in this.plan.nodes if (address := this.backend.address(node.id)) is not None}


def _witness(this: Run, redis: RedisEndpoint) -> Witnessing:
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
async def _launched(this: Run) -> AsyncIterator[LoadSession]:
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
    this: Run, load: LoadSession, redis: RedisEndpoint, nodes: Sequence[NodeEndpoint]
) -> AsyncIterator[None]:
    """Locust and its engines, ready for clients. They end before what bears witness of them does."""
    try:
        await load.start(
            nodes,
            redis.inside_url,
            secrets=sorted(this.secrets.values),
            secrets_abroad=sorted(known_to_nodes(this, redis)),
        )
        if this.remotes is not None:
            this.manifest["remote_workers"] = this.remotes.facts()
        yield
    finally:
        await load.close()


def _sampling(this: Run, redis: RedisEndpoint) -> Sampler:
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


async def _close(this: Run) -> None:
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
        hide_in_logs(this)
