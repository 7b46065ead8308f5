"""Messages from intents and outcomes."""

from itertools import pairwise

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


IN_ORDER = (Status.UNSENT, Status.FAILED, Status.UNKNOWN, Status.OK)


@pytest.mark.parametrize(
    ("less", "more"),
    [*pairwise(IN_ORDER), (Status.FAILED, Status.TIMED_OUT), (Status.TIMED_OUT, Status.OK)],
)
def test_an_outcome_that_admits_more_counts_whenever_it_came(less, more):
    for first, second in ((3, 7), (7, 3)):
        rows = [(1, first, 1, 0, less, -1), (1, second, 1, 0, more, 4)]
        made = collect([(1, 1, 0)], rows)
        assert (made.status.tolist(), made.done_ns.tolist()) == ([more], [second])


@pytest.mark.parametrize("last", [Status.TIMED_OUT, Status.UNKNOWN])
def test_of_outcomes_that_admit_as_much_the_last_counts(last):
    first = Status.UNKNOWN if last is Status.TIMED_OUT else Status.TIMED_OUT
    made = collect([(1, 1, 0)], [(1, 7, 1, 0, last, -1), (1, 3, 1, 0, first, -1)])
    assert (made.status.tolist(), made.done_ns.tolist()) == ([last], [7])


def test_of_several_intents_the_earliest_is_kept():
    for rows in ([(30, 1, 0), (10, 1, 0), (20, 1, 0)], [(10, 1, 0), (30, 1, 0)], [(30, 1, 0), (10, 1, 0)]):
        assert collect(rows).intended_ns.tolist() == [10]


@pytest.mark.parametrize(("sent", "known"), [(0, 50), (1, 1)])
def test_only_0_stands_for_a_message_that_was_not_sent(sent, known):
    made = collect([(50, 1, 0)], [(sent, 60, 1, 0, Status.UNKNOWN, -1)])
    assert (made.intended_ns.tolist(), made.sent_ns.tolist(), made.done_ns.tolist()) == ([50], [known], [60])


def test_a_message_was_not_done_before_it_was_sent():
    assert collect([(5, 1, 0)], [(9, 7, 1, 0, Status.OK, 1)]).done_ns.tolist() == [9]


@pytest.mark.parametrize("status", [Status.FAILED, Status.TIMED_OUT, Status.UNKNOWN, Status.UNSENT])
def test_who_received_it_is_known_of_what_redis_replied_to_only(status):
    made = collect([(5, 1, 0), (6, 2, 0)], [(5, 7, 1, 0, status, 3), (6, 7, 2, 0, Status.OK, 3)])
    assert made.receivers.tolist() == [-1, 3]


def test_find_in_a_plan_of_one_stream():
    made = collect([(1, 1, 0)])
    assert made.find(np.asarray([0, 1, -1, 0, 0]), np.asarray([1, 1, 1, 2, 0])).tolist() == [0, -1, -1, -1, -1]
    two = collect([(1, 1, 0), (2, 2, 0)])
    assert two.find(np.asarray([0, 0, 0]), np.asarray([2, 3, 1])).tolist() == [1, -1, 0]


def test_find_knows_only_numbers_that_were_used():
    made = collect([(1, 1, 0), (3, 3, 0), (4, 1, 1)], streams=2)
    assert made.status.tolist() == [NO_OUTCOME, NO_MESSAGE, NO_OUTCOME, NO_OUTCOME]
    stream, seq = np.asarray([0, 0, 0, 0, 0, 1, 1, 2, -1]), np.asarray([0, 1, 2, 3, 4, 1, 2, 1, 1])
    assert made.find(stream, seq).tolist() == [-1, 0, -1, 2, -1, 3, -1, -1, -1]
    assert collect().find(stream, seq).tolist() == [-1] * 9
    assert collect(streams=0).find(stream, seq).tolist() == [-1] * 9


@pytest.mark.parametrize("stream", [1, 2, 5])
def test_records_of_streams_that_the_plan_lacks_are_left_out(stream):
    assert collect([(1, 1, stream)]).base.tolist() == [0, 0]
    assert collect([], [(1, 2, 1, stream, Status.OK, 0)]).base.tolist() == [0, 0]


@pytest.mark.parametrize("t", [5, 50])
def test_number_0_is_no_message_and_spoils_no_other(t):
    made = collect([(t, 0, 0), (7, 1, 0)], [(t + 1, t + 2, 0, 0, Status.OK, 1), (8, 9, 1, 0, Status.OK, 2)])
    assert (made.intended_ns.tolist(), made.done_ns.tolist(), made.receivers.tolist()) == ([7], [9], [2])


def test_nonsense_numbers_are_refused():
    with pytest.raises(MeasurementError, match="number them up to 4000000000"):
        collect([(1, 4_000_000_000, 0)])


@pytest.mark.parametrize(("last", "refused"), [(14, False), (15, True)])
def test_numbers_with_a_few_holes_are_taken(monkeypatch, last, refused):
    monkeypatch.setattr("fanlab.ledger.messages._HOLES", 10)
    rows = [(1, 1, 0), (1, last, 0)], [(1, 2, 1, 0, Status.OK, 1), (1, 2, last, 0, Status.OK, 1)]
    if refused:
        with pytest.raises(MeasurementError, match="hold 2 messages but number them up to 15"):
            collect(*rows)
    else:
        assert len(collect(*rows).status) == last, "as many as there are records, and 10 more"


def test_number_0_is_no_message_and_takes_nobodys_place():
    intents = [(10, 1, 0), (99, 0, 0), (99, 0, 1), (20, 1, 1)]
    outcomes = [(11, 12, 1, 0, Status.OK, 3), (98, 99, 0, 1, Status.FAILED, 7), (98, 99, 0, 0, Status.FAILED, 7)]
    made = collect(intents, outcomes, streams=2)
    assert made.base.tolist() == [0, 1, 2]
    assert made.intended_ns.tolist() == [10, 20]
    assert made.sent_ns.tolist() == [11, 20]
    assert made.done_ns.tolist() == [12, NEVER]
    assert made.status.tolist() == [Status.OK, NO_OUTCOME]
    assert made.receivers.tolist() == [3, -1]
    told_by_its_end_alone = collect([(99, 0, 0)], outcomes[:1])
    assert (told_by_its_end_alone.intended_ns.tolist(), told_by_its_end_alone.sent_ns.tolist()) == ([11], [11])


def test_seen_from_another_clock_a_publish_took_longer_both_ways():
    made = collect([(10, 1, 0), (20, 2, 0)], [(11, 12, 1, 0, Status.OK, 3)])
    far = made.blurred(5)
    assert (far.sent_ns.tolist(), far.done_ns.tolist()) == ([6, 15], [17, NEVER])
    assert far.intended_ns.tolist() == made.intended_ns.tolist()
    assert made.blurred(0) is made
