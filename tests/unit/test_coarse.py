"""The sentences on evidence that was missing: which losses each speaks of, and that it keeps silent otherwise."""

import numpy as np
import pytest

from fanlab.ledger.causes import CLOSING, SLOW, WRITE_FAILED, Cause, Hop
from fanlab.ledger.coarse import coarse
from fanlab.ledger.drops import Drops
from fanlab.ledger.redisjournal import RedisJournal
from support.losses import facts_as, world_with

UNWATCHED = (
    "Redis' subscribers were not watched: when a node without a journal was cut off is known from the counts that"
    " Redis replied only ({})"
)
UNCOUNTED = (
    "the witness left no journal, though Redis may have counted it: its counts of receivers are one too high, and prove"
    " less ({})"
)
UNNAMED = "{} does not say which clients its drops concern: they are put down to as many as it counts, by number ({})"
DIED = "{} died with the last lines of its journal: whether it had what was on its way is not known ({})"


def watched(*spans):
    return RedisJournal((), (), (), np.array(spans, np.int64).reshape(-1, 2))


def black_box(node, losses, where):
    return (
        f"{node} keeps no journal: where its {losses} happened is known from Redis and from its other clients only, and"
        f" {where}"
    )


def said(count, *, hop=Hop.UNKNOWN, cause=Cause.UNEXPLAINED, facts=None, **world):
    world = {"redis": watched((0, 9))} | world
    facts = facts_as(count, **({"node": 0} | (facts or {})))
    return coarse(
        world_with(**world), facts, np.broadcast_to(np.array(cause), count), np.broadcast_to(np.array(hop), count)
    )


def test_every_node_with_a_journal_is_told_in_full():
    assert said(3, journals=[0, 1, 2], facts={"node": [0, 1, 2]}, redis=None, uncounted_witness=True) == []
    assert said(0) == []


def test_black_boxes_in_order_and_what_nobody_can_tell_of_them():
    found = said(
        6,
        journals=[1],
        facts={"node": [2, 0, 2, 1, 2, 2]},
        hop=[Hop.UNKNOWN, Hop.REDIS_NODE, Hop.NODE_SOCKET, Hop.UNKNOWN, Hop.UNKNOWN, Hop.CLIENT],
    )
    assert found == [
        black_box("node-1", "1 loss", "that was enough for all of them"),
        black_box("node-3", "4 losses", "of 2 of them nobody can tell"),
    ]


@pytest.mark.parametrize("known", [{"live": False}, {"failed": True}])
def test_losses_that_have_nothing_to_do_with_a_node_lack_no_journal_of_one(known):
    flags = {name: [not one, one] for name, one in known.items()}
    assert said(2, facts=flags, redis=None) == [
        black_box("node-1", "1 loss", "of 1 of them nobody can tell"), UNWATCHED.format("1 loss")
    ]  # fmt: skip
    assert said(1, facts=known, redis=None) == []


@pytest.mark.parametrize(
    ("redis", "silent"), [(None, False), (watched(), False), (watched((0, 9)), True)]
)  # fmt: skip
def test_redis_was_not_watched(redis, silent):
    found = said(2, redis=redis, hop=[Hop.UNKNOWN, Hop.REDIS_NODE])
    assert found[1:] == ([] if silent else [UNWATCHED.format("2 losses")])
    assert len(said(2, redis=redis, hop=Hop.REDIS_NODE)) == 1


def test_the_witness_may_have_been_counted():
    assert said(1, uncounted_witness=True)[1:] == [UNCOUNTED.format("1 loss")]
    assert said(1, uncounted_witness=True, redis=None)[1:] == [UNWATCHED.format("1 loss"), UNCOUNTED.format("1 loss")]
    assert len(said(1, uncounted_witness=True, hop=Hop.NODE_SOCKET)) == 1


def test_what_a_node_with_a_journal_lacks_is_not_redis_to_tell():
    found = said(2, journals=[0], facts={"node": [0, 1]}, hop=[Hop.UNKNOWN, Hop.NODE_SOCKET], redis=None)
    assert found == [black_box("node-2", "1 loss", "that was enough for all of them")]


def drops(*lines, who=()):
    """Lines (node, reason)."""
    rows = [(node, 0, 1, 9, reason, 1) for node, reason in lines]
    return Drops(np.array(rows, np.int64).reshape(-1, 6), np.array(who, np.int64).reshape(-1, 2))


@pytest.mark.parametrize(
    ("reason", "cause", "fact"),
    [
        (SLOW, Cause.SLOW_CLIENT_DROP, "dropped_slow"),
        (CLOSING, Cause.NOT_OPEN, "dropped_closing"),
        (WRITE_FAILED, Cause.WRITE_ERROR, "dropped_write"),
    ],
)
def test_drops_without_names_are_told_by_number(reason, cause, fact):
    told = {"journals": [0, 1], "cause": cause, "facts": {fact: [True, True, False]}}
    assert said(3, drops=drops((0, reason)), **told) == [UNNAMED.format("node-1", "2 losses")]
    assert said(3, drops=drops((1, reason)), **told) == []
    assert said(3, drops=drops((0, reason), who=[(0, 5)]), **told) == []
    two = [UNNAMED.format("node-1", "2 losses")]
    assert said(3, drops=drops((0, reason), (0, reason), who=[(0, 5)]), **told) == two
    other = (reason + 1) % 3
    assert said(3, drops=drops((0, other)), **told) == []
    assert said(3, drops=drops((0, other), (0, reason)), **told) == two
    assert said(3, drops=drops((0, reason), (1, other)), **told) == two
    assert said(3, drops=drops((0, other), (1, reason)), **told) == []
    assert said(3, drops=drops((0, reason)), **(told | {"cause": Cause.NODE_DOWN})) == []


def test_each_node_speaks_of_its_own_drops():
    facts = {"node": [2, 0, 2], "dropped_slow": True}
    found = said(3, journals=[0, 1, 2], cause=Cause.SLOW_CLIENT_DROP, facts=facts, drops=drops((2, SLOW), (0, SLOW)))
    assert found == [UNNAMED.format("node-1", "1 loss"), UNNAMED.format("node-3", "2 losses")]


def test_a_slow_client_whose_drops_nobody_told_is_not_put_down_to_a_number():
    found = said(1, journals=[0], cause=Cause.SLOW_CLIENT_DROP, facts={"closed_slow": True}, drops=drops((0, SLOW)))
    assert found == []


def test_nodes_that_died_with_the_last_lines_of_their_journals():
    facts = {"node": [1, 0, 1, 1, 2, 1], "node_died": [True, True, True, False, True, True]}
    hop = [Hop.UNKNOWN, Hop.UNKNOWN, Hop.UNKNOWN, Hop.UNKNOWN, Hop.UNKNOWN, Hop.REDIS_NODE]
    found = said(6, journals=[0, 1], facts=facts, hop=hop)
    assert found == [
        black_box("node-3", "1 loss", "of 1 of them nobody can tell"),
        DIED.format("node-1", "1 loss"),
        DIED.format("node-2", "2 losses"),
    ]
    assert said(1, journals=[0], facts={"node_died": True, "live": False}) == []
