"""The verdict: small checkers, each looking for one thing wrong, folded so that the worst one wins.

invalid   the measurement cannot be trusted: it says nothing about the system, good or bad
fail      the measurement stands, and a gate does not, or a node or Redis ended by itself
pass      neither

A checker yields a sentence for each thing that it finds: figures, then what to do. One that raises has found that the
run cannot be judged, so it makes it invalid, never valid.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

import numpy as np

from fanlab.analysis.bias import bias_unmeasured, generator_bias
from fanlab.analysis.cachechecks import cache_identity_fails, caches_unmeasured, caches_without_excuse
from fanlab.analysis.case import BUG, UNKNOWABLE_SHARE, Case, Checker, GateOutcome
from fanlab.analysis.expected import messages_due
from fanlab.analysis.lossparts import parts_of_the_losses
from fanlab.clock import NS_PER_MS
from fanlab.ledger.causes import Cause
from fanlab.ledger.harm import as_it_struck
from fanlab.ledger.odd import Odd
from fanlab.ledger.result import Account, FaultAccount, Tally
from fanlab.scenario.gates import describe, parse_gate
from fanlab.units import format_duration

Outcome = Literal["pass", "fail", "invalid"]
_EARLY_SHARE = 0.01  # a timer may fire a hair early; clocks that differ show in most messages or in none
_KEPT_WAITING = (
    0.2  # a process that waits for a CPU so much of the time would not gain by sharing its work with another
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The worst of what the checkers found, and every sentence behind it, the invalidating ones first."""

    verdict: Outcome
    reasons: tuple[str, ...]


_ENDS: Final[Mapping[str, str]] = {
    "starting": "it was killed before it began",
    "running": "it was killed",
    "aborted": "it was interrupted",
    "failed": "it broke off with an error",
    "stopped": "it was stopped by a gate, and its journals are cut short",
    "complete": "its journals are cut short",
}


def not_complete(case: Case) -> Iterator[str]:
    """An aborted run: what it did not get to see may be what mattered."""
    stopped = case.manifest.get("status") == "stopped" and not case.account.evidence.unclosed
    if not case.complete and not stopped:
        how = _ENDS.get(case.manifest.get("status", ""), "it ended before its time")
        yield f"the run is partial ({how}): run it again to the end"


def nothing_published(case: Case) -> Iterator[str]:
    """A run in which nothing happened."""
    if case.account.measure.published == 0:
        yield "nothing was published in the measure phase: check the publishers' rates, or make `measure` longer"


def publishing_fell_short(case: Case) -> Iterator[str]:
    """Publishers that never began, or stopped early: a slot that nobody came to leaves no record that it was missed."""
    due, slack = _due_in_measure(case, None, 0)
    planned = case.account.publishers["planned"]
    if case.complete and 0 < planned < due - slack:
        yield (
            f"the publishers came to {planned} of about {due:.0f} slots of the measure phase: the offered load was not"
            " the scenario's, see the logs of the load"
        )


def nothing_owed(case: Case) -> Iterator[str]:
    """A run that owed nobody anything can lose nothing, so it tested nothing; unless that was the question."""
    asked = any(gate.ok and _asks_for_nothing(gate.expr) for gate in case.gates)
    if case.account.measure.owed == 0 and not asked:
        yield (
            "no client was owed a single message, so nothing was tested: subscribe clients to the channels published on"
            " (if nobody listening is the question, say so with the gate `ledger.owed == 0`)"
        )


def _asks_for_nothing(expr: str) -> bool:
    gate = parse_gate(expr)
    return (gate.field, gate.op, gate.threshold) == ("ledger.owed", "==", 0)


def too_little_known(case: Case) -> Iterator[str]:
    """A run whose publishes had no reply: what is neither delivered nor lost can break no gate."""
    measure = case.account.measure
    if case.complete and measure.indeterminate > measure.owed * UNKNOWABLE_SHARE:
        yield (
            f"of {measure.owed} deliveries owed {measure.indeterminate} are indeterminate, too many to judge by the"
            f" rest: {case.account.publishers['timed_out']} publishes had no reply, see the log of Redis"
        )


