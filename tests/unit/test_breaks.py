"""When a node was without a subscription, by its own journal or by what Redis listed; and which messages that took."""

import numpy as np
import pytest

from fanlab.ledger.breaks import POLL_NS, Kind, Way, breaks_met, breaks_of
from fanlab.ledger.faultlog import IN_FLIGHT_NS
from fanlab.ledger.nodejournal import NodeJournal, RedisLine, SubscriptionLine
from fanlab.ledger.redisjournal import BufferKill, Gone, RedisJournal, Subscriber
from fanlab.ledger.result import FaultAccount
from fanlab.ledger.windows import NEVER

FROM, TO = 5_000_000_000, 9_000_000_000
LAST = 1_000_000_000_000
NAMES = ("node-1", "node-2")


def fault(kind, target, requested, healed=None):
    return FaultAccount(0, kind, target, requested, requested, healed, healed)


def redis_journal(*spans, kills=(), until=LAST):
    """Connections of nodes: (node, surely from, maybe from, surely until, maybe until), with no end if that is None."""
    subscribers = [
        Subscriber(sure, maybe, id_, f"node-{node + 1}", "", node, 1, 0)
        for id_, (node, sure, maybe, _, _) in enumerate(spans)
    ]
    gone = [Gone(over, until_, id_, node) for id_, (node, _, _, until_, over) in enumerate(spans) if over is not None]
    watched = np.array([(0, until)] if until else [], np.int64).reshape(-1, 2)
    closed = tuple(BufferKill(t, 99, "", "", node, 0) for node, t in kills)
    return RedisJournal(tuple(subscribers), tuple(gone), closed, watched)


def told(journal, *, channels=("news",), redis=None, faults=()):
    """The breaks of node-2, which keeps a journal: (channel, from, to, kind, orderly); nothing is said of node-1."""
    table = breaks_of(
        {name: at for at, name in enumerate(channels)}, {0: NodeJournal(), 1: journal}, redis, faults, NAMES
    )
    assert not table["listed"].any()
    assert (table["node"] == 1).all()
    assert (table["sure_from"] == table["from_ns"]).all()
    assert (table["sure_to"] == table["to_ns"]).all()
    return [
        (row["channel"], row["from_ns"], row["to_ns"], Kind(row["kind"]), bool(row["orderly"]))
        for row in table
    ]  # fmt: skip


def journal_of(*lines, channel="news", gaps=()):
    """Of (t, state) in any order."""
    journal = NodeJournal(gaps=list(gaps))
    for t, state in lines:
        match state:
            case "start":
                journal.starts.append(t)
            case "up" | "down":
                journal.redis.append(RedisLine(t, state))
            case _:
                journal.subscriptions.append(SubscriptionLine(t, channel, state))
    return journal


@pytest.mark.parametrize(
    ("lines", "breaks"),
    [
        ("start subscribed", [(0, 1, Kind.DEAF, False)]),
        ("subscribed", []),
        ("subscribed subscribed", [(1, 1, Kind.GAP, False)]),
        ("subscribed down subscribed", [(1, 2, Kind.GAP, False)]),
        ("subscribed down up subscribed", [(1, 3, Kind.GAP, False)]),
        ("subscribed down down subscribed", [(1, 3, Kind.GAP, False)]),
        ("subscribed down", [(1, NEVER, Kind.DEAF, False)]),
        ("down subscribed", []),
        ("down subscribed subscribed", [(2, 2, Kind.GAP, False)]),
        ("subscribed down start subscribed", [(2, 3, Kind.DEAF, False)]),
        ("subscribed down start down subscribed", [(2, 4, Kind.DEAF, False)]),
        ("subscribed start", [(1, NEVER, Kind.DEAF, False)]),
        ("unsubscribed", [(0, NEVER, Kind.DEAF, True)]),
        ("unsubscribed subscribed", [(0, 1, Kind.DEAF, True)]),
        ("subscribed unsubscribed subscribed", [(1, 2, Kind.DEAF, True)]),
        ("subscribed unsubscribed unsubscribed subscribed", [(1, 3, Kind.DEAF, True)]),
        ("subscribed unsubscribed down subscribed", [(1, 3, Kind.DEAF, True)]),
        ("subscribed down unsubscribed subscribed", [(1, 3, Kind.GAP, False)]),
        ("unsubscribed start subscribed", [(1, 2, Kind.DEAF, False)]),
        ("unsubscribed subscribed down subscribed", [(0, 1, Kind.DEAF, True), (2, 3, Kind.GAP, False)]),
        ("subscribed down subscribed unsubscribed subscribed", [(1, 2, Kind.GAP, False), (3, 4, Kind.DEAF, True)]),
        ("subscribed down subscribed subscribed", [(1, 2, Kind.GAP, False), (3, 3, Kind.GAP, False)]),
        ("unsubscribed subscribed subscribed", [(0, 1, Kind.DEAF, True), (2, 2, Kind.GAP, False)]),
        ("subscribed down start start subscribed", [(3, 4, Kind.DEAF, False)]),
    ],
)
def test_what_a_nodes_lines_tell_of_its_subscription(lines, breaks):
    journal = journal_of(*((t, state) for t, state in enumerate(lines.split())))
    assert told(journal) == [(0, *one) for one in breaks]


