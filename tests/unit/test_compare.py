"""The statistics of comparisons: by simulation, false alarms are rare, a real slowdown is found, the rest is open."""

import math
from collections import Counter
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from fanlab.analysis import compare
from fanlab.analysis.compare import (
    LEAST_EFFECT,
    MANY_PAIRS,
    MIN_PAIRS,
    UNCALIBRATED_EFFECT,
    Ratio,
    compare_latency,
    hodges_lehmann,
    interval,
    log_ratios,
    min_effect_of,
    noise_of,
    pairs_to_find,
    ratio_of,
    t_quantile,
)
from fanlab.pairing import orders

PAIRS = 12


def medians_ms(random, runs: int, *, own: float, drift: float, kept: float = 0.9) -> np.ndarray:
    """Run medians: log-normal round a level that wanders, each time keeping most of where it was (AR(1))."""
    level, found = drift * random.standard_normal(), []
    for _ in range(runs):
        level = kept * level + drift * math.sqrt(1 - kept**2) * random.standard_normal()
        found.append(2.0 * math.exp(level + own * random.standard_normal()))
    return np.array(found)


def simulated(
    slower: float, comparisons: int, *, own: float, drift: float = 0.1, calibrated: bool = True, tail: float = 1.5
) -> Counter:
    """Verdicts over both figures of so many comparisons, each calibrated on that machine's own A/A runs, or not."""
    found: Counter = Counter()
    for number in range(comparisons):
        random = np.random.default_rng((5, number))
        sides: dict[str, dict[str, list[float]]] = {"a": {}, "b": {}}
        effects = {}
        for figure, spread in (("p50", own), ("p99", own * tail)):
            if calibrated:
                noise = noise_of(medians_ms(random, 40, own=spread, drift=drift))
                effects[figure] = min_effect_of(noise, PAIRS, seed=number)
            runs = medians_ms(random, 2 * PAIRS, own=spread, drift=drift)
            for turn, b_first in enumerate(orders(PAIRS, number)):
                first, second = runs[2 * turn], runs[2 * turn + 1]
                sides["a"].setdefault(figure, []).append(second if b_first else first)
                sides["b"].setdefault(figure, []).append(slower * (first if b_first else second))
        verdicts = {ratio.verdict for ratio in compare_latency(sides["a"], sides["b"], effects, seed=number)}
        found["worse" if "worse" in verdicts else "inconclusive" if "inconclusive" in verdicts else "no worse"] += 1
    return found


def test_a_system_is_not_worse_than_itself():
    assert simulated(1.0, 300, own=0.05)["worse"] <= 3


@pytest.mark.parametrize(("own", "drift", "calibrated"), [(0.02, 0.3, True), (0.2, 0.1, True), (0.2, 0.1, False)])
def test_nor_where_it_is_noisier(own, drift, calibrated):
    assert simulated(1.0, 60, own=own, drift=drift, calibrated=calibrated)["worse"] <= 1


def test_twenty_per_cent_more_are_found_or_it_is_inconclusive():
    found = simulated(1.2, 300, own=0.05)
    assert found["worse"] >= 0.95 * 300
    assert found["no worse"] == 0, "what is not found is inconclusive, and never called good"


def test_noise_that_hides_it_makes_it_inconclusive():
    found = simulated(1.2, 60, own=0.4)
    assert found["no worse"] == 0
    assert found["inconclusive"] > 30


def test_what_is_the_same_is_told_so_where_it_is_quiet():
    assert simulated(1.0, 40, own=0.01, drift=0.02, tail=1)["no worse"] >= 38


def test_few_pairs_say_nothing():
    few = ratio_of("p50", [1.0] * (MIN_PAIRS - 1), [9.0] * (MIN_PAIRS - 1), 0.1, seed=1)
    assert (few.verdict, few.ratio, few.low, few.high) == ("inconclusive", pytest.approx(9), 0, math.inf)
    assert ratio_of("p50", [1.0] * MIN_PAIRS, [9.0] * MIN_PAIRS, 0.1, seed=1).verdict == "worse"


@pytest.mark.parametrize(
    ("b", "effect", "verdict"),
    [
        (1.11, 0.1, "worse"),
        (1.09, 0.1, "no worse"),
        (0.5, 0.1, "no worse"),
        (1.11, 0.2, "inconclusive"),
        (1.09, 0.2, "no worse"),
    ],
)
def test_without_noise_the_effect_decides(b, effect, verdict):
    assert ratio_of("p99", [2.0] * 8, [2.0 * b] * 8, effect, seed=1).verdict == verdict


def test_an_effect_that_is_asked_for_says_nothing_of_the_noise():
    logs = np.random.default_rng(2).normal(0, 0.1, 12)
    values = [1.0] * 12, list(np.exp(logs))
    unknown, known = (ratio_of("p50", *values, effect, seed=1) for effect in (None, 0.05))
    wide, narrow = (unknown.low, unknown.high), (known.low, known.high)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    for min_effect, asked, expected in ((None, 0.01, wide), (None, 0.5, wide), (0.05, 0.01, wide), (0.05, 0.2, narrow)):
        found = ratio_of("p50", *values, min_effect, seed=1, asked=asked)
        assert ((found.low, found.high), found.min_effect) == (expected, asked)


