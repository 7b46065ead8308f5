"""What is looked up of each loss, on hand-made histories of one message or two."""

import numpy as np
import pytest

from fanlab.ledger.breaks import Kind
from fanlab.ledger.causes import CLOSING, SLOW, WRITE_FAILED, Hop
from fanlab.ledger.drops import Drops
from fanlab.ledger.facts import facts_of
from fanlab.ledger.faultlog import AFTERMATH_NS
from fanlab.ledger.journals import Unread
from fanlab.ledger.own import OwnDoing
from fanlab.ledger.records import Status
from fanlab.ledger.redisjournal import Gone, RedisJournal, Subscriber
from fanlab.ledger.result import Outage
from fanlab.ledger.whereabouts import IN_HAND_NS
from fanlab.ledger.windows import NEVER
from support.losses import DONE, SENT, S, break_row, fault, losses_of, messages_at, world_with

CLOSED = SENT + 50 * S


def facts(*, count=1, client=0, loss=None, confirmed=2 * S, closed=NEVER, **world):
    """Of `count` losses of the one message, of clients `client` and on, all subscribed on node 0."""
    clients = np.arange(client, client + count)
    subs = [(one, 0, 0, S, confirmed, closed) for one in clients]
    return facts_of(losses_of(count, **({"client": clients} | (loss or {}))), world_with(subs=subs, **world))


def watched(*spans, subscribers=(), gone=()):
    """Redis, with its list of subscribers read in these spans."""
    return RedisJournal(tuple(subscribers), tuple(gone), (), np.array(spans, np.int64).reshape(-1, 2))


def connection(came, went=None, node=0, id_=7):
    """Redis surely lists a node's connection from `came` to `went`."""
    subscriber = Subscriber(came, came - 1, id_, f"node-{node + 1}", "", node, 1, 0)
    return {"subscribers": [subscriber], "gone": [] if went is None else [Gone(went + 1, went, id_, node)]}


def messages(receivers=-1):
    return messages_at([SENT], [receivers])


# The publish and Redis


def test_the_publish_failed():
    assert facts(loss={"status": int(Status.FAILED)}).failed.tolist() == [True]
    assert facts(loss={"status": int(Status.OK)}).failed.tolist() == [False]
    assert facts(loss={"status": int(Status.TIMED_OUT)}).failed.tolist() == [False]


@pytest.mark.parametrize(
    ("requested", "healed", "away"),
    [
        (DONE, None, True),
        (DONE + 1, None, False),
        (0, SENT - AFTERMATH_NS, True),
        (0, SENT - AFTERMATH_NS - 1, False),
    ],
)
def test_redis_was_at_fault(requested, healed, away):
    faults = [fault("pause", "node-2", 0), fault("redis-restart", "redis", requested, healed)]

    def told(**how):
        found = facts(**how)
        return (found.redis_away[0], found.redis_fault[0], found.publish_fault[0])

    assert told(faults=faults) == (away, *((1, 1) if away else (-1, -1)))
    assert told(faults=faults[1:]) == (away, *((0, 0) if away else (-1, -1)))
    assert told(faults=faults, injected=1) == (away, -1, -1)


@pytest.mark.parametrize(
    ("kind", "away", "of_redis", "of_publish"),
    [
        ("redis-restart", True, 0, 0),
        ("redis-pause", True, 0, 0),
        ("redis-client-pause", True, 0, 0),
        ("redis-kill-pubsub", False, 0, -1),
        ("redis-output-buffer", False, 0, -1),
        ("redis-maxclients", False, -1, 0),
    ],
)
def test_which_faults_of_redis_stop_publishing_and_which_cost_subscriptions(kind, away, of_redis, of_publish):
    found = facts(faults=[fault(kind, "redis", S, SENT)])
    assert (found.redis_away[0], found.redis_fault[0], found.publish_fault[0]) == (away, of_redis, of_publish)


@pytest.mark.parametrize("first", [0, 1])
def test_a_redis_that_is_not_there_stands_above_one_that_lets_nobody_in(first):
    faults = [fault("redis-pause", "redis", S, SENT), fault("redis-maxclients", "redis", 2 * S, SENT)]
    assert facts(faults=faults[::-1] if first else faults).publish_fault.tolist() == [first]