def identity_fails(case: Case) -> Iterator[str]:
    """The ledger's own arithmetic, and its parts against its totals."""
    for phase, tally in (("measure", case.account.measure), ("warm-up", case.account.warm_up)):
        if not tally.balanced:
            yield f"the ledger of the {phase} phase does not balance: {_identity(tally)}; {BUG}"
        if min(tally.owed, tally.delivered, tally.lost, tally.indeterminate) < 0:
            yield f"the ledger of the {phase} phase has a negative term: {_identity(tally)}; {BUG}"
    measure = case.account.measure
    if len(case.account.losses) != measure.lost:
        yield f"the ledger lists {len(case.account.losses)} losses and counts {measure.lost}; {BUG}"
    else:
        yield from islice(parts_of_the_losses(case), 1)  # a row that is wrong is wrong in more than one way
    for term in ("owed", "delivered", "lost"):
        over_clients, total = int(case.account.by_client[term].sum()), getattr(measure, term)
        if over_clients != total:
            yield f"{term} is {over_clients} over the clients and {total} in all; {BUG}"
    for kind in Odd:
        listed, total = int(np.count_nonzero(case.account.odd["kind"] == kind)), getattr(measure, kind.label)
        if listed != total:
            yield f"the ledger lists {listed} deliveries as {kind.label} and counts {total}; {BUG}"


def clients_missing(case: Case) -> Iterator[str]:
    """Clients that never took part, and clients that came after measuring began."""
    count, connected = case.account.clients["count"], case.account.clients["connected"]
    planned = case.names.clients()
    if count < planned:
        yield f"only {count} of {planned} planned clients were started: raise spawn_rate, or see the logs of the load"
    if connected < count:
        yield f"{count - connected} of {count} clients never connected: look at nodes/*.log and at `ulimit -n`"
    owed = case.account.by_client["owed"]
    for group in case.names.plan.groups:
        join_ns = case.manifest["scenario"]["clients"][group.index].get("join_ns")  # they come late on purpose
        due, slack = _due_in_measure(case, group.channels, join_ns or 0)
        if due < 1:
            continue
        of_group = owed[group.first_client : group.first_client + group.count]
        most = int(of_group.max(initial=0))
        if most == 0:
            yield f"no client of group {group.name!r} was ever owed a message: none of its {group.count} subscribed"
        elif join_ns is None and (late := int(np.count_nonzero(of_group < max(most, due - slack)))) > 0:
            yield (
                f"{late} of {group.count} clients of group {group.name!r} were not subscribed when measuring began:"
                " raise spawn_rate, or make warm_up longer"
            )


def slots_unsent(case: Case) -> Iterator[str]:
    """The offered load was not the planned one, through the generator's fault."""
    publishers = case.account.publishers
    if publishers["unsent"] > 0:
        yield (
            f"the generator left {publishers['unsent']} of {publishers['planned']} messages unsent:"
            f" {_less_load(case.manifest)}"
        )


def faults_without_effect(case: Case) -> Iterator[str]:
    """A planned fault that nobody saw bite, or heal where it was to heal."""
    stamped = {fault.id: fault for fault in case.account.faults}
    planned = {fault["id"]: fault for fault in case.manifest.get("faults") or ()}
    whys = {failure["fault"]: failure["why"] for failure in case.manifest.get("fault_failures") or ()}
    for id_, plan in planned.items():
        fault = stamped.get(id_) or FaultAccount(id=id_, kind=plan["kind"], target=plan["target"])
        name = case.names.fault(fault)
        why = f" ({whys[id_]})" if id_ in whys else ""
        if fault.requested_ns is None:
            yield f"the fault {name} was never injected{why}: the run ended before its time"
        elif fault.confirmed_ns is None:
            yield f"the fault {name} did not take hold{why}: no probe saw its effect, see the log of its target"
        elif plan["for_ns"] and fault.heal_confirmed_ns is None:  # 0: the system itself is to mend it, or not
            yield (
                f"the fault {name} was to heal after {format_duration(plan['for_ns'])} and no probe saw it"
                f" healed{why}: see the log of its target"
            )
    for id_ in stamped.keys() - planned.keys():
        yield f"the fault {case.names.fault(stamped[id_])} was injected but is not in the manifest's timeline"


