"""Which losses a break of their node's subscription took, and what was at fault."""

import pytest

from fanlab.ledger.breaks import Kind
from fanlab.ledger.cutoff import NO_BREAK, cut_of
from fanlab.ledger.faultlog import AFTERMATH_NS, IN_FLIGHT_NS
from fanlab.ledger.windows import NEVER
from support.losses import DONE, SENT, S, break_row, end_as, fault, losses_of, place_at, seen_as, world_with

FROM, TO = SENT - 20 * S, SENT + 20 * S  # a break that holds the loss
AHEAD = DONE + IN_FLIGHT_NS  # the latest beginning of one that it was on its way to


def cut(*breaks, count=1, loss=None, place=None, seen=None, end=None, **world):
    """What `cut_of` says of `count` losses."""
    return cut_of(
        losses_of(count, **(loss or {})),
        world_with(breaks=breaks, **world),
        place_at(count, **(place or {})),
        seen_as(count, **(seen or {})),
        end_as(count, **(end or {})),
    )


def test_a_break_took_it():
    found = cut(break_row(FROM, TO, Kind.GAP))
    assert (found.kind[0], found.fault[0], found.listed[0], found.surely[0]) == (Kind.GAP, -1, False, True)


@pytest.mark.parametrize("known", [{"seen": {"had": True}}, {"place": {"live": False}}])
@pytest.mark.parametrize("listed", [True, False])
def test_what_the_node_had_or_was_not_live_for_no_break_took(known, listed):
    rows = [break_row(FROM, TO, Kind.GAP, node=node, listed=listed) for node in range(3)]
    found = cut(*rows, faults=[fault("partition", "node-1", FROM, TO)], **known)
    assert (found.kind[0], found.fault[0], found.listed[0], found.surely[0]) == (NO_BREAK, -1, False, False)


def test_without_breaks_none_took_it():
    found = cut(count=2)
    assert found.kind.tolist() == [NO_BREAK] * 2
    assert found.fault.tolist() == found.silence_fault.tolist() == [-1, -1]
    assert not (found.listed | found.surely | found.returned).any()


@pytest.mark.parametrize(
    ("sure", "surely"),
    [((SENT, DONE), True), ((SENT + 1, DONE), False), ((SENT, DONE - 1), False), ((0, -1), False)],
)
def test_it_surely_was_in_the_break(sure, surely):
    found = cut(break_row(FROM, TO, Kind.GAP, sure=sure, listed=True))
    assert (found.kind[0], found.listed[0], found.surely[0]) == (Kind.GAP, True, surely)


def test_what_was_only_on_its_way_to_the_break_was_not_surely_in_it():
    found = cut(break_row(AHEAD, TO, Kind.KILLED, sure=(SENT, TO), listed=True))
    assert (found.kind[0], found.listed[0], found.surely[0]) == (Kind.KILLED, True, False)


@pytest.mark.parametrize(
    ("journals", "took"), [((), [False, False, True]), ((0,), [False, True, False])]
)  # fmt: skip
def test_something_later_had_come_to_the_node_or_to_the_client_where_the_node_keeps_a_journal(journals, took):
    found = cut(
        break_row(AHEAD, TO, Kind.GAP),
        count=3,
        loss={"next_sent_ns": [DONE, AHEAD, DONE]},
        seen={"after_ns": [DONE, DONE, AHEAD]},
        journals=journals,
    )
    assert (found.kind == Kind.GAP).tolist() == took


def test_what_a_node_at_fault_had_not_read_may_have_waited_for_long():
    found = cut(break_row(AHEAD + S, TO, Kind.GAP), count=2, end={"troubled": [True, False]})
    assert found.kind.tolist() == [Kind.GAP, NO_BREAK]


def test_a_node_that_left_in_order_misses_only_what_redis_did_not_count_it_for():
    found = cut(break_row(AHEAD, TO, Kind.DEAF, orderly=True), count=2, seen={"uncounted": [True, False]})
    assert found.kind.tolist() == [Kind.DEAF, NO_BREAK]


def test_a_connection_that_had_ended_before_the_break_lost_nothing_to_it():
    found = cut(break_row(AHEAD, TO, Kind.GAP), count=2, place={"closed_ns": [AHEAD, AHEAD - 1]})
    assert found.kind.tolist() == [Kind.GAP, NO_BREAK]


