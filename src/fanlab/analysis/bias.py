"""How much of the reported latency is the generator's own: what its probes measured, against that. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fanlab.analysis.case import Case
from fanlab.analysis.latency import latency_block, percentile_ms
from fanlab.clock import NS_PER_S
from fanlab.ledger.histogram import Histogram
from fanlab.ledger.result import Account

_ENOUGH: Final = 20  # messages that a client got: of so many a probe beside it hears some
_SETTLED_NS: Final = 2 * NS_PER_S  # by then a probe is connected, and has told what it heard


@dataclass(frozen=True, slots=True)
class Bias:
    """Percentiles of what the probes measured, of the engine where each is worst; None: too few samples, or no probes.

    `p50_ms` and `p99_ms` are of the bias: how much later than its arrival a message is journaled. `wait_*` are of how
    long it waited for the engine, which is no part of the latency as far as arrivals are stamped. A ratio is that of a
    percentile to the same percentile of the reported latency: with 0.04, about 4 % of what is told of the system is the
    generator's own. It is an estimate: percentiles do not add up.
    """

    n: int
    inferred: int
    p50_ms: float | None
    p99_ms: float | None
    p50_ratio: float | None
    p99_ratio: float | None
    wait_ms: float | None
    wait_p99_ms: float | None


def generator_bias(account: Account) -> Bias:
    """The bias over the measure phase."""
    engines, waits = account.probes.bias, account.probes.waits
    reported = latency_block(account.latency.overall, account.clock)
    p50_ms, p99_ms = (_worst(engines, percent) for percent in (50.0, 99.0))
    return Bias(
        n=sum(engine.n for engine in engines),
        inferred=account.probes.inferred,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        p50_ratio=_ratio(p50_ms, reported["p50"]),
        p99_ratio=_ratio(p99_ms, reported["p99"]),
        wait_ms=_worst(waits, 50.0),
        wait_p99_ms=_worst(waits, 99.0),
    )


def bias_unmeasured(case: Case) -> Iterator[str]:
    """Probes that measured nothing, though clients beside them got enough, for long enough to be sure of it.

    Only what came once probes had the time to connect counts, and of that what they had the time to tell: a short run,
    or one that was quiet but for its beginning or end, is not held against them. Where there can be no probes (no group
    connects at the start, or the system stamps nothing), the report says that there were none.
    """
    account, scenario = case.account, case.manifest["scenario"]
    planned = (scenario.get("evidence") or {}).get("probes")
    stamps = (case.manifest.get("host") or {}).get("system", "Linux") == "Linux"
    groups = case.names.plan.groups
    group = next((one for one in groups if scenario["clients"][one.index].get("join_ns") is None), None)
    if not planned or not stamps or group is None or account.probes.bias:
        return
    of_group = account.by_client["delivered"][group.first_client : group.first_client + group.count]
    most = int(of_group.max(initial=0))
    first = -(-(account.zero_ns + _SETTLED_NS - account.start_ns) // account.bin_ns)
    last = (account.end_ns - _SETTLED_NS - account.start_ns) // account.bin_ns
    settled = int(account.delivered[first : max(first, last)].sum())
    if min(most, settled) >= _ENOUGH:
        yield (
            f"no probe measured anything, though clients of group {group.name!r} got up to {most} messages each: how"
            " much of the latency is the generator's own is not known; see nodes/*.log for what the nodes made of"
            " connections without the header Fanlab-Client, or do without with evidence.probes: 0"
        )


def _worst(engines: list[Histogram], percent: float) -> float | None:
    found = [value for engine in engines if (value := percentile_ms(engine, percent)) is not None]
    return max(found, default=None)


def _ratio(part_ms: float | None, whole_ms: float | None) -> float | None:
    return None if part_ms is None or not whole_ms else part_ms / whole_ms