@pytest.mark.parametrize(
    ("lines", "breaks"),
    [
        ("subscribed start", [(5, 5, Kind.DEAF, False)]),
        ("subscribed down start", [(5, 5, Kind.DEAF, False)]),
        ("unsubscribed start", [(5, NEVER, Kind.DEAF, False)]),
    ],
)
def test_at_one_time_a_node_starts_loses_its_connection_and_subscribes_in_that_order(lines, breaks):
    journal = journal_of(*((5, state) for state in lines.split()))
    assert told(journal) == [(0, *one) for one in breaks]


def test_a_connection_lost_and_renewed_at_one_time():
    assert told(journal_of((1, "subscribed"), (5, "subscribed"), (5, "down"))) == [(0, 5, 5, Kind.GAP, False)]


def test_each_channel_has_its_own_breaks_in_order_and_a_silent_one_has_none():
    journal = journal_of((1, "subscribed"), (7, "subscribed"), channel="sport", gaps=[("other", 0, 99), ("news", 8, 9)])
    journal.subscriptions += [SubscriptionLine(2, "sport", "unsubscribed"), SubscriptionLine(3, "odd", "unsubscribed")]
    journal.redis.append(RedisLine(6, "down"))
    assert told(journal, channels=("mute", "news", "sport")) == [
        (1, 8, 9, Kind.GAP, False),
        (2, 2, 7, Kind.DEAF, True),
    ]


@pytest.mark.parametrize(
    ("gap", "others"),
    [((0, 99), 1), ((0, 100), 0), ((120, 130), 0), ((200, 300), 0), ((201, 300), 1), ((0, 900), 0)],
)
def test_a_gap_of_the_journal_stands_for_what_its_lines_say_of_the_same_time(gap, others):
    journal = journal_of((0, "subscribed"), (100, "down"), (200, "subscribed"), gaps=[("news", *gap)])
    found = told(journal)
    assert (0, *gap, Kind.GAP, False) in found
    assert len(found) == 1 + others


def test_a_gap_of_another_channel_stands_for_nothing():
    journal = journal_of((0, "subscribed"), (100, "down"), (200, "subscribed"), gaps=[("sport", 100, 200)])
    assert told(journal, channels=("news", "sport")) == [(0, 100, 200, Kind.GAP, False), (1, 100, 200, Kind.GAP, False)]


KILL_TIMES = [(FROM - POLL_NS - 1, False), (FROM - POLL_NS, True), (TO + POLL_NS, True), (TO + POLL_NS + 1, False)]


@pytest.mark.parametrize(("at", "killed"), KILL_TIMES)
def test_redis_logs_a_kill_up_to_a_poll_from_the_gap_that_it_made(at, killed):
    redis = redis_journal(kills=[(1, at), (1, 0), (None, FROM), (0, FROM)])
    kind = Kind.KILLED if killed else Kind.GAP
    assert told(NodeJournal(gaps=[("news", FROM, TO)]), redis=redis) == [(0, FROM, TO, kind, False)]
    lines = journal_of((0, "subscribed"), (FROM, "down"), (TO, "subscribed"))
    assert told(lines, redis=redis) == [(0, FROM, TO, kind, False)]


def test_a_node_that_never_subscribed_again_is_deaf_though_redis_had_killed_its_connection():
    redis = redis_journal(kills=[(1, FROM)])
    assert told(journal_of((0, "subscribed"), (FROM, "down")), redis=redis) == [(0, FROM, NEVER, Kind.DEAF, False)]


