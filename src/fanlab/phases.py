"""What a run does once its system is there, one phase after the other: connect, measure, drain, sweep."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from fanlab import clock
from fanlab.faults.fault import Means
from fanlab.faults.inject import FaultJournal, clock_reaches, inject_all
from fanlab.gatewatch import GateWatch, most_owed, told
from fanlab.ledger.clocks import Moment
from fanlab.ledger.events import FaultStamp
from fanlab.load.session import LoadSession
from fanlab.progress import FaultTold, PhaseBegan, Tick, Warned
from fanlab.runstate import Run, write_manifest
from fanlab.scenario.gates import parse_gate
from fanlab.units import format_duration
from fanlab.watch import Watch

TICK_S = 0.25
CONNECT_DEADLINE_S = 30.0
LEAD_NS = 200 * clock.NS_PER_MS  # between telling everyone the epoch and the first message


async def connect(this: Run, load: LoadSession) -> None:
    """All clients but those that join later; whoever has not come by the deadline is told of."""
    clients = sum(group.count for group in this.scenario.clients if group.join_ns is None)
    this.notify(PhaseBegan("connect", f"{clients} clients"))
    spawning_s = sum(group.count / group.spawn_rate_per_s for group in this.scenario.clients if group.join_ns is None)
    async with ticking(this, load):
        snapshot = await load.connect(CONNECT_DEADLINE_S + spawning_s)
    if snapshot.connected < clients:
        why = f": {load.connect_error}" if load.connect_error else ""
        this.notify(Warned(f"only {snapshot.connected} of {clients} clients are connected and subscribed{why}"))


async def set_epoch(this: Run, load: LoadSession) -> None:
    """Choose the instant at which publishing begins, and tell it to everyone before it comes."""
    phases = this.scenario.phases
    start_ns = clock.now_ns() + LEAD_NS
    zero_ns = start_ns + phases.warm_up_ns
    end_ns = zero_ns + phases.measure_ns
    this.zero_ns = zero_ns
    this.manifest["phases"] |= {"publish_start_ns": start_ns, "zero_ns": zero_ns, "measure_end_ns": end_ns}
    write_manifest(this, status="running")
    await load.begin(start_ns, zero_ns, end_ns)
    detail = f"{format_duration(phases.warm_up_ns)} warm-up, {format_duration(phases.measure_ns)} measured"
    this.notify(PhaseBegan("measure", detail))


async def measure(this: Run, load: LoadSession, means: Means, watch: Watch) -> None:
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


async def until_a_gate_fails(this: Run, load: LoadSession, phase: Coroutine[Any, Any, None]) -> None:
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


async def compare_clocks(this: Run, load: LoadSession, moment: Moment) -> None:
    """How far the load's clocks are from this process's now, for the manifest."""
    this.manifest["clock"]["exchanges"] = await load.exchange_clocks(moment)


async def _compare_clocks_halfway(this: Run, load: LoadSession) -> None:
    await clock_reaches((this.zero_ns or 0) + this.scenario.phases.measure_ns // 2)
    await compare_clocks(this, load, "during")


async def _publishing_ends(load: LoadSession, end_ns: int) -> None:
    """Wait for that instant; a load that dies before it ends the run at once."""
    while load.failure is None and clock.now_ns() < end_ns:
        await clock_reaches(min(end_ns, clock.now_ns() + round(TICK_S * clock.NS_PER_S)))
    if load.failure is not None:
        raise load.failure


async def drain(this: Run, load: LoadSession) -> None:
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


async def sweep(this: Run, load: LoadSession) -> None:
    """What the nodes' caches hold when all has come: what is wrong now stays wrong."""
    if this.scenario.readers:
        this.notify(PhaseBegan("sweep", "each entry of each cache is read once more"))
        await load.sweep()


@asynccontextmanager
async def ticking(this: Run, load: LoadSession) -> AsyncIterator[None]:
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
