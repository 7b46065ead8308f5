"""A window begins earlier where its node lagged when the client asked; and nowhere else."""

from collections.abc import Sequence

import pytest

from fanlab.ledger.lagging import reached_back
from fanlab.ledger.pairs import spread
from fanlab.ledger.records import Status
from fanlab.ledger.windows import NEVER
from support.arrays import made_deliveries, made_messages, made_windows

ASKED = 30  # by the late client, client 1; number 1 was sent at 11 and done at 13, number 2 at 21 and 23
SENT, DONE, DONE_2 = 11, 13, 23


def asks(
    *deliveries: tuple[int, ...],
    windows: Sequence[tuple[int, ...]] = ((0, 0), (1, 0, ASKED)),
    status: Sequence[int] | None = None,
) -> list[int]:
    """From when on each client is owed something. A delivery is (received, client, stream, seq, node)."""
    pairs = spread(made_windows(*windows), [0])
    records = made_deliveries(*deliveries)
    back = reached_back(pairs, made_messages([2], status=status), lambda: iter([(0, records[:1]), (0, records[1:])]))
    return back.window["ask_ns"].tolist()


@pytest.mark.parametrize("node", [0, 1, 5])
def test_what_its_node_handed_out_to_others_only_then_is_owed_to_it(node: int) -> None:
    assert asks((40, 0, 0, 1, node), (41, 1, 0, 1, node)) == [0, DONE]
    assert asks((41, 1, 0, 2, node), (40, 0, 0, 2, node)) == [0, DONE_2]


def test_it_is_owed_all_from_the_earliest_of_them_on() -> None:
    both = [(40, 0, 0, 1), (40, 0, 0, 2), (41, 1, 0, 2), (42, 1, 0, 1)]
    assert asks(*both) == asks(*reversed(both)) == [0, DONE]


@pytest.mark.parametrize(("others", "asked"), [(ASKED, DONE), (ASKED - 1, ASKED)])
def test_what_others_had_before_it_asked_was_replayed(others: int, asked: int) -> None:
    assert asks((others, 0, 0, 1), (41, 1, 0, 1)) == [0, asked]
    assert asks((50, 0, 0, 1), (others, 0, 0, 1), (51, 1, 0, 1)) == [0, asked], "their first copy counts"


@pytest.mark.parametrize(
    "deliveries",
    [
        [(41, 1, 0, 1)],  # to nobody else
        [(40, 0, 0, 1, 1), (41, 1, 0, 1, 0)],  # by another node
        [(40, 0, 0, 2), (41, 1, 0, 1)],  # another message
        [(40, 0, 0, 1)],  # it never got it
        [(40, 0, 0, 1), (41, 9, 0, 1)],  # a client that nobody knows did
        [(40, 0, 0, 2), (41, 1, 0, 7)],  # it got a number that nobody sent
    ],
)
def test_what_else_comes_early_changes_nothing(deliveries: list[tuple[int, ...]]) -> None:
    assert asks(*deliveries) == [0, ASKED]


def test_what_was_surely_not_published_changes_nothing() -> None:
    status = [Status.FAILED, Status.OK]
    assert asks((40, 0, 0, 1), (41, 1, 0, 1), status=status) == [0, ASKED]


def test_nor_does_it_change_anything_for_a_client_that_comes_first() -> None:
    windows = [(0, 0, ASKED), (1, 0)]
    assert asks((40, 1, 0, 1), (41, 1, 0, 2), windows=windows) == [ASKED, 0]
    assert asks((40, 1, 0, 1), (41, 0, 0, 1), windows=windows) == [DONE, 0]


@pytest.mark.parametrize(("asked", "counts"), [(DONE, True), (DONE + 1, False)])
def test_another_client_tells_of_what_was_published_since_it_asked(asked: int, counts: bool) -> None:
    windows = [(0, 0, asked), (1, 0, ASKED)]
    assert asks((40, 0, 0, 1), (41, 1, 0, 1), windows=windows)[1] == (DONE if counts else ASKED)


@pytest.mark.parametrize(("left", "counts"), [(SENT, True), (SENT - 1, False)])
def test_another_client_tells_nothing_of_what_was_sent_after_it_had_left(left: int, counts: bool) -> None:
    windows = [(0, 0, 0, 0, NEVER, left), (1, 0, ASKED)]
    assert asks((40, 0, 0, 1), (41, 1, 0, 1), windows=windows) == [0, DONE if counts else ASKED]


def test_without_clients_or_messages_there_is_nothing_to_reach_back_for() -> None:
    nobody = spread(made_windows(), [0])
    assert len(reached_back(nobody, made_messages([2]), lambda: iter([]))) == 0
    late = spread(made_windows((0, 0, ASKED)), [0])
    assert reached_back(late, made_messages([0]), lambda: iter([])) is late
