"""How much of the reported latency is the generator's own: what its probes measured, against that. Pure."""

from dataclasses import dataclass

from fanlab.analysis.latency import latency_block, percentile_ms
from fanlab.ledger.histogram import Histogram
from fanlab.ledger.result import Account


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


def _worst(engines: list[Histogram], percent: float) -> float | None:
    found = [value for engine in engines if (value := percentile_ms(engine, percent)) is not None]
    return max(found, default=None)


def _ratio(part_ms: float | None, whole_ms: float | None) -> float | None:
    return None if part_ms is None or not whole_ms else part_ms / whole_ms
