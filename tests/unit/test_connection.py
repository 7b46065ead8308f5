"""Where a loss's client was, how its connection ended, and which nodes it could have gone to."""

import numpy as np
import pytest

from fanlab.ledger.causes import CLOSING, SLOW
from fanlab.ledger.connection import closed_as_slow, end_of, no_node_up, outages_of, place_of
from fanlab.ledger.drops import Drops
from fanlab.ledger.ends import TOO_SLOW
from fanlab.ledger.faultlog import AFTERMATH_NS, IN_FLIGHT_NS
from fanlab.ledger.records import NO_NODE
from fanlab.ledger.result import FaultAccount, Outage
from fanlab.ledger.whereabouts import IN_HAND_NS
from fanlab.ledger.windows import NEVER
from support.losses import DONE, SENT, S, fault, losses_of, place_at, world_with

# Where it was


def place(*subs, count=1, **loss):
    return place_of(losses_of(count, **loss), world_with(subs=subs))


@pytest.mark.parametrize(
    ("confirmed", "closed", "state"),
    [
        (SENT, NEVER, "live"),
        (SENT + 1, NEVER, "joining"),
        (NEVER, NEVER, "joining"),
        (SENT, SENT + 1, "live"),
        (SENT, SENT, "away"),
        (SENT + 1, SENT, "away"),
    ],
)
def test_a_client_is_away_joining_or_live(confirmed, closed, state):
    found = place((0, 0, 2, S, confirmed, closed))
    assert {name: bool(getattr(found, name)[0]) for name in ("away", "joining", "live")} == {
        name: name == state for name in ("away", "joining", "live")
    }
    assert (found.node[0], found.asked_ns[0], found.confirmed_ns[0], found.closed_ns[0]) == (2, S, confirmed, closed)


@pytest.mark.parametrize(
    "subs", [[], [(0, 0, 2, SENT + 1, SENT + 2, NEVER)], [(1, 0, 2, S, S, NEVER)], [(0, 1, 2, S, S, NEVER)]]
)
def test_a_client_that_had_not_yet_asked_for_the_channel_was_on_no_node(subs):
    found = place(*subs)
    assert (found.node[0], found.asked_ns[0], found.confirmed_ns[0], found.closed_ns[0]) == (NO_NODE, 0, NEVER, 0)
    assert (found.away[0], found.joining[0], found.live[0]) == (True, False, False)


def test_the_subscription_that_counts_is_the_last_that_the_client_had_asked_for():
    found = place((0, 0, 0, S, S, 2 * S), (0, 0, 1, SENT, SENT + S, NEVER), (0, 0, 2, SENT + 1, SENT + S, NEVER))
    assert (found.node[0], found.joining[0]) == (1, True)


def test_each_client_and_channel_has_its_own():
    subs = [(client, channel, 2 * client + channel, S, S, NEVER) for client in (0, 1) for channel in (0, 1)]
    loss = {"client": [0, 0, 1, 1, 0, 2, 1], "channel": [0, 1, 0, 1, 2, 0, 3]}
    assert place(*subs, count=7, **loss).node.tolist() == [0, 1, 2, 3, NO_NODE, NO_NODE, NO_NODE]


# How its connection ended


def end(*faults, loss=None, **where):
    return end_of(losses_of(**(loss or {})), world_with(faults=faults), place_at(**where))


CLOSED = SENT + 50 * S


@pytest.mark.parametrize(
    ("requested", "healed", "hit"),
    [
        (CLOSED, None, True),
        (CLOSED + 1, None, False),
        (0, CLOSED - AFTERMATH_NS, True),
        (0, CLOSED - AFTERMATH_NS - 1, False),
    ],
)
def test_the_fault_of_the_node_when_the_connection_ended(requested, healed, hit):
    others = fault("crash", "node-2", 0), fault("pause", "redis", 0)
    found = end(*others, fault("stop", "node-1", requested, healed), closed_ns=CLOSED)
    assert (found.fault[0], found.kind[0]) == ((2, "stop") if hit else (-1, ""))


def test_a_cut_link_to_redis_ends_no_clients_connection():
    found = end(fault("partition", "node-1", 0), closed_ns=CLOSED)
    assert (found.fault[0], found.kind[0], found.troubled[0], found.gone[0]) == (-1, "", False, False)
    assert (found.in_hand[0], found.hung[0]) == (False, False)


