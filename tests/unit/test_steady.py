"""Steady or not: planted series, with and without the trend that must be seen."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fanlab.analysis.steady import Steadiness, judge, mann_kendall, mser5, sens_slope, steadiness
from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.ledger.histogram import Histogram
from fanlab.ledger.result import Account
from fanlab.seed import rng
from support.accounts import crash, make_account

BINS, BIN_S, FAN_OUT, PER_BIN = 80, 0.05, 10, 50


def judged(deficit: float = 0.0, *, number: int = 0, settling_ms: float = 0.0, half_life: float = 5) -> Steadiness:
    """A made-up run of 4 s: a share `deficit` of what is owed is left in each bin, latency rises likewise."""
    draw = rng(3, "steady", number)
    owed_bin = PER_BIN * FAN_OUT
    late = [
        2 + draw.expovariate(1) + settling_ms * 0.5 ** (at / half_life) + 1000 * deficit * at * BIN_S
        for at in range(BINS)
    ]
    left = [owed_bin * deficit * (at + 1) + FAN_OUT * draw.randrange(3) for at in range(BINS)]
    return judge(np.array(late), np.array(left), BIN_S, windows=40, owed=BINS * owed_bin, fan_out=FAN_OUT)


def test_no_false_alarm_in_two_hundred_steady_runs() -> None:
    assert [number for number in range(200) if not judged(number=number).steady] == []


@pytest.mark.parametrize("deficit", [0.015, 0.05, 0.5])
def test_a_system_that_falls_behind_is_always_seen(deficit: float) -> None:
    found = [judged(deficit, number=number) for number in range(50)]
    assert {one.steady for one in found} == {False}
    assert "falls behind" in found[0].why
    assert found[0].backlog_growth == pytest.approx(deficit * BINS * PER_BIN * FAN_OUT, rel=0.1)


def test_a_deficit_too_small_to_matter() -> None:
    found = judged(0.003)
    assert found.steady
    assert found.backlog_p is not None
    assert found.backlog_p < 0.01


def test_latency_that_grows_is_enough() -> None:
    late = 5.0 + 30 * BIN_S * np.arange(BINS)
    found = judge(late, np.zeros(BINS), BIN_S, windows=40, owed=40_000, fan_out=10)
    assert (found.steady, found.latency_growth_ms) == (False, pytest.approx(120, rel=0.05))
    assert "latency grows" in found.why


def test_a_start_that_settles_is_told_and_no_harm() -> None:
    found = judged(settling_ms=200, half_life=3)
    assert found.steady
    assert found.settled_after_s is not None
    assert 0.2 <= found.settled_after_s <= 1.5
    assert judged().settled_after_s == 0


def test_a_start_that_goes_on_past_the_middle() -> None:
    late = np.where(np.arange(BINS) < 50, 300.0 + np.arange(BINS) % 7, 10.0)
    found = judge(late, np.zeros(BINS), BIN_S, windows=40, owed=40_000, fan_out=10)
    assert found.steady is False
    assert "still settling" in found.why


def test_bins_without_a_delivery() -> None:
    late = np.where(np.arange(BINS) % 4 == 0, 3.0, math.nan)
    assert judge(late, np.zeros(BINS), BIN_S, windows=20, owed=200, fan_out=10).steady


def test_mann_kendall_by_hand() -> None:
    assert mann_kendall([1, 2, 3, 4, 5, 6, 7, 8]) == pytest.approx(
        0.5 * math.erfc(27 / math.sqrt(65.333) / 2**0.5), 1e-3
    )
    assert mann_kendall([5, 4, 3, 2, 1]) > 0.98
    assert mann_kendall([3, 3, 3, 3]) == 1.0
    assert mann_kendall([1]) == 1.0


def test_mann_kendall_heeds_ties() -> None:
    # S = 5; 2 tied pairs: var = (4·3·13 − 2·(2·1·9)) / 18 = 6.667
    assert mann_kendall([1, 1, 2, 2]) == pytest.approx(0.5 * math.erfc(3 / math.sqrt(6.6667) / math.sqrt(2)), abs=1e-4)


def test_mann_kendall_is_right_as_often_as_it_says() -> None:
    draw = rng(1, "mk")
    alarms = sum(mann_kendall([draw.random() for _ in range(20)]) < 0.05 for _ in range(1000))
    assert 20 <= alarms <= 80


def test_sens_slope_does_not_mind_an_outlier() -> None:
    assert sens_slope([0, 2, 4, 600, 8, 10]) == 2


@pytest.mark.parametrize("cut", [0, 10, 25])
def test_mser5_finds_where_the_start_ends(cut: int) -> None:
    draw = rng(2, "mser", cut)
    values = [50.0 + draw.random()] * cut + [draw.random() for _ in range(100 - cut)]
    assert mser5(values) == cut


def test_mser5_has_no_opinion_on_little() -> None:
    assert mser5([9.0] * 20 + [1.0] * 20) == 0


def test_mser5_takes_whole_batches_and_ten_are_enough() -> None:
    assert mser5([1.1] * 5 + [1.0] * 45 + [0.5] * 4) == 5
    assert mser5([1.1] * 5 + [1.0] * 44) == 0


def test_mser5_weighs_what_is_known_better_against_what_is_left_of_it() -> None:
    """The first of twenty batches has 12 % of the squares: leaving out one in twenty costs 9.75 %."""
    rest = [sign for number in range(19) for sign in [(-1.0) ** number] * 5]
    assert mser5([1.65] * 5 + rest) == 5
    assert mser5([1.3] * 5 + rest) == 0


def test_what_just_reaches_a_limit() -> None:
    def at(growth: float, *, owed: float = 40_000, fan_out: float = 10, windows: int = 40) -> Steadiness:
        left = growth * np.arange(1, BINS + 1)
        return judge(np.full(BINS, 5.0), left, BIN_S, windows=windows, owed=owed, fan_out=fan_out)

    assert at(5.0).backlog_growth == 400
    assert at(5.0).steady is False
    assert at(4.99).steady is True
    assert at(10.0, fan_out=1000).steady is True, "it is less than three messages, for all that listen"
    assert at(5.0, windows=8).steady is False, "so few windows are enough"


def test_how_long_a_start_may_settle() -> None:
    def settling(cut: int, before: float, after: float, bin_s: float = 0.05) -> Steadiness:
        late = np.where(np.arange(100) < cut, before, after)
        return judge(late, np.zeros(100), bin_s, windows=40, owed=40_000, fan_out=10)

    found = settling(55, 60.0, 10.0)  # 50 ms in 5 s: a hundredth
    assert found.why == "it was still settling after 2.8 of 5 s: make warm_up or measure longer"
    assert settling(55, 59.9, 10.0).steady is True
    assert settling(50, 60.0, 10.0).steady is True, "no further than the middle"
    assert settling(40, 60.0, 10.0).steady is True
    assert settling(40, 60.0, 10.0, bin_s=0.03333).settled_after_s == 1.333
    assert settling(20, 15.0, 10.0).settled_after_s == 1, "5 ms are unlike"
    assert settling(20, 14.9, 10.0).settled_after_s == 0
    assert settling(20, 1000.0, 900.0).settled_after_s == 0, "a tenth is not"


def test_no_trend_is_told_of_too_little() -> None:
    late = np.where(np.arange(BINS) < 14, 3.0, math.nan)  # in seven windows of forty
    found = judge(late, np.zeros(BINS), BIN_S, windows=40, owed=200, fan_out=10)
    assert (found.latency_growth_ms, found.latency_p) == (0, 1)


@pytest.mark.parametrize("values", [[1, 2], [2, 1], [1, 2, 1], [1, 1, 2, 1, 1]])
def test_mann_kendall_corrects_for_steps_of_one(values: list[float]) -> None:
    """Kendall's continuity correction: an order of −1, 0 or 1 is none."""
    assert mann_kendall(values) == 0.5