def generator_saturated(case: Case) -> Iterator[str]:
    """Past the scenario's limits the generator made the figures, not the system. Unmeasured is no better."""
    if case.simulated:
        return  # there was none: the summary's evidence says so
    account, limits = case.account, case.manifest["scenario"]["limits"]
    advice = _more_room(case)
    lags = [("schedule lag", "schedule_lag_p99", account.schedule_lag_p99_ms, account.publishers["sent"])]
    lags.append(("event loop lag", "loop_lag_p99", account.loop_lag_p99_ms, case.names.clients()))
    for what, limit, value_ms, at_work in lags:
        limit_ms = limits[f"{limit}_ns"] / NS_PER_MS
        if value_ms is None and at_work:
            yield f"the generator's {what} was not measured, so nothing says that it kept up: let it run longer"
        elif value_ms is not None and not value_ms <= limit_ms:
            yield f"the generator was saturated: {what} p99 {value_ms:.1f} ms, limit {limit_ms:g} ms: {advice}"
    if account.generator_cpu is None:
        yield "the generator's CPU was not measured, so nothing says that it kept up: let it run longer"
    elif not account.generator_cpu <= limits["cpu"]:
        yield (
            f"the generator was saturated: its busiest process used {account.generator_cpu:.0%} of a core,"
            f" limit {limits['cpu']:.0%}: {advice}"
        )
    bias_ms, limit_ms = generator_bias(account).p99_ms, limits["bias_p99_ns"] / NS_PER_MS
    if bias_ms is not None and not bias_ms <= limit_ms:
        yield (
            "the generator was saturated: messages are told to have come later than the kernel had them, p99"
            f" {bias_ms:.1f} ms, limit {limit_ms:g} ms: {advice}"
        )
    if account.steal is not None and not account.steal <= limits["steal"]:
        yield (
            f"other virtual machines took {account.steal:.0%} of this machine's CPU, limit {limits['steal']:.0%}: the"
            " latencies are theirs; run again when they are quiet, or on a machine of its own"
        )
    if own := int(np.count_nonzero(account.losses["cause"] == Cause.GENERATOR_FAULT)):
        yield f"{own} of {len(account.losses)} losses are the generator's own doing: {advice}"


def journals_damaged(case: Case) -> Iterator[str]:
    """Evidence that is missing where no fault explains it."""
    evidence = case.account.evidence
    if evidence.corrupt:
        yield f"{evidence.corrupt} journal frames are corrupt: check the disk, then run again"
    # A node killed in mid-write may leave one torn line each time; fanlab's own processes are not targets.
    struck = map(as_it_struck, case.account.faults)
    kills = sum(fault.kind == "crash" and fault.requested_ns is not None for fault in struck)
    if evidence.torn > kills:
        yield f"{evidence.torn} journal records are torn and the faults explain {kills}: was the disk full?"
    if case.complete and evidence.unclosed:
        yield f"{evidence.unclosed} of {evidence.stripes} journals have no orderly end: a load process died"
    if not evidence.publisher_journal:
        yield "there is no publisher journal, so what was owed is not known: see the logs of the load"
    if silent := sorted(set(case.manifest.get("journaling_nodes") or ()) - set(evidence.node_journals)):
        yield f"{', '.join(silent)} should keep a journal and left none, so causes are guessed: see nodes/*.log"
    if evidence.contradictions:
        yield (
            f"{evidence.contradictions} deliveries are of messages whose publish is known to have failed, so the"
            f" publishers' journal cannot be trusted; {BUG}"
        )