@pytest.mark.parametrize(
    ("spans", "silent"),
    [
        ([(0, SENT - 1), (SENT + 1, NEVER)], True),
        ([(0, SENT), (SENT + 1, NEVER)], False),
        ([(0, SENT - 1), (SENT, NEVER)], False),
        ([(0, SENT - 1)], False),
        ([(SENT + 1, NEVER)], False),
        ([(SENT, SENT), (SENT + 1, NEVER)], False),
        ([(0, S), (2 * S, SENT - 1), (SENT + 1, NEVER)], True),
        ([(SENT - 1, SENT - 1), (SENT + 1, NEVER)], True),
        ([(0, S), (SENT - 1, SENT - 1)], False),
        ([], False),
    ],
)
def test_redis_did_not_answer_those_who_watched(spans, silent):
    assert facts(redis=watched(*spans)).redis_away.tolist() == [silent]


# Where its client was


def test_the_client_was_away_joining_or_live():
    states = [facts(closed=SENT), facts(confirmed=SENT + 1), facts(confirmed=NEVER), facts()]
    assert [(one.away[0], one.joining[0], one.live[0], one.confirmed_later[0]) for one in states] == [
        (True, False, False, True),
        (False, True, False, True),
        (False, True, False, False),
        (False, False, True, True),
    ]
    assert all(one.node.tolist() == [0] for one in states)


def outage(back, of_fault=None, start=S):
    return Outage(0, 0, start, None, back, None, None, of_fault)


def test_the_outage_was_over_or_its_end_is_beyond_the_evidence():
    assert facts().outage_over.tolist() == [False]
    assert facts(outages=[outage(None, 3)]).outage_over.tolist() == [False]
    assert facts(outages=[outage(None)], partial=True).outage_over.tolist() == [True]
    over = facts(outages=[outage(SENT, 3)])
    assert (over.outage_over[0], over.outage_fault[0]) == (True, 3)


def test_no_node_was_up():
    assert facts(faults=[fault("crash", "node-1", SENT)]).no_node_up.tolist() == [True]
    assert facts(faults=[fault("crash", "node-1", SENT + 1)]).no_node_up.tolist() == [False]


# What fanlab's own engine did


def own(*ends, unread=()):
    return OwnDoing(np.zeros(4, np.int64), {0: list(unread)} if unread else {}, frozenset(ends))


@pytest.mark.parametrize(
    ("ended", "more", "by_engine"),
    [
        ((0, CLOSED), {}, True),
        ((0, CLOSED + 1), {}, False),
        ((1, CLOSED), {}, False),
        ((0, CLOSED), {"loss": {"next_sent_ns": CLOSED}}, False),
        ((0, CLOSED), {"loss": {"next_sent_ns": CLOSED + 1}}, True),
        ((0, CLOSED), {"faults": [fault("crash", "node-1", CLOSED)]}, False),
        ((0, CLOSED), {"faults": [fault("crash", "node-2", CLOSED)]}, True),
        ((0, CLOSED), {"outages": [outage(None, 3)]}, True),
        ((0, S), {"outages": [outage(None)]}, False),
    ],
)
def test_the_engine_gave_up_the_connection_that_it_was_on(ended, more, by_engine):
    assert facts(closed=CLOSED, own=own(ended), **more).own_end.tolist() == [by_engine]


@pytest.mark.parametrize(("of_fault", "by_engine"), [(None, True), (0, False)])
@pytest.mark.parametrize("start", [3 * S, SENT])
def test_the_engine_gave_up_the_connection_that_it_lacked(of_fault, by_engine, start):
    outages = [outage(None, of_fault, start)]
    assert facts(closed=3 * S, own=own((0, start)), outages=outages).own_end.tolist() == [by_engine]
    assert facts(closed=3 * S, own=own((0, start + 1)), outages=outages).own_end.tolist() == [False]


LATE = 5 * S


