"""Latency figures from histograms, none of them from too few samples.

A percentile p is given from n >= 1 / (1 - p) samples on, so that at least one sample lies beyond it: p50 from 2, p90
from 10, p95 from 20, p99 from 100, p99.9 from 1000. Below that the same number would be the maximum under another
name. The maximum is given from one sample on, and n always.

Where the clocks at both ends are not one, the offset between them was estimated, and each figure is moved by it. What
is then not above the estimate's bound is not given: it may as well be 0.
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


def percentile_ms(histogram: Histogram, percent: float) -> float | None:
    """One of the percentiles of NEEDED in ms; None under its number of samples."""
    return _ms(histogram.percentile_ns(percent)) if histogram.n >= NEEDED[percent] else None


def latency_block(histogram: Histogram, clock: ClockAccount | None = None) -> LatencyBlock:
    """The block that summary.json has for one histogram; `clock` for one whose ends are different processes' times."""

    def told(percent: float) -> float | None:
        if histogram.n < NEEDED[percent]:
            return None
        rank_is_lost = (
            percent / 100 * histogram.n <= histogram.clamped
        )  # counted as 0: by how much it was below, is not kept
        return _ms(_one_way_ns(histogram.percentile_ns(percent), clock, rank_is_lost=rank_is_lost))

    everything_lost = histogram.clamped == histogram.n
    return {
        "n": histogram.n,
        "p50": told(50.0),
        "p90": told(90.0),
        "p95": told(95.0),
        "p99": told(99.0),
        "p999": told(99.9),
        "max": _ms(_one_way_ns(histogram.max_ns, clock, rank_is_lost=everything_lost)),
    }


def is_blurred(block: Mapping[str, Any], name: str) -> bool:
    """Whether a figure of a LatencyBlock is missing though samples are not: it is within the bound of two clocks."""
    needed = NEEDED[_PERCENTS[name]] if name in _PERCENTS else 1
    return block[name] is None and block["n"] >= needed


def over_time_ms(histograms: Sequence[Histogram]) -> dict[str, Floats]:
    """p50, p95, p99 and max of each bin's histogram in ms, NaN where it has too few samples for the figure."""
    return {
        "p50": _floats([percentile_ms(one, 50.0) for one in histograms]),
        "p95": _floats([percentile_ms(one, 95.0) for one in histograms]),
        "p99": _floats([percentile_ms(one, 99.0) for one in histograms]),
        "max": _floats([_ms(one.max_ns) for one in histograms]),
    }


def spectrum_ms(histogram: Histogram) -> tuple[Floats, Floats]:
    """Percentiles (0 up to the last that n supports, 100 × (1 − 1/n)) and their latencies in ms; empty without samples.

    Equal steps of log(1 / (1 − p)), as HdrHistogram's percentile plots have them: each decade gets as many points.
    """
    if not histogram.n:
        return np.empty(0), np.empty(0)
    decades = np.log10(histogram.n)
    percents = 100 * (1 - 10 ** -np.linspace(0, decades, 1 + int(np.ceil(decades * _STEPS_PER_DECADE))))
    return percents, _floats([_ms(histogram.percentile_ns(float(percent))) for percent in percents])


def ecdf_ms(histogram: Histogram) -> tuple[Floats, Floats]:
    """Latencies in ms and the share of samples at or below each: every bucket, or an even choice with the last."""
    ends_ns, counts = histogram.buckets()
    shares = np.cumsum(counts) / max(1, histogram.n)
    if len(ends_ns) > _ECDF_POINTS:
        kept = np.unique(np.searchsorted(shares, np.linspace(0, 1, _ECDF_POINTS)))  # the share of the last bucket is 1
        ends_ns, shares = ends_ns[kept], shares[kept]
    return ends_ns / NS_PER_MS, shares


def _one_way_ns(raw_ns: int | None, clock: ClockAccount | None, *, rank_is_lost: bool) -> float | None:
    """A duration between two clocks, put right; None where it is within the bound of what is known of them."""
    if raw_ns is None or clock is None or clock.basis != "exchange" or clock.span is None:
        return raw_ns
    corrected_ns = raw_ns - clock.span.offset_ns
    return None if rank_is_lost or corrected_ns <= clock.span.bound_ns else corrected_ns


def _ms(value_ns: float | None) -> float | None:
    return None if value_ns is None else round(value_ns / NS_PER_MS, 6)


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array(values, dtype=np.float64)  # None becomes NaN
