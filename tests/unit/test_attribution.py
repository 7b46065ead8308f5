"""Each cause planted alone and in pairs in made-up systems, with journals and on black boxes: cause, hop and fault."""

from itertools import combinations
from pathlib import Path

import pytest

from fanlab.ledger.account import account
from fanlab.ledger.causes import Cause, Hop
from fanlab.ledger.result import Account
from support.planting import BY_ITSELF, PLANTS, Story, Truth, Truths

FIRST_MS, LATER_MS = 1010, 3500
# What only a node can tell of: without its journal a client misses messages, and nobody knows why.
TOLD_BY_NODES = frozenset({Cause.SLOW_CLIENT_DROP, Cause.NOT_OPEN, Cause.WRITE_ERROR})


def reckoned(story: Story, folder: Path) -> tuple[Account, Truths, Truths]:
    """The account of a story, its truths, and what the account says of the same losses."""
    history, truths = story.told()
    found = account(history.write(folder))
    assert found.measure.balanced
    said = {
        (int(row["client"]), int(row["seq"])): Truth(Cause(row["cause"]), Hop(row["hop"]), int(row["fault"]))
        for row in found.losses
    }
    assert said.keys() == truths.keys()
    return found, truths, said


def right(truth: Truth, said: Truth) -> bool:
    """Cause, hop and fault; but for the hop of what was on its way when a node was killed, which may not be known."""
    if truth.cause is Cause.NODE_CRASH_IN_FLIGHT and said.hop is Hop.UNKNOWN:
        said = said._replace(hop=truth.hop)
    return truth == said


def pairs_with(first: str) -> list[tuple[str, ...]]:
    return [pair for pair in combinations(PLANTS, 2) if pair[0] == first]


@pytest.mark.parametrize("name", PLANTS)
def test_alone_with_journals(tmp_path, name):
    story = Story()
    PLANTS[name](story, 0, FIRST_MS)
    found, truths, said = reckoned(story, tmp_path / "run")
    assert {truth.cause.label for truth in truths.values()} >= {name}
    assert [key for key in truths if not right(truths[key], said[key])] == []
    assert sum(fault.measured for fault in found.faults) == sum(truth.fault >= 0 for truth in truths.values())


@pytest.mark.parametrize("name", PLANTS)
def test_alone_on_black_boxes(tmp_path, name):
    story = Story(journaling=False)
    PLANTS[name](story, 1, FIRST_MS)
    _, truths, said = reckoned(story, tmp_path / "run")
    for key, truth in truths.items():
        if truth.cause in TOLD_BY_NODES:
            assert said[key] == Truth(Cause.UNEXPLAINED, Hop.NODE_SOCKET)  # the node's other client had it
        else:
            assert right(truth, said[key]), key


@pytest.mark.parametrize("first", list(PLANTS)[:-1])
@pytest.mark.parametrize("journaling", [True, False])
def test_in_pairs(tmp_path, first, journaling):
    for pair in pairs_with(first):
        story = Story(journaling=journaling)
        for node, name in enumerate(pair):
            PLANTS[name](story, node, FIRST_MS + node * LATER_MS)
        _, truths, said = reckoned(story, tmp_path / pair[1])
        wrong = [
            (pair, key, truths[key], said[key])
            for key in truths
            if not right(truths[key], said[key]) and (journaling or truths[key].cause not in TOLD_BY_NODES)
        ]
        assert wrong == []
        assert all(said[key].hop in (truths[key].hop, Hop.UNKNOWN) for key in truths)
        unknown = [truths[key].cause for key in truths if said[key].hop is Hop.UNKNOWN]
        assert set(unknown) <= {Cause.NODE_CRASH_IN_FLIGHT}
        assert len(unknown) <= 2  # one message, two clients


@pytest.mark.parametrize("journaling", [True, False])
def test_a_node_that_dies_by_itself(tmp_path, journaling):
    story = Story(journaling=journaling)
    BY_ITSELF(story, 0, FIRST_MS)
    _, truths, said = reckoned(story, tmp_path / "run")
    assert {truth.cause for truth in said.values()} == {Cause.NODE_CRASH_IN_FLIGHT, Cause.NEVER_RETURNED}
    assert all(right(truths[key], said[key]) for key in truths)
    assert {truth.fault for truth in said.values()} == {-1}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("name", ["slow_client_drop", "not_open", "write_error"])
def test_drops_with_and_without_names(tmp_path, name, named):
    story = Story(named=named)
    PLANTS[name](story, 0, FIRST_MS)
    found, truths, said = reckoned(story, tmp_path / "run")
    assert said == truths
    assert len(found.evidence.coarse) == (not named)


def test_black_boxes_without_any_help(tmp_path):
    story = Story(journaling=False, watch=False, witness=False)
    PLANTS["resubscribe_gap"](story, 0, FIRST_MS)
    found, truths, said = reckoned(story, tmp_path / "run")
    assert {one.cause for one in said.values()} == {Cause.NO_SUBSCRIBER}  # Redis did not count it, and nobody says why
    assert {one.hop for one in said.values()} == {Hop.REDIS_NODE}
    (sentence,) = found.evidence.coarse
    assert sentence == (
        "node-1 keeps no journal: where its 10 losses happened is known from Redis and from its other clients only,"
        " and that was enough for all of them"
    )
    assert len(truths) == 10
