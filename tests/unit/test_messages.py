"""Messages from intents and outcomes."""

import numpy as np
import pytest

from fanlab.errors import MeasurementError
from fanlab.ledger.messages import NO_MESSAGE, NO_OUTCOME, Messages, collect_messages
from fanlab.ledger.records import INTENT_DTYPE, OUTCOME_DTYPE, Status
from fanlab.ledger.windows import NEVER


def collect(intents=(), outcomes=(), streams: int = 1) -> Messages:
    """From rows (intended, seq, stream) and (sent, done, seq, stream, status, receivers)."""
    return collect_messages(
        np.array([(*row, 0) for row in intents], INTENT_DTYPE),
        np.array([(*row[:5], 0, row[5], 0) for row in outcomes], OUTCOME_DTYPE),
        streams,
    )


def test_intent_and_outcome_are_joined_in_any_order():
    outcomes = [(21, 25, 2, 0, Status.OK, 3), (11, 12, 1, 1, Status.OK, 0)]
    made = collect([(20, 2, 0), (10, 1, 1), (5, 1, 0)], outcomes, streams=2)
    assert made.base.tolist() == [0, 2, 3]
    assert made.stream.tolist() == [0, 0, 1]
    assert made.intended_ns.tolist() == [5, 20, 10]
    assert made.sent_ns.tolist() == [5, 21, 11]
    assert made.done_ns.tolist() == [NEVER, 25, 12]
    assert made.status.tolist() == [NO_OUTCOME, Status.OK, Status.OK]
    assert made.receivers.tolist() == [-1, 3, 0]
    assert made.may_exist.all()
    assert made.uncertain.tolist() == [True, False, False]


def test_a_publish_that_never_reached_the_socket_has_its_intended_time():
    made = collect([(50, 1, 0)], [(0, 0, 1, 0, Status.FAILED, -1)])
    assert (made.sent_ns.tolist(), made.done_ns.tolist()) == ([50], [50])
    assert not made.may_exist.any()


def test_a_slot_without_an_intent_has_the_time_of_its_outcome():
    made = collect([], [(70, 71, 1, 0, Status.UNSENT, -1)])
    assert (made.intended_ns.tolist(), made.status.tolist()) == ([70], [Status.UNSENT])


def test_of_several_outcomes_the_one_that_admits_most_is_kept():
    rows = [(1, 9, 1, 0, Status.OK, 4), (1, 5, 1, 0, Status.FAILED, -1), (1, 7, 1, 0, Status.UNKNOWN, -1)]
    for order in (rows, rows[::-1], [rows[1], rows[0], rows[2]]):
        made = collect([(1, 1, 0)], order)
        assert (made.status.tolist(), made.done_ns.tolist(), made.receivers.tolist()) == ([Status.OK], [9], [4])


def test_find_knows_only_numbers_that_were_used():
    made = collect([(1, 1, 0), (3, 3, 0), (4, 1, 1)], streams=2)
    assert made.status.tolist() == [NO_OUTCOME, NO_MESSAGE, NO_OUTCOME, NO_OUTCOME]
    stream, seq = np.asarray([0, 0, 0, 0, 0, 1, 1, 2, -1]), np.asarray([0, 1, 2, 3, 4, 1, 2, 1, 1])
    assert made.find(stream, seq).tolist() == [-1, 0, -1, 2, -1, 3, -1, -1, -1]
    assert collect().find(stream, seq).tolist() == [-1] * 9
    assert collect(streams=0).find(stream, seq).tolist() == [-1] * 9


def test_records_of_streams_that_the_plan_lacks_are_left_out():
    assert collect([(1, 1, 5)], [(1, 2, 1, 5, Status.OK, 0)]).base.tolist() == [0, 0]


def test_number_0_is_no_message_and_spoils_no_other():
    made = collect([(5, 0, 0), (7, 1, 0)], [(6, 7, 0, 0, Status.OK, 1), (8, 9, 1, 0, Status.OK, 2)])
    assert (made.intended_ns.tolist(), made.receivers.tolist()) == ([7], [2])


def test_nonsense_numbers_are_refused():
    with pytest.raises(MeasurementError, match="number them up to 4000000000"):
        collect([(1, 4_000_000_000, 0)])
