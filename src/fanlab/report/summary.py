"""summary.json from an account: figures first, then the gates on them, then the verdict. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fanlab.analysis.bias import generator_bias
from fanlab.analysis.case import GateOutcome
from fanlab.analysis.expected import loss_by_outage
from fanlab.analysis.latency import latency_block
from fanlab.analysis.names import Names, names_of
from fanlab.analysis.parts import by_channel, by_group, by_node
from fanlab.analysis.recovery import recovery_summary
from fanlab.analysis.verdict import judge
from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.ledger.cached import CacheAccount, MissCause, MissHop, NodeCache
from fanlab.ledger.causes import Cause, Hop
from fanlab.ledger.clocks import ClockAccount
from fanlab.ledger.histogram import Histogram
from fanlab.ledger.odd import CopyCause, Odd
from fanlab.ledger.result import Account, Tally
from fanlab.report.schema import (
    SCHEMA_VERSION,
    CacheBlock,
    CacheNodeBlock,
    ClientsBlock,
    ClockBlock,
    DuplicatesBlock,
    EvidenceBlock,
    FaultBlock,
    FaultLoss,
    GeneratorBlock,
    HopsBlock,
    LedgerBlock,
    LossBlock,
    LossExample,
    LossKind,
    Measured,
    PhasesBlock,
    PublishersBlock,
    Summary,
)
from fanlab.scenario.gates import evaluate, in_force, parse_gate

SIMULATED = (
    "nothing here was measured: the run was simulated from a model, so the checks on the generator (its CPU, its lags,"
    " its bias) and on other machines' CPU do not apply, and no Redis was watched"
)

GateKeeper = Callable[[Sequence[str], Mapping[str, Any]], Sequence[GateOutcome]]


def evaluate_gates(expressions: Sequence[str], measured: Mapping[str, Any]) -> Sequence[GateOutcome]:
    """Each gate in force, the implied ones too, against what was measured. Raises what `parse_gate` raises."""
    return [evaluate(parse_gate(expression), measured) for expression in in_force(expressions)]


def make_summary(
    account: Account, manifest: Mapping[str, Any], *, evaluate_gates: GateKeeper = evaluate_gates
) -> Summary:
    """The summary of a run. Raises KeyError for a manifest that lacks its plan or its scenario."""
    measured = measure(account, manifest)
    gates = evaluate_gates(manifest["scenario"]["gates"], measured)
    verdict = judge(account, manifest, gates)
    return {
        "schema_version": measured["schema_version"],
        "scenario": measured["scenario"],
        "backend": measured["backend"],
        "seed": measured["seed"],
        "partial": measured["partial"],
        "verdict": verdict.verdict,  # a reader of the file wants it before the figures
        "reasons": list(verdict.reasons),
        "ledger": measured["ledger"],
        "warm_up": measured["warm_up"],
        "by_node": measured["by_node"],
        "by_channel": measured["by_channel"],
        "by_group": measured["by_group"],
        "loss": measured["loss"],
        "duplicates": measured["duplicates"],
        "latency_ms": measured["latency_ms"],
        "hops_ms": measured["hops_ms"],
        "publishers": measured["publishers"],
        "clients": measured["clients"],
        "recovery_ms": measured["recovery_ms"],
        "cache": measured["cache"],
        "generator": measured["generator"],
        "clock": measured["clock"],
        "faults": measured["faults"],
        "gates": [{"expr": gate.expr, "actual": _json(gate.actual), "ok": gate.ok} for gate in gates],
        "phases": measured["phases"],
        "evidence": measured["evidence"],
    }


def measure(account: Account, manifest: Mapping[str, Any]) -> Measured:
    """The part of the summary that holds figures, without a judgement."""
    names = names_of(manifest)
    return {
        "schema_version": SCHEMA_VERSION,
        "scenario": manifest["scenario"]["name"],
        "backend": manifest["backend"],
        "seed": manifest["seed"],
        "partial": account.partial or manifest["status"] != "complete",
        "ledger": _ledger(account.measure),
        "warm_up": _ledger(account.warm_up),
        "by_node": by_node(account, names),
        "by_channel": by_channel(account, names),
        "by_group": by_group(account, names),
        "loss": _loss(account, manifest, names),
        "duplicates": _duplicates(account),
        "latency_ms": latency_block(account.latency.overall, account.clock),
        "hops_ms": _hops(account.hops, account.clock),
        "publishers": _publishers(account.publishers),
        "clients": _clients(account.clients),
        "recovery_ms": recovery_summary(account, names),
        "cache": None if account.caches is None else _cache(account.caches),
        "generator": _generator(account),
        "clock": clock_block(account),
        "faults": _faults(account, names),
        "phases": _phases(manifest),
        "evidence": _evidence(account, manifest),
    }


def _ledger(tally: Tally) -> LedgerBlock:
    return {
        "published": tally.published,
        "owed": tally.owed,
        "delivered": tally.delivered,
        "lost": tally.lost,
        "indeterminate": tally.indeterminate,
        "duplicated": tally.duplicated,
        "reordered": tally.reordered,
        "unexpected": tally.unexpected,
        "disagreed": tally.disagreed,
        "corrupted": tally.corrupted,
    }


def _loss(account: Account, manifest: Mapping[str, Any], names: Names) -> LossBlock:
    losses, tally = account.losses, account.measure
    by_cause = {cause.label: int(np.count_nonzero(losses["cause"] == cause)) for cause in Cause}
    by_node = {node.id: 0 for node in names.plan.nodes} | _counted(losses["node"], names.node)
    by_channel = dict.fromkeys(names.plan.channels, 0)
    for stream, count in _numbered(losses["stream"]):
        channel = names.channel_of(stream)
        by_channel[channel] = by_channel.get(channel, 0) + count
    from_outages = loss_by_outage(account, manifest, names)
    by_fault = [
        FaultLoss(
            fault=names.fault(fault),
            predicted=_json(fault.predicted),
            predicted_from_outage=None if from_outage is None else round(from_outage, 1),
            measured=fault.measured,
        )
        for fault, from_outage in zip(account.faults, from_outages, strict=True)
    ]
    return {
        "ratio": tally.lost / tally.owed if tally.owed else None,
        "by_hop": {hop.label: int(np.count_nonzero(losses["hop"] == hop)) for hop in Hop},
        "by_cause": by_cause,
        "by_hop_and_cause": _kinds(losses, names),
        "by_node": by_node,
        "by_channel": by_channel,
        "by_fault": by_fault,
        "outside_faults": int(np.count_nonzero(losses["fault"] < 0)),
        "unexplained": by_cause[Cause.UNEXPLAINED.label],
    }


def _kinds(losses: NDArray[Any], names: Names) -> list[LossKind]:
    """Each hop and cause that lost anything, along the way of a message, the most first; examples are the earliest."""
    kind = (losses["hop"].astype(np.int64) << 8) | losses["cause"]
    kinds, first, counts = np.unique(kind, return_index=True, return_counts=True)
    order = sorted(range(len(kinds)), key=lambda at: (kinds[at] >> 8 or len(Hop), -counts[at]))
    return [
        LossKind(
            hop=Hop(int(kinds[at]) >> 8).label,
            cause=Cause(int(kinds[at]) & 0xFF).label,
            lost=int(counts[at]),
            example=_example(losses[first[at]], names),
        )
        for at in order
    ]


def _example(loss: Any, names: Names) -> LossExample:
    stream = int(loss["stream"])
    return {
        "client": int(loss["client"]),
        "publisher": names.publisher_of(stream),
        "channel": names.channel_of(stream),
        "seq": int(loss["seq"]),
    }


def _duplicates(account: Account) -> DuplicatesBlock:
    copies = account.odd[account.odd["kind"] == Odd.DUPLICATED]
    return {"by_cause": {cause.label: int(np.count_nonzero(copies["cause"] == cause)) for cause in CopyCause}}


def _counted(values: NDArray[Any], name: Callable[[int], str]) -> dict[str, int]:
    return {name(value): count for value, count in _numbered(values)}


def _numbered(values: NDArray[Any]) -> list[tuple[int, int]]:
    """Each value with how often it occurs."""
    found, counts = np.unique(values, return_counts=True)
    return list(zip(found.tolist(), counts.tolist(), strict=True))


def _hops(hops: Mapping[str, Histogram], clock: ClockAccount) -> HopsBlock:
    """Each between the clocks of its ends: nodes' journals have the harness' own."""
    to_node = replace(clock, span=None if clock.publishers is None else clock.publishers.turned)
    to_client = replace(clock, span=clock.clients)
    return {
        "schedule": latency_block(hops["schedule"]),
        "redis": latency_block(hops["redis"], to_node),
        "node": latency_block(hops["node"]),
        "client": latency_block(hops["client"], to_client),
    }


def _publishers(counts: Mapping[str, int]) -> PublishersBlock:
    return {
        "planned": counts["planned"],
        "sent": counts["sent"],
        "unsent": counts["unsent"],
        "failed": counts["failed"],
        "timed_out": counts["timed_out"],
        "unheard": counts["unheard"],
    }


def _clients(counts: Mapping[str, int]) -> ClientsBlock:
    return {
        "count": counts["count"],
        "connected": counts["connected"],
        "reconnects": counts["reconnects"],
        "never_returned": counts["never_returned"],
    }


def _cache(caches: CacheAccount) -> CacheBlock:
    tally, misses = caches.tally, caches.misses
    answered = tally.reads - tally.reads_failed
    return {
        "updates": caches.updates,
        "owed": tally.owed,
        "refreshed": tally.refreshed,
        "missed": tally.missed,
        "indeterminate": tally.indeterminate,
        "by_hop": {hop.label: int(np.count_nonzero(misses["hop"] == hop)) for hop in MissHop},
        "by_cause": {cause.label: int(np.count_nonzero(misses["cause"] == cause)) for cause in MissCause},
        "wrong_for_good": tally.wrong_for_good,
        "empty_at_end": tally.empty_at_end,
        "reads": tally.reads,
        "reads_failed": tally.reads_failed,
        "reads_missing": tally.reads_missing,
        "stale_reads": tally.stale_reads,
        "stale_reads_lost": tally.stale_reads_lost,
        "stale_reads_withheld": tally.stale_reads_withheld,
        "stale_ratio": tally.stale_reads / answered if answered else None,
        "staleness_ms": latency_block(caches.staleness),
        "refresh_ms": latency_block(caches.refresh),
        "by_node": {name: _cache_of(node) for name, node in caches.nodes.items()},
    }


def _cache_of(node: NodeCache) -> CacheNodeBlock:
    tally = node.tally
    return {
        "owed": tally.owed,
        "refreshed": tally.refreshed,
        "missed": tally.missed,
        "indeterminate": tally.indeterminate,
        "wrong_for_good": tally.wrong_for_good,
        "empty_at_end": tally.empty_at_end,
        "reads": tally.reads,
        "reads_failed": tally.reads_failed,
        "reads_missing": tally.reads_missing,
        "stale_reads": tally.stale_reads,
        "stale_reads_lost": tally.stale_reads_lost,
        "stale_reads_withheld": tally.stale_reads_withheld,
        "refresh_ms": latency_block(node.refresh),
    }


def _generator(account: Account) -> GeneratorBlock:
    bias = generator_bias(account)
    return {
        "cpu": _rounded(account.generator_cpu),
        "schedule_lag_p99_ms": _rounded(account.schedule_lag_p99_ms),
        "loop_lag_p99_ms": _rounded(account.loop_lag_p99_ms),
        "bias_ms": _rounded(bias.p50_ms),
        "bias_p99_ms": _rounded(bias.p99_ms),
        "bias_n": bias.n,
        "bias_inferred": bias.inferred,
        "bias_ratio": _rounded(bias.p50_ratio),
        "bias_p99_ratio": _rounded(bias.p99_ratio),
        "wait_ms": _rounded(bias.wait_ms),
        "wait_p99_ms": _rounded(bias.wait_p99_ms),
        "cpu_wait": _rounded(account.cpu_wait),
        "gc_max_ms": _rounded(account.gc_max_ms),
        "steal": _rounded(account.steal),
    }


def clock_block(account: Account) -> ClockBlock:
    """What the summary says of the clocks."""
    clock = account.clock
    return {
        "basis": clock.basis,
        "offset_ms": _rounded(clock.span.offset_ns / NS_PER_MS if clock.span else None),
        "bound_ms": _rounded(clock.span.bound_ns / NS_PER_MS if clock.span else None),
        "drift_ppm": _rounded(clock.drift_ppm),
        "exchanges": clock.exchanges,
    }


def _faults(account: Account, names: Names) -> list[FaultBlock]:
    zero_ns = account.zero_ns
    return [
        {
            "fault": names.fault(fault),
            "kind": fault.kind,
            "target": fault.target,
            "requested": _seconds(fault.requested_ns, zero_ns),
            "confirmed": _seconds(fault.confirmed_ns, zero_ns),
            "heal_requested": _seconds(fault.heal_requested_ns, zero_ns),
            "heal_confirmed": _seconds(fault.heal_confirmed_ns, zero_ns),
        }
        for fault in account.faults
    ]


def _phases(manifest: Mapping[str, Any]) -> PhasesBlock:
    planned, seen = manifest["scenario"]["phases"], manifest["phases"]
    return {
        "warm_up_s": planned["warm_up_ns"] / NS_PER_S,
        "measure_s": planned["measure_ns"] / NS_PER_S,
        "drain_s": _seconds(seen["drain_end_ns"], seen["measure_end_ns"]),
        "drain_ended_by": seen["drain_ended_by"],
    }


def _evidence(account: Account, manifest: Mapping[str, Any]) -> EvidenceBlock:
    evidence = account.evidence
    return {
        "stripes": evidence.stripes,
        "torn": evidence.torn,
        "corrupt": evidence.corrupt,
        "unclosed": evidence.unclosed,
        "complete_until_s": _seconds(evidence.complete_until_ns, manifest["phases"]["zero_ns"]),
        "node_journals": list(evidence.node_journals),
        "publisher_journal": evidence.publisher_journal,
        "contradictions": evidence.contradictions,
        "early": account.latency.overall.clamped,
        "witness": evidence.witness,
        "redis_watch": evidence.redis_watch,
        "redis_log": evidence.redis_log,
        "foreign": evidence.foreign,
        "crosscheck": _crosscheck(manifest),
        "coarse": [*evidence.coarse, *([SIMULATED] if manifest["backend"] == "simulate" else [])],
    }


def _crosscheck(manifest: Mapping[str, Any]) -> Literal["agrees", "differs"] | None:
    told = manifest.get("crosscheck")
    return None if told is None else "agrees" if told["agrees"] else "differs"


def _seconds(t_ns: int | None, from_ns: int | None) -> float | None:
    """None where either is not known: a run that ended before its time 0 has no times."""
    return None if t_ns is None or from_ns is None else round((t_ns - from_ns) / NS_PER_S, 6)


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 6)


def _json(value: Any) -> Any:
    """A value that JSON can hold: no NaN, no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
