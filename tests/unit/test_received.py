"""Runs of numbers, at their edges, and against plain sets."""

from random import Random

import numpy as np
import pytest

from fanlab.ledger.received import Received, run_begins


def columns(rows, width: int = 2) -> list[np.ndarray]:
    return list(np.array(rows, np.int64).reshape(-1, width).T)


def runs(received: Received) -> list[tuple[int, ...]]:
    return list(zip(*(part.tolist() for part in received.runs()), strict=True))


def holds(received: Received, *rows: tuple[int, int]) -> list[bool]:
    return received.contains(*columns(rows)).tolist()


def test_a_number_that_follows_the_one_before_it_begins_no_run():
    pair, seq = columns([(0, 1), (0, 2), (0, 4), (1, 5), (1, 6), (3, 7), (3, 7)])
    assert run_begins(pair, seq).tolist() == [True, False, True, True, False, True, True]
    assert run_begins(pair[:0], seq[:0]).tolist() == []


def test_nothing_received():
    received = Received(2)
    assert runs(received) == []
    assert holds(received, (0, 1), (1, 7)) == [False, False]
    received.add_rising(*columns([], 3))
    received.add_new(*columns([]))
    assert runs(received) == []


def test_what_goes_on_where_the_last_run_ended_extends_it():
    received = Received(3)
    received.add_rising(*columns([(1, 1, 3)], 3))
    received.add_rising(*columns([(1, 4, 4), (2, 5, 6)], 3))
    assert [received.open_low.tolist(), received.open_high.tolist()] == [[0, 1, 5], [0, 4, 6]]
    assert runs(received) == [(1, 1, 4), (2, 5, 6)]
    assert holds(received, (1, 0), (1, 1), (1, 4), (1, 5), (2, 4), (2, 5), (2, 6), (2, 7)) == [
        False, True, True, False, False, True, True, False,
    ]  # fmt: skip


def test_what_leaves_a_hole_closes_the_last_run():
    received = Received(2)
    received.add_rising(*columns([(0, 2, 3)], 3))
    received.add_rising(*columns([(0, 5, 5), (0, 7, 9), (1, 1, 1)], 3))
    assert runs(received) == [(0, 2, 3), (0, 5, 5), (0, 7, 9), (1, 1, 1)]
    assert [received.open_low.tolist(), received.open_high.tolist()] == [[7, 1], [9, 1]]
    assert holds(received, *((0, seq) for seq in range(1, 11))) == [
        False, True, True, False, True, False, True, True, True, False,
    ]  # fmt: skip


def test_what_fills_a_hole_joins_what_it_touches():
    received = Received(1)
    received.add_rising(*columns([(0, 2, 2), (0, 4, 4), (0, 8, 9)], 3))
    assert holds(received, (0, 3)) == [False]
    received.add_new(*columns([(0, 1), (0, 3), (0, 10), (0, 12)]))
    assert runs(received) == [(0, 1, 4), (0, 8, 10), (0, 12, 12)]
    received.add_new(*columns([(0, 5), (0, 6), (0, 7)]))
    assert runs(received) == [(0, 1, 10), (0, 12, 12)]


def test_of_new_numbers_those_above_all_and_those_below_may_come_together():
    received = Received(3)
    received.add_rising(*columns([(0, 5, 5), (2, 3, 3)], 3))
    received.add_new(*columns([(0, 4), (0, 6), (1, 1), (2, 1), (2, 4)]))
    assert runs(received) == [(0, 4, 6), (1, 1, 1), (2, 1, 1), (2, 3, 4)]


def test_the_highest_number_of_one_client_does_not_touch_the_first_of_the_next():
    received, top = Received(3), 2**32 - 1
    received.add_rising(*columns([(0, top - 1, top), (1, 1, 2), (2, 1, 1)], 3))
    assert runs(received) == [(0, top - 1, top), (1, 1, 2), (2, 1, 1)]
    assert holds(received, (0, top), (0, top - 1), (0, top - 2), (1, top), (1, 2)) == [True, True, False, False, True]
    received.add_rising(*columns([(1, top, top)], 3))
    received.add_new(*columns([(2, 3)]))
    assert runs(received) == [(0, top - 1, top), (1, 1, 2), (1, top, top), (2, 1, 1), (2, 3, 3)]


@pytest.mark.parametrize("seed", range(40))
def test_against_sets(seed):
    random = Random(seed)  # noqa: S311 - a seeded choice
    pairs, received, expected = 4, Received(4), set()
    for _ in range(random.randint(1, 12)):
        batch = {(random.randrange(pairs), random.randint(1, 15)) for _ in range(random.randint(0, 10))} - expected
        received.add_new(*columns(sorted(batch)))
        expected |= batch
        if random.random() < 0.5:
            every = [(pair, seq) for pair in range(pairs) for seq in range(1, 17)]
            assert holds(received, *every) == [key in expected for key in every]
            assert not received._loose
    found = runs(received)
    assert {(pair, seq) for pair, low, high in found for seq in range(low, high + 1)} == expected
    assert sum(high - low + 1 for _, low, high in found) == len(expected)
    assert found == sorted(found)
    assert not {(pair, high + 1) for pair, _, high in found} & expected