@pytest.mark.parametrize(
    ("row", "took"),
    [
        (break_row(FROM, TO, Kind.GAP, listed=True, sure=(SENT, TO)), False),
        (break_row(FROM, TO, Kind.GAP, listed=True, sure=(SENT + 1, TO)), True),
        (break_row(FROM, TO, Kind.GAP, sure=(SENT, TO)), True),
        (break_row(FROM, TO, Kind.DEAF, listed=True, sure=(SENT, TO)), True),
    ],
)
def test_what_redis_counted_every_node_for_no_listed_gap_took_once_it_had_begun(row, took):
    found = cut(row, seen={"all_counted": True})
    assert (found.kind[0] != NO_BREAK) == took
    assert cut(row).kind[0] == row[6]


# Silence before Redis listed a gap


def silence(at=AHEAD + 1, *, listed=True, kind=Kind.GAP, **more):
    return cut(break_row(at, TO, kind, listed=listed), **more).kind.tolist()


def test_a_node_that_had_been_silent_for_long_when_redis_saw_its_connection_go_was_cut_off():
    assert silence() == [Kind.SILENT]
    assert silence(AHEAD) == [Kind.GAP]  # it was on its way


@pytest.mark.parametrize(
    "more",
    [
        {"end": {"troubled": True}},
        {"seen": {"uncounted": True}},
        {"listed": False},
        {"kind": Kind.DEAF},
        {"place": {"closed_ns": AHEAD}},
        {"faults": [fault("pause", "redis", AHEAD + 1, TO)]},
        {"faults": [fault("pause", "redis", 0, SENT - AFTERMATH_NS)]},
    ],
)
def test_what_else_tells_why_it_had_nothing_is_no_silence(more):
    assert Kind.SILENT not in silence(**more)


@pytest.mark.parametrize(
    "one", [fault("pause", "redis", AHEAD + 2, TO), fault("pause", "redis", 0, SENT - AFTERMATH_NS - 1)]
)
def test_a_fault_of_redis_at_another_time_tells_nothing(one):
    assert silence(faults=[one]) == [Kind.SILENT]


def test_that_redis_lets_nobody_in_tells_not_why_a_node_had_nothing():
    assert silence(faults=[fault("redis-maxclients", "redis", 0)]) == [Kind.SILENT]
    assert Kind.SILENT not in silence(faults=[fault("redis-output-buffer", "redis", 0)])


def test_silence_before_a_gap_is_silence_in_it_too_and_in_no_other():
    gap, other = (break_row(at, at + 2 * S, Kind.GAP, listed=True) for at in (AHEAD + 1, AHEAD + 50 * S))
    world = world_with(breaks=[gap, other])
    losses = losses_of(3, sent_ns=[SENT, AHEAD + 9, AHEAD + 50 * S + 9], done_ns=[DONE, AHEAD + 9, AHEAD + 50 * S + 9])
    found = cut_of(losses, world, place_at(3), seen_as(3, after_ns=[NEVER, NEVER, NEVER]), end_as(3))
    assert found.kind.tolist() == [Kind.SILENT, Kind.SILENT, Kind.GAP]
    assert world.breaks["kind"].tolist() == [Kind.GAP, Kind.GAP]


def test_a_gap_of_a_node_that_was_not_silent_stays_one():
    assert cut(break_row(FROM, TO, Kind.GAP, listed=True)).kind.tolist() == [Kind.GAP]
    before = break_row(FROM, TO, Kind.DEAF, listed=True), break_row(TO + S, TO + 2 * S, Kind.GAP, listed=True)
    assert cut(*before).kind.tolist() == [Kind.DEAF]


# What was at fault at the break


@pytest.mark.parametrize(
    ("kind", "requested", "healed", "index"),
    [
        (Kind.GAP, TO, None, 0),
        (Kind.GAP, TO + 1, None, -1),
        (Kind.DEAF, FROM, None, 0),
        (Kind.DEAF, FROM + 1, None, -1),
        (Kind.GAP, 0, FROM - AFTERMATH_NS, 0),
        (Kind.GAP, 0, FROM - AFTERMATH_NS - 1, -1),
    ],
)
@pytest.mark.parametrize("target", ["redis", "node-1"])
def test_the_fault_at_the_break(kind, requested, healed, index, target):
    faults = [fault("pause", target, requested, healed)]
    assert cut(break_row(FROM, TO, kind), faults=faults).fault.tolist() == [index]


