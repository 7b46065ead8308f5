"""Whether a client's node had a message, as far as journals, other clients and Redis' counts prove it."""

from dataclasses import replace

import numpy as np
import pytest

from fanlab.ledger.messages import Messages
from fanlab.ledger.nodejournal import NodeJournal
from fanlab.ledger.records import DELIVERY_DTYPE
from fanlab.ledger.redisjournal import Gone, RedisJournal, Subscriber
from fanlab.ledger.whereabouts import IN_HAND_NS, Handed, Traffic, carried, whereabouts
from fanlab.ledger.windows import NEVER
from fanlab.ledger.witnessname import WITNESS_NAME

BLACK, TELLS, OTHER = range(3)  # nodes: one that keeps no journal, one that does, and a third that keeps none


def messages_of(sent, done=None, receivers=None, base=None):
    sent = np.array(sent, np.int64)
    return Messages(
        base=np.array([0, len(sent)] if base is None else base),
        intended_ns=sent,
        sent_ns=sent,
        done_ns=sent + 1 if done is None else np.array(done, np.int64),
        status=np.zeros(len(sent), np.uint8),
        receivers=np.full(len(sent), -1) if receivers is None else np.array(receivers),
    )


def traffic_of(messages, *, handed=(), heard=None, channel=None, journal=None, redis=None, uncounted_witness=False):
    """`handed` as (node, message), `heard` by message: when TELLS says that it had it."""
    table = np.zeros((3, len(messages.status)), np.bool_)
    for node, message in handed:
        table[node, message] = True
    heard_ns = np.zeros(len(messages.status), np.int64)
    for message, at in (heard or {}).items():
        heard_ns[message] = at
    return Traffic(
        messages=messages,
        channel=np.zeros(len(messages.status), np.int64) if channel is None else np.array(channel),
        handed=table,
        heard={TELLS: heard_ns},
        journals={TELLS: journal or NodeJournal()},
        redis=redis,
        uncounted_witness=uncounted_witness,
    )


def seen(traffic, *losses, closed=NEVER, live=True, gone=False):
    """What is known of the losses, each a (node, message)."""
    node, message = np.array(losses, np.int64).reshape(-1, 2).T
    columns = {
        "closed_ns": np.full(len(node), closed),
        "live": np.full(len(node), live),
        "gone": np.full(len(node), gone),
    }
    return whereabouts(traffic, node, message, **columns)


# What came to clients


def records_of(*rows):
    """Of (node, stream, seq, client)."""
    records = np.zeros(len(rows), DELIVERY_DTYPE)
    for at, (node, stream, seq, client) in enumerate(rows):
        records[at] = (1 << 40, 1 << 41, seq, client, stream, node, 0xFFFF_FFFF)
    return records


def noted(*chunks):
    """(node, message) of all that was noted, for two streams of two and three messages and two nodes."""
    handed = Handed(messages_of(range(5), base=[0, 2, 5]), 2)
    given = list(enumerate(chunks))
    through = list(handed.noting(lambda: iter(given))())
    assert [number for number, _ in through] == [number for number, _ in given]
    assert all(one is other for (_, one), (_, other) in zip(through, given, strict=True))
    return [tuple(one) for one in np.argwhere(handed.table).tolist()]


def test_deliveries_are_noted_by_node_and_message_on_their_way():
    rows = [(0, 0, 1, 7), (0, 0, 1, 9), (1, 0, 2, 7), (1, 1, 1, 0xFFFF_FFFF), (0, 1, 3, 0), (0, 1, 3, 1)]
    expected = [(0, 0), (0, 4), (1, 1), (1, 2)]
    assert noted(records_of(*rows)) == expected
    assert noted(records_of(*rows[:3]), records_of(*rows[3:])) == expected


def test_an_empty_chunk_of_deliveries_is_passed_on():
    assert noted(records_of(), records_of((0, 0, 1, 7))) == [(0, 0)]