@pytest.mark.parametrize(
    ("requested", "healed", "kind"),
    [
        (0, FROM - 1, Kind.GAP),
        (0, FROM, Kind.SILENT),
        (TO, TO + 5, Kind.SILENT),
        (TO, None, Kind.SILENT),
        (TO + 1, TO + 5, Kind.GAP),
        (None, None, Kind.GAP),
    ],
)
def test_a_gap_that_meets_a_cut_of_the_nodes_link_is_silence(requested, healed, kind):
    journal = NodeJournal(gaps=[("news", FROM, TO)])
    faults = [fault("partition", "node-2", requested, healed)]
    assert told(journal, faults=faults) == [(0, FROM, TO, kind, False)]
    assert told(journal, faults=[fault("partition", "node-1", requested, healed)]) == [(0, FROM, TO, Kind.GAP, False)]


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ([(FROM, "timeout")], Kind.SILENT),
        ([(TO, "timeout")], Kind.SILENT),
        ([(FROM - 1, "timeout"), (TO + 1, "timeout")], Kind.GAP),
        ([(FROM, "closed"), (FROM, "timeout")], Kind.SILENT),
        ([(FROM + IN_FLIGHT_NS + 1, "closed")], Kind.GAP),
        ([(FROM + IN_FLIGHT_NS, None)], Kind.GAP),
        ([(FROM + IN_FLIGHT_NS + 1, None)], Kind.SILENT),
        ([(FROM, None), (FROM + IN_FLIGHT_NS + 1, None)], Kind.GAP),
    ],
)
def test_a_gap_is_silence_where_the_node_timed_out_or_noticed_it_late(lines, kind):
    journal = NodeJournal(gaps=[("news", FROM, TO)], redis=[RedisLine(t, "down", why) for t, why in lines])
    journal.redis += [RedisLine(FROM + IN_FLIGHT_NS + 9, "up", "timeout")]
    assert told(journal) == [(0, FROM, TO, kind, False)]


@pytest.mark.parametrize(
    ("target", "what", "kind"),
    [
        ("node-2", "pause", Kind.GAP),
        ("redis", "redis-restart", Kind.GAP),
        ("redis", "redis-kill-pubsub", Kind.GAP),
        ("redis", "redis-client-pause", Kind.GAP),
        ("redis", "redis-output-buffer", Kind.SILENT),
        ("redis", "redis-maxclients", Kind.SILENT),
        ("redis", "partition", Kind.SILENT),
        ("node-1", "pause", Kind.SILENT),
        ("node-2", "restart", Kind.GAP),
        ("node-2", "cpu-throttle", Kind.GAP),
        ("node-2", "connection-reset", Kind.GAP),
        ("node-2", "latency", Kind.GAP),
        ("node-2", "half-open", Kind.SILENT),
        ("node-2", "slow-clients", Kind.SILENT),
        ("node-2", "reconnect-storm", Kind.SILENT),
    ],
)
def test_a_fault_of_the_node_or_of_redis_tells_why_it_timed_out(target, what, kind):
    journal = NodeJournal(gaps=[("news", FROM, TO)], redis=[RedisLine(FROM, "down", "timeout")])
    assert told(journal, faults=[fault(what, target, FROM, TO)]) == [(0, FROM, TO, kind, False)]


@pytest.mark.parametrize(
    ("lines", "lost"),
    [
        ([], TO),
        ([(FROM, "down")], FROM),
        ([(FROM + 5, "down"), (FROM + 9, "down")], FROM + 5),
        ([(FROM + 5, "up"), (FROM + 9, "down")], FROM + 9),
        ([(TO, "down")], TO),
        ([(FROM - 1, "down"), (TO + 1, "down")], TO),
    ],
)
def test_a_gap_had_begun_when_the_node_noticed_at_the_latest(lines, lost):
    journal = journal_of(*lines, gaps=[("news", FROM, TO)])
    assert breaks_of({"news": 0}, {0: NodeJournal(), 1: journal}, None, (), NAMES)["lost_ns"].tolist() == [lost]


def test_what_lines_tell_of_a_break_they_tell_from_its_beginning_on():
    journal = journal_of((1, "subscribed"), (5, "down"), (9, "subscribed"), (20, "unsubscribed"))
    table = breaks_of({"news": 0}, {0: NodeJournal(), 1: journal}, None, (), NAMES)
    assert table[["from_ns", "lost_ns"]].tolist() == [(5, 5), (20, 20)]


# What Redis listed