def test_a_fault_on_the_way_to_redis_ends_no_connection_but_may_have_held_up_what_was_on_its_way():
    for kind, troubled in (("half-open", False), ("connection-reset", False), ("latency", True), ("bandwidth", True)):
        found = end(fault(kind, "node-1", 0, link="redis"), closed_ns=CLOSED)
        assert (found.fault[0], found.kind[0], found.troubled[0], found.link[0]) == (-1, "", troubled, False)


@pytest.mark.parametrize(
    ("kind", "starved", "link"),
    [
        ("crash", False, False),
        ("pause", False, False),
        ("cpu-throttle", True, False),
        ("memory-limit", True, False),
        ("partition", False, True),
        ("half-open", False, True),
        ("connection-reset", False, True),
        ("reconnect-storm", False, True),
        ("slow-clients", False, True),
        ("latency", False, True),
    ],
)
def test_of_what_sort_the_fault_at_the_end_is(kind, starved, link):
    found = end(fault("pause", "redis", 0), fault(kind, "node-1", 0, link="clients"), closed_ns=CLOSED)
    assert (found.fault[0], found.starved[0], found.link[0]) == (1, starved, link)
    other = end(fault(kind, "node-2", 0, link="clients"), closed_ns=CLOSED)
    assert (other.fault[0], other.starved[0], other.link[0]) == (-1, False, False)


def test_a_connection_that_was_given_up_goes_back_to_what_made_it_slow():
    faults = [fault("slow-clients", "node-1", 0), fault("reconnect-storm", "node-1", SENT, CLOSED)]
    for ends, index in (({}, 1), ({"too_slow": [(0, CLOSED)]}, 0), ({"without_answer": [(0, CLOSED)]}, 0)):
        found = end_of(losses_of(), world_with(faults=faults, **ends), place_at(closed_ns=CLOSED))
        assert found.fault.tolist() == [index]
        others = {name: [(1, CLOSED), (0, CLOSED + 1)] for name in ends}
        assert end_of(losses_of(), world_with(faults=faults, **others), place_at(closed_ns=CLOSED)).fault.tolist() == [
            1
        ]


@pytest.mark.parametrize(
    ("kind", "settings", "held"),
    [
        ("partition", {"link": "clients"}, True),
        ("partition", {"link": "clients", "direction": "from-node"}, True),
        ("partition", {"link": "clients", "direction": "to-node"}, False),
        ("partition", {"link": "redis"}, False),
        ("connection-reset", {"link": "clients"}, False),
        ("slow-clients", {"link": "clients"}, False),
    ],
)
def test_a_partition_holds_up_what_is_sent_while_it_lasts(kind, settings, held):
    others = fault("pause", "redis", 0), fault("partition", "node-2", 0, link="clients")
    for requested, healed, inside in (
        (DONE, None, True),
        (DONE + 1, None, False),
        (0, SENT, True),
        (0, SENT - 1, False),
    ):
        found = end(*others, fault(kind, "node-1", requested, healed, **settings))
        assert found.held.tolist() == [2 if held and inside else -1]


@pytest.mark.parametrize(
    ("requested", "healed", "asked", "held"),
    [
        (SENT, None, SENT - 1, True),
        (SENT, None, SENT, False),  # it came later, to a node that was there
        (DONE + 1, None, S, False),
        (2 * S, SENT, S, True),
        (2 * S, SENT - 1, S, False),
    ],
)
def test_what_closed_one_end_holds_up_what_is_sent_on_a_connection_that_was_there(requested, healed, asked, held):
    one = fault("half-open", "node-1", requested, healed, link="clients")
    found = end(fault("pause", "redis", 0), one, asked_ns=asked)
    assert (found.held[0], found.held_all[0]) == (1 if held else -1, False)
    assert end(fault("half-open", "node-1", requested, healed, link="redis"), asked_ns=asked).held.tolist() == [-1]