@pytest.mark.parametrize(
    ("window", "more", "unread"),
    [
        ((0, SENT, None), {}, True),
        ((0, SENT - 1, None), {}, False),
        ((SENT + LATE, NEVER, None), {}, True),
        ((SENT + LATE + 1, NEVER, None), {}, False),
        ((SENT + S, NEVER, None), {"closed": SENT + S}, True),
        ((SENT + S + 1, NEVER, None), {"closed": SENT + S}, False),
        ((0, NEVER, None), {"closed": SENT}, False),
        ((0, NEVER, None), {"messages": messages(0)}, False),
        ((0, NEVER, None), {"drops": Drops(np.array([[0, 0, 1, DONE, SLOW, 1]]), np.zeros((0, 2), np.int64))}, False),
        ((0, NEVER, None), {"breaks": [break_row(0, NEVER, Kind.GAP)]}, False),
        ((0, NEVER, None), {"breaks": [break_row(0, NEVER, Kind.GAP, node=1)]}, True),
    ],
)
def test_what_was_due_when_the_journal_cannot_be_read(window, more, unread):
    found = facts(own=own(unread=[Unread(*window)]), lateness_ns=LATE, **more)
    assert (found.unread[0], found.surely_unread[0]) == (unread, False)


@pytest.mark.parametrize(("held", "surely"), [(2, True), (1, False)])
def test_a_frame_that_held_as_many_deliveries_as_are_missing(held, surely):
    found = facts(count=2, own=own(unread=[Unread(0, NEVER, held)]))
    assert (found.unread.tolist(), found.surely_unread.tolist()) == ([True, True], [surely, surely])


# What became of it on its way


@pytest.mark.parametrize("reason", [SLOW, CLOSING, WRITE_FAILED])
def test_the_node_says_why_it_dropped_it(reason):
    found = facts(drops=Drops(np.array([[0, 0, 1, DONE, reason, 1]]), np.zeros((0, 2), np.int64)))
    told = {SLOW: found.dropped_slow[0], CLOSING: found.dropped_closing[0], WRITE_FAILED: found.dropped_write[0]}
    assert told == {one: one == reason for one in told}
    none = facts()
    assert (none.dropped_slow[0], none.dropped_closing[0], none.dropped_write[0]) == (False, False, False)


@pytest.mark.parametrize("kind", [*Kind, None])
def test_what_kind_of_break_took_it(kind):
    faults = [fault("pause", "node-1", S, SENT)]
    found = facts(breaks=[] if kind is None else [break_row(0, NEVER, kind)], faults=faults)
    told = {Kind.SILENT: found.cut_off, Kind.KILLED: found.buffer_killed, Kind.GAP: found.in_gap, Kind.DEAF: found.deaf}
    assert {one for one, column in told.items() if column[0]} == ({kind} - {None})
    assert found.break_fault.tolist() == [-1 if kind in (Kind.DEAF, None) else 0]  # deaf from 0 on, before the fault


def test_a_break_by_what_nobody_injected_goes_back_to_no_fault():
    found = facts(breaks=[break_row(0, NEVER, Kind.GAP)], faults=[fault("crash", "node-1", S)], injected=0)
    assert (found.in_gap[0], found.break_fault[0]) == (True, -1)


REDIS_DOWN = [fault("redis-restart", "redis", S, SENT)]


@pytest.mark.parametrize(
    ("more", "likely"),
    [
        ({}, True),
        ({"faults": [fault("redis-restart", "redis", S, SENT - 1)]}, False),
        ({"faults": [fault("redis-maxclients", "redis", S, SENT)]}, False),
        ({"faults": [fault("redis-output-buffer", "redis", S, SENT)]}, True),
        ({"faults": []}, False),
        ({"journals": [0]}, False),
        ({"journals": [1]}, True),
        ({"redis": watched((0, SENT))}, False),
        ({"redis": watched((0, SENT - 1))}, True),
        ({"redis": watched((SENT, NEVER))}, False),
        ({"redis": watched((SENT + 1, NEVER))}, True),
        ({"redis": watched((0, S), (2 * S, NEVER))}, False),
        ({"redis": watched()}, True),
        ({"handed": [(0, 0)]}, False),
        ({"messages": messages(3)}, False),
        ({"messages": messages(2)}, True),
        ({"closed": SENT}, False),
    ],
)
def test_a_gap_is_likely_where_nobody_knows_of_the_subscription_and_redis_was_at_fault(more, likely):
    assert facts(**({"faults": REDIS_DOWN} | more)).gap_likely.tolist() == [likely]


