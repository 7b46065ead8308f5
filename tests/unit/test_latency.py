import json
import math

import numpy as np
import pytest

from fanlab.analysis.latency import (
    NEEDED,
    ecdf_ms,
    is_blurred,
    latency_block,
    one_way_ms,
    over_time_ms,
    spectrum_ms,
)
from fanlab.clock import NS_PER_MS
from fanlab.ledger.clocks import ClockAccount, Span
from fanlab.ledger.histogram import Histogram

NAMES = {50.0: "p50", 90.0: "p90", 95.0: "p95", 99.0: "p99", 99.9: "p999"}


def of_ms(*values: float) -> Histogram:
    return Histogram.of([round(value * NS_PER_MS) for value in values])


@pytest.mark.parametrize("percent", NEEDED)
def test_a_percentile_needs_a_sample_beyond_it(percent):
    needed = NEEDED[percent]
    assert needed == round(1 / (1 - percent / 100))
    assert latency_block(of_ms(*range(needed - 1)))[NAMES[percent]] is None
    assert latency_block(of_ms(*range(needed)))[NAMES[percent]] is not None


def apart(offset_ms: float, bound_ms: float) -> ClockAccount:
    low, high = offset_ms - bound_ms, offset_ms + bound_ms
    return ClockAccount("exchange", Span(round(low * NS_PER_MS), round(high * NS_PER_MS)))


def test_between_two_clocks_figures_are_moved_by_the_offset():
    raw = of_ms(*(7 + 0.01 * k for k in range(1000)))  # true: 2 ms and more; the clients' clock is 5 ms ahead
    moved, plain = latency_block(raw, apart(5, 0.5)), latency_block(raw)
    for name in ("p50", "p99", "p999", "max"):
        assert moved[name] == pytest.approx(plain[name] - 5)
    assert moved["n"] == 1000


def test_a_figure_within_the_bound_is_refused():
    raw = of_ms(*([6.0] * 60 + [9.0] * 40))  # true: 1 ms and 4 ms, but known to 1.5 ms only
    block = latency_block(raw, apart(5, 1.5))
    assert block["p50"] is None
    assert block["p90"] == pytest.approx(4, abs=0.01)
    assert latency_block(raw, apart(5, 1.01))["p50"] is None, "it may as well be 0"
    assert latency_block(raw, apart(5, 0.9))["p50"] == pytest.approx(1, abs=0.01)


def test_what_was_counted_as_0_cannot_be_moved():
    raw = of_ms(*([-3.0] * 60 + [1.0] * 40))  # the clients' clock is 8 ms behind; -3 ms is kept as 0
    block = latency_block(raw, apart(-8, 0.5))
    assert block["p50"] is None
    assert block["p90"] == pytest.approx(9, abs=0.01)
    assert latency_block(of_ms(-3.0, -2.0), apart(-8, 0.5))["max"] is None


def test_a_figure_that_stands_on_its_bound_is_refused():
    assert latency_block(of_ms(6.0), apart(5, 1))["max"] is None, "1 ms, known to 1 ms: it may as well be 0"


def test_figures_are_told_to_the_nanosecond_and_no_finer():
    half_a_ns = ClockAccount("exchange", Span(0, 1))
    assert latency_block(Histogram.of([7]), half_a_ns)["max"] == 0.000006


@pytest.mark.parametrize(("lost", "given"), [(497, True), (500, False)])
def test_a_percentile_is_refused_from_where_its_own_rank_was_counted_as_0(lost, given):
    raw = of_ms(*([-3.0] * lost + [1.0] * (1000 - lost)))  # true: 9 ms and what cannot be known; p50 is the 500th
    assert latency_block(raw, apart(-8, 0.5))["p50"] == (pytest.approx(9, abs=0.01) if given else None)


