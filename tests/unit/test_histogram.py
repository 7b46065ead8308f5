import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanlab.ledger.histogram import COARSE_BITS, FINE_BITS, Histogram, bucket_of, upper_end
from fanlab.ledger.latency import LatencyTable

durations = st.lists(st.integers(0, 2**51), min_size=1, max_size=60)


def rank_value(values: list[int], percent: float) -> int:
    return sorted(values)[max(1, math.ceil(round(percent * len(values), 6) / 100)) - 1]


@given(
    durations,
    st.sampled_from([0, 1, 50, 90, 99, 99.9, 100]),
    st.sampled_from([(FINE_BITS, 1e-3), (COARSE_BITS, 0.032)]),
)
def test_percentile_is_at_least_the_true_one_and_within_the_stated_error(values, percent, mode):
    bits, error = mode
    true = rank_value(values, percent)
    found = Histogram.of(values, bits).percentile_ns(percent)
    assert true <= found <= true * (1 + error)


@given(durations, durations)
def test_merging_equals_adding_all_in_any_order(one, two):
    merged = Histogram.of(one)
    merged.merge(Histogram.of(two))
    assert merged == Histogram.of(two + one)
    assert (merged.n, merged.sum_ns) == (len(one) + len(two), sum(one) + sum(two))
    assert (merged.min_ns, merged.max_ns) == (min(one + two), max(one + two))


@given(st.integers(0, 2**52 - 1), st.sampled_from([FINE_BITS, COARSE_BITS]))
def test_each_value_lies_in_its_bucket_and_the_next_bucket_is_adjacent(value, bits):
    index = bucket_of(np.asarray([value]), bits)
    below, upper = upper_end(index - 1, bits)[0] if index[0] else -1, upper_end(index, bits)[0]
    assert below < value <= upper


def test_bucket_edges_are_adjacent():
    buckets = np.arange(200_00)
    ends = upper_end(buckets, FINE_BITS)
    assert (bucket_of(ends, FINE_BITS) == buckets).all()
    assert (bucket_of(ends + 1, FINE_BITS) == buckets + 1).all()


def test_an_empty_histogram_has_no_figures():
    empty = Histogram()
    assert (empty.n, empty.min_ns, empty.max_ns, empty.percentile_ns(50), empty.percentile_ms(99)) == (
        0, None, None, None, None,
    )  # fmt: skip
    assert [len(part) for part in empty.buckets()] == [0, 0]
    empty.merge(Histogram())
    assert empty.n == 0


def test_negative_values_count_as_zero_and_are_told_of():
    made = Histogram.of([-5, 7, -1])
    assert (made.n, made.clamped, made.min_ns, made.max_ns, made.sum_ns) == (3, 2, 0, 7, 7)


def test_merging_tells_of_the_negative_values_of_both():
    made = Histogram.of([-5, 7, -1])
    made.merge(Histogram.of([-2, 3]))
    assert made.clamped == 3


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ([0, 2, 3, 5], [0, 1, 4, 5]),  # as many in as many buckets, but in others
        ([0, 1, 1, 2, 3, 3, 4], [0, 1, 2, 2, 2, 3, 4]),  # in the same buckets, but not as many in each
        ([1, 1], [2, 2]),
        ([0, 5], [-1, 5]),
        ([1 << 20, (1 << 20) + 2], [(1 << 20) + 1, (1 << 20) + 1]),
    ],
)
def test_histograms_of_other_values_differ(one, two):
    assert Histogram.of(one) == Histogram.of(one)
    assert Histogram.of(one) != Histogram.of(two)
    assert Histogram.of(one) != one


def test_values_beyond_the_ceiling_keep_an_exact_maximum():
    made = Histogram.of([3, 2**60])
    assert made.max_ns == 2**60
    assert made.percentile_ns(50) == 3
    assert 2**51 < made.percentile_ns(100) <= 2**60


def test_buckets_sum_to_n():
    made = Histogram.of([1, 1, 5_000_000, 5_000_001, 9_000_000])
    ends, counts = made.buckets()
    assert counts.tolist() == [2, 2, 1]
    assert ends[-1] == 9_000_000
    assert (np.diff(ends) > 0).all()


def test_refuses_another_resolution_and_a_wrong_percentile():
    with pytest.raises(ValueError, match="cannot be merged"):
        Histogram().merge(Histogram(COARSE_BITS))
    with pytest.raises(ValueError, match="no percentile"):
        Histogram.of([1]).percentile_ns(101)


def test_rank_is_not_pushed_up_by_float_error():
    values = list(range(3000))
    assert Histogram.of(values).percentile_ns(0.1) == 2  # rank 3 of 3000


def test_latency_table_sorts_by_node_and_time():
    table = LatencyTable.empty(3)
    table.add(np.asarray([10, 20, 30, 40]), np.asarray([0, 1, 0, 7]), np.asarray([0, 1, -4, 99]), ("node-1", "node-2"))
    assert table.overall.n == 4
    assert {name: one.n for name, one in table.by_node.items()} == {"node-1": 2, "node-2": 1, "#7": 1}
    assert [one.n for one in table.over_time] == [2, 1, 1]
    assert table.over_time[2].max_ns == 40


def test_a_delivery_through_a_node_just_beyond_the_named_ones_counts_under_its_number():
    table = LatencyTable.empty(1)
    table.add(np.asarray([10, 20]), np.asarray([1, 2]), np.asarray([0, 0]), ("node-1", "node-2"))
    assert {name: one.max_ns for name, one in table.by_node.items()} == {"node-2": 10, "#2": 20}


def test_empty_histograms_are_equal():
    assert Histogram() == Histogram() == Histogram.of([])
    assert Histogram() != Histogram.of([0])


def test_only_negative_values_are_told_of_over_all_that_was_added():
    made = Histogram.of([-5, 0, 7])
    made.add(np.asarray([-1, 0, 1]))
    made.add(np.asarray([0, 3]))
    assert (made.n, made.clamped, made.min_ns) == (8, 2, 0)


def test_only_the_span_of_buckets_in_use_is_stored():
    made = Histogram.of([1000])
    assert len(made.counts) == 1
    for value, span in ((1005, 6), (998, 8), (1002, 8)):
        made.merge(Histogram.of([value]))
        assert (len(made.counts), made.first) == (span, min(1000, made.min_ns))
    assert [part.tolist() for part in made.buckets()] == [[998, 1000, 1002, 1005], [1, 1, 1, 1]]


@pytest.mark.parametrize(("percent", "value"), [(0, 0), (1, 9), (50, 499), (99, 989), (99.9, 998), (100, 999)])
def test_percentiles_of_a_thousand_values(percent, value):
    made = Histogram.of(list(range(1000)))
    assert made.percentile_ns(percent) == value
    assert made.percentile_ms(percent) == pytest.approx(value / 1e6)
