"""Causes of copies: each planted, and each with the evidence taken away that it rests on."""

import numpy as np
import pytest

from fanlab.ledger.account import account
from fanlab.ledger.copies import RULES
from fanlab.ledger.odd import CopyCause, Odd
from support.histories import History

UNEXPLAINED, RETRIED, DOUBLE, REPLAY = CopyCause


@pytest.fixture
def reckon(tmp_path):
    """Account for a history."""
    return lambda history, **how: account(history.write(tmp_path / "run", **how))


def story(witnessed: int | None = 1, journalled: int | None = None, clients: int = 1) -> History:
    """Message 2 of 3; the witness had it so often, and so did the node's journal. Everybody is on node 0."""
    history = History(clients=clients)
    for client in range(clients):
        history.subscribe(client)
    for seq in (1, 2, 3):
        history.publish(seq, seq * 10)
        for _ in range((witnessed or 0) if seq == 2 else 1):
            if witnessed is not None:
                history.witnessed(seq, seq * 10 + 0.3)
        for _ in range((journalled or 0) if seq == 2 else 1):
            if journalled is not None:
                history.fan_out(0, seq, seq * 10 + 0.5)
        for client in range(clients):
            history.deliver(client, seq, seq * 10 + 1)
    return history


def causes(found) -> list[CopyCause]:
    copies = found.odd[found.odd["kind"] == Odd.DUPLICATED]
    assert len(copies) == found.measure.duplicated
    assert not found.odd["cause"][found.odd["kind"] != Odd.DUPLICATED].any()
    return [CopyCause(cause) for cause in copies["cause"]]


@pytest.mark.parametrize(
    ("witnessed", "journalled", "copies", "expected"),
    [
        (2, None, 1, [RETRIED]),
        (2, 2, 1, [RETRIED]),
        (1, 2, 1, [DOUBLE]),
        (1, 3, 2, [DOUBLE, DOUBLE]),
        (2, 4, 3, [RETRIED, DOUBLE, DOUBLE]),
        (2, 2, 2, [RETRIED, UNEXPLAINED]),  # once more than all others had it
        (1, 1, 1, [UNEXPLAINED]),  # the node had it once, and sent it twice
        (1, None, 1, [UNEXPLAINED]),
        (None, 2, 1, [UNEXPLAINED]),  # nobody knows if Redis had it once
        (0, 2, 1, [UNEXPLAINED]),
    ],
)
def test_retried_doubled_or_neither(reckon, witnessed, journalled, copies, expected):
    history = story(witnessed, journalled)
    for copy in range(copies):
        history.deliver(0, 2, 50 + copy)
    found = reckon(history, frame_records=1 + copies)
    assert causes(found) == expected
    assert any("no witness" in sentence for sentence in found.evidence.coarse) == (witnessed is None)


def test_what_redis_had_while_the_witness_was_away_may_be_a_retry(reckon):
    history = story(1, 2).deliver(0, 2, 50)
    history.witness_up_ms = (-2000, 40)
    assert causes(reckon(history)) == [UNEXPLAINED]


def test_a_copy_over_a_later_connection_is_a_replay(reckon):
    history = story().close(0, 60).subscribe(0, node=1, at=70).deliver(0, 2, 75, node=1).deliver(0, 2, 80, node=1)
    assert causes(reckon(history)) == [REPLAY, REPLAY]


def test_a_copy_over_the_same_connection_is_none(reckon):
    history = story().close(0, 60).subscribe(0, at=70).publish(4, 80).deliver(0, 4, 81).deliver(0, 4, 82)
    assert causes(reckon(history)) == [UNEXPLAINED]


def test_another_clients_reconnection_explains_nothing(reckon):
    history = story(clients=2).close(1, 60).subscribe(1, at=70).deliver(0, 2, 80)
    assert causes(reckon(history)) == [UNEXPLAINED]


@pytest.mark.parametrize(
    ("doubled", "expected"),
    [
        ([0, 1, 2], [DOUBLE] * 3),
        ([0, 1], [UNEXPLAINED] * 2),  # one client of that node had it once
    ],
)
def test_a_black_box_that_gives_it_to_all_twice_has_subscribed_twice(reckon, doubled, expected):
    history = story(clients=3)
    for client in doubled:
        history.deliver(client, 2, 40 + client)
    assert causes(reckon(history)) == expected


def test_a_node_with_a_journal_speaks_for_itself(reckon):
    history = story(1, 1, clients=3)
    for client in range(3):
        history.deliver(client, 2, 40 + client)
    assert causes(reckon(history)) == [UNEXPLAINED] * 3


def test_of_one_client_nothing_is_concluded(reckon):
    assert causes(reckon(story(clients=1).deliver(0, 2, 40))) == [UNEXPLAINED]


@pytest.mark.parametrize(("first", "second", "expected"), [(0, 1, UNEXPLAINED), (1, 0, UNEXPLAINED), (0, 0, DOUBLE)])
def test_copies_of_one_instant_keep_their_nodes(reckon, first, second, expected):
    history = story(1, 2)
    history.deliveries = [one for one in history.deliveries if one[2] != 2]
    history.fan_out(1, 2, 20.5).fan_out(1, 2, 20.6)
    found = reckon(history.deliver(0, 2, 25, node=first).deliver(0, 2, 25, node=second))
    assert causes(found) == [expected]
    assert found.odd["node"].tolist()[:1] == [second]


def test_copies_of_what_was_never_published_have_no_cause(reckon):
    assert causes(reckon(story().deliver(0, 77, 40).deliver(0, 77, 41))) == [UNEXPLAINED]


def test_each_copy_has_one_cause(reckon):
    history = story(2, 4)
    for copy in range(4):
        history.deliver(0, 2, 50 + copy)
    history.close(0, 60).subscribe(0, at=70).deliver(0, 3, 75)
    found = reckon(history)
    counts = {cause: int(np.count_nonzero(found.odd["cause"] == cause)) for cause in CopyCause}
    assert counts == {RETRIED: 1, DOUBLE: 2, REPLAY: 1, UNEXPLAINED: 1}
    assert sum(counts.values()) == found.measure.duplicated


def test_every_cause_has_a_rule():
    assert {rule.cause for rule in RULES} == {*CopyCause} - {UNEXPLAINED}