@pytest.mark.parametrize(
    "row",
    [(2, 0, 1, 0), (0xFFFF, 0, 1, 0), (0, 2, 1, 0), (0, 0xFFFF, 1, 0), (0, 0, 0, 0), (0, 0, 3, 0), (0, 1, 4, 0),
     (0, 1, 0xFFFF_FFFF, 0)],
)  # fmt: skip
def test_deliveries_that_the_plan_lacks_are_passed_over(row):
    assert noted(records_of(row)) == []
    assert noted(records_of(row, (1, 1, 2, 3))) == [(1, 3)]


# What is known of a loss


def test_a_node_had_what_one_of_its_clients_or_its_journal_had():
    traffic = traffic_of(messages_of([10, 20, 30]), handed=[(BLACK, 0), (TELLS, 0)], heard={1: 21})
    assert [traffic.had(node).tolist() for node in range(3)] == [[True, False, False], [True, True, False], [False] * 3]
    losses = [(node, message) for node in range(3) for message in range(3)]
    found = seen(traffic, *losses)
    assert [loss for loss, had in zip(losses, found.had, strict=True) if had] == [(BLACK, 0), (TELLS, 0), (TELLS, 1)]
    assert not (found.had & found.missed).any()
    assert not traffic.handed[TELLS, 1]  # as it was


def test_at_whatever_time_a_node_says_it_had_a_message_it_had_it():
    assert traffic_of(messages_of([10, 20]), heard={0: 1}).had(TELLS).tolist() == [True, False]


@pytest.mark.parametrize("where", ["not live", "no node"])
def test_nothing_is_said_of_a_client_that_was_on_no_node(where):
    traffic = traffic_of(messages_of([10, 20], receivers=[0, 0]), handed=[(BLACK, 1)], heard={1: 21})
    node = 0xFFFF if where == "no node" else BLACK
    found = seen(traffic, (node, 0), (node, 0), live=where == "no node")
    for what in (found.had, found.missed, found.uncounted, found.all_counted, found.alike):
        assert what.tolist() == [False, False]
    assert found.before_ns.tolist() == [-1, -1]
    assert found.after_ns.tolist() == [NEVER, NEVER]


def test_of_no_losses_nothing_is_said():
    assert len(seen(traffic_of(messages_of([10]))).had) == 0


@pytest.mark.parametrize(
    ("heard", "closed", "in_time"),
    [
        (11 + IN_HAND_NS, 0, True),
        (12 + IN_HAND_NS, 0, False),
        (5 * IN_HAND_NS, 5 * IN_HAND_NS, True),
        (5 * IN_HAND_NS + 1, 5 * IN_HAND_NS, False),
    ],
)
@pytest.mark.parametrize("handed", [True, False])
def test_what_a_node_journals_too_late_it_did_not_have_in_time(heard, closed, in_time, handed):
    traffic = traffic_of(
        messages_of([10], receivers=[1]), heard={0: heard}, handed=[(TELLS, 0)] if handed else []
    )  # fmt: skip
    found = seen(traffic, (TELLS, 0), closed=closed)
    assert (found.had[0], found.missed[0], found.uncounted[0]) == (in_time, not in_time, False)


def test_what_a_client_had_its_node_had_though_the_journal_goes_on_without_it():
    found = seen(traffic_of(messages_of([10, 20]), heard={1: 21}, handed=[(TELLS, 0)]), (TELLS, 0))
    assert (found.had[0], found.missed[0]) == (True, False)


def test_what_clients_had_of_a_node_that_was_gone_all_the_while_it_did_not_have_in_time():
    found = seen(traffic_of(messages_of([10]), handed=[(BLACK, 0)]), (BLACK, 0), gone=True)
    assert (found.had[0], found.missed[0]) == (False, True)


SENT, DONE = 100, 110