def test_redis_did_not_count_the_node_and_it_returned():
    found = facts(messages=messages(0), faults=REDIS_DOWN)
    assert (found.uncounted[0], found.returned[0], found.silence_fault[0]) == (True, True, 0)
    assert facts(messages=messages(1)).uncounted.tolist() == [False]
    assert facts(messages=messages(0), closed=SENT).uncounted.tolist() == [False]
    by_itself = facts(messages=messages(0), faults=REDIS_DOWN, injected=0)
    assert (by_itself.returned[0], by_itself.silence_fault[0]) == (True, -1)


# How its connection ended


@pytest.mark.parametrize(
    ("kind", "more", "frozen", "died"),
    [
        ("pause", {}, True, False),
        ("crash", {}, False, True),
        ("stop", {}, False, True),
        ("restart", {}, False, True),
        ("slow", {}, False, False),
        ("cpu-throttle", {}, False, False),
        ("pause", {"loss": {"next_sent_ns": CLOSED}}, False, False),
        ("crash", {"loss": {"next_sent_ns": CLOSED}}, False, False),
        ("pause", {"heard": {0: {0: DONE}}, "journals": [0]}, True, False),
        ("crash", {"heard": {0: {0: DONE}}, "journals": [0]}, False, True),
    ],
)
def test_its_node_was_frozen_or_died(kind, more, frozen, died):
    found = facts(faults=[fault(kind, "node-1", DONE)], closed=CLOSED, **more)
    assert (found.node_frozen[0], found.node_died[0], found.end_fault[0]) == (frozen, died, 0)


@pytest.mark.parametrize(
    ("kind", "more", "starved"),
    [
        ("cpu-throttle", {}, True),
        ("memory-limit", {}, True),
        ("pause", {}, False),
        ("crash", {}, False),
        ("cpu-throttle", {"loss": {"next_sent_ns": CLOSED}}, False),
        ("cpu-throttle", {"heard": {0: {0: DONE}}, "journals": [0]}, True),
    ],
)
def test_its_node_had_too_little_to_keep_up(kind, more, starved):
    assert facts(faults=[fault(kind, "node-1", DONE)], closed=CLOSED, **more).node_starved.tolist() == [starved]


def link(kind, requested, healed=None, **settings):
    return fault(kind, "node-1", requested, healed, **({"link": "clients"} | settings))


@pytest.mark.parametrize(
    ("more", "held", "ended", "index"),
    [
        ({"faults": [link("partition", SENT)]}, True, True, 0),
        ({"faults": [link("partition", DONE + 1)]}, False, True, 0),
        ({"faults": [link("partition", S, SENT - 1)]}, False, False, -1),
        ({"faults": [link("partition", SENT)], "closed": NEVER}, True, False, 0),
        ({"faults": [link("connection-reset", CLOSED)]}, False, False, -1),
        ({"faults": [link("connection-reset", DONE)]}, False, True, 0),
        ({"faults": [link("connection-reset", DONE)], "loss": {"next_sent_ns": CLOSED}}, False, False, -1),
        ({"faults": [link("partition", SENT)], "loss": {"next_sent_ns": SENT + 9}}, True, False, 0),
        ({"faults": [link("partition", SENT, share=0.5)], "loss": {"next_sent_ns": SENT + 9}}, False, False, 0),
        ({"faults": [link("partition", SENT, share=0.5)]}, True, True, 0),
        ({"faults": [link("partition", SENT, share=0.5)], "closed": NEVER}, True, False, 0),
        ({"faults": [link("half-open", SENT)], "closed": NEVER}, True, False, 0),
        ({"faults": [link("half-open", SENT)], "loss": {"next_sent_ns": SENT + 9}}, False, False, 0),
        ({"faults": [link("slow-clients", DONE)]}, False, True, 0),
        ({"faults": [link("partition", SENT)], "messages": messages(0)}, False, False, 0),
        ({"faults": [link("partition", SENT)], "closed": SENT}, False, False, 0),
        ({"faults": [link("partition", SENT)], "journals": [0], "heard": {0: {0: DONE}}}, True, True, 0),
        ({"faults": [link("partition", SENT), link("connection-reset", CLOSED)]}, True, True, 0),
        ({"faults": [link("partition", SENT)], "injected": 0}, True, True, -1),
    ],
)
def test_the_way_to_the_client_was_cut(more, held, ended, index):
    found = facts(**({"closed": CLOSED} | more))
    assert (found.link_held[0], found.link_ended[0], found.link_fault[0]) == (held, ended, index)


