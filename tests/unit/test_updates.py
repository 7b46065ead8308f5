"""Updates numbered by key: three streams, of which the first has 2 objects, the second none and the third 3."""

import numpy as np
import pytest

from fanlab.ledger.messages import Messages
from fanlab.ledger.records import Status
from fanlab.ledger.updates import updates_of, version
from fanlab.scenario.plan import Plan, StreamSpec
from support.updates import updates

MADE = updates([3, 4, 5], [1, 2], [6, 7, 8, 9], objects=[2, 0, 3])


def test_only_messages_of_publishers_with_objects_are_updates() -> None:
    assert MADE.stream.tolist() == [0, 0, 0, 2, 2, 2, 2]
    assert MADE.seq.tolist() == [1, 2, 3, 1, 2, 3, 4]
    assert MADE.message.tolist() == [0, 1, 2, 5, 6, 7, 8]


def test_a_publisher_updates_its_objects_in_turn_and_each_is_a_key() -> None:
    assert MADE.keys == 5
    assert MADE.key.tolist() == [0, 1, 0, 2, 3, 4, 2]
    assert updates([1, 2], objects=1).key.tolist() == [0, 0]


def test_a_key_tells_its_stream_and_the_objects_number_and_they_tell_the_key() -> None:
    keys = np.arange(5)
    assert MADE.stream_of(keys).tolist() == [0, 0, 2, 2, 2]
    assert MADE.object_of(keys).tolist() == [0, 1, 0, 1, 2]
    assert MADE.key_of(MADE.stream_of(keys), MADE.object_of(keys)).tolist() == keys.tolist()


def test_finding_an_update_by_stream_and_seq() -> None:
    """Not found, −1: a message that is no update, numbers that nobody published, and a stream that there is not."""
    stream, seq = np.array([0, 2, 1, 0, 2, 3]), np.array([1, 4, 1, 0, 5, 1])
    assert MADE.find(stream, seq).tolist() == [0, 6, -1, -1, -1, -1]


def test_versions_sort_by_key_and_then_by_age() -> None:
    key, seq = np.array([1, 0, 0, 2, 1]), np.array([1, 7, (1 << 32) - 1, 1, 2])
    assert np.argsort(version(key, seq)).tolist() == [1, 2, 0, 4, 3]


@pytest.mark.parametrize("publishers", [None, [], [{}], [{"objects": None}], [{"objects": 0}]])
def test_without_objects_there_are_no_updates(publishers: list | None) -> None:
    times = np.array([5])
    messages = Messages(np.array([0, 1]), times, times, times, np.array([Status.OK], np.uint8), np.array([1]))
    plan = Plan((), (StreamSpec(0, "publisher-1", "news", 0),), (), ("news",))
    assert updates_of({"scenario": {"publishers": publishers}}, plan, messages, 0) is None


def test_where_nothing_was_published_nothing_is_found() -> None:
    made = updates([], [], objects=[2, 3])
    assert (made.keys, len(made.seq)) == (5, 0)
    assert made.find(np.array([0, 1]), np.array([1, 1])).tolist() == [-1, -1]


def test_a_failed_publish_is_an_update_and_an_unsent_one_is_not() -> None:
    told = [Status.OK, Status.FAILED, Status.UNSENT, Status.TIMED_OUT]
    made = updates([1, 2, 3, 4], objects=1, status=[told])
    assert made.seq.tolist() == [1, 2, 4]
    assert made.certain.tolist() == [True, False, False]
    assert made.failed.tolist() == [False, True, False]
    assert made.uncertain.tolist() == [False, False, True]


def test_what_was_meant_to_be_sent_at_time_0_belongs_to_the_measure_phase() -> None:
    assert updates([9, 10, 11], objects=1, zero_ns=10).measure.tolist() == [False, True, True]