@pytest.mark.parametrize(
    ("later", "starts", "stops", "goes_on"),
    [
        ([], [], [], False),
        ([(111, 130)], [], [], True),
        ([(110, 130)], [], [], False),  # Redis may have had it first
        ([(50, 51)], [], [], False),
        ([(111, 130)], [130], [], False),
        ([(111, 130)], [131], [], True),
        ([(111, 130)], [SENT], [], True),  # the process that had it had started before
        ([(111, 130)], [SENT + 1], [], False),
        ([(111, 130)], [20, 500, 120], [], False),
        ([(111, 130)], [20, 30], [], True),
        ([(111, 0)], [], [], False),
        ([(111, 1)], [], [], True),
        ([(111, 130), (112, 0), (113, 0)], [], [], True),
        ([(111, 140), (112, 115)], [120], [], False),  # the first of them tells
        ([(112, 115), (111, 0)], [120], [], True),  # of those that it had
        ([], [], [SENT + 1], True),
        ([], [], [SENT], False),
        ([], [150], [149], True),
        ([], [150], [150], False),
        ([], [150], [151], False),
        ([], [150], [40, 160, 149], True),
    ],
)
def test_a_journal_that_goes_on_in_the_same_process_proves_what_it_lacks(later, starts, stops, goes_on):
    sent, heard = [SENT, *(at for at, _ in later)], {1 + at: when for at, (_, when) in enumerate(later)}
    messages = messages_of(sent, done=[DONE, *(at + 1 for at, _ in later)])
    journal = NodeJournal(starts=starts, stops=stops)
    found = seen(traffic_of(messages, heard=heard, journal=journal), (TELLS, 0), (BLACK, 0))
    assert found.missed.tolist() == [goes_on, False]
    assert found.had.tolist() == [False, False]


@pytest.mark.parametrize(
    ("receivers", "others", "uncounted"),
    [
        (-1, [], False),
        (0, [], True),
        (1, [], False),
        (1, [OTHER], True),
        (2, [OTHER], False),
        (2, [TELLS, OTHER], True),
    ],
)
def test_redis_count_is_made_up_by_other_nodes(receivers, others, uncounted):
    traffic = traffic_of(messages_of([10], receivers=[receivers]), handed=[(node, 0) for node in others])
    found = seen(traffic, (BLACK, 0))
    assert (found.uncounted[0], found.missed[0], found.had[0]) == (uncounted, uncounted, False)


def test_a_nodes_own_journal_makes_up_redis_count_too():
    found = seen(traffic_of(messages_of([10], receivers=[1]), heard={0: 11}), (BLACK, 0), (TELLS, 0))
    assert found.uncounted.tolist() == [True, False]


@pytest.mark.parametrize(
    ("receivers", "witness", "all_counted"), [(2, False, False), (3, False, True), (3, True, False), (4, True, True)]
)
def test_redis_counted_every_node(receivers, witness, all_counted):
    traffic = traffic_of(messages_of([10], receivers=[receivers]), uncounted_witness=witness)
    assert seen(traffic, (BLACK, 0)).all_counted.tolist() == [all_counted]


def test_none_of_several_clients_of_a_node_got_it():
    traffic = traffic_of(messages_of([10, 20, 30]), handed=[(BLACK, 2)], heard={0: 11})
    losses = [
        (BLACK, 0),
        (BLACK, 0),
        (TELLS, 0),
        (BLACK, 1),
        (BLACK, 2),
        (BLACK, 2),
        (OTHER, 1),
        (OTHER, 1),
        (OTHER, 1),
    ]
    assert seen(traffic, *losses).alike.tolist() == [True, True, False, False, False, False, True, True, True]


def test_what_the_node_had_before_and_after_of_the_same_channel():
    """In the order in which they were sent, which is not that of their numbers."""
    sent = [50, 10, 20, 30, 40, 60, 25, 35]
    channel = [0, 0, 0, 0, 0, 0, 1, 1]
    traffic = traffic_of(
        messages_of(sent), channel=channel, handed=[(BLACK, at) for at in (2, 0, 6)] + [(OTHER, 3), (OTHER, 1)]
    )
    found = seen(traffic, *((BLACK, at) for at in range(8)), (OTHER, 7))
    assert found.before_ns.tolist() == [20, -1, -1, 20, 20, 50, -1, 25, -1]
    assert found.after_ns.tolist() == [NEVER, 20, 50, 50, 50, NEVER, NEVER, NEVER, NEVER]


def test_what_the_node_had_first_and_last_of_all():
    found = seen(traffic_of(messages_of([10, 20]), handed=[(BLACK, 0), (BLACK, 1)]), (BLACK, 0), (BLACK, 1))
    assert (found.before_ns.tolist(), found.after_ns.tolist()) == ([-1, 10], [20, NEVER])


# What Redis sent over a connection on which something came later


