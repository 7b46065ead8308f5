"""Is B slower than A? Latencies of paired, interleaved runs: an interval of their ratio and one of three verdicts.

Each pair is one run of A and one of B, next to each other in time, in an order that alternates (ABBA): what drifts
falls on both alike. Of each pair only the logarithm of the ratio is looked at.

- The ratio is the Hodges-Lehmann estimate of these: the median of the means of all pairs of values (Hodges and Lehmann
  1963, Ann. Math. Stat. 34:598). One run that a neighbour on the machine spoilt moves it little.
- Its interval is a bootstrap percentile interval over the pairs (Efron and Tibshirani 1993, chapter 13), widened for
  few of them by t(n − 1) · √(n / (n − 1)) in the place of the normal quantile: the "expanded percentile interval"
  (Hesterberg 2015, Am. Stat. 69:371). The t quantile is the expansion in Abramowitz and Stegun 26.7.5.
- The minimum effect is what the machine's own noise does at most: from A/A runs, a quantile of the estimate over the
  ways to call one run of each pair A and the other B (a randomisation test, Fisher 1935). Two figures are looked at,
  upwards alone, so each has half of FALSE_ALARMS.

Worse: the whole interval is above 1 and the estimate above the minimum effect. Better or no worse: the whole interval
is below the minimum effect, and below MOST_HIDDEN however noisy the machine is. All else is inconclusive, and so is
anything from fewer than MIN_PAIRS pairs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Verdict = Literal["no worse", "worse", "inconclusive"]

FIGURES: Final = ("p50", "p99")
MIN_PAIRS: Final = 5
FALSE_ALARMS: Final = 0.01  # of comparisons of a system with itself, at most
# Of an interval, both sides together. Where the effect that counts is what the noise does, or more, it guards against
# false alarms, and the interval against a session that is noisier than that; else the interval is all there is.
CONFIDENCE: Final = 0.95
UNCALIBRATED_CONFIDENCE: Final = 1 - FALSE_ALARMS
LEAST_EFFECT: Final = 0.05  # less than this nobody acts upon, however quiet the machine is
UNCALIBRATED_EFFECT: Final = 0.10
MOST_HIDDEN: Final = 0.10  # what is called no worse may be slower by less than this
FOUND: Final = 0.95  # of comparisons of a system with one that is slower by so much
MANY_PAIRS: Final = (8, 12, 16, 24, 32, 48, 64)
_RESAMPLES: Final = 2000


@dataclass(frozen=True, slots=True)
class Ratio:
    """B's figure over A's: the estimate, its interval, from how many pairs, and the effect that counts."""

    figure: str
    ratio: float
    low: float
    high: float
    pairs: int
    min_effect: float
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "figure": self.figure,
            "ratio": round(self.ratio, 4),
            "low": round(self.low, 4),
            "high": round(self.high, 4),
            "pairs": self.pairs,
            "min_effect": round(self.min_effect, 4),
            "verdict": self.verdict,
        }


def compare_latency(
    a_ms: Mapping[str, Sequence[float]],
    b_ms: Mapping[str, Sequence[float]],
    min_effects: Mapping[str, float],
    *,
    seed: int,
    asked: float | None = None,
) -> list[Ratio]:
    """Each figure of FIGURES that both have; `a_ms`, `b_ms`: its values by pair. Raises ValueError for values ≤ 0.

    `min_effects`: what the noise does, of figures whose noise is known; `asked`: the effect that is to count instead.
    """
    return [
        ratio_of(figure, a_ms[figure], b_ms[figure], min_effects.get(figure), seed=seed, asked=asked)
        for figure in FIGURES
        if a_ms.get(figure) and b_ms.get(figure)
    ]


def ratio_of(
    figure: str,
    a_ms: Sequence[float],
    b_ms: Sequence[float],
    min_effect: float | None,
    *,
    seed: int,
    asked: float | None = None,
) -> Ratio:
    """The ratio of one figure over pairs of runs, and what to make of it.

    `min_effect`: what the noise does, None: it is not known. `asked`: the effect that counts in the place of that.
    """
    logs = log_ratios(a_ms, b_ms)
    usual = UNCALIBRATED_EFFECT if min_effect is None else min_effect
    effect = usual if asked is None else asked
    confidence = UNCALIBRATED_CONFIDENCE if min_effect is None or effect < min_effect else CONFIDENCE
    estimate, (low, high) = hodges_lehmann(logs), (-math.inf, math.inf)
    if len(logs) >= MIN_PAIRS:
        low, high = interval(logs, seed=seed, confidence=confidence)
    ratio = Ratio(figure, _exp(estimate), _exp(low), _exp(high), len(logs), effect, "inconclusive")
    return replace(ratio, verdict=_verdict(ratio))


def log_ratios(a_ms: Sequence[float], b_ms: Sequence[float]) -> Floats:
    """ln(b / a) of each pair. Raises ValueError unless all are above 0 and each has its partner."""
    a, b = np.asarray(a_ms, np.float64), np.asarray(b_ms, np.float64)
    if len(a) != len(b) or not len(a) or (a <= 0).any() or (b <= 0).any():
        raise ValueError("latencies come in pairs, each of them above 0")
    logs: Floats = np.log(b / a)
    return logs


def hodges_lehmann(values: Floats) -> float:
    """The median of the means of all pairs of values, each with itself, too."""
    return float(_estimates(values[None, :])[0])


def interval(logs: Floats, *, seed: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The expanded bootstrap percentile interval of the estimate, seeded; needs two values at least."""
    n = len(logs)
    # PCG64 and not fanlab.seed: two thousand resamples are drawn at once.
    drawn = np.random.Generator(np.random.PCG64(seed)).integers(0, n, (_RESAMPLES, n))
    estimates = _estimates(logs[drawn])
    times = t_quantile((1 + confidence) / 2, n - 1) * math.sqrt(n / (n - 1))  # as many standard errors
    tail = NormalDist().cdf(-times)
    low, high = np.quantile(estimates, [tail, 1 - tail])
    # Of few values no resample may be as extreme as so small a tail is: the resamples' spread says how far it reaches.
    centre, wide = float(np.mean(estimates)), times * float(np.std(estimates))
    return min(float(low), centre - wide), max(float(high), centre + wide)


