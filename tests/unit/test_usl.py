"""The scalability law by hand: its curve and its peak, the nearest fit, and the resamples that make its band."""

import numpy as np
import pytest

from fanlab.analysis.usl import RESAMPLES, Band, Fit, Law, _errors, _student, fit, held_out, law_of
from fanlab.seed import rng

LAW = Law(100.0, 0.1, 0.02)
NODES = np.array([1.0, 2, 3, 4, 6])


def exactly(law: Law, nodes: np.ndarray = NODES) -> np.ndarray:
    return np.array([law(count) for count in nodes])


def test_the_law_and_its_peak() -> None:
    assert LAW(1) == 100
    assert LAW(4) == pytest.approx(400 / (1 + 0.1 * 3 + 0.02 * 12))
    assert LAW.peak == pytest.approx(45**0.5)  # (1 − 0.1) / 0.02
    assert max(range(1, 20), key=LAW) == 7
    assert Law(100.0, 0.1, 0.0).peak is None
    assert Law(100.0, 1.5, 0.02).peak == 0


@pytest.mark.parametrize("law", [LAW, Law(80.0, 0.2, 0.0), Law(80.0, 0.0, 0.03), Law(80.0, 0.0, 0.0)])
def test_what_lies_on_a_law_gives_it_back(law: Law) -> None:
    found = law_of(NODES, exactly(law))
    assert (found.per_s, found.contention, found.crosstalk) == (
        pytest.approx(law.per_s), pytest.approx(law.contention, abs=1e-9), pytest.approx(law.crosstalk, abs=1e-9),
    )  # fmt: skip


def test_the_nearest_law_counts_deviations_as_shares() -> None:
    """The same by numpy's least squares: n / x in units of itself."""
    off = exactly(LAW) * np.array([1.02, 0.97, 1.05, 0.99, 1.01])
    columns = np.column_stack([np.ones(5), NODES - 1, NODES * (NODES - 1)])
    (u, a, b), *_ = np.linalg.lstsq(columns * (off / NODES)[:, None], np.ones(5), rcond=None)
    found = law_of(NODES, off)
    assert (a > 0, b > 0) == (True, True)
    assert (found.per_s, found.contention, found.crosstalk) == pytest.approx((1 / u, a / u, b / u))


def test_what_grows_faster_than_the_nodes_has_neither_contention_nor_crosstalk() -> None:
    found = law_of(NODES, NODES**1.3 * 50)
    assert (found.contention, found.crosstalk) == (0, 0)
    assert found.per_s == pytest.approx(np.sum(NODES**0.3 * 50 * NODES**0.3 * 50) / np.sum(NODES**0.3 * 50))


def test_a_forecast_is_within_its_band() -> None:
    resampled = tuple(Law(float(number), 0.0, 0.0) for number in range(1, 1001))
    low, high = np.percentile(np.arange(2, 2001, 2), (2.5, 97.5))
    assert Fit(Law(500.0, 0.0, 0.0), resampled, 4).at(2) == Band(1000, pytest.approx(low), pytest.approx(high))
    assert Fit(Law(1.0, 0.0, 0.0), resampled, 4).at(2) == Band(2, 2, pytest.approx(high))
    assert Fit(Law(1000.0, 0.0, 0.0), resampled, 4).at(2) == Band(2000, pytest.approx(low), 2000)
    assert [Fit(LAW, resampled, 4).far(nodes) for nodes in (8, 8.1)] == [False, True]


def test_a_peak_is_told_where_the_crosstalk_is_sure() -> None:
    crosstalks = [0.01 + 0.0001 * number for number in range(1000)]
    resampled = tuple(Law(100.0, 0.1, crosstalk) for crosstalk in crosstalks)
    low, high = np.percentile(np.sqrt(0.9 / np.array(crosstalks)), (2.5, 97.5))
    assert Fit(LAW, resampled, 4).peak == Band(LAW.peak, pytest.approx(low), pytest.approx(high))  # type: ignore[arg-type]
    some = (*resampled[:970], *(Law(100.0, 0.1, 0.0) for _ in range(30)))
    assert Fit(LAW, some, 4).peak is None, "3 % of the resamples have none"
    few = (*resampled[:980], *(Law(100.0, 0.1, 0.0) for _ in range(20)))
    found = Fit(LAW, few, 4).peak
    low, high = np.percentile([law.peak for law in few[:980]], (2.5, 97.5))
    assert found == Band(LAW.peak, pytest.approx(low), pytest.approx(high))  # type: ignore[arg-type]
    assert Fit(Law(100.0, 0.1, 0.0), resampled, 4).peak is None
    steep = Fit(Law(100.0, 0.1, 0.9), resampled, 4).peak
    assert steep is not None
    assert steep.low == 1, "the fit's own is in its band"


