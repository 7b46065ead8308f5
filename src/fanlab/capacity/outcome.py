"""What one run of a search says of its load: met, missed, unsteady, or nothing, and why. Pure.

Whether the generator was saturated comes first: then neither a miss nor a success is the system's. What makes a run
invalid otherwise makes it worthless here, too, but for one: a drain that ended at its deadline is the backlog of a load
that was too much. The gates of the file itself decide nothing; the objective does. A gate of it without a value is no
miss: the run says nothing of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from fanlab.analysis.bias import bias_unmeasured
from fanlab.analysis.case import Checker
from fanlab.analysis.saturation import Saturation
from fanlab.analysis.steady import Steadiness
from fanlab.analysis.verdict import (
    INVALIDATING,
    drain_cut_short,
    ended_unasked,
    generator_saturated,
    judge,
    slots_unsent,
    too_little_known,
)
from fanlab.capacity.search import Outcome
from fanlab.clock import NS_PER_S
from fanlab.ledger.result import Account
from fanlab.scenario.gates import Gate, GateResult, describe, evaluate

_GENERATOR: Final[tuple[Checker, ...]] = (generator_saturated, slots_unsent, bias_unmeasured)
_BACKLOG: Final[tuple[Checker, ...]] = (drain_cut_short, too_little_known)
_CHECKS: Final[tuple[tuple[Outcome, Sequence[Checker]], ...]] = (
    ("generator", _GENERATOR),
    ("broken", tuple(checker for checker in INVALIDATING if checker not in (*_GENERATOR, *_BACKLOG))),
    ("missed", (ended_unasked,)),
    ("unsteady", _BACKLOG),
)


@dataclass(frozen=True, slots=True)
class Judged:
    """The outcome with its reason, and how each gate of the objective went."""

    outcome: Outcome
    why: str
    slo: tuple[GateResult, ...]


def judged(
    account: Account, manifest: Mapping[str, Any], summary: Mapping[str, Any], slo: Sequence[Gate], steady: Steadiness
) -> Judged:
    """The outcome of a run."""
    results = tuple(evaluate(gate, summary) for gate in slo)
    outcome, why = next(_findings(account, manifest, slo, results, steady=steady))
    return Judged(outcome, why, results)


def _findings(
    account: Account,
    manifest: Mapping[str, Any],
    slo: Sequence[Gate],
    results: Sequence[GateResult],
    *,
    steady: Steadiness,
) -> Iterator[tuple[Outcome, str]]:
    """What speaks against the load, the weightiest first; at last that nothing does."""
    for outcome, checkers in _CHECKS:
        for reason in judge(account, manifest, (), invalidating=checkers, failing=()).reasons:
            yield outcome, reason
    told = [(gate, result.actual) for gate, result in zip(slo, results, strict=True) if not result.ok]
    for gate, actual in told:
        if actual is not None:
            yield "missed", f"{gate.expr}: it is {describe(gate, actual)}"
    if steady.steady is False:
        yield "unsteady", steady.why
    for gate, _ in told:
        why = "it is not known: too few samples, or nothing of the kind happened; make phases.measure longer"
        yield "broken", f"{gate.expr}: {why}"
    yield "met", steady.why


def record(
    account: Account,
    manifest: Mapping[str, Any],
    summary: Mapping[str, Any],
    *,
    judgement: Judged,
    steady: Steadiness,
    saturated: Saturation,
) -> dict[str, Any]:
    """What probes.jsonl keeps of a run: the outcome and the figures behind it; rates are those of the measure phase."""
    measure_ns = manifest["scenario"]["phases"]["measure_ns"]
    measure_s = measure_ns / NS_PER_S
    bins = min(int(measure_ns // account.bin_ns), len(account.delivered))
    ledger, latency = summary["ledger"], summary["latency_ms"]
    in_time_s = bins * account.bin_ns / NS_PER_S
    return {
        "outcome": judgement.outcome,
        "why": judgement.why,
        "slo": [asdict(result) for result in judgement.slo],
        "published_per_s": round(ledger["published"] / measure_s, 6),
        "owed_per_s": round(ledger["owed"] / measure_s, 6),
        "delivered_per_s": round(float(account.delivered[:bins].sum()) / in_time_s, 6) if in_time_s else None,
        "lost": ledger["lost"],
        "p50_ms": latency["p50"],
        "p99_ms": latency["p99"],
        "steady": asdict(steady),
        "saturation": saturation_json(saturated),
        "verdict": summary["verdict"],
    }


def saturation_json(found: Saturation) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "sentence": found.sentence,
        "named": None if found.named is None else asdict(found.named),
        "next": None if found.next is None else asdict(found.next),
        "slowest_hop": found.slowest_hop,
        "caveat": found.caveat,
        "parts": [asdict(part) for part in found.parts],
    }