def t_quantile(p: float, freedom: int) -> float:
    """Student's t: the value below which `p` of it lies. From four degrees of freedom on within 1 % up to p = 0.995."""
    z = NormalDist().inv_cdf(p)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + float(sum(term / freedom ** (power + 1) for power, term in enumerate(terms)))


def noise_of(values_ms: Sequence[float]) -> list[float]:
    """What A/A runs, in order of time, say of the noise: ln of the ratio of each run to the one before it, pairwise."""
    even = len(values_ms) - len(values_ms) % 2
    return [float(log) for log in log_ratios(values_ms[0:even:2], values_ms[1:even:2])]


def min_effect_of(noise: Sequence[float], pairs: int, *, seed: int) -> float:
    """The effect that comparisons of `pairs` pairs without any difference reach in half of FALSE_ALARMS at most.

    They are drawn from the A/A pairs, each with its runs called A and B at random. Never below LEAST_EFFECT. Raises
    ValueError for fewer than MIN_PAIRS of those.
    """
    return _reached(_by_noise(noise, pairs, seed=seed))


def pairs_to_find(noise: Sequence[float], effect: float, *, seed: int, least: int = MANY_PAIRS[0]) -> int | None:
    """The least of MANY_PAIRS, from `least` on, with which a system slower by `effect` is found as often as FOUND says.

    None: it takes more than all of these. Raises ValueError as `min_effect_of` does.
    """
    for pairs in MANY_PAIRS:
        if pairs < least:
            continue
        estimates = _by_noise(noise, pairs, seed=seed)
        found = np.mean(estimates + math.log1p(effect) > math.log1p(_reached(estimates)))
        if found >= FOUND:
            return pairs
    return None


def _by_noise(noise: Sequence[float], pairs: int, *, seed: int) -> Floats:
    """What comparisons of so many pairs without any difference come to: their estimates, resampled."""
    if len(noise) < MIN_PAIRS:
        raise ValueError(f"{len(noise)} A/A pairs say too little of the noise; {MIN_PAIRS} do")
    random = np.random.Generator(np.random.PCG64(seed))
    drawn = np.asarray(noise)[random.integers(0, len(noise), (_RESAMPLES, pairs))]
    return _estimates(drawn * random.choice((-1.0, 1.0), drawn.shape))


def _reached(estimates: Floats) -> float:
    """The effect that half of FALSE_ALARMS of them reach; never below LEAST_EFFECT."""
    return max(LEAST_EFFECT, _exp(float(np.quantile(estimates, 1 - FALSE_ALARMS / len(FIGURES)))) - 1)


def _verdict(ratio: Ratio) -> Verdict:
    if ratio.pairs < MIN_PAIRS:
        return "inconclusive"
    if ratio.low > 1 and ratio.ratio > 1 + ratio.min_effect:
        return "worse"
    return "no worse" if ratio.high < 1 + min(ratio.min_effect, MOST_HIDDEN) else "inconclusive"


def _estimates(rows: Floats) -> Floats:
    """The Hodges-Lehmann estimate of each row."""
    first, second = np.triu_indices(rows.shape[1])
    estimates: Floats = np.median((rows[:, first] + rows[:, second]) / 2, axis=1)
    return estimates


def _exp(log: float) -> float:
    return math.exp(log) if log < 700 else math.inf  # noqa: PLR2004 - beyond a float