@pytest.mark.parametrize(
    ("faults", "index"),
    [
        ([link("slow-clients", SENT)], 0),
        ([link("slow-clients", DONE + 1)], -1),
        ([link("slow-clients", S, SENT - AFTERMATH_NS)], 0),
        ([link("slow-clients", S, SENT - AFTERMATH_NS - 1)], -1),
        ([link("connection-reset", SENT)], -1),
        ([fault("pause", "node-1", SENT)], 0),
        ([fault("cpu-throttle", "node-1", SENT)], 0),
        ([fault("crash", "node-1", SENT)], -1),
        ([fault("cpu-throttle", "node-2", SENT)], -1),
        ([fault("redis-pause", "redis", S, SENT)], 0),
        ([fault("redis-kill-pubsub", "redis", S, SENT)], -1),
        ([fault("partition", "node-1", S, SENT, link="redis")], 0),
        ([fault("latency", "node-1", S, SENT, link="redis")], 0),
        ([link("slow-clients", S), fault("redis-pause", "redis", 2 * S, SENT)], 0),
        ([link("slow-clients", S), fault("pause", "node-1", 2 * S, SENT)], 1),
    ],
)
def test_what_made_clients_too_slow_or_let_much_come_at_once(faults, index):
    assert facts(faults=faults).slow_fault.tolist() == [index]
    assert facts(faults=faults, injected=0).slow_fault.tolist() == [-1]


@pytest.mark.parametrize(
    ("more", "ended", "hop_"),
    [
        ({}, True, Hop.UNKNOWN),
        ({"messages": messages(0)}, False, Hop.REDIS_NODE),
        ({"faults": [link("slow-clients", S, SENT - AFTERMATH_NS - 1)]}, False, Hop.REDIS_NODE),
        ({"faults": [link("connection-reset", DONE), fault("crash", "node-1", S, SENT)]}, True, Hop.UNKNOWN),
        ({"faults": [link("connection-reset", DONE), fault("crash", "node-1", S)]}, False, Hop.REDIS_NODE),
        ({"breaks": [break_row(0, NEVER, Kind.GAP)]}, True, Hop.REDIS_NODE),
    ],
)
def test_a_node_whose_clients_were_gone_may_have_had_it_and_say_nothing(more, ended, hop_):
    two = messages_at([SENT, SENT + S], [1, 1])
    given = {"faults": [link("connection-reset", DONE)], "closed": CLOSED, "messages": two, "journals": [0]} | more
    if len(given["messages"].status) == 2:
        given["heard"] = {0: {1: SENT + 2 * S}}  # its journal goes on without the first
    found = facts(**given)
    assert (found.link_ended[0], Hop(found.hop[0])) == (ended, hop_)


def test_a_connection_that_was_closed_for_slowness_goes_back_to_what_made_it_slow():
    faults = [link("slow-clients", 2 * SENT), link("reconnect-storm", 3 * SENT, 3 * SENT)]
    slow_drop = Drops(np.array([[0, 0, 9, DONE, SLOW, 1]]), np.zeros((0, 2), np.int64))
    late = {"closed": 3 * SENT, "faults": faults}
    assert facts(**late, drops=slow_drop).close_fault.tolist() == [0]
    assert facts(**late, drops=slow_drop).slow_fault.tolist() == [0]
    assert facts(**late).close_fault.tolist() == [1]
    assert facts(**late).slow_fault.tolist() == [-1]
    assert facts(**late, drops=slow_drop, injected=0).close_fault.tolist() == [-1]
    assert facts(**(late | {"faults": faults[1:]}), drops=slow_drop).close_fault.tolist() == [0]
    assert facts(closed=NEVER, faults=faults, drops=slow_drop).slow_fault.tolist() == [-1]


