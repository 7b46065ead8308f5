"""The table of latencies: each delivery in the overall histogram, in those of its parts, and in its bin."""

import numpy as np
import pytest

from fanlab.ledger.histogram import COARSE_BITS, FINE_BITS, Histogram
from fanlab.ledger.latency import LatencyTable, Part, _grouped

NAMES = ("node-1", "node-2", "node-3")


def table_of(
    latency: list[int], node: list[int], bins: list[int] | None = None, *, channel: Part | None = None
) -> LatencyTable:
    table = LatencyTable.empty(3)
    at = np.array(bins if bins is not None else [0] * len(latency), np.int64)
    table.add(np.array(latency, np.int64), np.array(node, np.int64), at, NAMES, channel=channel)
    return table


@pytest.mark.parametrize("node", [[0, 0, 0, 0], [0, 0, 1, 2], [2, 0, 2, 1], [1, 0, 1, 0], [0, 2, 1, 1], [1, 2, 0, 1]])
def test_each_delivery_is_in_the_histogram_of_its_node(node: list[int]) -> None:
    latency = [0, 5, 70_000, 3_000_000]
    table = table_of(latency, node)
    assert table.overall == Histogram.of(latency)
    assert table.by_node == {
        NAMES[number]: Histogram.of([ns for ns, of in zip(latency, node, strict=True) if of == number])
        for number in sorted(set(node))
    }


def test_bins_outside_the_table_are_its_ends() -> None:
    table = table_of([1, 2, 3, 4], [0, 0, 0, 0], [-5, 1, 2, 9])
    assert table.over_time == [Histogram.of(values, COARSE_BITS) for values in ([1], [2], [3, 4])]


def test_a_node_that_the_plan_lacks_has_its_number() -> None:
    assert set(table_of([1, 2], [1, 7]).by_node) == {"node-2", "#7"}


def test_nothing_adds_nothing() -> None:
    assert table_of([], []).overall.n == 0


@pytest.mark.parametrize(("parts", "bits"), [(1000, FINE_BITS), (1001, 8)])
def test_of_many_parts_each_is_coarser(parts: int, bits: int) -> None:
    latency = [1_234_567, 1_240_000]
    channel = Part(np.array([0, 0]), tuple(f"c{number}" for number in range(parts)))
    found = table_of(latency, [0, 0], channel=channel).by_channel
    assert found == {"c0": Histogram.of(latency, bits)}
    assert found["c0"].bits == bits


@pytest.mark.parametrize(
    "number", [[4], [0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 2, 5, 5], [1, 0, 1, 0], [2, 0, 1, 2, 0], [0, 2, 1]]
)
def test_each_number_is_told_of_once_with_all_its_places(number: list[int]) -> None:
    places = np.arange(len(number))
    found = [(one, places[chosen].tolist()) for one, chosen in _grouped(np.array(number, np.int64))]
    assert found == [(one, [at for at in places if number[at] == one]) for one in sorted(set(number))]
