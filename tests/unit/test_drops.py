"""Which losses the drop lines of nodes speak of, by name or by number."""

from collections import defaultdict

import numpy as np
import pytest

from fanlab.ledger.causes import CLOSING, SLOW, WRITE_FAILED
from fanlab.ledger.drops import NO_DROP, Drops

SERVED = (SLOW, WRITE_FAILED, CLOSING)


def drops_of(*lines):
    """Lines (node, stream, seq, t, reason, how many, clients that it names)."""
    who = [(at, client) for at, line in enumerate(lines) for client in line[6]]
    rows = [line[:6] for line in lines]
    return Drops(np.array(rows, np.int64).reshape(-1, 6), np.array(who, np.int64).reshape(-1, 2))


def reasons(lines, losses, live=True):
    """Of losses (node, stream, seq, client)."""
    columns = np.array(losses, np.int64).reshape(-1, 4).T
    return drops_of(*lines).reasons(*columns, np.broadcast_to(np.array(live), (len(losses),))).tolist()


def test_nobody_dropped_anything_or_nobody_was_there():
    assert reasons([], [(0, 0, 5, 1)]) == [NO_DROP]
    assert reasons([(0, 0, 5, 99, SLOW, 1, [1])], []) == []
    assert reasons([(0, 0, 5, 99, SLOW, 1, [1])], [(0, 0, 5, 1)], live=False) == [NO_DROP]


def test_a_line_with_names_explains_the_losses_of_those_alone():
    losses = [(0, 0, 5, 0), (0, 0, 5, 1), (0, 0, 6, 1), (0, 1, 5, 1), (1, 0, 5, 1), (0, 0, 5, 2)]
    expected = [NO_DROP, CLOSING, NO_DROP, NO_DROP, NO_DROP, CLOSING]
    line = (0, 0, 5, 99, CLOSING, 2, [2, 1])
    assert reasons([line], losses) == expected
    assert reasons([line], losses, live=[True, False, True, True, True, True])[1] == NO_DROP
    assert reasons([(3, 3, 3, 9, SLOW, 1, [9]), line], losses) == expected


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [(SLOW, CLOSING, SLOW), (CLOSING, WRITE_FAILED, WRITE_FAILED), (SLOW, WRITE_FAILED, SLOW)],
)
def test_a_client_that_two_lines_name_was_served_by_the_weightier(one, other, reason):
    lines = [(0, 0, 5, 99, one, 1, [1]), (0, 0, 5, 99, other, 1, [1])]
    assert reasons(lines, [(0, 0, 5, 1)]) == reasons(lines[::-1], [(0, 0, 5, 1)]) == [reason]


def test_a_line_without_names_explains_as_many_as_it_counts_from_the_lowest_number_on():
    losses = [(0, 0, 5, client) for client in (4, 3, 2, 1, 0)]
    lines = [(0, 0, 5, 99, CLOSING, 1, []), (0, 0, 5, 99, SLOW, 2, []), (0, 0, 5, 99, WRITE_FAILED, 1, [])]
    assert reasons(lines, losses) == [NO_DROP, CLOSING, WRITE_FAILED, SLOW, SLOW]


def test_what_a_line_does_not_name_it_explains_by_number():
    losses = [(0, 0, 5, client) for client in range(4)]
    assert reasons([(0, 0, 5, 99, SLOW, 2, [3])], losses) == [SLOW, NO_DROP, NO_DROP, SLOW]


def test_a_line_that_names_more_than_it_counts_takes_none_from_another():
    losses = [(0, 0, 5, client) for client in range(4)]
    lines = [(0, 0, 5, 99, SLOW, 0, [2, 3]), (0, 0, 5, 99, SLOW, 1, [])]
    assert reasons(lines, losses) == [SLOW, NO_DROP, SLOW, SLOW]


@pytest.mark.parametrize(
    ("one", "other"),
    [((1, 0, 5), (0, 1 << 15, 5)), ((0, 1, 0), (0, 0, (1 << 32) - 1)), ((0, 0, 5), (1 << 15, 0, 5))],
)
def test_numbers_as_high_as_journals_allow_stay_apart(one, other):
    line = (*one, 99, SLOW, 1, [])
    assert reasons([line], [(*other, 0), (*one, 0)]) == [NO_DROP, SLOW]


