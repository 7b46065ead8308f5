"""Steady or not: planted series, with and without the trend that must be seen."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fanlab.analysis.steady import Steadiness, judge, mann_kendall, mser5, sens_slope, steadiness
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


def quiet_account(**changes: Any) -> Any:
    return replace(make_account(), faults=[], **changes)


def test_faults_and_short_runs_are_not_judged() -> None:
    assert steadiness(replace(make_account(), faults=[crash()]), 10**10).steady is None
    found = steadiness(quiet_account(), 0)
    assert found.steady is None
    assert "too short" in found.why