def listing(*rows):
    """Rows (node or name, id, t, before) of connections that came, and (None, id, t) of such as went."""
    subscribers, gone = [], []
    for who, id_, t, *before in rows:
        if who is None:
            gone.append(Gone(t, t - 1, id_, None))
        else:
            name, node = (who, None) if isinstance(who, str) else (f"node-{who + 1}", who)
            subscribers.append(Subscriber(t, before[0], id_, name, "", node, 1, 0))
    return RedisJournal(tuple(subscribers), tuple(gone), (), np.array([(0, 1000)]))


CAME, WENT = (BLACK, 1, 100, 95), (None, 1, 201)  # surely there from 100 to 200


def brought(redis, *, sent=100, done=105, after=200, receivers=1, node=BLACK, **more):
    traffic = traffic_of(messages_of([sent], [done], [receivers]), redis=redis, **more)
    return carried(traffic, np.array([node]), np.array([0]), np.array([after])).tolist() == [True]


@pytest.mark.parametrize(
    ("loss", "came"),
    [
        ({}, True),
        ({"sent": 99}, False),
        ({"after": 201}, False),
        ({"receivers": 0}, False),
        ({"receivers": -1}, False),
        ({"receivers": 2}, True),
        ({"node": OTHER}, False),
        ({"uncounted_witness": True}, False),
        ({"uncounted_witness": True, "receivers": 2}, True),
    ],
)
def test_redis_sent_it_over_a_connection_that_lived_on(loss, came):
    assert brought(listing(CAME, WENT), **loss) is came


def test_without_redis_list_nothing_is_known_to_have_been_sent():
    assert not brought(None)
    none = np.zeros(0, np.int64)
    assert len(carried(traffic_of(messages_of([1]), redis=listing(CAME, WENT)), none, none, none)) == 0


@pytest.mark.parametrize(
    ("others", "at_once"),
    [
        ([(OTHER, 2, 90, 80)], 2),
        ([("somebody", 2, 90, 80)], 2),
        ([(WITNESS_NAME, 2, 90, 80)], 1),
        ([(OTHER, 2, 110, 105)], 2),
        ([(OTHER, 2, 110, 106)], 1),
        ([(OTHER, 2, 90, 80), (None, 2, 100)], 2),  # it may have gone after
        ([(OTHER, 2, 90, 80), (None, 2, 99)], 1),
        ([(OTHER, 2, 90, 80), (OTHER, 2, 95, 91)], 2),  # with other channels
        ([(OTHER, 2, 80, 70), (None, 2, 90), (OTHER, 2, 95, 91)], 2),  # it came back
        ([(OTHER, 2, 80, 70), (None, 2, 90), (None, 2, 91)], 1),
        ([(OTHER, 3, 90, 80), (None, 2, 90)], 2),  # of one that nobody had seen come
        ([(WITNESS_NAME, 2, 80, 70), (None, 2, 90)], 1),
        ([(OTHER, 2, 90, 80), (OTHER, 3, 91, 81)], 3),
        ([(OTHER, 3, 94, 93), (OTHER, 2, 80, 70), (None, 2, 90), (None, 3, 96)], 1),
    ],
)
def test_redis_counted_every_connection_that_may_have_been_there(others, at_once):
    redis = listing(*others, CAME, WENT)
    assert brought(redis, receivers=at_once)
    assert not brought(redis, receivers=at_once - 1)


def test_a_connection_with_patterns_may_be_counted_twice():
    redis = listing(CAME, WENT, ("somebody", 2, 50, 40))
    came, somebody = redis.subscribers
    assert not brought(replace(redis, subscribers=(came._replace(psub=1), somebody)), receivers=9)
    assert brought(replace(redis, subscribers=(came, somebody._replace(psub=1))), receivers=9)


def test_each_nodes_own_connection_counts():
    redis = listing(CAME, (None, 1, 201), (OTHER, 2, 150, 140))
    traffic = traffic_of(messages_of([100, 160], [105, 165], [5, 5]), redis=redis)
    node, message = np.array([BLACK, OTHER, BLACK, OTHER]), np.array([0, 0, 1, 1])
    assert carried(traffic, node, message, np.full(4, 190)).tolist() == [True, False, True, True]
