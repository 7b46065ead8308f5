"""By node, channel and group: each part's terms, and that the parts add up to the whole."""

import numpy as np
import pytest

from fanlab.analysis.names import names_of
from fanlab.analysis.parts import _looked_up, by_channel, by_group, by_node
from fanlab.ledger.causes import Cause
from fanlab.ledger.histogram import Histogram
from fanlab.ledger.latency import LatencyTable, Part
from fanlab.ledger.odd import ODD_DTYPE, UNKNOWN_STREAM, Odd
from fanlab.ledger.records import NO_NODE
from fanlab.ledger.result import UNDECIDED_DTYPE
from support.accounts import make_account, make_manifest, make_scenario

TWO = make_scenario(
    channels=["a", "b"],
    clients=[{"group": "all", "count": 2, "channels": ["a", "b"]}, {"group": "some", "count": 2, "channels": ["b"]}],
    publishers=[
        {"name": "one", "channel": "a", "rate": "100/s"},
        {"name": "two", "channel": "b", "rate": "100/s"},
        {"name": "three", "channel": "b", "rate": "100/s"},
    ],
)
NAMES = names_of(make_manifest(TWO))


def odd_row(kind: Odd, client: int, stream: int, node: int) -> tuple[int, ...]:
    return (0, client, 1, stream, node, int(kind), 0)


def account(**changes):
    losses = make_account().losses[:3]
    losses["client"], losses["stream"], losses["node"] = [0, 2, 3], [0, 1, 2], [0, 1, NO_NODE]
    losses["cause"] = [Cause.NODE_DOWN, Cause.UNEXPLAINED, Cause.NODE_DOWN]
    rows = [odd_row(Odd.DUPLICATED, 1, 1, 0), odd_row(Odd.CORRUPTED, 3, UNKNOWN_STREAM, 1)]
    undecided = np.array([(1, 0, 5, 8), (3, 2, 1, 1)], UNDECIDED_DTYPE)
    latency = LatencyTable(
        by_node={"node-1": Histogram.of([5] * 30), "node-2": Histogram.of([7] * 20)},
        by_channel={"a": Histogram.of([5] * 10), "b": Histogram.of([6] * 40)},
        by_group={"all": Histogram.of([5] * 35), "some": Histogram.of([6] * 15)},
    )
    return make_account(
        losses=losses,
        odd=np.array(rows, ODD_DTYPE),
        undecided=undecided,
        latency=latency,
        by_client={**make_account().by_client, "owed": np.array([20, 20, 9, 9])},
        by_stream={"published": np.array([10, 20, 30]), "owed": np.array([20, 18, 20])},
        **changes,
    )


def terms(part, *names):
    return tuple(part[name] for name in names)


def test_by_node():
    parts = by_node(account(), NAMES)
    assert list(parts) == ["node-1", "node-2", "none"]
    of = ("owed", "delivered", "lost", "unexplained", "duplicated", "corrupted")
    assert terms(parts["node-1"], *of) == (31, 30, 1, 0, 1, 0)
    assert terms(parts["node-2"], *of) == (21, 20, 1, 1, 0, 1)
    assert terms(parts["none"], *of) == (1, 0, 1, 0, 0, 0)
    assert parts["node-2"]["latency_ms"]["n"] == 20


def test_nobody_without_a_node_has_no_entry():
    assert list(by_node(make_account(), names_of(make_manifest()))) == ["node-1", "node-2"]


def test_what_is_of_no_known_stream_is_of_no_channel():
    names = names_of(make_manifest())  # of one stream
    rows = np.array([odd_row(Odd.CORRUPTED, 3, UNKNOWN_STREAM, 1)], ODD_DTYPE)
    none = make_account().losses[:0]
    undecided = np.array([(1, 7, 5, 8), (3, 0, 1, 2)], UNDECIDED_DTYPE)  # four messages of a stream that nobody knows
    bare = make_account(losses=none, odd=rows, undecided=undecided)
    assert by_channel(bare, names)["news"]["indeterminate"] == 2
    assert by_channel(bare, names)["news"]["corrupted"] == 0
    assert by_group(bare, names)["readers"]["corrupted"] == 1


def test_what_is_of_no_known_client_is_of_no_group():
    for clients, groups in (([], []), ([{"group": "alone", "count": 1, "channels": ["news"]}], ["alone"])):
        names = names_of(make_manifest(make_scenario(clients=clients, faults=[])))
        rows = np.array([odd_row(Odd.CORRUPTED, number, 0, 1) for number in (1, 4)], ODD_DTYPE)
        parts = by_group(make_account(losses=make_account().losses[:0], odd=rows), names)
        assert {name: part["corrupted"] for name, part in parts.items()} == dict.fromkeys(groups, 0)


def test_without_any_part_nothing_is_of_one():
    assert (_looked_up(np.array([], np.int64), np.array([0, 3])) < 0).all()


def test_by_channel():
    parts = by_channel(account(), NAMES)
    of = ("published", "owed", "delivered", "lost", "indeterminate", "unexplained", "duplicated", "corrupted")
    assert terms(parts["a"], *of) == (10, 20, 10, 1, 4, 0, 0, 0)
    assert terms(parts["b"], *of) == (50, 38, 40, 2, 1, 1, 1, 0)  # what nobody can read is of no channel


def test_by_group():
    parts = by_group(account(), NAMES)
    of = ("published", "owed", "delivered", "lost", "indeterminate", "unexplained", "duplicated", "corrupted")
    assert terms(parts["all"], *of) == (60, 40, 35, 1, 4, 0, 1, 0)
    assert terms(parts["some"], *of) == (50, 18, 15, 2, 1, 1, 0, 1)


@pytest.mark.parametrize("names", [2, 2000])
def test_deliveries_fall_into_their_parts_in_any_order(names):
    rng = np.random.default_rng(5)
    latency_ns, part = rng.integers(-5, 10**9, 5000), rng.integers(0, 2, 5000)
    table = LatencyTable.empty(3)
    for order in (slice(None, None, 2), slice(1, None, 2)):
        table.add(
            latency_ns[order],
            np.sort(part[order]),
            np.zeros(2500, np.int64),
            ("x", "y"),
            channel=Part(part[order], [f"c{number}" for number in range(names)]),
            group=Part(np.zeros(2500, np.int64), ["all"]),
        )
    assert table.overall == Histogram.of(latency_ns) == table.by_group["all"]
    for number in (0, 1):
        found = table.by_channel[f"c{number}"]
        assert found == Histogram.of(latency_ns[part == number], found.bits)
    assert sum(histogram.n for histogram in table.by_node.values()) == 5000