def listed(*spans, channels=("news",), **more):
    """The breaks of node-2, which keeps no journal: (from, to, sure_from, sure_to, kind)."""
    faults = more.pop("faults", ())
    redis = redis_journal(*((1, *span) for span in spans), **more)
    names = {name: at for at, name in enumerate(channels)}
    table = breaks_of(names, {0: NodeJournal()}, redis, faults, NAMES)
    assert table["listed"].all()
    assert not table["orderly"].any()
    assert (table["node"] == 1).all()
    of_all = [
        [(*row.tolist()[2:6], Kind(row["kind"])) for row in table[table["channel"] == at]] for at in names.values()
    ]
    assert all(one == of_all[0] for one in of_all)
    return of_all[0]


ENDED, NEXT = (1000, 900, FROM, FROM + 10), (TO, TO - 10, None, None)


def test_a_connection_that_went_and_one_that_came():
    assert listed(ENDED, NEXT, channels=("news", "sport")) == [(FROM, TO, FROM + 10, TO - 10, Kind.GAP)]


def test_a_connection_that_went_and_none_came():
    assert listed(ENDED) == [(FROM, NEVER, FROM + 10, LAST, Kind.DEAF)]


def test_a_listed_connection_was_lost_when_it_was_listed_no_more_at_the_latest():
    def lost(*spans, kills=()):
        redis = redis_journal(*((1, *span) for span in spans), kills=[(1, t) for t in kills])
        return breaks_of({"news": 0}, {0: NodeJournal()}, redis, (), NAMES)["lost_ns"].tolist()

    assert lost(ENDED, NEXT) == lost(ENDED) == [FROM + 10]
    assert lost(ENDED, NEXT, kills=[FROM]) == [FROM + 10]
    assert lost(kills=[FROM + 3]) == [FROM + 3]
    assert lost((1000, 900, TO + 1, TO + 10), NEXT) == [TO]


def test_breaks_are_sorted_by_node_and_time_whoever_told_of_them():
    first, second = NodeJournal(gaps=[("news", 30, 40), ("news", 10, 20)]), NodeJournal(gaps=[("news", 1, 2)])
    table = breaks_of({"news": 0}, {2: second, 1: first}, redis_journal((0, *ENDED)), (), (*NAMES, "node-3"))
    assert table[["node", "from_ns", "listed"]].tolist() == [
        (0, FROM, True), (1, 10, False), (1, 30, False), (2, 1, False)
    ]  # fmt: skip


def test_nobody_watched_redis_and_nobody_keeps_a_journal():
    assert not len(breaks_of({"news": 0}, {}, None, (), NAMES))


@pytest.mark.parametrize(("gone", "known"), [(LAST - 1, True), (LAST, False), (LAST + 1, False)])
def test_what_went_when_the_watch_ended_was_not_seen_to_go(gone, known):
    assert bool(listed((1000, 900, FROM, gone))) is known


def test_where_nobody_watched_for_any_time_nothing_was_seen_to_go():
    assert listed(ENDED, NEXT, until=None) == []


def test_a_connection_that_redis_still_lists_when_the_next_one_comes_was_given_up_by_the_node_alone():
    assert listed((1000, 900, TO + 1, TO + 10), NEXT) == [(TO - 10, TO, 0, -1, Kind.SILENT)]


@pytest.mark.parametrize(
    ("old", "overlap"),
    [
        ((TO - 11, TO - 20, TO + 1, TO + 9), True),
        ((TO - 10, TO - 20, TO + 1, TO + 9), False),  # it may have come after the next one
        ((TO - 11, TO - 20, TO, TO + 9), False),  # it may have gone before the next one came
    ],
)
def test_redis_surely_listed_both_at_once(old, overlap):
    assert (Kind.SILENT in {one[-1] for one in listed(old, NEXT)}) is overlap


def test_the_end_of_one_connection_is_no_break_while_another_surely_is_there():
    other = (FROM, FROM - 5, FROM + 11, FROM + 20)
    assert listed(ENDED, other) == [(FROM + 11, NEVER, FROM + 20, LAST, Kind.DEAF)]


@pytest.mark.parametrize(
    "other",
    [(FROM + 1, FROM - 5, None, None), (FROM, FROM - 5, FROM + 10, FROM + 20)],
    ids=["it may have come after", "it may have gone at the same time"],
)
def test_the_end_of_one_connection_is_a_break_where_another_may_not_have_been_there(other):
    assert FROM in {one[0] for one in listed(ENDED, other) if one[-1] in (Kind.GAP, Kind.DEAF)}


