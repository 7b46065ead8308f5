"""Each kind of fault planted in made-up systems, with journals and on black boxes: cause, hop and fault of losses."""

from itertools import product

import pytest

from fanlab.ledger.account import account
from fanlab.ledger.causes import Cause, Hop
from support.faulty import FAULTS
from support.planting import Story, Truth

FIRST_MS, MEANWHILE_MS, LATER_MS = 1010, 1070, 4010
EVERY_NTH = 5  # of the pairs: all of them take minutes
# Of two that both had to be there for a loss nobody can say that it goes back to the one alone.
OF_ALL_NODES = frozenset({
    "redis_pause", "redis_client_pause", "redis_output_buffer", "redis_maxclients", "killed_and_kept_out"
})  # fmt: skip
OF_SUBSCRIPTIONS = frozenset({"throttled", "half_open_redis", "reset_from_redis", "slow_link_to_redis"})
TOGETHER = frozenset(
    {
        *product(OF_ALL_NODES, OF_ALL_NODES),
        *product(OF_ALL_NODES, OF_SUBSCRIPTIONS),
        *product(OF_SUBSCRIPTIONS, OF_ALL_NODES),
        *product(FAULTS, ["killed_and_kept_out"]),
    }
)


def differing(story, folder):
    """The losses of which the account says something else than the truth: (client, seq), truth, what is said."""
    history, truths = story.told()
    found = account(history.write(folder))
    assert found.measure.balanced
    said = {
        (int(row["client"]), int(row["seq"])): Truth(Cause(row["cause"]), Hop(row["hop"]), int(row["fault"]))
        for row in found.losses
    }
    assert said.keys() == truths.keys()
    return [(key, truths[key], said[key]) for key in sorted(truths) if truths[key] != said[key]]


@pytest.mark.parametrize("node", [0, 1])
@pytest.mark.parametrize("name", FAULTS)
def test_alone_with_journals(tmp_path, name, node):
    story = Story()
    FAULTS[name](story, node, FIRST_MS)
    assert differing(story, tmp_path / "run") == []


@pytest.mark.parametrize("name", FAULTS)
def test_alone_on_black_boxes(tmp_path, name):
    story = Story(journaling=False)
    FAULTS[name](story, 1, FIRST_MS)
    for _, truth, said in differing(story, tmp_path / "run"):
        assert said == truth._replace(hop=Hop.UNKNOWN)
        assert truth.hop is Hop.NODE_SOCKET  # what a node has in its hands only it can tell


AFTER_ANOTHER = [pair for pair in product(FAULTS, FAULTS) if pair[0] != "partition_for_good"]
APART = [pair for pair in product(FAULTS, FAULTS) if pair not in TOGETHER]


@pytest.mark.parametrize(("first", "second"), AFTER_ANOTHER[::EVERY_NTH])
def test_one_after_the_other_on_one_node(tmp_path, first, second):
    story = Story()
    FAULTS[first](story, 0, FIRST_MS)
    FAULTS[second](story, 0, LATER_MS)
    assert differing(story, tmp_path / "run") == []


@pytest.mark.parametrize(("first", "second"), APART[::EVERY_NTH])
def test_at_the_same_time_on_two_nodes(tmp_path, first, second):
    story = Story(end=4500)
    FAULTS[first](story, 0, FIRST_MS)
    FAULTS[second](story, 1, MEANWHILE_MS)
    assert differing(story, tmp_path / "run") == []
