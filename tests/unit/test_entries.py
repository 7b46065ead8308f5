"""What a cache's entries held over time, in small whole numbers for ns. Of two objects, seq 1, 3 … are of key 0."""

from collections.abc import Sequence

import numpy as np
import pytest

from fanlab.ledger.entries import Takes, held_at_the_end, wrong_over_time
from fanlab.ledger.fold import Grid
from fanlab.ledger.windows import NEVER
from support.updates import updates

GRID = Grid(100, 10, 3)


def takes(*taken: tuple[int, int], resets: Sequence[int] = ()) -> Takes:
    """What a cache took, as (seq, when), of two objects."""
    rows = np.array(taken, np.int64).reshape(-1, 2)
    return Takes((rows[:, 0] - 1) % 2, rows[:, 0], rows[:, 1], np.array(resets, np.int64), journalled=True)


def wrong(published: Sequence[int], *taken: tuple[int, int], resets: Sequence[int] = ()) -> list[float]:
    """How many entries were wrong in each bin of 10 from 100; seq 1, 2, 3 … were certain at the times `published`."""
    return wrong_over_time(updates(published), takes(*taken, resets=resets), GRID).tolist()


def test_the_next_newer_version_of_the_same_key() -> None:
    made = takes((5, 50), (1, 10), (4, 40))
    key, seq = np.array([0, 0, 0, 1, 1]), np.array([1, 3, 5, 2, 4])
    assert made.next_ns(key, seq).tolist() == [50, 50, NEVER, 40, NEVER]
    assert takes().next_ns(key, seq).tolist() == [NEVER] * 5


@pytest.mark.parametrize(
    ("resets", "held"),
    [
        ([], [3, 2]),
        ([1], [3, 0]),  # what was taken at the instant of a reset went with it
        ([1, 3], [0, 0]),
        ([0, 2], [3, 0]),
    ],
)
def test_an_entry_holds_at_the_end_what_was_taken_last_and_after_the_last_reset(
    resets: list[int], held: list[int]
) -> None:
    assert held_at_the_end(takes((3, 3), (1, 1), (2, 1), resets=resets), 2).tolist() == held


def test_an_entry_is_wrong_from_the_newer_publish_until_that_is_taken() -> None:
    assert wrong([101, 200, 105], (1, 102), (3, 125)) == [0.5, 1, 0.5]
    assert wrong([101, 102, 105, 115], (1, 102), (2, 103)) == [0.5, 1.5, 2]


def test_an_entry_is_right_again_with_a_version_newer_still_or_none_at_all() -> None:
    assert wrong([101, 200, 105, 200, 200], (1, 102), (5, 115)) == [0.5, 0.5, 0]
    assert wrong([101, 200, 105], (1, 102), resets=[115]) == [0.5, 0.5, 0]


def test_what_is_published_and_taken_at_one_time_was_never_wrong() -> None:
    assert wrong([101, 200, 105], (1, 101), (3, 105)) == [0, 0, 0]


def test_an_entry_that_holds_nothing_is_not_wrong() -> None:
    assert wrong([101, 102, 105]) == [0, 0, 0]
    assert wrong([101, 102, 105], (2, 104)) == [0, 0, 0]
    assert wrong([101, 200, 102, 200, 103]) == [0, 0, 0]


def test_what_was_taken_before_anything_was_certain_goes_wrong_with_the_first_that_is() -> None:
    assert wrong([103, 200, 105], (1, 101)) == [0.5, 1, 1]
    assert wrong([107, 200, 105], (1, 101)) == [0.5, 1, 1]


def test_the_first_key_owes_nothing_to_the_last() -> None:
    """Object 1 is wrong to the end; object 0, which comes first, is not."""
    assert wrong([101, 102, 103, 105], (1, 101), (3, 103), (2, 103)) == [0.5, 1, 1]


def test_each_entry_begins_anew() -> None:
    """Object 0 is wrong to the end; object 1, which comes next, goes wrong for itself."""
    assert wrong([101, 102, 105, 115], (1, 101), (2, 102)) == [0.5, 1.5, 2]


def test_what_was_wrong_before_the_first_bin_is_wrong_from_there() -> None:
    assert wrong([1, 200, 5], (1, 1), (3, 115)) == [1, 0.5, 0]


def test_what_goes_wrong_or_right_after_the_last_bin_is_none_of_its_business() -> None:
    assert wrong([101, 200, 150], (1, 101), (3, 180)) == [0, 0, 0]
    assert wrong([101, 200, 125], (1, 101), (3, 180)) == [0, 0, 0.5]
    assert wrong([101, 200, 125], (1, 101), (3, 130)) == [0, 0, 0.5]


def test_without_any_update_nothing_is_wrong() -> None:
    assert wrong([]) == [0, 0, 0]


def test_figures_are_rounded_to_nine_places() -> None:
    assert wrong_over_time(updates([1, 9, 2]), takes((1, 1)), Grid(0, 3, 1)).tolist() == [0.333333333]
