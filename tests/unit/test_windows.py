"""Histories that cannot be, and what is made of those that have holes."""

import numpy as np
import pytest

from fanlab.errors import MeasurementError
from fanlab.ledger.windows import EVENT_DTYPE, NAMES, NEVER, Windows, owed_windows

Line = tuple[object, ...]


def windows(*lines: Line, asked: int = 1, strict: bool = True, clients: int = 1) -> Windows:
    """Fold lines (t, name, channel=0, node=0, own=False, client=0)."""
    rows = []
    for t, name, *rest in lines:
        channel, node, own, client = [*rest, *(0, 0, False, 0)[len(rest) :]]
        rows.append((t, client, NAMES.index(name), node, channel, own))
    each = frozenset(range(asked))
    return owed_windows(np.array(rows, EVENT_DTYPE), [each] * clients, quiet_ns=10, publish_end_ns=1000, strict=strict)


CONNECT = ((1, "connecting"), (2, "open"), (3, "subscribing"), (5, "subscribed"))


@pytest.mark.parametrize(
    ("lines", "quoted"),
    [
        ([(1, "open")], "'ev': 'open'.*the client is away"),
        ([(1, "closed")], "'ev': 'closed'.*the client is away"),
        ([(1, "connecting"), (2, "closed")], "'ev': 'closed'.*the client is trying"),
        ([(1, "connecting"), (2, "subscribed")], "'ev': 'subscribed'.*the client is trying"),
        ([(1, "connecting"), (2, "connecting")], "'t': 2, 'ev': 'connecting'.*the client is trying"),
        ([*CONNECT, (6, "open")], "'t': 6, 'ev': 'open'.*the client is on"),
        ([*CONNECT, (6, "failed")], "the client is on"),
        ([(1, "connecting"), (2, "open"), (3, "subscribed", 4)], "'channel': 4.*did not ask for that channel"),
        ([(1, "connecting", 0, 0, False, 7)], "'client': 7.*the plan has 1 clients"),
        ([(1, "connecting", 0, 0, False, 1)], "'client': 1.*the plan has 1 clients"),
    ],
)
def test_what_cannot_be_is_refused_and_quoted(lines, quoted):
    with pytest.raises(MeasurementError, match=quoted):
        windows(*lines)
    windows(*lines, strict=False)


def test_what_cannot_be_is_refused_unless_the_journal_is_known_to_have_holes():
    events = np.array([(1, 0, NAMES.index("open"), 0, 0, False)], EVENT_DTYPE)
    with pytest.raises(MeasurementError):
        owed_windows(events, [frozenset({0})], quiet_ns=10, publish_end_ns=1000)


def test_events_of_clients_that_the_plan_lacks_hide_no_others():
    strangers = [(2, "open", 0, 0, False, client) for client in (-1, 5)]
    assert windows(*strangers, *CONNECT, strict=False).windows["ask_ns"].tolist() == [3]


@pytest.mark.parametrize(("left", "fade"), [(999, 989), (1000, 1000), (1001, 1001)])
def test_who_leaves_while_publishing_goes_on_may_have_missed_the_last(left, fade):
    found = windows(*CONNECT, (left, "left"))
    assert found.windows[["fade_ns", "left_ns"]].tolist() == [(fade, left)]


@pytest.mark.parametrize("length", range(10))
def test_every_beginning_of_a_history_can_be(length):
    lines = [*CONNECT, (7, "closed"), (8, "connecting", 0, 1), (9, "failed", 0, 1), (10, "connecting"), (11, "left")]
    found = windows(*lines[:length])
    assert len(found.outages) == found.never_returned == (length >= 5)
    assert found.connected == (length >= 4)


def test_a_history_with_holes_follows_its_events():
    found = windows((5, "subscribed"), (9, "closed"), (20, "open"), (22, "subscribed"), strict=False)
    (window,) = found.windows.tolist()
    assert window[2:4] == (5, 5)
    assert [(outage.start_ns, outage.resubscribed_ns) for outage in found.outages] == [(9, 22)]