@pytest.mark.parametrize(("requested", "index"), [(FROM + 5, 0), (FROM + 6, -1)])
def test_a_node_that_redis_listed_no_more_was_cut_off_between_two_polls(requested, index):
    row = break_row(FROM, TO, Kind.DEAF, sure=(FROM + 5, TO), listed=True, lost=FROM + 5)
    assert cut(row, faults=[fault("pause", "redis", requested)]).fault.tolist() == [index]


def test_a_fault_of_redis_stands_above_one_of_the_node():
    redis, node = fault("pause", "redis", FROM, TO), fault("pause", "node-1", FROM, TO)
    assert cut(break_row(FROM, TO, Kind.GAP), faults=[redis, node]).fault.tolist() == [0]
    assert cut(break_row(FROM, TO, Kind.GAP), faults=[node, redis]).fault.tolist() == [1]
    assert cut(break_row(FROM, TO, Kind.GAP), faults=[node]).fault.tolist() == [0]
    assert cut(break_row(FROM, TO, Kind.GAP), faults=[fault("pause", "node-2", FROM, TO)]).fault.tolist() == [-1]


CUTS = [("redis-kill-pubsub", "redis"), ("redis-restart", "redis"), ("connection-reset", "node-1"), ("stop", "node-1")]
SLOWS = [("pause", "node-1"), ("cpu-throttle", "node-1"), ("bandwidth", "node-1")]
SETTINGS = [("redis-output-buffer", "redis"), ("redis-maxclients", "redis")]


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("kind", [Kind.GAP, Kind.DEAF])
def test_what_cuts_stands_above_what_slows_and_that_above_settings(kind, listed):
    row = break_row(FROM, TO, kind, listed=listed, lost=SENT + S)
    order = [CUTS, SLOWS, SETTINGS[:1], SETTINGS[1:]]
    for at, higher in enumerate(order):
        for lower in (one for tier in order[at + 1 :] for one in tier):
            for one in higher:
                faults = [fault(*one, FROM, TO), fault(*lower, DONE + 1, TO)]
                assert cut(row, faults=faults).fault.tolist() == [0], (one, lower)
                assert cut(row, faults=faults[1:]).fault.tolist() == [0], lower
    assert cut(row, faults=[fault("slow-clients", "node-1", FROM, TO)]).fault.tolist() == [-1]
    assert cut(row, faults=[fault("partition", "node-1", FROM, SENT - 1, link="clients")]).fault.tolist() == [-1]


def test_what_made_redis_close_a_connection_is_a_small_buffer_or_who_lagged():
    row = break_row(FROM, TO, Kind.KILLED)
    small = fault("redis-output-buffer", "redis", FROM, TO)
    lagging = [fault(*one, SENT, TO) for one in (*SLOWS, ("partition", "node-1"))]
    for one in lagging:
        assert cut(row, faults=[one, small]).fault.tolist() == [1]
        assert cut(row, faults=[one, fault("redis-restart", "redis", SENT + 1, TO)]).fault.tolist() == [0]
    assert cut(row, faults=[fault("redis-restart", "redis", SENT + 1, TO)]).fault.tolist() == [0]


def test_what_made_a_link_silent_is_a_fault_of_that_link():
    row = break_row(FROM, TO, Kind.SILENT)
    slow, reset = (fault(kind, "node-1", FROM, TO) for kind in ("latency", "connection-reset"))
    others = [fault("redis-restart", "redis", SENT, TO), fault("pause", "node-1", SENT, TO)]
    assert cut(row, faults=[*others, slow, reset]).fault.tolist() == [3]
    assert cut(row, faults=[*others, slow]).fault.tolist() == [2]
    assert cut(row, faults=others).fault.tolist() == [0]
    assert cut(row, faults=others[1:]).fault.tolist() == [0]


def test_what_is_under_way_stands_above_what_is_just_over():
    row = break_row(FROM, TO, Kind.GAP)
    over, slow = fault("redis-kill-pubsub", "redis", 0, FROM - 1), fault("latency", "node-1", S, TO)
    assert cut(row, faults=[over]).fault.tolist() == [0]
    assert cut(row, faults=[over, slow]).fault.tolist() == [1]
    assert cut(row, faults=[slow, over]).fault.tolist() == [0]