@pytest.mark.parametrize(
    ("nodes", "throughput", "sure", "said"),
    [
        ([1, 2, 3], [1.0, 2.0], None, "each run has a number of nodes"),
        ([0, 2, 3, 4], [1.0, 2.0, 3.0, 4.0], None, "each run has a number of nodes"),
        ([1, 2, 3, 4], [0.0, 2.0, 3.0, 4.0], None, "a throughput above 0"),
        ([1, 2, 3, 4], [-1.0, 2.0, 3.0, 4.0], None, "a throughput above 0"),
        ([1, 2, 3, 4], [np.inf, 2.0, 3.0, 4.0], None, "a throughput above 0"),
        ([1, 1, 2, 2], [1.0, 1.0, 2.0, 2.0], None, "as many numbers of nodes"),
        ([1, 2, 3], [1.0, 2.0, 3.0], None, "one more at least"),
        ([1, 2, 3], [1.0, 2.0, 3.0], [0.1, 0.1], "one standard error, above 0"),
        ([1, 2, 3], [1.0, 2.0, 3.0], [0.1, 0.1, 0.0], "one standard error, above 0"),
        ([1, 2, 3], [1.0, 2.0, 3.0], [0.1, 0.1, -0.1], "one standard error, above 0"),
        ([1, 2, 3], [1.0, 2.0, 3.0], [0.1, 0.1, np.inf], "one standard error, above 0"),
    ],
)
def test_what_cannot_be_fitted(nodes: list[int], throughput: list[float], sure: list[float] | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit(nodes, throughput, sure=sure)


def test_little_throughputs_are_throughputs() -> None:
    assert fit([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4]).law.per_s == pytest.approx(0.1)


def student(freedom: int) -> float:
    return 1 + (1.96**2 + 1) / (4 * freedom)


def drawn(seed: int) -> np.random.Generator:
    return np.random.default_rng(rng(seed, "usl").getrandbits(128))


def same(found: Fit, shares: np.ndarray, nodes: list[int]) -> None:
    """The resamples are the laws nearest to what the law does, off by these shares."""
    fitted = exactly(found.law, np.array(nodes, float))
    assert len(found.resampled) == len(shares) == RESAMPLES
    for number in (0, 1, 500, 999):
        expected = law_of(np.array(nodes, float), fitted * np.maximum(0.05, 1 + shares[number]))
        law = found.resampled[number]
        assert (law.per_s, law.contention, law.crosstalk) == pytest.approx(
            (expected.per_s, expected.contention, expected.crosstalk), abs=1e-9
        )


@pytest.mark.parametrize("seed", [1, 7])
def test_resamples_are_off_by_the_runs_own_deviations(seed: int) -> None:
    nodes, off = [1, 2, 3, 4, 6], exactly(LAW) * np.array([1.02, 0.97, 1.05, 0.99, 1.01])
    found = fit(nodes, list(off)) if seed == 1 else fit(nodes, list(off), seed=seed)
    random = drawn(seed)
    own = (off / exactly(found.law) - 1) * np.sqrt(5 / 2) * student(2)
    same(found, random.choice(own, (RESAMPLES, 5)) * random.choice((-1, 1), (RESAMPLES, 5)), nodes)
    assert found.measured == 6


@pytest.mark.parametrize("size", [0.01, 0.9])
def test_resamples_are_off_by_the_runs_standard_errors(size: float) -> None:
    """Which are told to be larger than how far they lie from the law."""
    nodes, off = [1, 2, 3, 4, 6], exactly(LAW) * np.array([1.001, 0.999, 1.002, 0.999, 1.001])
    errors = size * np.array([1.0, 1.1, 0.9, 1.2, 1.0])
    same(fit(nodes, list(off), sure=list(errors)), drawn(1).normal(size=(RESAMPLES, 5)) * errors, nodes)


def test_runs_that_lie_further_from_the_law_than_they_say_are_less_sure() -> None:
    nodes, off = [1, 2, 3, 4, 6], exactly(LAW) * np.array([1.02, 0.97, 1.05, 0.99, 1.01])
    errors = np.array([0.005, 0.004, 0.006, 0.005, 0.005])
    found = fit(nodes, list(off), sure=list(errors))
    ratio = np.sqrt(np.sum(((off / exactly(found.law) - 1) / errors) ** 2) / 2)
    assert ratio > 1
    same(found, drawn(1).normal(size=(RESAMPLES, 5)) * errors * ratio * student(2), nodes)


def test_three_runs_are_as_sure_as_they_say() -> None:
    nodes, errors = [1, 2, 4], [0.01, 0.02, 0.03]
    found = fit(nodes, list(exactly(LAW, np.array(nodes, float))), sure=errors)
    same(found, drawn(1).normal(size=(RESAMPLES, 3)) * np.array(errors), nodes)


def test_the_most_nodes_are_foretold_from_the_others() -> None:
    nodes, off = [6, 1, 2, 3, 4, 6], [250.0, 101.0, 178.0, 240.0, 262.0, 270.0]
    band, truth = held_out(nodes, off)
    assert band == fit(nodes[1:5], off[1:5]).at(6)
    assert truth == 260
    errors = [0.5, 0.01, 0.02, 0.03, 0.02, 0.5]
    assert held_out(nodes, off, sure=errors)[0] == fit(nodes[1:5], off[1:5], sure=errors[1:5]).at(6)
    assert held_out(nodes, off, seed=5)[0] == fit(nodes[1:5], off[1:5], seed=5).at(6) != band
    with pytest.raises(ValueError, match="nothing to foretell from"):
        held_out([2, 2], [1.0, 1.0])
    with pytest.raises(ValueError, match="longer"):
        held_out(nodes, [*off, 1.0])


@pytest.mark.parametrize(("off", "wider"), [(0.5, 1), (1.2, 1.2), (1.9, 1.9), (3.0, 3.0)])
def test_errors_are_made_as_large_as_the_runs_lie_off(off: float, wider: float) -> None:
    """By Birge's ratio: with as many runs more than parameters, all of them that many errors away."""
    fitted, errors = np.full(6, 100.0), np.full(6, 0.01)
    freedom = 3
    apart = off * 0.01 * np.sqrt(freedom / 6)  # so that the ratio is `off`
    drawn = _errors(fitted * (1 + apart), fitted, errors, np.random.default_rng(1))
    factor = 1.0 if wider == 1 else wider * _student(freedom)
    assert drawn.std() == pytest.approx(0.01 * factor, rel=0.03)