def test_a_figure_is_missing_for_one_of_two_reasons():
    known = latency_block(of_ms(*range(5, 25)), ClockAccount("exchange", Span(-NS_PER_MS, NS_PER_MS)))
    assert not any(is_blurred(known, name) for name in ("p50", "p90", "p95", "p99", "p999", "max"))
    assert known["p99"] is None, "too few samples"
    blurred = latency_block(of_ms(*range(1, 21)), ClockAccount("exchange", Span(-15 * NS_PER_MS, 15 * NS_PER_MS)))
    assert [name for name in ("p50", "p90", "p95", "p99", "p999", "max") if is_blurred(blurred, name)] == ["p50"]
    assert not is_blurred(latency_block(of_ms()), "max"), "there is none"
    assert is_blurred({"max": None, "n": 1}, "max")
    for name, needed in (("p50", 2), ("p99", 100)):
        assert is_blurred({name: None, "n": needed}, name)
        assert not is_blurred({name: None, "n": needed - 1}, name), "too few to tell"


@pytest.mark.parametrize("clock", [ClockAccount("one-boot", Span(0, 0)), ClockAccount(), None])
def test_on_one_clock_nothing_is_moved_or_refused(clock):
    raw = of_ms(0, 0, 1)
    assert latency_block(raw, clock) == latency_block(raw)
    assert latency_block(raw, clock)["p50"] == 0


def test_curves_are_moved_and_refused_as_the_figures_of_the_summary_are():
    raw = of_ms(*([6.0] * 60 + [9.0] * 40))  # true: 1 ms and 4 ms
    moved, refused = apart(5, 0.5), apart(5, 1.5)
    over_time = over_time_ms([raw, Histogram()], moved)
    for name, line in over_time.items():
        assert line[0] == latency_block(raw, moved)[name]
        assert np.isnan(line[1])
    over_time = over_time_ms([raw], refused)
    assert np.isnan(over_time["p50"][0])
    assert over_time["max"].tolist() == [4.0]
    percents, values = spectrum_ms(raw, moved)
    assert (percents[0], values[0], values[-1]) == (0, pytest.approx(1, abs=0.01), pytest.approx(4, abs=0.01))
    percents, values = spectrum_ms(raw, refused)
    assert percents[0] > 60
    assert values.tolist() == pytest.approx([4] * len(values), abs=0.01)
    ends, shares = ecdf_ms(raw, moved)
    assert (ends.tolist(), shares.tolist()) == (pytest.approx([1, 4], abs=0.01), [0.6, 1.0])
    ends, shares = ecdf_ms(raw, refused)
    assert (ends.tolist(), shares.tolist()) == (pytest.approx([4], abs=0.01), [1.0])


def test_what_was_counted_as_0_has_no_place_on_a_curve():
    raw = of_ms(*([-3.0] * 60 + [1.0] * 40))  # the clients' clock is 8 ms behind
    percents, values = spectrum_ms(raw, apart(-8, 0.5))
    assert percents[0] > 60
    assert values.tolist() == pytest.approx([9] * len(values), abs=0.01)
    assert spectrum_ms(of_ms(-3.0), apart(-8, 0.5))[0].tolist() == [], "the least of all is a rank like any other"
    assert ecdf_ms(raw, apart(-8, 0.5))[0].tolist() == pytest.approx([9], abs=0.01)
    known_too = of_ms(*([-3.0] * 60 + [0.0] * 40))
    ends, shares = ecdf_ms(known_too, apart(-8, 0.5))
    assert (ends.tolist(), shares.tolist()) == ([8.0], [1.0])
    assert ecdf_ms(of_ms(-3.0, -2.0), apart(-8, 0.5))[0].tolist() == []


def test_one_delivery_is_moved_like_a_figure():
    assert one_way_ms(7_000_000, apart(5, 0.5)) == 2.0
    assert one_way_ms(5_500_000, apart(5, 0.5)) is None
    assert one_way_ms(5_500_001, apart(5, 0.5)) == 0.500001
    assert one_way_ms(None, apart(5, 0.5)) is None
    assert one_way_ms(-7, ClockAccount("one-boot", Span(0, 0))) == -0.000007


def test_no_p999_under_1000_samples_however_large_they_are():
    block = latency_block(of_ms(*range(999)))
    assert block["p999"] is None
    assert block["p99"] is not None
    assert block["n"] == 999