@pytest.mark.parametrize("listed", [True, False])
def test_what_came_after_a_break_was_noticed_did_not_begin_it(listed):
    row = break_row(FROM, TO, Kind.GAP, lost=SENT, listed=listed)
    kills = [fault("redis-kill-pubsub", "redis", at, at + 1) for at in (FROM, SENT, SENT + 1)]
    assert cut(row, faults=kills).fault.tolist() == [1]
    assert cut(row, faults=kills[2:]).fault.tolist() == [-1]


# Kept out


LOST = SENT - 5 * S


def kept(door, *others, kind=Kind.GAP, lost=LOST, listed=False, sent=SENT):
    """The index of the fault of a loss in a break that began by itself while Redis let nobody in."""
    row = break_row(FROM, TO, kind, lost=lost, listed=listed)
    loss = {"sent_ns": sent, "done_ns": sent + 10}
    return cut(row, loss=loss, faults=[door, *others]).fault.tolist()[0]


def door(requested, healed=None):
    return fault("redis-maxclients", "redis", requested, healed)


@pytest.mark.parametrize(
    ("one", "index"),
    [
        (door(SENT + 10), 0),
        (door(SENT + 11), -1),
        (door(FROM), 0),
        (door(S, LOST + 1), -1),  # long over
        (door(S, SENT - AFTERMATH_NS), 0),
        (door(S, SENT - AFTERMATH_NS - 1), -1),
    ],
)
def test_what_was_lost_while_redis_let_nobody_in_goes_back_to_that(one, index):
    cause = fault("redis-kill-pubsub", "redis", LOST, LOST)
    assert kept(one) in {index, 0}
    assert kept(one, cause) == (0 if index == 0 else 1)


@pytest.mark.parametrize("listed", [True, False])
def test_what_the_cut_itself_took_goes_back_to_the_cut(listed):
    cause, begun = fault("redis-kill-pubsub", "redis", LOST, LOST), FROM if listed else LOST
    assert kept(door(S), cause, listed=listed, sent=begun) == 1
    assert kept(door(S), cause, listed=listed, sent=begun + 1) == 0


@pytest.mark.parametrize("listed", [True, False])
def test_a_door_that_was_open_again_before_the_break_kept_nobody_out(listed):
    begun = FROM if listed else SENT - S
    cause = fault("redis-kill-pubsub", "redis", begun, begun)
    for opened, index in ((begun, 1), (begun + 1, 0)):
        assert kept(door(S, opened), cause, listed=listed, lost=SENT - S, sent=begun + S) == index


@pytest.mark.parametrize(("kind", "index"), [(Kind.GAP, 0), (Kind.KILLED, 0), (Kind.SILENT, 1), (Kind.DEAF, 1)])
def test_a_node_that_does_not_try_or_never_comes_back_is_not_kept_out(kind, index):
    cause = fault("redis-output-buffer", "redis", LOST, LOST)
    assert kept(door(S), cause, kind=kind) == index


@pytest.mark.parametrize(
    ("requested", "healing", "index"),
    [(SENT, TO, 1), (SENT + 1, TO, 0), (LOST, SENT, 1), (LOST, SENT - 1, 0)],
)
def test_while_redis_is_not_there_nobody_is_kept_out_by_its_settings(requested, healing, index):
    pause = fault("redis-pause", "redis", requested, TO + S, healing=healing)
    begun = fault("redis-kill-pubsub", "redis", LOST, LOST)
    assert kept(door(S), pause, begun) == (0 if index == 0 else 2)
    assert kept(pause, door(S), begun) == (1 if index == 0 else 2)


def test_where_no_break_took_it_none_has_a_fault():
    found = cut(break_row(FROM, TO, Kind.GAP, node=1), faults=[fault("pause", "node-1", FROM, TO)])
    assert (found.kind[0], found.fault[0]) == (NO_BREAK, -1)


@pytest.mark.parametrize(
    ("requested", "healed", "parted"),
    [(DONE, None, True), (DONE + 1, None, False), (0, SENT, True), (0, SENT - 1, False), (None, None, False)],
)
def test_a_cut_link_of_the_nodes_own_takes_what_was_published_meanwhile(requested, healed, parted):
    faults = [
        fault("pause", "redis", 0, S), fault("partition", "node-2", 0), fault("partition", "node-1", requested, healed)
    ]  # fmt: skip
    found = cut(faults=faults)
    assert (found.kind[0], found.fault[0]) == ((Kind.SILENT, 2) if parted else (NO_BREAK, -1))
    assert (found.listed[0], found.surely[0]) == (False, False)


