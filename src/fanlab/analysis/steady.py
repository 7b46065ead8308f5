"""Whether a run reached a steady state: what is owed and not yet delivered, and how late it comes, must not grow. Pure.

A trend is one that the Mann-Kendall test calls so (Mann, Econometrica 13, 1945; Kendall, Rank Correlation Methods,
1948; one-sided, 1 %) and whose size, by Sen's slope (Journal of the American Statistical Association 63, 1968),
matters: at least 1 % of what is owed is left lying, or latency grows by at least 1 % of the time that passes. Both are
the same deficit, seen from two sides: a system that does 99 of 100 deliveries a second falls behind by 10 ms a second.
The windows are not independent, which makes the test alone too quick to see a trend; the least size is what holds.

Where the start is unlike the rest, MSER-5 says how long it is (White, Simulation 69, 1997; White, Cobb and Spratt,
Winter Simulation Conference 2000): batches of five, the cut after which the mean is known best. A cut past the middle
means that a steady state was not seen at all.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import mean, median

import numpy as np

from fanlab.analysis.series import Floats
from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.ledger.result import Account

WINDOWS = 40
LEAST_WINDOWS = 8
LEAST_MESSAGES = 4  # in each window, on average
DEFICIT = 0.01
SIGNIFICANT = 0.01
BATCH = 5
_LEAST_BATCHES = 10
_UNLIKE = 0.25  # a start whose latency is this much above or below the rest's matters ...
_UNLIKE_MS = 5.0  # ... if it is this much, too
_LEAST_LEFT = 3.0  # messages, for all that listen, that must be left lying before that is a trend


@dataclass(frozen=True, slots=True)
class Steadiness:
    """What was found; `steady` is None where the run is too short to tell, or was disturbed on purpose.

    `latency_growth_ms` and `backlog_growth` (deliveries) are over the whole measure phase, by Sen's slope; the p values
    are those of no upward trend. `settled_after_s` is MSER-5's cut, 0 where the start is like the rest.
    """

    steady: bool | None
    why: str
    windows: int = 0
    latency_growth_ms: float | None = None
    latency_p: float | None = None
    backlog_growth: float | None = None
    backlog_p: float | None = None
    settled_after_s: float | None = None


def steadiness(account: Account, measure_ns: int) -> Steadiness:
    """Whether the measure phase of a run, from time 0 on, was steady."""
    if account.faults:
        return Steadiness(None, "the scenario breaks things on purpose, so that nothing need be steady")
    bins = int(min(measure_ns // account.bin_ns, len(account.offered)))
    bin_s = account.bin_ns / NS_PER_S
    owed = float(account.offered[:bins].sum())
    messages = account.measure.published
    histograms = account.latency.over_time[:bins]
    late_ms = np.array([one.sum_ns / one.n / NS_PER_MS if one.n else math.nan for one in histograms])
    left = np.cumsum(account.offered[:bins] - account.delivered[:bins] - account.lost[:bins]).astype(np.float64)
    windows = min(WINDOWS, bins, messages // LEAST_MESSAGES)
    if windows < LEAST_WINDOWS or not owed:
        return Steadiness(None, f"too short to tell: {messages} messages in {bins * bin_s:g} s", windows)
    return judge(late_ms, left, bin_s, windows=windows, owed=owed, fan_out=owed / messages)


def judge(late_ms: Floats, left: Floats, bin_s: float, *, windows: int, owed: float, fan_out: float) -> Steadiness:
    """The same from the arrays, one value for each bin of `bin_s`: mean latency (NaN: nothing came), and what was left.

    `left` is owed and not delivered at the bin's end. `owed` is that of all bins, `fan_out` that of one message.
    """
    span_s = len(left) * bin_s
    late, late_p = _trend(late_ms, windows)
    heap, heap_p = _trend(left, windows)
    cut, apart_ms = _settling(late_ms)
    found = Steadiness(None, "", windows, late, late_p, heap, heap_p, round(cut * bin_s, 3))
    if heap_p < SIGNIFICANT and heap >= max(DEFICIT * owed, _LEAST_LEFT * fan_out):
        share = heap / owed
        return _with(
            found, steady=False, why=f"it falls behind: {share:.1%} of what was owed was left lying in the end"
        )
    if late_p < SIGNIFICANT and late >= DEFICIT * span_s * 1000:
        return _with(found, steady=False, why=f"latency grows all the while, by {late:.0f} ms over {span_s:g} s")
    if cut > len(late_ms) / 2 and apart_ms >= DEFICIT * span_s * 1000:
        why = f"it was still settling after {cut * bin_s:.1f} of {span_s:g} s: make warm_up or measure longer"
        return _with(found, steady=False, why=why)
    return _with(found, steady=True, why="neither latency nor what is owed grows")


def mann_kendall(values: Sequence[float]) -> float:
    """The probability of this much upward order, or more, where there is no trend (normal, corrected for ties)."""
    n = len(values)
    if n < 2:  # noqa: PLR2004
        return 1.0
    order = sum((later > earlier) - (later < earlier) for earlier, later in combinations(values, 2))
    ties = sum(count * (count - 1) * (2 * count + 5) for count in Counter(values).values())
    variance = (n * (n - 1) * (2 * n + 5) - ties) / 18
    if variance <= 0:
        return 1.0
    z = (order - (order > 0) + (order < 0)) / math.sqrt(variance)
    return 0.5 * math.erfc(z / math.sqrt(2))


def sens_slope(values: Sequence[float]) -> float:
    """The median growth from one value to the next, over all pairs."""
    pairs = combinations(enumerate(values), 2)
    return median((after - before) / (j - i) for (i, before), (j, after) in pairs)


def mser5(values: Sequence[float]) -> int:
    """How many values at the start are better left out; a multiple of five, 0 where there are too few to tell."""
    batches = [mean(values[at : at + BATCH]) for at in range(0, len(values) - BATCH + 1, BATCH)]
    if len(batches) < _LEAST_BATCHES:
        return 0
    errors = []
    for cut in range(len(batches) - BATCH):  # the last few would be known well by being few
        kept = batches[cut:]
        middle = mean(kept)
        errors.append(sum((value - middle) ** 2 for value in kept) / len(kept) ** 2)
    return BATCH * errors.index(min(errors))


def _trend(values: Floats, windows: int) -> tuple[float, float]:
    """The growth over all windows, and the probability of such order without a trend."""
    means = [float(np.nanmean(part)) for part in np.array_split(values, windows) if not np.isnan(part).all()]
    if len(means) < LEAST_WINDOWS:
        return 0.0, 1.0
    return sens_slope(means) * len(means), mann_kendall(means)


def _settling(late_ms: Floats) -> tuple[int, float]:
    """MSER-5's cut in bins and by how much what lies before it is unlike the rest; both 0 where that is too little."""
    known = np.flatnonzero(~np.isnan(late_ms))
    cut = mser5(late_ms[known].tolist())
    if not cut:
        return 0, 0.0
    before, after = float(late_ms[known[:cut]].mean()), float(late_ms[known[cut:]].mean())
    apart_ms = abs(before - after)
    return (int(known[cut]), apart_ms) if apart_ms >= max(_UNLIKE_MS, _UNLIKE * max(before, after)) else (0, 0.0)


def _with(found: Steadiness, *, steady: bool, why: str) -> Steadiness:
    return replace(found, steady=steady, why=why)