def test_a_partition_holds_up_everybody_or_only_a_share():
    for share, everybody in (({}, True), ({"share": 1.0}, True), ({"share": 0.5}, False)):
        found = end(fault("pause", "redis", 0), fault("partition", "node-1", SENT, link="clients", **share))
        assert (found.held[0], found.held_all[0]) == (1, everybody)
    halved = fault("half-open", "node-1", SENT, link="clients")
    both = end(fault("partition", "node-1", SENT, link="clients"), halved)
    assert (both.held[0], both.held_all[0]) == (0, True)
    assert not end().held_all[0]


def test_without_faults_nothing_but_the_end_itself_is_known():
    found = end(closed_ns=CLOSED)
    assert (found.fault[0], found.kind[0], found.last[0]) == (-1, "", True)
    assert not any(one[0] for one in (found.troubled, found.gone, found.in_hand, found.hung, found.caught))


@pytest.mark.parametrize(
    ("following", "live", "last"), [(CLOSED, True, False), (CLOSED + 1, True, True), (CLOSED + 1, False, False)]
)
def test_nothing_later_had_come_before_the_end(following, live, last):
    assert end(loss={"next_sent_ns": following}, closed_ns=CLOSED, live=live).last.tolist() == [last]


@pytest.mark.parametrize(
    ("requested", "healed", "troubled"),
    [
        (DONE + IN_FLIGHT_NS, None, True),
        (DONE + IN_FLIGHT_NS + 1, None, False),
        (0, SENT - AFTERMATH_NS, True),
        (0, SENT - AFTERMATH_NS - 1, False),
    ],
)
def test_the_node_was_at_fault_while_it_may_have_been_on_its_way(requested, healed, troubled):
    found = end(fault("crash", "node-1", requested, healed))
    assert (found.troubled[0], found.caught[0]) == (troubled, False)
    ended = end(fault("crash", "node-1", requested, healed), closed_ns=CLOSED)
    assert (ended.last[0], ended.caught[0]) == (True, troubled)


@pytest.mark.parametrize(
    ("kind", "confirmed", "healing", "closed", "gone"),
    [
        ("crash", SENT, None, CLOSED, True),
        ("crash", SENT + 1, None, CLOSED, False),
        ("stop", SENT, None, NEVER, True),
        ("restart", SENT, None, NEVER, True),
        ("crash", S, SENT + 1, CLOSED, True),
        ("crash", S, SENT, CLOSED, False),
        ("pause", SENT, None, CLOSED, True),
        ("pause", SENT + 1, None, CLOSED, False),
        ("pause", S, None, NEVER, False),
        ("pause", S, CLOSED, CLOSED, True),
        ("pause", S, CLOSED - 1, CLOSED, False),
        ("pause", S, None, NEVER - 1, True),
        ("slow", S, None, CLOSED, False),
    ],
)
def test_the_node_was_gone_from_the_publish_on(kind, confirmed, healing, closed, gone):
    healed = None if healing is None else healing + 9
    one = fault(kind, "node-1", S, healed, confirmed=confirmed, healing=healing)
    others = [fault("pause", "redis", 0), fault("crash", "node-2", 0), fault("crash", "node-1", None)]
    assert end(*others, one, closed_ns=closed).gone.tolist() == [gone]
    assert end(one, *others, closed_ns=closed, node=2).gone.tolist() == [False]


def test_a_node_is_gone_once_any_of_its_faults_has_it_and_not_before_that_was_seen():
    dead, earlier = fault("crash", "node-1", S), fault("crash", "node-1", 0, S)
    for faults in ([dead, earlier], [earlier, dead]):
        assert end(*faults).gone.tolist() == [True]
    paused, earlier = fault("pause", "node-1", S), fault("pause", "node-1", 0, S)
    for faults in ([paused, earlier], [earlier, paused], [dead, earlier], [paused, fault("crash", "node-1", 0, S)]):
        assert end(*faults, closed_ns=CLOSED).gone.tolist() == [True]
    unseen = end_of(losses_of(), world_with(faults=[never_seen("crash")]), place_at())
    assert unseen.gone.tolist() == [False]


def never_seen(kind, requested=S):
    """A fault of node-1 that was asked for and never seen to bite."""
    return FaultAccount(0, kind, "node-1", requested)


