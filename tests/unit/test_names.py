import pytest

from fanlab.analysis.names import names_of
from fanlab.ledger.records import NO_NODE
from support.accounts import make_manifest

NAMES = names_of(make_manifest())  # two nodes, and one stream: `ticker` on `news`


@pytest.mark.parametrize(
    ("index", "name"), [(0, "node-1"), (1, "node-2"), (2, "node #2"), (9, "node #9"), (NO_NODE, "none")]
)
def test_a_node_that_the_plan_does_not_have_is_told_by_its_number(index, name):
    assert NAMES.node(index) == name


def test_a_stream_that_the_plan_does_not_have_is_told_by_its_number():
    assert [NAMES.channel_of(stream) for stream in (0, 1, 7)] == ["news", "stream #1", "stream #7"]
    assert [NAMES.publisher_of(stream) for stream in (0, 1, 7)] == ["ticker", "stream #1", "stream #7"]