def test_a_run_that_was_spoilt_moves_it_little():
    spoilt = [1.0] * 11 + [30.0]
    assert hodges_lehmann(np.log(spoilt)) == 0
    assert ratio_of("p50", [1.0] * 12, spoilt, 0.1, seed=1).verdict != "worse"


def test_the_interval_is_the_same_for_the_same_seed_and_wider_for_fewer():
    logs = np.random.default_rng(3).normal(0, 0.1, 40)
    assert interval(logs, seed=1) == interval(logs, seed=1) != interval(logs, seed=2)
    widths = [high - low for low, high in (interval(logs[:n], seed=1) for n in (6, 12, 40))]
    assert widths == sorted(widths, reverse=True)


def test_an_interval_holds_the_truth_as_often_as_it_says():
    held = 0
    for number in range(200):
        low, high = interval(np.random.default_rng((7, number)).normal(0.1, 0.2, 8), seed=number)
        held += low <= 0.1 <= high
    assert held >= 0.92 * 200


@pytest.mark.parametrize(
    ("freedom", "p", "expected"),
    [(4, 0.975, 2.776), (4, 0.995, 4.604), (7, 0.975, 2.365), (11, 0.995, 3.106), (30, 0.975, 2.042)],
)
def test_quantiles_of_t(freedom, p, expected):
    assert t_quantile(p, freedom) == pytest.approx(expected, rel=0.012)


def test_the_quantiles_are_those_of_abramowitz_and_stegun():
    """26.7.5: its polynomials in z, by their coefficients from the highest power to the lowest, odd powers alone."""
    polynomials = (
        ((1, 1), 4),
        ((5, 16, 3), 96),
        ((3, 19, 17, -15), 384),
        ((79, 776, 1482, -1920, -945), 92160),
    )
    for p in (0.9, 0.975, 0.995):
        z = NormalDist().inv_cdf(p)
        for freedom in (1, 4, 11):
            expected = z
            for power, (coefficients, divisor) in enumerate(polynomials, start=1):
                spread = [one for each in coefficients for one in (each, 0)]  # the even powers between
                expected += float(np.polyval(spread, z)) / divisor / freedom**power
            assert t_quantile(p, freedom) == pytest.approx(expected, rel=1e-9)


def bootstrapped(logs: np.ndarray, seed: int) -> np.ndarray:
    """Hodges-Lehmann estimates of resamples, one by one."""
    random = np.random.Generator(np.random.PCG64(seed))
    rows = random.integers(0, len(logs), (2000, len(logs)))
    means = lambda row: [(logs[a] + logs[b]) / 2 for at, a in enumerate(row) for b in row[at:]]  # noqa: E731
    return np.array([np.median(means(row)) for row in rows])


@pytest.mark.parametrize("confidence", [0.95, 0.99])
@pytest.mark.parametrize(
    ("logs", "by_spread"),
    [
        ([-0.2, -0.1, 0.0, 0.1, 0.2], True),
        ([0.3, 0.02, 0.01, 0.0, -0.01, -0.02], True),
        ([0.0] * 17 + [1.0] * 3, False),  # so skewed that the resamples' own quantile reaches further
        ([0.0] * 17 + [-1.0] * 3, False),
    ],
)
def test_an_interval_is_the_wider_of_the_resamples_quantiles_and_of_their_spread(logs, by_spread, confidence):
    logs, n = np.array(logs), len(logs)
    found = bootstrapped(logs, 4)
    errors = t_quantile(0.5 + confidence / 2, n - 1) * math.sqrt(n / (n - 1))
    centre, wide = float(np.mean(found)), errors * float(np.std(found))
    tail = NormalDist(0, 1).cdf(-errors)
    expected = (
        min(centre - wide, float(np.quantile(found, tail))),
        max(centre + wide, float(np.quantile(found, 1 - tail))),
    )
    assert interval(logs, seed=4, confidence=confidence) == pytest.approx(expected, rel=1e-9)
    assert (expected == pytest.approx((centre - wide, centre + wide), rel=1e-9)) is by_spread


def test_noise():
    assert noise_of([1.0, 2.0, 3.0, 3.0, 7.0]) == [pytest.approx(math.log(2)), 0]
    assert min_effect_of([0.0] * 8, 12, seed=1) == LEAST_EFFECT
    quiet, loud = ([sign * size for sign in (1, -1) for _ in range(6)] for size in (0.2, 0.4))
    assert LEAST_EFFECT < min_effect_of(quiet, 12, seed=1) < min_effect_of(loud, 12, seed=1)
    assert min_effect_of(quiet, 40, seed=1) < min_effect_of(quiet, 12, seed=1)
    with pytest.raises(ValueError, match="too little"):
        min_effect_of([0.1] * (MIN_PAIRS - 1), 12, seed=1)