@pytest.mark.parametrize(
    ("struck", "bitten", "in_hand"),
    [
        (DONE + IN_HAND_NS, CLOSED, True),
        (DONE + IN_HAND_NS + 1, CLOSED, False),
        (S, SENT, True),
        (S, SENT - 1, False),
    ],
)
def test_the_node_may_have_been_handing_it_on_when_the_fault_struck(struck, bitten, in_hand):
    earlier = fault("pause", "node-1", 0, 1)
    found = end(earlier, fault("pause", "node-1", struck, confirmed=bitten), closed_ns=CLOSED)
    assert found.in_hand.tolist() == [in_hand]
    assert found.fault.tolist() == [1]


def test_a_fault_that_was_never_seen_to_bite_may_have_bitten_at_any_time():
    assert end(never_seen("pause"), closed_ns=CLOSED).in_hand.tolist() == [True]


@pytest.mark.parametrize(
    ("kind", "struck", "hung"),
    [
        ("crash", SENT + IN_HAND_NS, False),
        ("crash", SENT + IN_HAND_NS + 1, True),
        ("stop", SENT + S, True),
        ("pause", SENT + S, False),
    ],
)
def test_a_node_that_had_time_to_hand_it_on_before_it_died_was_hung(kind, struck, hung):
    assert end(fault(kind, "node-1", struck), closed_ns=CLOSED).hung.tolist() == [hung]
    assert end(fault(kind, "node-2", struck), closed_ns=CLOSED).hung.tolist() == [False]


@pytest.mark.parametrize(
    ("requested", "healed", "hung"),
    [
        (CLOSED, None, False),
        (CLOSED + 1, None, True),
        (0, SENT - AFTERMATH_NS, False),
        (0, SENT - AFTERMATH_NS - 1, True),
    ],
)
def test_a_node_is_not_hung_where_the_way_to_its_clients_failed(requested, healed, hung):
    crash = fault("crash", "node-1", SENT + S)
    link = fault("latency", "node-1", requested, healed, link="clients")
    assert end(link, crash, closed_ns=CLOSED).hung.tolist() == [hung]
    assert end(fault("latency", "node-1", SENT, link="redis"), crash, closed_ns=CLOSED).hung.tolist() == [True]


def test_a_node_that_died_just_after_it_and_whose_client_saw_that_late_was_not_hung():
    assert end(fault("crash", "node-1", SENT + 1), closed_ns=CLOSED).hung.tolist() == [False]


# The outage that it fell into


def outage(client, start, back, of_fault):
    return Outage(client, 0, start, None, back, None, None, of_fault)


def outages(*known, client=0):
    found = outages_of(losses_of(client=client), world_with(outages=known))
    return tuple(one[0].item() for one in found)


def test_the_outage_is_the_clients_last_that_had_begun():
    known = [
        outage(0, S, 2 * S, 5), outage(0, SENT, None, 3), outage(0, SENT + 1, SENT + S, 4), outage(1, S, 3 * S, None)
    ]  # fmt: skip
    assert outages(*known) == (False, SENT, 3)
    assert outages(*known[::2]) == (True, S, 5)
    assert outages(*known, client=1) == (True, S, -1)
    assert outages(outage(0, S, 0, 0)) == (True, S, 0)


@pytest.mark.parametrize("known", [[], [outage(0, SENT + 1, SENT + S, 2)], [outage(1, S, 2 * S, 2)]])
def test_no_outage_had_begun(known):
    assert outages(*known) == (False, NEVER, -1)
    assert outages(*known, client=2) == (False, NEVER, -1)


# Where it could have gone

T = 10 * S


def down(*faults, choice=-1, node=0, choices=(), count=1):
    world = world_with(faults=faults, choice=np.array([-1, choice]), choices=choices)
    return no_node_up(world, np.full(count, 1), np.full(count, node), np.full(count, T)).tolist() == [True] * count


DEAD = [fault("crash", name, S) for name in ("node-1", "node-2", "node-3")]