def checkers_differ(case: Case) -> Iterator[str]:
    """With `--trace` a second checker counts everything once more: where it differs, nobody knows which is right."""
    told = case.manifest.get("crosscheck")
    if told is not None and not told["agrees"]:
        yield (
            f"the ledger and its second checker in SQL differ in {told['counts']} counts and"
            f" {told['messages']} messages, see `fanlab crosscheck`; {BUG}"
        )


def drain_cut_short(case: Case) -> Iterator[str]:
    """What was still under way when the drain gave up may have been late or lost: nobody knows."""
    ended_by = case.manifest["phases"].get("drain_ended_by")
    drain = case.manifest["scenario"]["phases"]["drain"]
    if ended_by == "deadline":
        yield (
            f"the drain ended at its deadline of {format_duration(drain['deadline_ns'])} with messages still arriving:"
            " what was under way is indeterminate; raise phases.drain.deadline"
        )
    elif ended_by is None and case.complete:
        yield "the manifest does not say how the drain ended: whether everything arrived is not known"


def clocks_differ(case: Case) -> Iterator[str]:
    """Times are only comparable on one boot's monotonic clock, and nothing arrives before it is sent."""
    booted = {*case.account.evidence.boot_ids, (case.manifest.get("clock") or {}).get("boot_id")} - {None}
    clock = case.account.clock
    if len(booted) > 1 and clock.basis != "exchange":
        yield f"the journals come from {len(booted)} boots, whose clocks cannot be compared: run on one machine"
    elif len(booted) > 1 and case.complete:
        yield from _not_compared_to_the_end(case.manifest)
    for contradiction in clock.contradictions:
        yield f"the clocks cannot be trusted: {contradiction}; is a virtual machine being moved? run again"
    latency = case.account.latency.overall
    if clock.basis != "exchange" and latency.clamped > latency.n * _EARLY_SHARE:
        yield (
            f"{latency.clamped} of {latency.n} deliveries arrived before they were to be sent: the clocks of publisher"
            " and client differ; run on one machine"
        )


def _not_compared_to_the_end(manifest: Mapping[str, Any]) -> Iterator[str]:
    """An offset is known between two moments, and drifts on after the last one."""
    moments: dict[str, set[str]] = {}
    for line in (manifest.get("clock") or {}).get("exchanges") or ():
        moments.setdefault(line["unit"], set()).add(line["moment"])
    for unit, compared in sorted(moments.items()):
        if missing := sorted({"before", "after"} - compared):
            yield (
                f"the clock of {unit} was not compared {' and '.join(missing)} the run: nobody knows how it drifted;"
                " is the network between the hosts overloaded?"
            )


def gates_not_met(case: Case) -> Iterator[str]:
    """The scenario's own conditions."""
    for gate in case.gates:
        if not gate.ok:
            yield f"gate not met: {gate.expr} (it is {describe(parse_gate(gate.expr), gate.actual)})"


def stopped_by_a_gate(case: Case) -> Iterator[str]:
    """A gate that was to end the run as soon as it failed, and did."""
    if (stop := case.manifest.get("stopped")) is not None:
        value = describe(parse_gate(stop["expr"]), stop["actual"])
        yield f"stopped at {stop['t_s']:.1f} s by the gate {stop['expr']} (it was {value} by then)"


def ended_unasked(case: Case) -> Iterator[str]:
    """A node or a Redis that ended though no fault ended it: whatever the gates are, this is a failure."""
    for death in case.manifest.get("unplanned_exits") or ():
        when = "" if death["t_s"] is None else f" at {death['t_s']:.2f} s"
        yield f"{death['unit']} ended by itself{when} (status {death['status']}): see nodes/{death['unit']}.log"