def test_after_leaving_nothing_counts():
    found = windows(*CONNECT, (8, "left"), (9, "closed", 0, 0, True), (12, "connecting"), (13, "open"))
    assert found.outages == []
    assert found.windows["left_ns"].tolist() == [8]
    assert found.windows["fade_ns"].tolist() == [-2]
    assert found.windows["held_ns"].tolist() == [3]
    assert found.subs["closed_ns"].tolist() == [NEVER]


HELD = (0, 0, True)  # it closed the connection itself


@pytest.mark.parametrize(
    ("after", "held"),
    [
        ([], 3),
        ([(9, "closed")], NEVER),
        ([(9, "closed", *HELD)], 3),
        ([(9, "left")], 3),
        ([(9, "left"), (10, "closed", *HELD)], 3),
        ([(9, "closed", *HELD), (10, "left")], 3),
        ([(9, "closed"), (10, "left")], NEVER),
        ([(9, "closed", *HELD), (10, "connecting"), (11, "left")], NEVER),
        ([(9, "closed", *HELD), (10, "connecting"), (11, "failed"), (12, "left")], NEVER),
        ([(9, "closed"), (10, "connecting"), (11, "open"), (12, "subscribing")], 12),
    ],
)
def test_the_connection_that_it_had_at_the_end(after, held):
    assert windows(*CONNECT, *after).windows["held_ns"].tolist() == [held]


def test_in_a_journal_with_holes_what_follows_tells_of_a_connection():
    asked_again = ((1, "connecting"), (2, "open"), (3, "subscribing"), (4, "closed"), (20, "subscribing"))
    assert windows(*asked_again, strict=False).windows[["held_ns", "left_ns"]].tolist() == [(20, NEVER)]
    lost_attempt = (*CONNECT, (9, "closed", *HELD), (10, "failed"))
    assert windows(*lost_attempt, strict=False).windows["held_ns"].tolist() == [NEVER]


def test_an_outage_lasts_until_all_channels_are_confirmed_over_failed_attempts():
    lines = [
        (1, "connecting"), (2, "open"), (2, "subscribing", 0), (2, "subscribing", 1), (3, "subscribed", 0),
        (4, "subscribed", 1), (10, "closed"), (11, "connecting", -1, 1), (12, "failed", -1, 1),
        (13, "connecting", -1, 2), (14, "open", -1, 2), (14, "subscribing", 0, 2), (14, "subscribing", 1, 2),
        (15, "subscribed", 0, 2), (16, "closed", -1, 2), (20, "connecting", -1, 1), (21, "open", -1, 1),
        (21, "subscribing", 0, 1), (21, "subscribing", 1, 1), (22, "subscribed", 1, 1), (25, "subscribed", 0, 1),
        (26, "subscribed", 0, 1),
    ]  # fmt: skip
    found = windows(*lines, asked=2)
    (outage,) = found.outages
    assert (outage.start_ns, outage.reopened_ns, outage.resubscribed_ns) == (10, 21, 25)
    assert (outage.node, outage.next_node) == (0, 1)
    assert (found.reconnects, found.never_returned) == (1, 0)
    assert found.windows[["ask_ns", "confirm_ns", "held_ns"]].tolist() == [(2, 3, 21), (2, 4, 21)]
    assert found.subs["subscribed_ns"].tolist() == [3, 15, 25, 4, NEVER, 22]
    assert found.subs["closed_ns"].tolist() == [10, 16, NEVER] * 2


def test_a_connection_lost_before_anything_was_confirmed_is_no_outage():
    found = windows((1, "connecting"), (2, "open"), (3, "subscribing"), (4, "closed"))
    assert found.outages == []
    assert found.windows[["ask_ns", "confirm_ns", "left_ns"]].tolist() == [(3, NEVER, 4)]


def test_events_of_two_stripes_are_merged_by_time():
    found = windows((7, "closed"), *reversed(CONNECT), clients=2)
    assert [outage.start_ns for outage in found.outages] == [7]
    assert found.seen == 1