def test_the_next_connection_is_the_first_that_surely_came_later():
    """The one that came at the end itself is not later; of two that are, the order in the list does not matter."""
    at_end = (FROM, FROM - 7, FROM + 2, FROM + 3)
    late, soon = (TO, FROM + 30, TO + 5, TO + 6), (FROM + 100, FROM + 90, FROM + 200, FROM + 210)
    found = listed(ENDED, at_end, late, soon)
    assert found == sorted(found)
    assert (FROM, FROM + 100, FROM + 10, FROM + 90, Kind.GAP) in found
    assert (FROM + 200, TO, FROM + 210, FROM + 30, Kind.GAP) in found
    assert found[-1] == (TO + 5, NEVER, TO + 6, LAST, Kind.DEAF)


@pytest.mark.parametrize(
    ("what", "target", "at", "healed", "kind"),
    [
        ("crash", "node-2", FROM + 10 + POLL_NS, None, None),
        ("stop", "node-2", FROM + 10 + POLL_NS, None, None),
        ("stop", "node-2", FROM + 11 + POLL_NS, None, Kind.GAP),
        ("crash", "node-2", 0, FROM, None),
        ("crash", "node-2", 0, FROM - 1, Kind.GAP),
        ("crash", "node-1", FROM, None, Kind.GAP),
        ("pause", "node-2", FROM, None, Kind.GAP),
        ("partition", "node-2", FROM + 10, None, Kind.SILENT),
        ("partition", "node-2", FROM + 11, None, Kind.GAP),
        ("partition", "node-2", 0, FROM, Kind.SILENT),
        ("partition", "node-2", 0, FROM - 1, Kind.GAP),
        ("partition", "node-1", FROM, None, Kind.GAP),
    ],
)
def test_why_a_listed_connection_went(what, target, at, healed, kind):
    found = listed(ENDED, NEXT, faults=[fault(what, target, at, healed)])
    assert found == ([] if kind is None else [(FROM, TO, FROM + 10, TO - 10, kind)])


def test_after_a_connection_that_ended_with_the_process_the_next_ones_count():
    faults = [fault("crash", "node-2", FROM, TO - 100)]
    assert listed(ENDED, (*NEXT[:2], TO + 50, TO + 60), faults=faults) == [
        (TO + 50, NEVER, TO + 60, LAST, Kind.DEAF)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("at", "of_it"),
    [
        (FROM - POLL_NS - 1, False),
        (FROM - POLL_NS, True),
        (FROM + 10 + POLL_NS, True),
        (FROM + 11 + POLL_NS, False),
    ],
)
def test_redis_killed_the_listed_connection(at, of_it):
    found = listed(ENDED, NEXT, kills=[(1, at)])
    if of_it:
        assert found == [(FROM, TO, FROM + 10, TO - 10, Kind.KILLED)]
    else:
        of_kill = (at - POLL_NS, TO, 0, -1, Kind.KILLED)
        assert found == sorted([(FROM, TO, FROM + 10, TO - 10, Kind.GAP), of_kill])


def test_a_kill_stands_above_a_cut_link():
    faults = [fault("partition", "node-2", FROM, TO)]
    assert listed(ENDED, NEXT, kills=[(1, FROM)], faults=faults) == [(FROM, TO, FROM + 10, TO - 10, Kind.KILLED)]


def test_kills_of_connections_that_were_never_listed():
    assert listed(kills=[(1, FROM), (0, TO)]) == [(FROM - POLL_NS, NEVER, 0, -1, Kind.KILLED)]
    first, second = (FROM, 0, None, None), (FROM + 3, FROM - 20, None, None)
    found = listed(second, first, kills=[(1, FROM - 1)])
    assert (FROM - 1 - POLL_NS, FROM, 0, -1, Kind.KILLED) in found
    assert (FROM - POLL_NS, FROM + 3, 0, -1, Kind.KILLED) in listed(second, first, kills=[(1, FROM)])


def test_each_kill_goes_with_its_own_connection():
    second = (TO, TO - 10, TO + 50, TO + 60)
    found = listed(ENDED, second, kills=[(1, FROM), (1, TO + 50)])
    assert found == [
        (FROM, TO, FROM + 10, TO - 10, Kind.KILLED),
        (TO + 50, NEVER, TO + 60, LAST, Kind.KILLED),
    ]