INVALIDATING: Final[tuple[Checker, ...]] = (
    not_complete,
    nothing_published,
    publishing_fell_short,
    nothing_owed,
    too_little_known,
    identity_fails,
    cache_identity_fails,
    caches_unmeasured,
    clients_missing,
    slots_unsent,
    faults_without_effect,
    generator_saturated,
    bias_unmeasured,
    journals_damaged,
    checkers_differ,
    drain_cut_short,
    clocks_differ,
)
FAILING: Final[tuple[Checker, ...]] = (stopped_by_a_gate, gates_not_met, caches_without_excuse, ended_unasked)
# What is missing at the end of a run that was cut short is no finding of its own, and advice on it would be wrong.
NEEDS_THE_END: Final = frozenset(
    {nothing_published, nothing_owed, clients_missing, faults_without_effect, gates_not_met}
)


def judge(
    account: Account,
    manifest: Mapping[str, Any],
    gates: Sequence[GateOutcome],
    *,
    invalidating: Sequence[Checker] = INVALIDATING,
    failing: Sequence[Checker] = FAILING,
) -> Verdict:
    """Fold all checkers: invalid if one of `invalidating` found something or raised, else fail, else pass."""
    case = Case(account, manifest, gates)
    if not case.complete:
        invalidating = [checker for checker in invalidating if checker not in NEEDS_THE_END]
        failing = [checker for checker in failing if checker not in NEEDS_THE_END]
    doubts = [reason for checker in invalidating for reason in _findings(checker, case)[0]]
    failures: list[str] = []
    for checker in failing:
        found, crashed = _findings(checker, case)
        (doubts if crashed else failures).extend(found)
    verdict: Outcome = "invalid" if doubts else "fail" if failures else "pass"
    return Verdict(verdict, (*doubts, *failures))


def _findings(checker: Checker, case: Case) -> tuple[list[str], bool]:
    """What a checker found, and whether it crashed."""
    try:
        return list(checker(case)), False
    except Exception as error:  # noqa: BLE001 - a checker that cannot judge must not let the run pass
        name = getattr(checker, "__name__", repr(checker))
        return [f"the check {name} could not be made ({type(error).__name__}: {error}): please report it"], True


def _due_in_measure(case: Case, channels: Sequence[str] | None, after_ns: int) -> tuple[float, float]:
    """Messages planned for `channels` (None: all) in the measure phase, from `after_ns` (since time 0) on, on average.

    The second figure is how many fewer there may be by the schedules' own making: by where the phase cuts them, and by
    chance (six standard deviations of a Poisson stream).
    """
    scenario = case.manifest["scenario"]
    start_ns = scenario["phases"]["warm_up_ns"] + after_ns
    end_ns = max(start_ns, scenario["phases"]["warm_up_ns"] + scenario["phases"]["measure_ns"])
    due = cut = chance = 0.0
    for stream in case.names.plan.streams:
        if channels is None or stream.channel in channels:
            rate = scenario["publishers"][stream.config]["rate"]
            of_stream = messages_due(rate, start_ns, end_ns)
            due += of_stream
            cut += max(2.0, rate.get("size", 0))  # a burst comes whole or not at all
            chance += of_stream if rate["kind"] == "poisson" else 0.0
    return due, cut + 6 * math.sqrt(chance)


def _identity(tally: Tally) -> str:
    return f"owed {tally.owed}, delivered {tally.delivered} + lost {tally.lost} + indeterminate {tally.indeterminate}"


def _more_room(case: Case) -> str:
    """What to do about a generator that did not keep up: it had too much to do, or others had its CPU."""
    waited = case.account.cpu_wait
    if waited is None or waited < _KEPT_WAITING:
        return _less_load(case.manifest)
    return (
        f"others had its CPU for {waited:.0%} of the time: free a core for it (end other work on this machine, or run"
        " fewer nodes), or lower the rate or the number of clients"
    )


def _less_load(manifest: Mapping[str, Any]) -> str:
    return f"use --workers {int(manifest.get('workers') or 1) + 1}, or lower the rate or the number of clients"
