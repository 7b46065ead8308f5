"""The account of a run, as a pure function of its directory.

`account` reads, `settle` decides. Deliveries are streamed; all else (events, messages, node journals, stamps) is small
and held in memory. In order:

    events      -> windows: who was owed which channel from when to when, connections, outages
    publishers  -> messages: what was published, when at the earliest and when at the latest
    deliveries  -> lagging: who asked while its node was behind
    damage      -> mending: which messages came with other bytes than those published
    deliveries  -> fold: first copies, duplicates, disorder, what nobody was owed, latency
                -> oddity: why messages came twice, and who disagrees with Redis' order
    the rest    -> debts: what was owed and did not come, lost or indeterminate; causes: why
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.errors import MeasurementError
from fanlab.ledger.arrival import Chunks
from fanlab.ledger.blame import blamed, loss_rows, traffic_of, undecided_rows, world_of
from fanlab.ledger.caches import CacheWorld, cache_account
from fanlab.ledger.clocks import ClockAccount, clock_account
from fanlab.ledger.faultlog import fault_accounts
from fanlab.ledger.fold import Context, Counts, Grid, deliveries_settled
from fanlab.ledger.health import cpu_share, cpu_wait_share, gc_max_ms, loop_lag_p99_ms, steal_share
from fanlab.ledger.histogram import Histogram, Ints
from fanlab.ledger.hops import message_hops, node_times
from fanlab.ledger.journals import Journals, read_deliveries, read_journals
from fanlab.ledger.lagging import reached_back
from fanlab.ledger.latency import LatencyTable, Part
from fanlab.ledger.mending import Owed, mend, with_mended
from fanlab.ledger.messages import NO_MESSAGE, Messages, collect_messages
from fanlab.ledger.missing import Cut, PhaseDebt, debts
from fanlab.ledger.oddity import OddWorld, odd_deliveries
from fanlab.ledger.pairs import spread
from fanlab.ledger.probes import probe_delays
from fanlab.ledger.received import Bools
from fanlab.ledger.records import Status
from fanlab.ledger.result import LOSS_DTYPE, Account, Evidence, FaultAccount, Outage, Tally
from fanlab.ledger.whereabouts import Handed
from fanlab.ledger.windows import NEVER, Windows, owed_windows
from fanlab.ledger.witness import receivers_less_witness
from fanlab.rundir import RunDir
from fanlab.scenario.plan import Plan, plan_from_json

_BINS: Final = 200
_BIN_STEPS_MS: Final = (50, 100, 200, 250, 500, 1000, 2000, 2500, 5000, 10_000, 15_000, 30_000, 60_000)


def account(rundir: RunDir) -> Account:
    """Account for the run in a directory, whole or partial.

    Raises MeasurementError where there is no run, or where its journals contradict themselves.
    """
    manifest = rundir.read_manifest()
    plan = _plan(rundir, manifest)
    journals = read_journals(rundir, plan, manifest.get("run_tag"))
    return settle(manifest, plan, journals, lambda: read_deliveries([stripe.path for stripe in journals.stripes]))


def settle(manifest: Mapping[str, Any], plan: Plan, journals: Journals, chunks: Chunks) -> Account:
    """The account of a run from its evidence. Pure: `chunks` gives the deliveries, anew at each call, in any order."""
    phases = manifest.get("phases") or {}
    faults = fault_accounts(manifest, journals.stamps)
    evidence = _evidence(journals, plan)
    clock = clock_account(manifest.get("clock") or {}, [stripe.header for stripe in journals.stripes])
    zero_ns = phases.get("zero_ns")
    if zero_ns is None:
        return _nothing(plan, faults, evidence, clock)
    clients = sum(group.count for group in plan.groups)
    told = collect_messages(journals.intents, journals.outcomes, len(plan.streams))
    messages = receivers_less_witness(told.blurred(clock.apart_ns), journals.witness)
    measure = messages.intended_ns >= zero_ns
    measure_end_ns = phases.get("measure_end_ns") or zero_ns + manifest["scenario"]["phases"]["measure_ns"]
    end_ns = phases.get("drain_end_ns") or max(zero_ns, journals.last_ns)
    windows = _windows(manifest, plan, journals, measure_end_ns)
    channels = _numbered(plan.channels)
    pairs = reached_back(
        spread(windows.windows, [channels[stream.channel] for stream in plan.streams]), messages, chunks
    )
    outages = blamed(windows.outages, faults, plan, journals.stripes)
    nodes = {index: node_times(journal, messages) for index, journal in journals.nodes.items()}
    context = Context(
        pairs=pairs,
        messages=messages,
        zero_ns=zero_ns,
        grid=_grid(zero_ns, end_ns),
        clients=clients,
        node_names=tuple(node.id for node in plan.nodes),
        channel=Part(np.array([channels[stream.channel] for stream in plan.streams], np.int64), plan.channels),
        group=Part(
            np.repeat(np.arange(len(plan.groups)), [group.count for group in plan.groups]),
            [group.name for group in plan.groups],
        ),
        node_done_ns={index: done_ns for index, (_, done_ns) in nodes.items()},
        outages=outages,
    )
    mended = mend(journals.damaged, chunks, Owed(messages, pairs, manifest.get("run_tag")))
    chunks = with_mended(chunks, mended.deliveries)
    handed = Handed(messages, len(plan.nodes))
    settled = deliveries_settled(handed.noting(chunks), context)
    odd, coarse = odd_deliveries(
        settled,
        mended,
        chunks,
        OddWorld(messages, zero_ns, clients, context.node_names, journals.witness, journals.events, journals.nodes),
    )
    partial = manifest.get("status") != "complete" or evidence.unclosed > 0
    # A drain that gave up leaves messages on their way just as an abort does, but the run is whole.
    cut = Cut(partial or phases.get("drain_ended_by") != "quiet", journals.horizon_ns(clients))
    owed = debts(pairs, messages, settled.received.runs(), context.grid, cut, zero_ns=zero_ns, clients=clients)
    world = world_of(
        manifest,
        plan,
        journals,
        windows,
        outages,
        faults=faults,
        traffic=traffic_of(
            manifest,
            plan,
            journals,
            messages,
            handed=handed.table,
            received_ns={of: at for of, (at, _) in nodes.items()},
        ),
        lateness_ns=settled.latency.overall.max_ns or 0,
        partial=partial,
    )
    losses, lacking = loss_rows(owed, pairs, messages, world)
    evidence.coarse = [*coarse, *lacking, *_blurred(clock, len(losses))]
    measured = np.bincount(losses["fault"][losses["fault"] >= 0], minlength=len(faults))
    evidence.contradictions = settled.contradictions
    hops = message_hops(told, nodes, measure)
    health = [stripe.health for stripe in journals.stripes]
    caching = CacheWorld(plan, journals, world, context.grid, zero_ns, cut.partial)
    return Account(
        measure=_tally(messages, measure, owed.measure, settled.measure),
        warm_up=_tally(messages, ~measure, owed.warm_up, settled.warm_up),
        losses=losses,
        odd=odd,
        undecided=undecided_rows(owed, pairs, messages),
        by_client={"owed": owed.owed_by_client, "delivered": settled.by_client, "lost": owed.lost_by_client},
        by_stream={
            "published": np.bincount(messages.stream[messages.may_exist & measure], minlength=len(plan.streams)),
            "owed": owed.owed_by_stream,
        },
        publishers=_publishers(messages, measure),
        clients={
            "count": windows.seen,
            "connected": windows.connected,
            "reconnects": windows.reconnects,
            "never_returned": windows.never_returned,
        },
        faults=[replace(fault, measured=int(measured[index])) for index, fault in enumerate(faults)],
        outages=_with_first_messages(outages, settled.first_message_ns),
        evidence=evidence,
        latency=settled.latency,
        hops={**hops, "client": settled.client_hop},
        start_ns=zero_ns,
        zero_ns=zero_ns,
        end_ns=end_ns,
        bin_ns=context.grid.bin_ns,
        offered=owed.grid_owed,
        delivered=settled.over_time,
        lost=owed.grid_lost,
        schedule_lag_p99_ms=hops["schedule"].percentile_ms(99),
        loop_lag_p99_ms=loop_lag_p99_ms(health, zero_ns, measure_end_ns),
        generator_cpu=cpu_share(health, zero_ns, measure_end_ns),
        caches=cache_account(manifest, messages, caching),
        partial=partial,
        probes=probe_delays([stripe.probes for stripe in journals.stripes], zero_ns, measure_end_ns),
        cpu_wait=cpu_wait_share(health, zero_ns, measure_end_ns),
        gc_max_ms=gc_max_ms(health, zero_ns, measure_end_ns),
        steal=steal_share(health, zero_ns, measure_end_ns),
        clock=clock,
    )


def _plan(rundir: RunDir, manifest: Mapping[str, Any]) -> Plan:
    """The plan; MeasurementError where the manifest lacks that or anything else that the account reads."""
    try:
        plan = plan_from_json(manifest["plan"])
        scenario = manifest["scenario"]
        _ = scenario["phases"]["drain"]["quiet_ns"], scenario["phases"]["measure_ns"]
        _ = [scenario["clients"][group.index]["failover"] for group in plan.groups]
    except (KeyError, IndexError, TypeError) as error:
        raise MeasurementError(
            f"{rundir.manifest} is no manifest of a run: {type(error).__name__}: {error}",
            hint="name a run directory, as reports/runs/<scenario>/latest",
        ) from None
    return plan


def _numbered(names: Sequence[str]) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}


def _windows(manifest: Mapping[str, Any], plan: Plan, journals: Journals, measure_end_ns: int) -> Windows:
    channels = _numbered(plan.channels)
    asked = [
        of_group
        for group in plan.groups
        for of_group in [frozenset(channels[name] for name in group.channels)] * group.count
    ]
    return owed_windows(
        journals.events,
        asked,
        quiet_ns=manifest["scenario"]["phases"]["drain"]["quiet_ns"],
        publish_end_ns=measure_end_ns,
        strict=not journals.corrupt,
    )


def _evidence(journals: Journals, plan: Plan) -> Evidence:
    """How complete the journals are. Without an unclosed stripe they are complete: complete_until_ns is None then."""
    open_ended = [stripe for stripe in journals.stripes if not stripe.closed]
    boots = {stripe.header.get("boot_id") for stripe in journals.stripes} - {None}
    names = {node.index: node.id for node in plan.nodes}
    return Evidence(
        stripes=len(journals.stripes),
        torn=sum(stripe.torn for stripe in journals.stripes)
        + sum(node.torn for node in journals.nodes.values())
        + journals.torn_stamps
        + (journals.redis.torn if journals.redis else 0),
        # A torn end of the witness's is its death, which costs sharpness and no more.
        corrupt=sum(stripe.corrupt for stripe in journals.stripes)
        + (journals.witness.corrupt if journals.witness else 0),
        unclosed=len(open_ended),
        complete_until_ns=min((stripe.heartbeat_ns for stripe in open_ended), default=None),
        node_journals=[names[index] for index in sorted(journals.nodes)],
        publisher_journal=any(stripe.header.get("role") == "publishers" for stripe in journals.stripes),
        boot_ids=sorted(map(str, boots)),
        witness=journals.witness is not None and bool(len(journals.witness.up)),
        redis_watch=journals.redis is not None and bool(len(journals.redis.watched)),
        redis_log=journals.redis is not None and journals.redis.log,
        foreign=journals.foreign,
    )


def _blurred(clock: ClockAccount, losses: int) -> Iterator[str]:
    if clock.apart_ns and losses:
        yield (
            f"times of different hosts can be compared to ± {clock.apart_ns / NS_PER_MS:.3g} ms only: a loss so near to"
            " the edge of an outage or a fault may be put down to its neighbour"
        )


def _tally(messages: Messages, phase: Bools, owed: PhaseDebt, came: Counts) -> Tally:
    return Tally(
        published=int(np.count_nonzero(messages.may_exist & phase)),
        owed=owed.owed,
        delivered=came.delivered,
        lost=owed.lost,
        indeterminate=owed.indeterminate,
        duplicated=came.duplicated,
        reordered=came.reordered,
        unexpected=came.unexpected,
        disagreed=came.disagreed,
        corrupted=came.corrupted,
    )


def _publishers(messages: Messages, measure: Bools) -> dict[str, int]:
    """`timed_out` has every publish whose outcome nobody knows."""
    meant = measure & (messages.status != NO_MESSAGE)

    def count(chosen: Bools) -> int:
        return int(np.count_nonzero(chosen & meant))

    unsent = messages.status == Status.UNSENT
    return {
        "planned": count(meant),
        "sent": count(~unsent),
        "unsent": count(unsent),
        "failed": count(messages.status == Status.FAILED),
        "timed_out": count(messages.uncertain),
        "unheard": count(messages.receivers == 0),
    }


def _with_first_messages(outages: Sequence[Outage], first_message_ns: Ints) -> list[Outage]:
    return [
        replace(outage, first_message_ns=None if first == NEVER else first)
        for outage, first in zip(outages, first_message_ns.tolist(), strict=True)
    ]


def _grid(zero_ns: int, end_ns: int) -> Grid:
    """About 200 bins of a round length, none shorter than 50 ms."""
    span_ns = max(1, end_ns - zero_ns)
    wanted_ms = span_ns / _BINS / NS_PER_MS
    step_ms = next((step for step in _BIN_STEPS_MS if step >= wanted_ms), None)
    bin_ns = step_ms * NS_PER_MS if step_ms else -(-span_ns // _BINS // (60 * NS_PER_S)) * 60 * NS_PER_S
    return Grid(zero_ns, bin_ns, -(-span_ns // bin_ns))


def _nothing(plan: Plan, faults: list[FaultAccount], evidence: Evidence, clock: ClockAccount) -> Account:
    """The account of a run that ended before its epoch."""
    clients = sum(group.count for group in plan.groups)
    none: Ints = np.zeros(1, np.int64)
    return Account(
        measure=Tally(),
        warm_up=Tally(),
        losses=np.zeros(0, LOSS_DTYPE),
        by_client={term: np.zeros(clients, np.int64) for term in ("owed", "delivered", "lost")},
        by_stream={term: np.zeros(len(plan.streams), np.int64) for term in ("published", "owed")},
        publishers=dict.fromkeys(("planned", "sent", "unsent", "failed", "timed_out", "unheard"), 0),
        clients=dict.fromkeys(("count", "connected", "reconnects", "never_returned"), 0),
        faults=faults,
        outages=[],
        evidence=evidence,
        latency=LatencyTable.empty(1),
        hops={name: Histogram() for name in ("schedule", "redis", "node", "client")},
        start_ns=0,
        zero_ns=0,
        end_ns=0,
        bin_ns=_BIN_STEPS_MS[0] * NS_PER_MS,
        offered=none,
        delivered=none.copy(),
        lost=none.copy(),
        schedule_lag_p99_ms=None,
        loop_lag_p99_ms=None,
        generator_cpu=None,
        partial=True,
        clock=clock,
    )
