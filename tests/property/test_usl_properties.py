"""The scalability law: planted parameters come back, and the band holds the truth as often as it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanlab.analysis.usl import FAR, Fit, Law, fit, held_out, law_of

NODES = [1, 2, 3, 4, 6, 8]

laws = st.builds(Law, st.floats(1, 1e6), st.floats(0, 0.5), st.floats(0, 0.05))


def noisy(
    law: Law, nodes: list[int], runs: int, share: float, random: np.random.Generator
) -> tuple[list[int], list[float]]:
    counts = [count for count in nodes for _ in range(runs)]
    return counts, [law(count) * (1 + share * random.normal()) for count in counts]


@given(laws)
def test_planted_parameters_come_back(law: Law) -> None:
    found = law_of(np.array(NODES, np.float64), np.array([law(count) for count in NODES]))
    assert found.per_s == pytest.approx(law.per_s, rel=1e-6)
    assert found.contention == pytest.approx(law.contention, abs=1e-6)
    assert found.crosstalk == pytest.approx(law.crosstalk, abs=1e-6)


@given(laws, st.integers(0, 2**32 - 1))
def test_no_fit_goes_below_nothing(law: Law, seed: int) -> None:
    found = fit(*noisy(law, NODES, 2, 0.2, np.random.default_rng(seed)))
    for one in (found.law, *found.resampled[:20]):
        assert one.per_s > 0
        assert one.contention >= 0
        assert one.crosstalk >= 0


@given(laws, st.integers(0, 2**32 - 1))
def test_the_band_holds_its_own_middle(law: Law, seed: int) -> None:
    band = fit(*noisy(law, NODES, 2, 0.05, np.random.default_rng(seed))).at(12)
    assert band.low <= band.value <= band.high


@pytest.mark.parametrize(
    "law",
    [Law(1000.0, 0.03, 0.002), Law(1000.0, 0.2, 0.01), Law(500.0, 0.05, 0.0), Law(500.0, 0.0, 0.0)],
    ids=["mild", "strong", "no crosstalk", "linear"],
)
@pytest.mark.parametrize("at", [4, 8, 12], ids=["within", "edge", "held out"])
def test_the_band_holds_the_truth_as_often_as_it_says(law: Law, at: int) -> None:
    """Three runs each of 1 to 8 nodes, each within some 3 %: the 95 % band has to hold the truth in about 95 of 100."""
    random = np.random.default_rng(5)
    hits = 0
    for turn in range(100):
        band = fit(*noisy(law, NODES, 3, 0.03, random), seed=turn).at(at)
        hits += band.low <= law(at) <= band.high
    assert hits >= 88


@pytest.mark.parametrize("nodes", [[1, 2, 3, 4], [1, 2, 4, 4]])
def test_the_fewest_runs_that_it_takes_are_enough_for_the_band(nodes: list[int]) -> None:
    """One run more than parameters, each within some 5 %, and no crosstalk: a peak would be one of noise."""
    random, law = np.random.default_rng(3), Law(500.0, 0.05, 0.0)
    fits = [fit(*noisy(law, nodes, 1, 0.05, random), seed=turn) for turn in range(100)]
    assert sum(one.at(8).low <= law(8) <= one.at(8).high for one in fits) >= 88
    assert sum(one.peak is not None for one in fits) <= 5


@pytest.mark.parametrize("nodes", [[1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 6]])
@pytest.mark.parametrize("share", [0.01, 0.05])
def test_throughputs_that_tell_how_sure_they_are_have_a_band_of_it(nodes: list[int], share: float) -> None:
    """One throughput for each number of nodes, as a capacity search gives it."""
    random, law, ahead = np.random.default_rng(4), Law(500.0, 0.05, 0.0), max(nodes) + 2
    fits = [
        fit(*noisy(law, nodes, 1, share, random), sure=[share] * len(nodes), seed=turn).at(ahead) for turn in range(100)
    ]
    assert sum(one.low <= law(ahead) <= one.high for one in fits) >= 88


def test_who_is_too_sure_of_a_throughput_is_not_believed() -> None:
    random, law, nodes = np.random.default_rng(6), Law(500.0, 0.05, 0.0), [1, 2, 3, 4, 6]
    fits = [fit(*noisy(law, nodes, 1, 0.1, random), sure=[0.001] * 5, seed=turn).at(8) for turn in range(100)]
    assert sum(one.low <= law(8) <= one.high for one in fits) >= 85


def test_what_is_held_out_keeps_its_errors() -> None:
    counts, values = [1, 2, 3, 4], [100.0, 190.0, 270.0, 340.0]
    band, truth = held_out(counts, values, sure=[0.01, 0.02, 0.03, 0.5])
    assert band == fit(counts[:3], values[:3], sure=[0.01, 0.02, 0.03]).at(4)
    assert truth == 340.0
    with pytest.raises(ValueError, match="standard error"):
        fit(counts, values, sure=[0.01, 0.02, 0.03, 0.0])


def test_a_peak_is_named_only_where_crosstalk_is_sure() -> None:
    random = np.random.default_rng(1)
    sure = fit(*noisy(Law(1000.0, 0.05, 0.02), NODES, 3, 0.01, random))
    assert sure.peak is not None
    assert sure.peak.low <= np.sqrt(0.95 / 0.02) <= sure.peak.high
    assert fit(*noisy(Law(1000.0, 0.05, 0.0), NODES, 3, 0.05, random)).peak is None


def test_the_point_held_out_is_foretold_from_the_others() -> None:
    law = Law(1000.0, 0.05, 0.004)
    counts, values = noisy(law, NODES, 3, 0.02, np.random.default_rng(2))
    band, truth = held_out(counts, values)
    assert band == fit(*zip(*((n, x) for n, x in zip(counts, values, strict=True) if n < 8), strict=True)).at(8)
    assert truth == pytest.approx(law(8), rel=0.05)
    assert band.low <= law(8) <= band.high
    with pytest.raises(ValueError, match="nothing to foretell"):
        held_out([4, 4], [1.0, 1.1])


def test_far_is_past_twice_the_range() -> None:
    found = fit([1, 2, 4, 4], [100.0, 190.0, 350.0, 340.0])
    assert [found.far(count) for count in (4, 8, 9)] == [False, False, True]
    assert FAR == 2


def test_the_same_runs_give_the_same_fit() -> None:
    assert fit([1, 2, 4, 4], [100.0, 190.0, 350.0, 340.0]) == fit([1, 2, 4, 4], [100.0, 190.0, 350.0, 340.0])
    assert isinstance(fit([1, 2, 4, 4], [100.0, 190.0, 350.0, 340.0]), Fit)


@pytest.mark.parametrize(
    ("nodes", "throughput", "why"),
    [
        ([1, 2], [1.0, 2.0], "three|3 parameters"),
        ([1, 1, 2, 2], [1.0, 1.0, 2.0, 2.0], "3 parameters"),
        ([0, 1, 2], [1.0, 1.0, 2.0], "from 1 on"),
        ([1, 2, 4], [100.0, 190.0, 330.0], "3 runs fit 3 parameters"),
        ([1, 2, 3], [1.0, -1.0, 2.0], "above 0"),
        ([1, 2, 3], [1.0, float("nan"), 2.0], "above 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused(nodes: list[int], throughput: list[float], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        fit(nodes, throughput)