# Which of them a loss falls into

BREAKS = np.dtype([
    ("node", "<i8"), ("channel", "<i8"), ("from_ns", "<i8"), ("to_ns", "<i8"), ("kind", "u1"), ("listed", "?"),
    ("orderly", "?"),
])  # fmt: skip


def table_of(*rows):
    return np.array(list(rows), BREAKS)


def met(table, *, node=0, channel=0, sent=0, done=0, closed=NEVER, following=NEVER, slow=False, uncounted=False, **how):
    """(row, ahead) of one loss."""
    columns = (np.array([one]) for one in (node, channel, sent, done, closed, following, slow, uncounted))
    found = breaks_met(table, Way(*columns), **how)
    return int(found.row[0]), bool(found.ahead[0])


GAP = table_of((0, 0, FROM, TO, Kind.GAP, False, False))


@pytest.mark.parametrize(
    ("sent", "done", "row"),
    [(0, FROM - 1, -1), (0, FROM, 0), (FROM, FROM + 1, 0), (TO, TO + 1, 0), (TO + 1, TO + 2, -1)],
)
def test_a_break_takes_what_was_under_way_to_redis_at_any_time_of_it(sent, done, row):
    assert met(GAP, sent=sent, done=done, following=0) == (row, False)


def test_no_breaks_or_no_losses():
    assert met(table_of(), sent=1, done=2) == (-1, False)
    none = np.zeros(0, np.int64)
    found = breaks_met(GAP, Way(none, none, none, none, none, none, none, none))
    assert (found.row.tolist(), found.ahead.tolist()) == ([], [])


@pytest.mark.parametrize(
    ("node", "channel", "row"),
    [(0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, -1), (0, 2, -1), (2, 0, -1), (-1, 0, -1), (-1, 2, -1), (0, 3, -1)],
)
def test_a_break_is_of_one_channel_on_one_node(node, channel, row):
    places = [(0, 0), (0, 1), (1, 0)]
    table = table_of(*((*place, FROM, TO, Kind.GAP, False, False) for place in places))
    assert met(table, node=node, channel=channel, sent=FROM, done=FROM) == (row, False)


SHORTLY = {"sent": FROM - IN_FLIGHT_NS - 9, "done": FROM - IN_FLIGHT_NS}
LONG = {"sent": FROM - IN_FLIGHT_NS - 9, "done": FROM - IN_FLIGHT_NS - 1}


@pytest.mark.parametrize(
    ("loss", "ahead"),
    [
        (SHORTLY, True),
        (LONG, False),
        ({**LONG, "slow": True}, True),
        ({**LONG, "patient": True}, True),
        ({**SHORTLY, "following": FROM}, True),
        ({**SHORTLY, "following": FROM - 1}, False),
        ({**SHORTLY, "closed": FROM}, True),
        ({**SHORTLY, "closed": FROM - 1}, False),
    ],
)
def test_what_was_on_its_way_when_the_break_began(loss, ahead):
    assert met(GAP, **loss) == (0 if ahead else -1, ahead)


@pytest.mark.parametrize(
    ("kind", "listed_", "waits"),
    [
        (Kind.KILLED, True, True),
        (Kind.SILENT, True, True),
        (Kind.GAP, True, False),
        (Kind.DEAF, True, False),
        (Kind.KILLED, False, False),
    ],
)
def test_what_a_full_buffer_or_a_cut_link_took_had_waited_for_as_long_as_it_may(kind, listed_, waits):
    table = table_of((0, 0, FROM, TO, kind, listed_, False))
    assert met(table, **LONG) == (0 if waits else -1, waits)


@pytest.mark.parametrize("uncounted", [True, False])
def test_what_came_before_a_node_left_in_order_has_come_unless_redis_did_not_count_it(uncounted):
    table = table_of((0, 0, FROM, TO, Kind.DEAF, False, True))
    assert met(table, **SHORTLY, uncounted=uncounted) == (0 if uncounted else -1, uncounted)


def test_between_two_breaks_a_loss_falls_into_the_one_it_was_ahead_of():
    table = table_of((0, 0, 10, 20, Kind.GAP, False, False), (0, 0, FROM, TO, Kind.GAP, False, False))
    assert met(table, sent=15, done=16) == (0, False)
    assert met(table, sent=21, done=22) == (-1, False)
    assert met(table, sent=21, done=FROM - 1) == (1, True)
