"""Who is owed what, and what nobody can tell: each rule of the account on a history that it decides."""

import pytest

from fanlab.ledger.account import account
from fanlab.ledger.records import Status
from support.histories import History, ns
from support.ten import ALL, lost, steady, terms, without


@pytest.fixture
def reckon(tmp_path):
    """Account for a history."""
    return lambda history, **how: account(history.write(tmp_path / "run", **how))


def publish_at_25(*, sent: float, done: float, confirmed: float = 30, asked: float = 20) -> History:
    """One message published within [sent, done], one later; a subscription in flight within [asked, confirmed]."""
    history = History().subscribe(0, at=asked - 1, lag=confirmed - asked)
    return history.publish(1, sent, lag=0, took=done - sent).publish(2, 100).deliver(0, 2, 101)


@pytest.mark.parametrize(
    ("sent", "done", "came", "expected"),
    [
        (10, 19, False, (1, 1, 0, 0)),  # before: not owed
        (10, 20, False, (2, 1, 0, 1)),  # touches the edge
        (22, 28, False, (2, 1, 0, 1)),
        (10, 90, False, (2, 1, 0, 1)),  # spans the edge
        (30, 31, False, (2, 1, 0, 1)),
        (31, 32, False, (2, 1, 1, 0)),  # after: owed
        (22, 28, True, (2, 2, 0, 0)),
        (31, 32, True, (2, 2, 0, 0)),
    ],
)
def test_a_publish_against_the_first_subscription(reckon, sent, done, came, expected):
    history = publish_at_25(sent=sent, done=done)
    if came:
        history.deliver(0, 1, 95)
    found = reckon(history)
    assert terms(found) == expected
    assert found.measure.unexpected == 0


def test_received_though_published_before_it_was_asked_for(reckon):
    found = reckon(publish_at_25(sent=10, done=19).deliver(0, 1, 40))
    assert terms(found) == (1, 1, 0, 0)
    assert found.measure.unexpected == 1


def lagging(*, others_at: float | None, node: int = 0) -> History:
    """Client 1 asks at 60 for what client 0 has; its node hands out what was published at 20, 30 and 40 later on."""
    history = History(clients=2, nodes=2).subscribe(0, node=node, at=-10, lag=1).subscribe(1, node=0, at=59, lag=5)
    for seq, at in ((1, 10), (2, 20), (3, 30), (4, 40), (5, 100)):
        history.publish(seq, at)
    if others_at is not None:
        for seq, at in ((1, 50), (2, others_at), (3, others_at + 2), (4, others_at + 4), (5, 120)):
            history.deliver(0, seq, at, node=node)
    return history.deliver(1, 2, 70, node=0).deliver(1, 4, 74, node=0).deliver(1, 5, 120, node=0)


@pytest.mark.parametrize(
    ("others_at", "node", "expected", "unexpected"),
    [
        (70, 0, (9, 8, 0, 1), 0),  # the node had 2 to 4 to hand out yet; whether 3 was lost nobody can tell
        (60, 0, (9, 8, 0, 1), 0),  # at that very instant
        (59, 0, (7, 7, 0, 0), 1),  # 2 was out before it asked; 3 and 4 were not
        (50, 0, (6, 6, 0, 0), 2),  # all were
        (70, 1, (6, 6, 0, 0), 2),  # another node's lag says nothing of this one's
        (None, 0, (6, 1, 5, 0), 2),  # nobody tells that the node had it at all
    ],
)
def test_what_a_lagging_node_had_still_to_hand_out(reckon, others_at, node, expected, unexpected):
    found = reckon(lagging(others_at=others_at, node=node))
    assert terms(found) == expected
    assert found.measure.unexpected == unexpected