def test_percentiles_are_those_of_the_samples():
    block = latency_block(of_ms(*(k / 10 for k in range(1, 1001))))
    assert block["p50"] == pytest.approx(50.0, rel=1e-3)
    assert block["p90"] == pytest.approx(90.0, rel=1e-3)
    assert block["p99"] == pytest.approx(99.0, rel=1e-3)
    assert block["p999"] == pytest.approx(99.9, rel=1e-3)
    assert block["max"] == 100.0


def test_a_block_of_nothing_is_json_without_nan():
    block = latency_block(Histogram())
    assert json.loads(json.dumps(block, allow_nan=False)) == {
        "n": 0,
        **dict.fromkeys(("p50", "p90", "p95", "p99", "p999", "max")),
    }


def test_bins_with_too_few_samples_are_nan_not_zero():
    lines = over_time_ms([Histogram(), of_ms(7), of_ms(*([1] * 19), 9), of_ms(*([1] * 99), 9)])
    assert np.isnan(lines["p50"][0])
    assert np.isnan(lines["max"][0])
    assert np.isnan(lines["p50"][1])
    assert lines["max"].tolist()[1:] == [7, 9, 9]
    assert np.isnan(lines["p95"]).tolist() == [True, True, False, False]
    assert np.isnan(lines["p99"]).tolist() == [True, True, True, False]


@pytest.mark.parametrize("n", [1, 2, 10, 999, 12_345])
def test_spectrum_ends_at_the_last_percentile_that_n_supports(n):
    percents, values = spectrum_ms(of_ms(*range(1, n + 1)))
    assert percents[0] == 0
    assert percents[-1] == pytest.approx(100 * (1 - 1 / n))
    assert np.all(np.diff(percents) > 0)
    assert np.all(np.diff(values) >= 0)
    assert not np.isnan(values).any()


@pytest.mark.parametrize(("n", "points"), [(1, 1), (10, 21), (100, 41), (1000, 61)])
def test_each_decade_of_the_spectrum_gets_as_many_points(n, points):
    percents, values = spectrum_ms(of_ms(*range(1, n + 1)))
    assert len(percents) == len(values) == points


def test_spectrum_of_nothing_is_empty():
    percents, values = spectrum_ms(Histogram())
    assert (len(percents), len(values)) == (0, 0)


def test_ecdf_rises_to_one_at_the_maximum():
    ends, shares = ecdf_ms(of_ms(1, 1, 2, 10))
    assert shares.tolist() == [0.5, 0.75, 1.0]
    assert ends[-1] == 10
    assert ends[0] == pytest.approx(1, rel=1e-3)


def test_ecdf_of_many_buckets_is_thinned_and_keeps_its_ends():
    rng = np.random.default_rng(1)
    histogram = Histogram.of(rng.lognormal(14, 1.5, 50_000).astype(np.int64))
    ends, shares = ecdf_ms(histogram)
    assert len(ends) <= 402
    assert shares[-1] == 1
    assert ends[-1] == pytest.approx((histogram.max_ns or math.nan) / NS_PER_MS)
    assert ecdf_ms(Histogram())[0].tolist() == []


def test_ecdf_of_one_sample_is_all_of_it():
    ends, shares = ecdf_ms(of_ms(3))
    assert (ends.tolist(), shares.tolist()) == ([3.0], [1.0])


def test_ecdf_shows_every_bucket_of_as_many_as_it_may_show():
    ends, shares = ecdf_ms(Histogram.of([1] * 100_000 + list(range(2, 401))))
    assert (ends * NS_PER_MS).round().tolist() == list(range(1, 401))
    assert shares[0] == 100_000 / 100_399


def test_a_thinned_ecdf_is_an_even_choice():
    ends, shares = ecdf_ms(Histogram.of(list(range(1, 801))))
    assert (ends[0], shares[0]) == (1 / NS_PER_MS, 1 / 800)
    assert (ends[-1], shares[-1]) == (800 / NS_PER_MS, 1)
    assert np.diff(shares).max() <= 1 / 399 + 1 / 800, "no further apart than 400 points over all, and a bucket"