@pytest.mark.parametrize(
    ("faults", "choice", "node", "none_up"),
    [
        ([], -1, 0, False),
        ([], 0, 0, False),
        (DEAD, -1, 0, True),
        (DEAD[:1], -1, 0, True),
        (DEAD[:1], -1, 1, False),
        (DEAD[1:2], -1, 1, True),
        (DEAD[2:], -1, 2, True),
        (DEAD, -1, NO_NODE, False),
        (DEAD, -1, 3, False),
        (DEAD[:1], 0, 0, False),
        (DEAD[:2], 0, 2, True),
        (DEAD[:2], 1, 0, False),
        (DEAD[1:], 1, 0, True),
        (DEAD[1:], 0, 1, False),
        (DEAD, 1, NO_NODE, True),
    ],
)
def test_every_node_that_the_client_may_go_to_was_down(faults, choice, node, none_up):
    assert down(*faults, choice=choice, node=node, choices=[(0, 1), (1, 2)]) is none_up
    assert down(fault("pause", "redis", 0), *faults, choice=choice, node=node, choices=[(0, 1), (1, 2)]) is none_up


@pytest.mark.parametrize(
    ("one", "none_up"),
    [
        (fault("pause", "node-1", T), True),
        (fault("pause", "node-1", T + 1), False),
        (fault("pause", "node-1", 0, T), True),
        (fault("pause", "node-1", 0, T - 1), False),
        (fault("partition", "node-1", 0), False),
        (fault("partition", "node-1", 0, link="clients"), False),
        (fault("restart", "node-1", 0), True),
        (fault("cpu-throttle", "node-1", 0), False),
        (fault("memory-limit", "node-1", 0), False),
        (fault("reconnect-storm", "node-1", 0), False),
    ],
)
def test_a_node_is_down_from_the_request_of_its_fault_until_it_was_seen_healed(one, none_up):
    assert down(one) is none_up
    assert down(one, fault("partition", "node-2", 0)) is none_up


def test_clients_of_several_kinds_at_once():
    world = world_with(faults=DEAD[:2], choice=np.array([-1, 0, 1, -1]), choices=[(0, 1), (1, 2)])
    client, node = np.array([0, 1, 2, 3, 0]), np.array([2, 2, 0, 0, 1])
    assert no_node_up(world, client, node, np.full(5, T)).tolist() == [False, True, False, True, True]


# Given up as too slow


def slowly(*, too_slow=(), lines=(), who=(), count=1, loss=None, **where):
    drops = Drops(np.array(lines, np.int64).reshape(-1, 6), np.array(who, np.int64).reshape(-1, 2))
    world = world_with(too_slow=too_slow, drops=drops)
    return closed_as_slow(losses_of(count, **(loss or {})), world, place_at(count, **where)).tolist()


def test_the_code_of_a_connection_that_was_closed_for_slowness():
    assert TOO_SLOW == 1013
    assert slowly(closed_ns=CLOSED) == [False]
    codes = [(2, S), (0, CLOSED), (1, CLOSED + 1)]
    loss, closed = {"client": [0, 1, 0, 1, 2]}, [CLOSED, CLOSED, CLOSED + 1, CLOSED + 1, CLOSED]
    assert slowly(too_slow=codes, count=5, loss=loss, closed_ns=closed) == [True, False, False, True, False]


@pytest.mark.parametrize(
    ("at", "named", "nameless"),
    [
        (S - 1, False, False),
        (S, True, True),
        (DONE, True, True),
        (DONE + 1, True, False),
        (CLOSED, True, False),
        (CLOSED + 1, False, False),
    ],
)
def test_the_node_had_dropped_for_its_slowness_since_it_asked_for_the_channel(at, named, nameless):
    line = (0, 0, 9, at, SLOW, 1)
    assert slowly(lines=[line], who=[(0, 0)], closed_ns=CLOSED) == [named]
    assert slowly(lines=[line], closed_ns=CLOSED) == [nameless]
    assert slowly(lines=[line], closed_ns=CLOSED, too_slow=[(1, CLOSED)]) == [nameless]
    assert slowly(lines=[(*line[:4], CLOSING, 1)], closed_ns=CLOSED) == [False]


def test_a_connection_that_did_not_end_was_not_given_up():
    assert slowly(lines=[(0, 0, 9, S, SLOW, 1)], too_slow=[(0, NEVER)]) == [False]
    assert slowly(lines=[(0, 0, 9, S, SLOW, 1)], closed_ns=NEVER - 1) == [True]
