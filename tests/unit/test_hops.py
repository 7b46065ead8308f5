"""Where the time went between the intended send and the client."""

from collections.abc import Sequence

import numpy as np
import pytest

from fanlab.ledger.hops import message_hops, node_times
from fanlab.ledger.messages import Messages, collect_messages
from fanlab.ledger.nodejournal import NodeJournal
from fanlab.ledger.records import INTENT_DTYPE, OUTCOME_DTYPE, Status


def messages(*statuses: Status | None, hole: bool = False) -> Messages:
    """Stream 0's messages 1, 2 …: number k is meant for 100 k and sent 1 k later. None: the publisher died over it."""
    numbered = [(seq, status) for seq, status in enumerate(statuses, 1) if not (hole and seq == 1)]
    return collect_messages(
        np.array([(100 * seq, seq, 0, 0) for seq, _ in numbered], INTENT_DTYPE),
        np.array(
            [(101 * seq, 101 * seq + 5, seq, 0, status, 0, 1, 0) for seq, status in numbered if status is not None],
            OUTCOME_DTYPE,
        ),
        1,
    )


def journal(*rows: tuple[int, int, int, int]) -> NodeJournal:
    """From rows (stream, seq, received, done)."""
    return NodeJournal(messages=np.array(rows, np.int64).reshape(-1, 4))


@pytest.mark.parametrize(
    "rows",
    [
        [(0, 1, 110, 190), (0, 1, 120, 125)],
        [(0, 1, 120, 125), (0, 1, 110, 190)],
        [(0, 1, 120, 300), (0, 1, 110, 190), (0, 1, 115, 118)],
    ],
)
def test_of_a_message_that_came_twice_the_copy_that_came_first_counts_with_its_own_end(
    rows: Sequence[tuple[int, int, int, int]],
) -> None:
    received, done = node_times(journal(*rows, (0, 2, 230, 240)), messages(Status.OK, Status.OK, Status.OK))
    assert (received.tolist(), done.tolist()) == ([110, 230, 0], [190, 240, 0])


def test_what_no_publisher_sent_is_no_message() -> None:
    received, done = node_times(journal((0, 5, 7, 8), (3, 1, 7, 8)), messages(Status.OK, Status.OK))
    assert (received.tolist(), done.tolist()) == ([0, 0], [0, 0])


def samples(found: Messages, nodes: Sequence[Sequence[int]], measure: Sequence[bool]) -> dict[str, tuple[int, int]]:
    """n and sum of each hop, where each node received messages at these times and had them done 2 k later."""
    times = {
        index: (np.array(received), np.array(received) + 2 * np.arange(1, len(received) + 1))
        for index, received in enumerate(nodes)
    }
    return {name: (hop.n, hop.sum_ns) for name, hop in message_hops(found, times, np.array(measure)).items()}


def test_one_sample_for_each_message_and_for_each_node_that_says_when() -> None:
    found = messages(Status.OK, Status.OK, Status.OK)
    assert samples(found, [[104, 0, 306], [107, 0, 0]], [True] * 3) == {
        "schedule": (3, 1 + 2 + 3),
        "redis": (3, 3 + 3 + 6),
        "node": (3, 2 + 6 + 2),
    }


def test_hops_are_of_the_phase_alone() -> None:
    found = messages(Status.OK, Status.OK, Status.OK)
    assert samples(found, [[104, 209, 306]], [False, True, False]) == {
        "schedule": (1, 2),
        "redis": (1, 7),
        "node": (1, 4),
    }


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        (Status.OK, True),
        (Status.TIMED_OUT, True),
        (Status.UNKNOWN, True),
        (Status.FAILED, False),
        (Status.UNSENT, False),
        (None, False),
    ],
)
def test_only_what_was_handed_to_a_socket_has_hops(status: Status | None, counts: bool) -> None:
    found = samples(messages(Status.OK, status), [[0, 209]], [False, True])
    assert found == ({"schedule": (1, 2), "redis": (1, 7), "node": (1, 4)} if counts else dict.fromkeys(found, (0, 0)))


def test_a_number_that_was_never_used_has_no_hops() -> None:
    assert samples(messages(None, Status.OK, hole=True), [[109, 0]], [True, True])["schedule"] == (1, 2)


def test_the_first_instant_of_a_clock_is_a_time_too() -> None:
    found = messages(Status.OK)
    hops = message_hops(found, {0: (np.array([1]), np.array([4]))}, np.array([True]))
    assert (hops["node"].n, hops["node"].sum_ns) == (1, 3)
    assert (hops["redis"].n, hops["redis"].clamped) == (1, 1), "a node's clock that is behind gives no negative time"