@pytest.mark.parametrize(
    ("kind", "settings", "parted"),
    [
        ("partition", {"link": "redis"}, True),
        ("partition", {"link": "redis", "direction": "to-node"}, True),
        ("partition", {"link": "redis", "direction": "from-node"}, False),
        ("partition", {"link": "clients"}, False),
        ("half-open", {"link": "redis"}, False),
        ("connection-reset", {"link": "redis"}, False),
        ("latency", {"link": "redis"}, False),
    ],
)
def test_only_a_partition_that_messages_have_to_pass_takes_them(kind, settings, parted):
    found = cut(faults=[fault(kind, "node-1", FROM, TO, **settings)])
    assert (found.kind[0], found.fault[0], found.parted[0]) == (
        (Kind.SILENT, 0, True) if parted else (NO_BREAK, -1, False)
    )


def test_a_cut_link_stands_above_a_gap_and_below_a_full_buffer():
    faults = [fault("pause", "node-1", FROM, TO), fault("partition", "node-1", FROM, TO)]
    found = cut(break_row(FROM, TO, Kind.GAP), faults=faults)
    assert (found.kind[0], found.fault[0]) == (Kind.SILENT, 1)
    killed = cut(break_row(FROM, TO, Kind.KILLED), faults=faults[::-1])
    assert (killed.kind[0], killed.fault[0]) == (Kind.KILLED, 1)
    elsewhere = cut(break_row(FROM, TO, Kind.KILLED, node=1), faults=faults)
    assert (elsewhere.kind[0], elsewhere.fault[0]) == (Kind.SILENT, 1)


# Since the node was last heard of


@pytest.mark.parametrize(
    ("before", "healed", "index"),
    [
        (-1, 4 * S - AFTERMATH_NS, 0),  # its client's subscription had been confirmed at 4 s
        (-1, 4 * S - AFTERMATH_NS - 1, -1),
        (0, 0, 0),
        (50 * S, 50 * S - AFTERMATH_NS, 0),
        (50 * S, 50 * S - AFTERMATH_NS - 1, -1),
    ],
)
def test_a_fault_since_the_node_last_had_something(before, healed, index):
    seen, place = {"before_ns": before, "after_ns": SENT + S}, {"confirmed_ns": 4 * S}
    found = cut(seen=seen, place=place, faults=[fault("pause", "redis", 0, healed)])
    assert (found.silence_fault[0], found.returned[0]) == (index, index == 0)


def test_a_fault_after_the_publish_is_not_since():
    assert cut(faults=[fault("pause", "redis", DONE)]).silence_fault.tolist() == [0]
    assert cut(faults=[fault("pause", "redis", DONE + 1)]).silence_fault.tolist() == [-1]


@pytest.mark.parametrize(
    ("after", "healed", "returned"),
    [
        (NEVER, SENT, True),
        (NEVER, SENT - 1, False),
        (NEVER, None, False),
        (SENT + S, SENT - 1, True),
        (NEVER - 1, None, True),
    ],
)
def test_a_node_returned_if_it_had_something_later_or_its_fault_was_not_yet_healed(after, healed, returned):
    faults = [fault("pause", "node-2", 0), fault("pause", "node-1", S, healed)]
    found = cut(seen={"after_ns": after}, faults=faults)
    assert (found.silence_fault[0], found.returned[0]) == (1, returned)


def test_since_the_node_last_had_something_what_cuts_stands_above_what_slows():
    faults = [fault("redis-kill-pubsub", "redis", S, 2 * S), fault("pause", "node-1", 3 * S, SENT)]
    assert cut(faults=faults).silence_fault.tolist() == [0]
    assert cut(faults=faults[1:]).silence_fault.tolist() == [0]
    assert cut(faults=[fault("slow-clients", "node-1", S)]).silence_fault.tolist() == [-1]
    assert cut(faults=[fault("redis-maxclients", "redis", S)]).silence_fault.tolist() == [0]


def test_without_a_fault_no_node_has_returned():
    others = [fault("pause", "node-2", 0, NEVER)]
    assert not cut(seen={"after_ns": SENT + S}, faults=others).returned.any()
    assert not cut(seen={"after_ns": SENT + S}).returned.any()
