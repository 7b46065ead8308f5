"""What losses are held against, put together from journals and manifest; and the rows that come of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanlab.ledger.blame import blamed, loss_rows, traffic_of, undecided_rows, world_of
from fanlab.ledger.breaks import Kind
from fanlab.ledger.causes import CLOSING, SLOW, Cause, Hop
from fanlab.ledger.ends import TOO_SLOW
from fanlab.ledger.health import HealthEvent
from fanlab.ledger.journals import Ending, Journals, StripeInfo, Unread
from fanlab.ledger.messages import Messages
from fanlab.ledger.missing import Debts
from fanlab.ledger.nodejournal import NodeJournal
from fanlab.ledger.pairs import spread
from fanlab.ledger.records import INTENT_DTYPE, OUTCOME_DTYPE
from fanlab.ledger.redisjournal import BufferKill, RedisJournal
from fanlab.ledger.result import LOSS_DTYPE, UNDECIDED_DTYPE, FaultAccount, Outage
from fanlab.ledger.windows import EVENT_DTYPE, NEVER, SUB_DTYPE, WINDOW_DTYPE, Windows
from fanlab.ledger.witness import Witness
from fanlab.scenario.plan import GroupSpec, NodeSpec, Plan, StreamSpec
from support.losses import DONE, SENT, S, fault, world_with

CHANNELS = ("news", "sport")
PLAN = Plan(
    nodes=tuple(NodeSpec(at, f"node-{at + 1}", "websockets", {}) for at in range(3)),
    streams=(StreamSpec(0, "a", "sport", 0), StreamSpec(1, "b", "news", 0), StreamSpec(2, "c", "sport", 0)),
    groups=(
        GroupSpec(0, "stay", 2, 0, CHANNELS, (0, 1)),
        GroupSpec(1, "move", 3, 2, CHANNELS, (0, 1, 2)),
        GroupSpec(2, "move-too", 1, 5, CHANNELS, (2,)),
    ),
    channels=CHANNELS,
)


def manifest(**more: Any) -> dict[str, Any]:
    clients = [{"failover": "sticky"}, {"failover": "round-robin", "ping_timeout_ns": 7}, {"failover": "random"}]
    return {"scenario": {"clients": clients}, "status": "complete"} | more


def journals_of(*, nodes=None, stripes=(), redis=None, witness=None):
    return Journals(
        np.zeros(0, EVENT_DTYPE), np.zeros(0, INTENT_DTYPE), np.zeros(0, OUTCOME_DTYPE), list(stripes), nodes or {}, [],
        0, witness, redis,
    )  # fmt: skip


def drops(*rows, who=()):
    """A journal with drops (stream, seq, t, reason, how many)."""
    table = np.array(rows, np.int64).reshape(-1, 5)
    return NodeJournal(drops=table[:, :4], dropped=table[:, 4], who=np.array(who, np.int64).reshape(-1, 2))


def world(*, subs=(), journals=None, faults=(), outages=(), partial=False, **more):
    windows = Windows(np.zeros(0, WINDOW_DTYPE), np.array(list(subs), SUB_DTYPE), list(outages), 0, 0, 0, 0)
    return world_of(
        manifest(**more),
        PLAN,
        journals or journals_of(),
        windows,
        outages,
        faults=list(faults),
        traffic=world_with().traffic,
        lateness_ns=3,
        partial=partial,
    )


def test_each_outage_goes_back_to_a_fault_of_its_node_or_of_redis():
    faults = [fault("crash", "node-2", S), fault("pause", "redis", S), fault("crash", "node-1", 5 * S)]
    outages = [Outage(client, node, 2 * S, None, None, None, None, None) for client, node in ((0, 1), (1, 0), (2, 9))]
    assert [one.fault for one in blamed(outages, faults, PLAN)] == [0, 1, 1]
    assert [one.client for one in blamed(outages, faults, PLAN)] == [0, 1, 2]
    assert [one.fault for one in blamed(outages, faults[:1], PLAN)] == [0, None, None]


def test_how_a_connection_ended_tells_which_of_two_faults_it_was():
    faults = [fault("slow-clients", "node-1", S), fault("reconnect-storm", "node-1", S)]
    endings = [Ending(S, 0, 1006, False), Ending(S, 1, TOO_SLOW, False), Ending(S, 2, 1006, True)]
    stripes = [StripeInfo(Path("x"), closed=True, endings=endings[:2]), StripeInfo(Path("y"), endings=endings[2:])]
    outages = [Outage(client, 0, S, None, None, None, None, None) for client in range(4)]
    assert [one.fault for one in blamed(outages, faults, PLAN, stripes)] == [1, 0, 0, 1]


def test_a_limit_that_its_node_was_killed_for_is_held_against_losses_as_a_crash():
    limit = FaultAccount(0, "memory-limit", "node-1", S, S, ended_ns=5 * S)
    outages = [Outage(0, 0, t, None, None, None, None, None) for t in (2 * S, 5 * S)]
    faults = [limit, fault("reconnect-storm", "node-1", S, S)]
    assert [one.fault for one in blamed(outages, faults, PLAN)] == [1, 0]
    (struck,) = world(faults=[limit]).faults
    assert (struck.kind, struck.confirmed_ns) == ("crash", 5 * S)


def test_where_clients_may_go_is_their_groups_unless_they_stay():
    found = world()
    assert found.choice.tolist() == [-1, -1, 1, 1, 1, 2]
    assert found.choices == [(0, 1), (0, 1, 2), (2,)]
    assert found.node_names == ("node-1", "node-2", "node-3")
    assert (found.lateness_ns, found.partial, found.injected, found.faults) == (3, False, 0, [])


def test_connections_that_ended_for_slowness():
    endings = [
        [Ending(5, 0, 1006, False), Ending(6, 1, TOO_SLOW, False)],
        [Ending(7, 2, TOO_SLOW, False), Ending(8, 2, TOO_SLOW + 1, True)],
    ]
    stripes = [StripeInfo(Path("x"), closed=True, endings=of_stripe) for of_stripe in endings]
    found = world(journals=journals_of(stripes=stripes))
    assert found.too_slow.tolist() == [[1, 6], [2, 7]]
    assert found.without_answer.tolist() == [[2, 8]]
    assert world().too_slow.shape == world().without_answer.shape == (0, 2)


@pytest.mark.parametrize(("status", "died"), [("complete", True), ("aborted", False)])
def test_in_a_whole_run_a_stripe_without_an_end_is_an_engine_that_died(status, died):
    stripe = StripeInfo(Path("x"), heartbeat_ns=40, clients={1, 4})
    own = world(journals=journals_of(stripes=[stripe]), status=status).own
    assert own.unread == ({0: [Unread(40, NEVER, None)]} if died else {})
    assert own.stripe.tolist() == [-1, 0, -1, -1, 0, -1]


def test_an_engine_that_stood_still_for_as_long_as_a_client_waits_for_its_ping():
    health = [HealthEvent(10 * S, 0.0, (1e-3,), 0)]  # it stood still for 1000 ns
    stripe = StripeInfo(Path("x"), closed=True, health=health, clients=set(range(6)))
    stripe.endings = [Ending(10 * S, client, 1006, True) for client in range(6)]
    assert world(journals=journals_of(stripes=[stripe])).own.ends == {(client, 10 * S) for client in (2, 3, 4)}


def test_the_breaks_of_every_channel_and_of_nodes_by_name():
    gaps = NodeJournal(gaps=[("sport", 5, 6), ("news", 7, 8)])
    kills = RedisJournal((), (), (BufferKill(2 * S, 1, "", "", 2, 0),), np.array([(0, NEVER)]))
    found = world(journals=journals_of(nodes={1: gaps}, redis=kills), faults=[fault("partition", "node-2", 8)])
    assert found.breaks[["node", "channel", "kind"]].tolist() == [
        (1, 0, Kind.SILENT), (1, 1, Kind.GAP), (2, 0, Kind.KILLED), (2, 1, Kind.KILLED)
    ]  # fmt: skip


# What ended by itself


def death(unit, t_s):
    return {"unit": unit, "t_s": t_s, "status": -9}


ZERO = {"zero_ns": 50 * S}


def test_what_ended_by_itself_is_a_crash_until_somebody_asks_the_node_for_a_channel():
    subs = [(0, 0, 1, at, at, NEVER) for at in (S, 60 * S, 61 * S, 90 * S)] + [(1, 0, 0, 70 * S, 70 * S, NEVER)]
    exits = [death("node-1", None), death("node-2", 10.0), death("node-3", 10.0), death("redis", 11.5)]
    injected = [fault("pause", "node-1", S)]
    found = world(subs=subs, faults=injected, phases=ZERO, unplanned_exits=exits)
    assert found.injected == 1
    assert found.faults == [
        *injected,
        FaultAccount(-1, "crash", "node-2", 60 * S, 60 * S, 61 * S, 61 * S),
        FaultAccount(-1, "crash", "node-3", 60 * S, 60 * S, None, None),
        FaultAccount(-1, "crash", "redis", 61 * S + S // 2, 61 * S + S // 2, None, None),
    ]


@pytest.mark.parametrize("phases", [None, {}, {"zero_ns": None}])
def test_before_time_0_nothing_is_known_to_have_ended(phases):
    assert world(phases=phases, unplanned_exits=[death("node-1", 1.0)]).faults == []
    assert world(phases=ZERO, unplanned_exits=None).faults == []


def test_a_node_dead_by_itself_explains_how_its_connection_went():
    gone = NodeJournal(gaps=[("news", 59 * S, 61 * S)])
    gone.redis = []
    found = world(journals=journals_of(nodes={0: gone}), phases=ZERO, unplanned_exits=[death("node-1", 10.0)])
    assert found.breaks["kind"].tolist() == [Kind.GAP]


# Drops


def test_each_nodes_drops_name_their_own_clients():
    nodes = {
        2: drops((0, 1, 10, SLOW, 2), (0, 2, 11, CLOSING, 1), who=[(0, 5), (1, 4)]),
        0: drops(),
        1: drops((1, 3, 12, SLOW, 3), (1, 4, 13, SLOW, 1), who=[(1, 3), (0, 2)]),
    }
    found = world(journals=journals_of(nodes=nodes)).drops
    assert found.lines.tolist() == [
        [2, 0, 1, 10, SLOW, 2], [2, 0, 2, 11, CLOSING, 1], [1, 1, 3, 12, SLOW, 3], [1, 1, 4, 13, SLOW, 1]
    ]  # fmt: skip
    assert found.who.tolist() == [[0, 5], [1, 4], [3, 3], [2, 2]]


def test_no_drops():
    found = world().drops
    assert (found.lines.shape, found.who.shape) == ((0, 6), (0, 2))


# Who had what


def three_streams():
    """Of two, one and two messages, sent from SENT on, 10 s apart."""
    sent = SENT + 10 * S * np.arange(5)
    return Messages(np.array([0, 2, 3, 5]), sent - 5, sent, sent + 10, np.zeros(5, np.uint8), np.full(5, -1))


def test_a_node_had_what_it_says_that_it_received_or_dropped():
    received = np.array([0, 1, 0, 0, 24])
    journal = drops(
        (0, 1, 31, SLOW, 1), (0, 2, 32, SLOW, 1), (0, 3, 33, SLOW, 1), (2, 1, 34, CLOSING, 1), (0, 1, 35, SLOW, 1)
    )
    journals = journals_of(nodes={1: journal, 2: NodeJournal()})
    handed = np.zeros((3, 5), np.bool_)
    found = traffic_of(
        manifest(), PLAN, journals, three_streams(), handed=handed, received_ns={1: received, 2: np.zeros(5, np.int64)}
    )
    assert {node: times.tolist() for node, times in found.heard.items()} == {1: [31, 1, 0, 34, 24], 2: [0] * 5}
    assert received.tolist() == [0, 1, 0, 0, 24]
    assert found.channel.tolist() == [1, 1, 0, 1, 1]
    assert found.handed is handed
    assert found.journals is journals.nodes


@pytest.mark.parametrize(
    ("evidence", "there", "uncounted"),
    [({"witness": True}, False, True), ({"witness": True}, True, False), ({}, False, False), (None, False, False)],
)
def test_a_witness_that_was_asked_for_and_left_no_journal(evidence, there, uncounted):
    asked = manifest()
    if evidence is not None:
        asked["scenario"]["evidence"] = evidence
    witness = object.__new__(Witness) if there else None
    found = traffic_of(
        asked, PLAN, journals_of(witness=witness), three_streams(), handed=np.zeros((3, 5), np.bool_), received_ns={}
    )
    assert found.uncounted_witness is uncounted


# The rows


def pairs_of(clients=2):
    """Each client on both channels."""
    rows = [(client, channel, S, S, NEVER, NEVER, S) for channel in (0, 1) for client in range(clients)]
    return spread(np.array(rows, WINDOW_DTYPE), [1, 0, 1])


def debts_of(*losses, undecided=()):
    """Losses (client, stream, message, next message) and runs of (client, stream, first, last)."""
    pairs, nothing = pairs_of(), np.zeros(0, np.int64)

    def pair(client, stream):
        return int(np.flatnonzero((pairs.client == client) & (pairs.stream == stream))[0])

    found = Debts(nothing, nothing, nothing, nothing)
    table = np.array([(pair(*one[:2]), *one[2:]) for one in losses], np.int64).reshape(-1, 3)
    found.pair, found.message, found.next_message = table.T
    runs = np.array([(pair(*one[:2]), *one[2:]) for one in undecided], np.int64).reshape(-1, 3)
    found.undecided = tuple(runs.T)
    return found


def test_what_is_indeterminate_by_client_stream_and_number():
    owed = debts_of(undecided=[(1, 0, 0, 1), (0, 2, 4, 4), (0, 2, 3, 3), (0, 1, 2, 2), (1, 2, 3, 4)])
    rows = undecided_rows(owed, pairs_of(), three_streams())
    assert rows.dtype == UNDECIDED_DTYPE
    assert rows.tolist() == [(0, 1, 1, 1), (0, 2, 1, 1), (0, 2, 2, 2), (1, 0, 1, 2), (1, 2, 1, 2)]


def test_without_losses_there_is_nothing_to_say():
    rows, lacking = loss_rows(debts_of(), pairs_of(), three_streams(), world_with())
    assert (len(rows), rows.dtype, lacking) == (0, LOSS_DTYPE, [])


def test_losses_by_time_client_and_stream_with_what_became_of_them():
    subs = [(client, channel, 2 * client, S, S, NEVER) for client in (0, 1) for channel in (0, 1)]
    messages = three_streams()
    messages.intended_ns[3] = messages.intended_ns[1]
    owed = debts_of((1, 2, 4, -1), (1, 2, 3, -1), (1, 0, 1, -1), (0, 1, 2, -1), (0, 2, 3, -1))
    held = world_with(subs=subs, messages=messages, journals=[0, 1, 2], heard={2: {4: SENT + 50 * S}})
    rows, lacking = loss_rows(owed, pairs_of(), messages, held)
    assert lacking == []
    second, third, fourth = (int(messages.intended_ns[at]) for at in (1, 2, 4))
    lost = int(Cause.UNEXPLAINED)
    assert rows[["intended_ns", "client", "seq", "stream", "node", "cause", "fault", "hop"]].tolist() == [
        (second, 0, 1, 2, 0, lost, -1, Hop.UNKNOWN),
        (second, 1, 2, 0, 2, lost, -1, Hop.REDIS_NODE),
        (second, 1, 1, 2, 2, lost, -1, Hop.REDIS_NODE),
        (third, 0, 1, 1, 0, lost, -1, Hop.UNKNOWN),
        (fourth, 1, 2, 2, 2, lost, -1, Hop.NODE_SOCKET),
    ]


@pytest.mark.parametrize(
    ("following", "died"), [(-1, True), (1, True), (0, False), (3, False)]
)  # fmt: skip
def test_what_a_client_got_next_tells_whether_the_end_of_its_connection_took_it(following, died):
    """Message 0 is sent before the one that was lost, message 3 before the end, message 1 after it."""
    closed = SENT + 25 * S
    messages = three_streams()
    messages.sent_ns[:] = [SENT - S, closed + 1, SENT, closed, SENT]
    faults = [fault("crash", "node-1", DONE)]
    held = world_with(subs=[(0, 0, 0, S, S, closed)], messages=messages, faults=faults, journals=[0])
    rows, lacking = loss_rows(debts_of((0, 1, 2, following)), pairs_of(), messages, held)
    assert rows["cause"].tolist() == [Cause.NODE_CRASH_IN_FLIGHT if died else Cause.UNEXPLAINED]
    assert rows["fault"].tolist() == [0 if died else -1]
    assert len(lacking) == died
    assert (rows["rule"][0] > 0).all()