def naive(lines, losses, live):
    """The same one by one."""
    found = [NO_DROP] * len(losses)
    counts = defaultdict(int)
    for line in lines:
        counts[line[:3], line[4]] += max(0, line[5] - len(line[6]))
    for at, loss in enumerate(losses):
        named = {line[4] for line in lines if line[:3] == loss[:3] and loss[3] in line[6]}
        if live[at] and named:
            found[at] = min(named, key=SERVED.index)
    for at in sorted(range(len(losses)), key=lambda at: losses[at][3]):
        if live[at] and found[at] == NO_DROP:
            for reason in SERVED:
                if counts[losses[at][:3], reason]:
                    counts[losses[at][:3], reason] -= 1
                    found[at] = reason
                    break
    return found


@pytest.mark.parametrize("seed", range(60))
def test_each_loss_is_explained_as_one_by_one(seed):
    random = np.random.default_rng(seed)
    lines = [
        (*random.integers(0, 2, 3).tolist(), 99, int(random.choice(SERVED)), int(random.integers(0, 4)), who)
        for who in [random.permutation(5)[: random.integers(0, 3)].tolist() for _ in range(random.integers(1, 7))]
    ]
    places = [
        (node, stream, seq, client) for node in (0, 1) for stream in (0, 1) for seq in (0, 1) for client in range(6)
    ]
    losses = [places[at] for at in random.permutation(len(places))[:30]]
    live = random.random(len(losses)) < 0.9
    assert reasons(lines, losses, live) == naive(lines, losses, live)


# Dropped for its slowness


def slow(lines, *, node=0, client=1, since=10, until=20, closed=30):
    columns = (np.array([one]) for one in (node, client, since, until, closed))
    return drops_of(*lines).slow_since(*columns).tolist() == [True]


@pytest.mark.parametrize(
    ("at", "named", "nameless"),
    [
        (9, False, False),
        (10, True, True),
        (20, True, True),
        (21, True, False),
        (30, True, False),
        (31, False, False),
    ],
)
def test_a_node_dropped_something_for_that_client_as_slow(at, named, nameless):
    assert slow([(0, 0, 5, at, SLOW, 1, [1])]) is named
    assert slow([(0, 0, 5, at, SLOW, 1, [0, 1])]) is named
    assert slow([(0, 0, 5, at, SLOW, 1, [])]) is nameless


@pytest.mark.parametrize(
    "line",
    [
        (0, 0, 5, 15, CLOSING, 1, [1]),
        (0, 0, 5, 15, WRITE_FAILED, 1, []),
        (0, 0, 5, 15, SLOW, 1, [2]),
        (0, 0, 5, 15, SLOW, 1, [0]),
        (1, 0, 5, 15, SLOW, 1, [1]),
        (1, 0, 5, 15, SLOW, 1, []),
    ],
)
def test_what_a_node_dropped_for_others_or_otherwise_says_nothing_of_slowness(line):
    assert not slow([line])
    assert not slow([line, (1, 0, 6, 16, CLOSING, 1, [])])
    assert slow([line, (0, 0, 6, 16, SLOW, 1, [1])])


def test_nobody_was_ever_slow():
    assert not slow([])


@pytest.mark.parametrize("seed", range(30))
def test_slowness_is_told_as_one_by_one(seed):
    random = np.random.default_rng(seed)
    lines = [
        (int(random.integers(0, 2)), 0, 5, int(random.integers(0, 9)), int(random.choice(SERVED)), 1, who)
        for who in [random.permutation(4)[: random.integers(0, 3)].tolist() for _ in range(random.integers(1, 6))]
    ]
    node, client, since = random.integers(0, 2, 20), random.integers(0, 5, 20), random.integers(0, 9, 20)
    until, closed = random.integers(0, 9, 20), random.integers(0, 9, 20)
    expected = [
        any(
            line[0] == node[at] and line[4] == SLOW and line[3] >= since[at]
            and ((client[at] in line[6] and line[3] <= closed[at]) or (not line[6] and line[3] <= until[at]))
            for line in lines
        )
        for at in range(20)
    ]  # fmt: skip
    assert drops_of(*lines).slow_since(node, client, since, until, closed).tolist() == expected
