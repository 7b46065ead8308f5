"""The part of the account that says what became of the caches: its names, its identity, and its sums over nodes."""

import numpy as np
import pytest

from fanlab.ledger.cached import STALE_DTYPE, CacheAccount, CacheTally, MissCause, MissHop, NodeCache
from fanlab.ledger.histogram import Histogram


def node(tally: CacheTally, *refresh_ns: int) -> NodeCache:
    return NodeCache(tally, Histogram.of(refresh_ns), [], np.zeros(1), journalled=True)


def test_causes_and_hops_have_the_names_of_the_summary() -> None:
    assert [cause.label for cause in MissCause] == [
        "unexplained",
        "publish_failed",
        "redis_down",
        "no_subscriber",
        "node_down",
        "resubscribe_gap",
        "node_crash_in_flight",
        "not_taken",
        "output_buffer_kill",
        "partition",
    ]
    assert [hop.label for hop in MissHop] == ["unknown", "publisher_redis", "redis_node", "node_cache"]


@pytest.mark.parametrize(
    ("owed", "refreshed", "missed", "indeterminate", "balanced"),
    [(0, 0, 0, 0, True), (6, 3, 2, 1, True), (7, 3, 2, 1, False), (5, 3, 2, 1, False), (2, 1, 1, 2, False)],
)
def test_what_is_owed_is_refreshed_or_missed_or_indeterminate(
    owed: int, refreshed: int, missed: int, indeterminate: int, balanced: bool
) -> None:
    assert CacheTally(owed, refreshed, missed, indeterminate).balanced is balanced


def test_tallies_are_added_count_by_count() -> None:
    assert CacheTally(*range(1, 13)) + CacheTally(*range(100, 1300, 100)) == CacheTally(*range(101, 1313, 101))


def test_an_account_sums_up_its_nodes() -> None:
    rows = np.zeros(2, STALE_DTYPE)
    rows["age_ns"] = 40, 2
    nodes = {"node-1": node(CacheTally(2, 2), 10, 30), "node-2": node(CacheTally(2, 1, 1), 20)}
    made = CacheAccount(2, nodes, stale=rows)
    assert made.tally == CacheTally(4, 3, 1)
    assert made.refresh == Histogram.of([10, 20, 30])
    assert made.staleness == Histogram.of([2, 40])


def test_an_account_of_no_nodes_holds_nothing() -> None:
    made = CacheAccount(0, {})
    assert made.tally == CacheTally()
    assert (made.refresh.n, made.staleness.n) == (0, 0)