@pytest.mark.parametrize(
    ("status", "came", "expected", "unexpected"),
    [
        (Status.TIMED_OUT, False, (11, 10, 0, 1), 0),
        (Status.TIMED_OUT, True, (11, 11, 0, 0), 0),
        (Status.UNKNOWN, False, (11, 10, 0, 1), 0),
        (None, False, (11, 10, 0, 1), 0),
        (None, True, (11, 11, 0, 0), 0),
        (Status.FAILED, False, (11, 10, 1, 0), 0),
        (Status.FAILED, True, (11, 10, 1, 0), 1),
        (Status.UNSENT, False, (10, 10, 0, 0), 0),
        (Status.UNSENT, True, (10, 10, 0, 0), 1),
    ],
)
def test_how_a_publish_ended(reckon, status, came, expected, unexpected):
    history = steady(clients=1).publish(11, 55, status=status)
    if came:
        history.deliver(0, 11, 57)
    found = reckon(history)
    assert terms(found) == expected
    assert found.measure.unexpected == unexpected
    assert found.evidence.contradictions == (status is Status.FAILED and came)
    assert found.publishers["failed"] == (status is Status.FAILED)
    assert found.publishers["unsent"] == (status is Status.UNSENT)
    assert found.publishers["timed_out"] == (status in (None, Status.TIMED_OUT, Status.UNKNOWN))
    assert found.publishers["planned"] == 11
    assert found.publishers["sent"] == 11 - found.publishers["unsent"]


def test_leaving_ends_what_is_owed_and_the_last_moment_is_an_edge(reckon):
    history = without(steady(measure_ms=10_000, quiet_ms=15), 0, *ALL).leave(0, 85).close(0, 86, own=True)
    found = reckon(history)
    # 1 … 6 are owed; 7 (70.3) and 8 (80.3) end within 15 ms of leaving; 9 and 10 come after it
    assert found.by_client["owed"][0] == 8
    assert lost(found) == [(0, seq) for seq in range(1, 7)]
    assert found.measure.indeterminate == 2
    assert found.outages == []


@pytest.mark.parametrize(("left", "expected"), [(85.3, (1, 0)), (85.2999, (0, 1))])
def test_where_owed_ends_and_the_edge_of_leaving_begins(reckon, left, expected):
    # message 8 is done at 80.3: 5 ms before leaving is the edge, and just so is already on it
    history = without(steady(clients=1, quiet_ms=4.9999), 0, 8).leave(0, left)
    found = reckon(history)
    assert (found.measure.lost, found.measure.indeterminate) == expected


def test_leaving_after_the_drain_forgives_nothing(reckon):
    history = without(steady(quiet_ms=2000), 0, 10).leave(0, 1400).close(0, 1401, own=True)
    assert lost(reckon(history)) == [(0, 10)]


def test_disconnected_is_no_excuse(reckon):
    history = without(steady(), 0, 4, 5, 6).close(0, 35).subscribe(0, node=2, at=60, took=2, lag=3)
    found = reckon(history)
    assert lost(found) == [(0, 4), (0, 5), (0, 6)]
    (outage,) = found.outages
    assert (outage.client, outage.node, outage.next_node) == (0, 0, 2)
    assert (outage.start_ns, outage.reopened_ns, outage.resubscribed_ns) == (ns(35), ns(62), ns(65))
    assert outage.first_message_ns == ns(71)
    assert found.clients["reconnects"] == 1
    assert found.clients["never_returned"] == 0


def test_a_client_that_never_came_is_owed_nothing(reckon):
    history = steady()
    history.clients = 3
    history.event(-1000, "connecting", 2, node=0, attempt=0).event(-999, "failed", 2, node=0, error="refused")
    found = reckon(history)
    assert terms(found) == (20, 20, 0, 0)
    assert found.clients == {"count": 3, "connected": 2, "reconnects": 0, "never_returned": 0}


def test_what_is_indeterminate_is_listed_in_runs(reckon):
    history = without(steady(), 1, 2, 3, 4, 7)
    history.outcomes = [one for one in history.outcomes if one[2] not in {2, 3, 7}]  # their publisher did not tell
    found = reckon(history)
    assert terms(found) == (20, 16, 1, 3)
    assert found.undecided.tolist() == [(1, 0, 2, 3), (1, 0, 7, 7)]