@pytest.mark.parametrize(
    ("more", "index"),
    [
        ({}, 0),
        ({"faults": [link("half-open", SENT), fault("redis-kill-pubsub", "redis", SENT - S, SENT - S)]}, 1),
        ({"faults": [link("reconnect-storm", DONE)]}, 0),
        ({"faults": [link("reconnect-storm", DONE)], "loss": {"next_sent_ns": CLOSED}}, -1),
        ({"injected": 0}, -1),
    ],
)
def test_a_node_that_left_the_channel_since_its_clients_were_gone_for_it_goes_back_to_their_link(more, index):
    given = {"faults": [link("half-open", SENT)], "closed": CLOSED} | more
    left = facts(**given, breaks=[break_row(SENT - S, NEVER, Kind.DEAF, orderly=True)], messages=messages(0))
    assert (left.deaf[0], left.break_fault[0]) == (True, index)
    assert facts(**given, messages=messages(0)).silence_fault.tolist() == [index]


def test_a_gap_that_nothing_began_does_not_go_back_to_the_link_to_clients():
    given = {"faults": [link("half-open", SENT)], "closed": CLOSED}
    assert facts(**given, breaks=[break_row(0, NEVER, Kind.GAP)]).break_fault.tolist() == [-1]


@pytest.mark.parametrize(
    ("more", "likely"),
    [
        ({}, True),
        ({"faults": [link("slow-clients", S, SENT - AFTERMATH_NS)]}, True),
        ({"faults": [link("slow-clients", S, SENT - AFTERMATH_NS - 1)]}, False),
        ({"faults": [link("slow-clients", DONE + 1)]}, False),
        ({"faults": [link("connection-reset", S)]}, False),
        ({"faults": [fault("latency", "node-1", S, link="redis")]}, False),
        ({"journals": [0]}, False),
        ({"journals": [1]}, True),
        ({"messages": messages(0)}, False),
        ({"closed": SENT}, False),
    ],
)
def test_a_black_box_likely_dropped_what_came_to_a_slow_client(more, likely):
    assert facts(**({"faults": [link("slow-clients", S)]} | more)).drop_likely.tolist() == [likely]


@pytest.mark.parametrize(("struck", "frozen"), [(DONE + IN_HAND_NS, True), (DONE + IN_HAND_NS + 1, False)])
def test_what_a_node_had_its_pause_took_only_while_it_was_handing_it_on(struck, frozen):
    had = {"journals": [0], "heard": {0: {0: DONE}}}
    found = facts(faults=[fault("pause", "node-1", struck)], closed=CLOSED, **had)
    assert found.node_frozen.tolist() == [frozen]
    lacking = facts(faults=[fault("pause", "node-1", struck)], closed=CLOSED)
    assert lacking.node_frozen.tolist() == [True]


def test_the_fault_at_the_end_is_the_nodes_or_of_what_was_injected_that_of_redis():
    faults = [fault("pause", "redis", S, SENT), fault("crash", "node-1", DONE)]
    assert facts(faults=faults, closed=CLOSED).end_fault.tolist() == [1]
    assert facts(faults=faults, closed=CLOSED, injected=1).end_fault.tolist() == [0]
    assert facts(faults=faults, closed=CLOSED, injected=0).end_fault.tolist() == [-1]
    assert facts(faults=faults[:1], closed=CLOSED).end_fault.tolist() == [-1]


@pytest.mark.parametrize(
    ("more", "slow"),
    [
        ({}, True),
        ({"too_slow": [(0, CLOSED + 1)]}, False),
        ({"loss": {"next_sent_ns": CLOSED}}, False),
        ({"messages": messages(0)}, False),
    ],
)
def test_the_node_gave_the_client_up_as_too_slow(more, slow):
    assert facts(**({"closed": CLOSED, "too_slow": [(0, CLOSED)]} | more)).closed_slow.tolist() == [slow]


# Between which two it was lost


def hop(**how) -> set[Hop]:
    return {Hop(one) for one in facts(**how).hop}


def test_the_node_had_it_or_not_or_nobody_can_tell():
    assert hop() == {Hop.UNKNOWN}
    assert hop(handed=[(0, 0)]) == {Hop.NODE_SOCKET}
    assert hop(heard={0: {0: DONE}}, journals=[0]) == {Hop.NODE_SOCKET}
    assert hop(messages=messages(0)) == {Hop.REDIS_NODE}
    assert hop(messages=messages(1)) == {Hop.UNKNOWN}