@pytest.mark.parametrize("noise", [[0.3, -0.1, 0.05, 0.2, -0.02, 0.15], [0.3, -0.35, 0.05, 0.2, -0.02, 0.15]])
def test_the_least_effect_is_what_runs_called_a_and_b_at_random_reach_once_in_two_hundred(noise):
    """Of two figures, each has half of the false alarms. The same draws, taken one by one."""
    pairs = 6
    random = np.random.Generator(np.random.PCG64(9))
    drawn = random.integers(0, len(noise), (2000, pairs))
    signs = random.choice((-1.0, 1.0), (2000, pairs))
    estimates = [
        hodges_lehmann(np.array([noise[place] * sign for place, sign in zip(*row, strict=True)]))
        for row in zip(drawn, signs, strict=True)
    ]
    expected = math.exp(np.quantile(estimates, 0.995)) - 1
    assert expected > LEAST_EFFECT
    assert min_effect_of(noise, pairs, seed=9) == pytest.approx(expected, rel=1e-9)
    assert min_effect_of(noise[:MIN_PAIRS], pairs, seed=9) >= LEAST_EFFECT, "so few are enough"


@pytest.mark.parametrize(("noise_size", "expected"), [(0.05, 8), (0.2, 16), (0.3, 48)])
def test_the_pairs_that_are_told_find_it_and_fewer_do_not(noise_size, expected):
    """Of comparisons that are drawn afresh, not those that the answer came of."""
    noise = list(np.random.default_rng(1).normal(0, noise_size, 40))
    needed = pairs_to_find(noise, 0.2, seed=1)
    random = np.random.default_rng(2)

    def found(pairs: int) -> float:
        effect = min_effect_of(noise, pairs, seed=1)
        return np.mean(
            [
                hodges_lehmann(random.choice(noise, pairs) * random.choice((-1, 1), pairs) + math.log(1.2))
                > math.log(1 + effect)
                for _ in range(400)
            ]
        )

    assert needed == expected
    at = MANY_PAIRS.index(needed)
    assert found(needed) > 0.9
    assert at == 0 or found(MANY_PAIRS[at - 1]) < 0.97


def test_pairs_to_find_something():
    noise = list(np.random.default_rng(1).normal(0, 0.2, 40))
    assert pairs_to_find([0.0] * 8, 0.06, seed=1) == 8
    assert pairs_to_find([0.0] * 8, 0.06, seed=1, least=9) == 12
    assert pairs_to_find([0.0] * 8, 0.06, seed=1, least=12) == 12
    assert pairs_to_find([0.0] * 8, LEAST_EFFECT, seed=1) is None, "what just reaches it does not count"
    assert pairs_to_find(noise, 0.06, seed=1) is None
    assert pairs_to_find(noise, 0.2, seed=1) > pairs_to_find(noise, 0.4, seed=1)
    with pytest.raises(ValueError, match="too little"):
        pairs_to_find([0.1] * (MIN_PAIRS - 1), 0.2, seed=1)


def test_what_just_reaches_a_limit_is_open():
    assert ratio_of("p50", [1.0] * 8, [2.0] * 8, 1.0, seed=1).verdict == "inconclusive", "exp(ln 2) is 2"
    assert ratio_of("p50", [1.0] * 8, [1.0] * 8, 0.1, seed=1, asked=0.0).verdict == "inconclusive"
    touching = Ratio("p50", ratio=1.3, low=1.0, high=1.5, pairs=8, min_effect=0.1, verdict="inconclusive")
    assert compare._verdict(touching) == "inconclusive"
    assert compare._verdict(replace(touching, low=1.01)) == "worse"


def test_a_ratio_beyond_any_float_is_told():
    huge = ratio_of("p50", [1e-300] * 8, [1e300] * 8, 0.1, seed=1)
    assert (huge.verdict, huge.ratio, huge.low, huge.high) == ("worse", math.inf, math.inf, math.inf)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [0.0]), ([1.0], [-1.0])])
def test_values_that_are_no_pairs(a, b):
    with pytest.raises(ValueError, match="in pairs"):
        log_ratios(a, b)


def test_figures_that_one_side_lacks_are_left_out():
    (only,) = compare_latency({"p50": [1.0] * 6, "p99": []}, {"p50": [1.0] * 6, "p99": []}, {}, seed=1)
    assert (only.figure, only.min_effect) == ("p50", UNCALIBRATED_EFFECT)
    assert only.to_json()["verdict"] == "no worse"
    (only,) = compare_latency({"p50": [1.0] * 6, "p99": []}, {"p50": [1.0] * 6, "p99": [1.0]}, {}, seed=1)
    assert only.figure == "p50"


def test_programs_are_told_four_digits():
    told = Ratio("p50", 1.234567, 1.123456, 1.345678, 12, 0.056789, "worse").to_json()
    assert told == {
        "figure": "p50", "ratio": 1.2346, "low": 1.1235, "high": 1.3457, "pairs": 12, "min_effect": 0.0568,
        "verdict": "worse",
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_every_two_pairs_balance(seed):
    for pairs in (1, 2, 7, 12):
        found = orders(pairs, seed)
        assert len(found) == pairs
        assert all(one != other for one, other in zip(found[::2], found[1::2], strict=False))
    assert orders(12, seed) == orders(12, seed)
    assert len({tuple(orders(12, each)) for each in range(20)}) > 10
