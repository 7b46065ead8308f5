"""Latency figures from histograms, none of them from too few samples.

A percentile p is given from n >= 1 / (1 - p) samples on, so that at least one sample lies beyond it: p50 from 2, p90
from 10, p95 from 20, p99 from 100, p99.9 from 1000. Below that the same number would be the maximum under another
name. The maximum is given from one sample on, and n always.

Where the clocks at both ends are not one, the offset between them was estimated, and each figure is moved by it. What
is then not above the estimate's bound is not given: it may as well be 0. (`clock` is that of both
ends: of a hop, its own ends'. The caches' times are as their clocks have them.)
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict

import numpy as np

from fanlab.analysis.series import Floats
from fanlab.clock import NS_PER_MS
from fanlab.ledger.clocks import ClockAccount
from fanlab.ledger.histogram import Histogram

NEEDED: Final = {50.0: 2, 90.0: 10, 95.0: 20, 99.0: 100, 99.9: 1000}
_PERCENTS: Final = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
_STEPS_PER_DECADE = 20  # points of the spectrum between 90 and 99, 99 and 99.9 …
_ECDF_POINTS = 400


class LatencyBlock(TypedDict):
    """Percentiles in ms of n samples; None: too few samples for it."""

    n: int
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    p999: float | None
    max: float | None


def percentile_ms(histogram: Histogram, percent: float, clock: ClockAccount | None = None) -> float | None:
    """One of the percentiles of NEEDED in ms; None under its number of samples, or not above the clocks' bound."""
    return _ranked_ms(histogram, percent, clock) if histogram.n >= NEEDED[percent] else None


def latency_block(histogram: Histogram, clock: ClockAccount | None = None) -> LatencyBlock:
    """The block that summary.json has for one histogram; `clock` for one whose ends are different processes' times."""
    return {
        "n": histogram.n,
        "p50": percentile_ms(histogram, 50.0, clock),
        "p90": percentile_ms(histogram, 90.0, clock),
        "p95": percentile_ms(histogram, 95.0, clock),
        "p99": percentile_ms(histogram, 99.0, clock),
        "p999": percentile_ms(histogram, 99.9, clock),
        "max": _ranked_ms(histogram, 100.0, clock),
    }


def is_blurred(block: Mapping[str, Any], name: str) -> bool:
    """Whether a figure of a LatencyBlock is missing though samples are not: it is within the bound of two clocks."""
    needed = NEEDED[_PERCENTS[name]] if name in _PERCENTS else 1
    return block[name] is None and block["n"] >= needed


def over_time_ms(histograms: Sequence[Histogram], clock: ClockAccount | None = None) -> dict[str, Floats]:
    """p50, p95, p99 and max of each bin's histogram in ms, NaN where `latency_block` gives none."""
    return {
        "p50": _floats([percentile_ms(one, 50.0, clock) for one in histograms]),
        "p95": _floats([percentile_ms(one, 95.0, clock) for one in histograms]),
        "p99": _floats([percentile_ms(one, 99.0, clock) for one in histograms]),
        "max": _floats([_ranked_ms(one, 100.0, clock) for one in histograms]),
    }


def spectrum_ms(histogram: Histogram, clock: ClockAccount | None = None) -> tuple[Floats, Floats]:
    """Percentiles (0 up to the last that n supports, 100 × (1 − 1/n)) and their latencies in ms; empty without samples.

    Equal steps of log(1 / (1 − p)), as HdrHistogram's percentile plots have them: each decade gets as many points. What
    is not above the clocks' bound is left out.
    """
    if not histogram.n:
        return np.empty(0), np.empty(0)
    decades = np.log10(histogram.n)
    percents = 100 * (1 - 10 ** -np.linspace(0, decades, 1 + int(np.ceil(decades * _STEPS_PER_DECADE))))
    values = _floats([_ranked_ms(histogram, float(percent), clock) for percent in percents])
    known = ~np.isnan(values)
    return percents[known], values[known]


def ecdf_ms(histogram: Histogram, clock: ClockAccount | None = None) -> tuple[Floats, Floats]:
    """Latencies in ms and the share of samples at or below each: every bucket, or an even choice with the last.

    What is not above the clocks' bound has no place on the curve, which then begins at the share of it.
    """
    ends_ns, counts = histogram.buckets()
    ranks = np.cumsum(counts)
    ends = _floats([
        one_way_ms(end_ns, clock, rank_is_lost=rank <= histogram.clamped)
        for end_ns, rank in zip(ends_ns.tolist(), ranks.tolist(), strict=True)
    ])  # fmt: skip
    known = ~np.isnan(ends)
    ends, shares = ends[known], ranks[known] / max(1, histogram.n)
    if len(ends) > _ECDF_POINTS:
        kept = np.unique(np.searchsorted(shares, np.linspace(0, 1, _ECDF_POINTS)))  # the share of the last bucket is 1
        ends, shares = ends[kept], shares[kept]
    return ends, shares


def one_way_ms(raw_ns: int | None, clock: ClockAccount | None, *, rank_is_lost: bool = False) -> float | None:
    """A duration from one clock to another, put right, in ms; None where it is within what is known of them.

    `rank_is_lost`: it was below 0 and is counted as 0, so that nobody knows what to put right.
    """
    value_ns: float | None = raw_ns
    if raw_ns is not None and clock is not None and clock.basis == "exchange" and clock.span is not None:
        value_ns = raw_ns - clock.span.offset_ns
        if rank_is_lost or value_ns <= clock.span.bound_ns:
            return None
    return None if value_ns is None else round(value_ns / NS_PER_MS, 6)


def _ranked_ms(histogram: Histogram, percent: float, clock: ClockAccount | None) -> float | None:
    """The value of a percentile's rank, however few samples there are; 100 is the maximum, exact."""
    lost = max(1.0, percent / 100 * histogram.n) <= histogram.clamped
    return one_way_ms(histogram.percentile_ns(percent), clock, rank_is_lost=lost)


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array(values, dtype=np.float64)  # None becomes NaN