def test_it_surely_was_in_a_break():
    assert hop(breaks=[break_row(0, NEVER, Kind.GAP)]) == {Hop.REDIS_NODE}
    assert hop(breaks=[break_row(0, NEVER, Kind.GAP, sure=(0, -1))]) == {Hop.UNKNOWN}
    assert hop(breaks=[break_row(0, NEVER, Kind.GAP)], handed=[(0, 0)]) == {Hop.NODE_SOCKET}


UNSURE = [break_row(0, NEVER, Kind.GAP, sure=(0, -1), listed=True)]
HUNG = {
    "faults": [fault("crash", "node-1", SENT + S // 2)], "closed": CLOSED
}  # fmt: skip


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, Hop.UNKNOWN),
        ({"breaks": UNSURE}, Hop.REDIS_NODE),
        ({"breaks": UNSURE, "journals": [0]}, Hop.UNKNOWN),
        ({"breaks": UNSURE, "journals": [1]}, Hop.REDIS_NODE),
        ({"breaks": [(*UNSURE[0][:8], False, False)]}, Hop.UNKNOWN),
        ({"breaks": UNSURE, "count": 1}, Hop.UNKNOWN),
        ({"breaks": UNSURE, "own": own(unread=[Unread(0, NEVER, None)])}, Hop.UNKNOWN),
        ({"breaks": UNSURE, "faults": [link("partition", SENT)]}, Hop.UNKNOWN),
        ({"breaks": UNSURE, "faults": [link("slow-clients", SENT)], "closed": CLOSED}, Hop.UNKNOWN),
        ({"breaks": UNSURE, "faults": [link("slow-clients", SENT)]}, Hop.REDIS_NODE),
        ({"faults": [fault("partition", "node-1", SENT)]}, Hop.REDIS_NODE),
        ({"faults": [fault("partition", "node-1", SENT)], "count": 1}, Hop.UNKNOWN),
        ({"faults": [fault("partition", "node-1", SENT), link("partition", SENT)]}, Hop.UNKNOWN),
        (HUNG, Hop.REDIS_NODE),
        ({**HUNG, "journals": [0]}, Hop.REDIS_NODE),
        ({**HUNG, "journals": [0], "heard": {0: {0: DONE}}}, Hop.NODE_SOCKET),
        ({**HUNG, "count": 1}, Hop.UNKNOWN),
        ({**HUNG, "loss": {"next_sent_ns": CLOSED}}, Hop.UNKNOWN),
        ({**HUNG, "faults": [fault("crash", "node-1", SENT + IN_HAND_NS)]}, Hop.UNKNOWN),
    ],
)
def test_none_of_several_clients_had_it_and_the_node_was_cut_off_or_hung(more, found):
    assert hop(**({"count": 2} | more)) == {found}


LISTED = connection(S, SENT + 2 * S)
COUNTED = messages_at([SENT, SENT + S], [1, -1])


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, Hop.NODE_SOCKET),
        ({"handed": []}, Hop.UNKNOWN),
        ({"handed": [(1, 1)]}, Hop.UNKNOWN),
        ({"journals": [0]}, Hop.UNKNOWN),
        ({"journals": [1]}, Hop.NODE_SOCKET),
        ({"redis": watched((0, NEVER))}, Hop.UNKNOWN),
        ({"breaks": [break_row(0, NEVER, Kind.GAP, sure=(0, -1))]}, Hop.UNKNOWN),
        ({"breaks": [break_row(0, NEVER, Kind.GAP)]}, Hop.REDIS_NODE),
        ({"closed": SENT}, Hop.UNKNOWN),
    ],
)
def test_redis_sent_it_over_a_connection_on_which_something_later_came(more, found):
    given = {"messages": COUNTED, "handed": [(0, 1)], "redis": watched((0, NEVER), **LISTED)}
    assert hop(**(given | more)) == {found}


def test_a_loss_that_no_link_took_goes_back_to_no_fault_of_one():
    over = fault("pause", "redis", 0, S)
    assert facts(faults=[over, over, over]).link_fault.tolist() == [-1]
