"""The last entry before, the next one after, and the fault under way: for many at once."""

import numpy as np
import pytest

from fanlab.ledger.lookups import around, either_fault, fault_at, first_of_each, last_of_each, latest, node_fault
from fanlab.ledger.result import FaultAccount

NAMES = ("node-1", "node-2")


def table_and_questions(seed):
    """A sorted table of (group, time), and questions that often meet its times and groups, or lie beside them."""
    random = np.random.default_rng(seed)
    table = np.unique(random.integers(0, 6, (random.integers(1, 9), 2)), axis=0)
    asked = random.integers(-1, 8, (12, 2))
    return table[:, 0], table[:, 1], asked[:, 0], asked[:, 1]


@pytest.mark.parametrize("seed", range(40))
def test_each_question_is_answered_as_a_search_one_by_one_would(seed):
    group, t_ns, of_group, at_ns = table_and_questions(seed)
    last, following = [], []
    for of, at in zip(of_group, at_ns, strict=True):
        last.append(max(np.flatnonzero((group == of) & (t_ns <= at)), default=-1))
        following.append(min(np.flatnonzero((group == of) & (t_ns > at)), default=-1))
    assert latest(group, t_ns, of_group, at_ns).tolist() == last
    before, after = around(group, t_ns, of_group, at_ns)
    assert (before.tolist(), after.tolist()) == (last, following)


def test_the_last_entry_is_found_in_a_table_without_order_too():
    group, t_ns = np.array([7, 3, 7, 3]), np.array([30, 10, 20, 40])
    asked = np.array([[7, 25], [7, 30], [3, 39], [3, 40], [3, 9], [5, 99]])
    assert latest(group, t_ns, asked[:, 0], asked[:, 1]).tolist() == [2, 0, 1, 3, -1, -1]


def test_the_first_and_the_last_entry_of_each_group():
    group = np.array([7, 3, 7, 3, 5, 7])
    assert first_of_each(group).tolist() == [1, 4, 0]
    assert last_of_each(group).tolist() == [3, 4, 5]
    assert first_of_each(group[:0]).tolist() == last_of_each(group[:0]).tolist() == []


def test_a_question_before_the_first_entry_of_all():
    group, t_ns = np.array([5, 5]), np.array([10, 20])
    assert latest(group, t_ns, np.array([5]), np.array([1])).tolist() == [-1]
    assert [one.tolist() for one in around(group, t_ns, np.array([5]), np.array([1]))] == [[-1], [0]]


def test_no_entries_and_no_questions():
    nothing, some = np.zeros(0, np.int64), np.array([4, 5])
    assert latest(nothing, nothing, some, some).tolist() == [-1, -1]
    assert latest(some, some, nothing, nothing).tolist() == []
    assert [one.tolist() for one in around(nothing, nothing, some, some)] == [[-1, -1], [-1, -1]]


def fault(target, requested, healed=None, kind="pause"):
    return FaultAccount(0, kind, target, requested, requested, healed, healed)


@pytest.mark.parametrize(
    ("from_ns", "to_ns", "index"),
    [(0, 99, -1), (0, 100, 0), (150, 160, 0), (200, 300, 0), (203, 300, 0), (204, 300, -1), (0, 999, 0)],
)
def test_a_fault_is_at_work_from_its_request_until_after_its_end(from_ns, to_ns, index):
    faults = [fault("redis", 100, 200)]
    assert fault_at(faults, "redis", np.array([from_ns]), np.array([to_ns]), aftermath_ns=3).tolist() == [index]
    assert fault_at(faults, "node-1", np.array([from_ns]), np.array([to_ns]), aftermath_ns=3).tolist() == [-1]
    at = np.array([1, 0, -1]), np.array([from_ns] * 3), np.array([to_ns] * 3)
    faults = [fault("redis", 0), fault("stranger", 0), fault("node-2", 100, 200)]
    found = node_fault(faults, NAMES, *at, aftermath_ns=3)
    assert found.tolist() == [-1 if index < 0 else 2, -1, -1]


def test_the_last_of_several_faults_is_the_one_that_began_last():
    faults = [fault("redis", 50, 500), fault("redis", 10, 500), fault("redis", None), fault("redis", 70, 80)]
    at = np.array([20, 60, 75, 90])
    assert fault_at(faults, "redis", at, at, aftermath_ns=0).tolist() == [1, 0, 3, 0]


def test_faults_of_several_nodes_each_at_its_own_times():
    faults = [fault("node-1", 10, 20), fault("node-2", 15), fault("redis", 0)]
    node, t_ns = np.array([1, 0, 1, 0]), np.array([12, 12, 25, 25])
    assert node_fault(faults, NAMES, node, t_ns, t_ns, aftermath_ns=0).tolist() == [-1, 0, 1, -1]


def test_a_node_called_as_redis_is_has_no_faults_of_its_own():
    now = np.array([5])
    assert node_fault([fault("redis", 0)], ("redis",), np.array([0]), now, now, aftermath_ns=0).tolist() == [-1]


def test_of_faults_of_redis_and_of_each_node_the_one_that_began_last():
    faults = [fault("redis", 10, 40), fault("node-1", 20, 40), fault("node-2", 10, 40), fault("node-1", None)]
    node, t_ns = np.array([0, 1, 2, 0, 0, 1]), np.array([30, 30, 30, 15, 50, 5])
    assert either_fault(faults, NAMES, node, t_ns, t_ns, aftermath_ns=0).tolist() == [1, 0, 0, 0, -1, -1]
    assert either_fault(faults[::-1], NAMES, node, t_ns, t_ns, aftermath_ns=0).tolist() == [2, 3, 3, 3, -1, -1]
    assert either_fault(faults, NAMES, node, t_ns, t_ns, aftermath_ns=10).tolist()[4] == 1
    assert either_fault(faults[1:2], NAMES, node, t_ns - 5, t_ns, aftermath_ns=0).tolist() == [0, -1, -1, -1, -1, -1]
    assert either_fault([], NAMES, node, t_ns, t_ns, aftermath_ns=0).tolist() == [-1] * 6