def quiet_account(**changes: Any) -> Any:
    return replace(make_account(), faults=[], **changes)


def test_faults_and_short_runs_are_not_judged() -> None:
    assert steadiness(replace(make_account(), faults=[crash()]), 10**10).steady is None
    found = steadiness(quiet_account(), 0)
    assert found.steady is None
    assert "too short" in found.why


def steady_account(*, bins: int, per_bin: int, late_ms: list[float | None], left: int = 0) -> Account:
    """Bins of 100 ms with `per_bin` messages for one client each, of which `left` are neither delivered nor lost."""
    offered = np.full(bins, per_bin)
    lost = np.ones(bins, np.int64)
    histograms = [Histogram.of([round(each * NS_PER_MS)] * 3) if each is not None else Histogram() for each in late_ms]
    account = quiet_account(offered=offered, lost=lost, delivered=offered - lost - left, bin_ns=NS_PER_S // 10)
    measure = replace(account.measure, published=bins * per_bin)
    return replace(account, measure=measure, latency=replace(account.latency, over_time=histograms))


def test_an_account_is_judged_by_its_bins() -> None:
    late = [5.0, None] * 30 + [5.0, 5.0] * 20
    found = steadiness(steady_account(bins=100, per_bin=20, late_ms=late), 10 * NS_PER_S)
    assert (found.steady, found.windows) == (True, 40)
    assert (found.latency_growth_ms, found.backlog_growth) == (pytest.approx(0), 0)

    growing = [5.0 + at for at in range(100)]  # 1 ms in 100
    found = steadiness(steady_account(bins=100, per_bin=20, late_ms=list(growing)), 10 * NS_PER_S)
    assert found.steady is False
    assert found.latency_growth_ms == pytest.approx(100, rel=0.03)
    assert found.why == "latency grows all the while, by 100 ms over 10 s"

    found = steadiness(steady_account(bins=100, per_bin=20, late_ms=[5.0] * 100, left=1), 10 * NS_PER_S)
    assert found.why == "it falls behind: 5.0% of what was owed was left lying in the end"


def test_only_whole_bins_of_the_measure_phase_count() -> None:
    account = steady_account(bins=100, per_bin=20, late_ms=[5.0] * 50 + [500.0] * 50, left=0)
    found = steadiness(account, 5 * NS_PER_S + 99 * NS_PER_MS)
    assert (found.steady, found.settled_after_s) == (True, 0)
    assert steadiness(account, 60 * NS_PER_S).settled_after_s != 0, "there are no more than were counted"


@pytest.mark.parametrize(("messages", "judged"), [(31, False), (32, True)])
def test_how_few_messages_say_nothing(messages: int, judged: bool) -> None:
    account = steady_account(bins=100, per_bin=20, late_ms=[5.0] * 100)
    account = replace(account, measure=replace(account.measure, published=messages))
    found = steadiness(account, 10 * NS_PER_S)
    assert (found.steady is not None) is judged
    assert found.windows == messages // 4
    if not judged:
        assert found.why == "too short to tell: 31 messages in 10 s"
    nothing = replace(account, offered=np.zeros(100, np.int64))
    assert steadiness(nothing, 10 * NS_PER_S).steady is None
