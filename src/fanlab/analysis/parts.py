"""The account by node, by channel and by group of clients: the ledger's terms and the latency of each part. Pure.

Each pair is of one channel and of one group, so those parts add up to the whole. A client may have been on several
nodes: what came is of the node that it came through, what is lost of the one that the client was on, or was last on;
what is indeterminate is of none.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from fanlab.analysis.latency import LatencyBlock, latency_block
from fanlab.analysis.names import NOWHERE, Names
from fanlab.ledger.causes import Cause
from fanlab.ledger.histogram import Histogram, Ints
from fanlab.ledger.odd import Odd
from fanlab.ledger.records import NO_NODE
from fanlab.ledger.result import Account


class NodePart(TypedDict):
    """One node's entry of by_node."""

    owed: int
    delivered: int
    lost: int
    unexplained: int
    duplicated: int
    reordered: int
    unexpected: int
    disagreed: int
    corrupted: int
    latency_ms: LatencyBlock


class Part(NodePart):
    """An entry of by_channel or by_group: of these it is known what was published, and what is indeterminate."""

    published: int
    indeterminate: int


def by_node(account: Account, names: Names) -> dict[str, NodePart]:
    """Each node of the plan, and `none` where clients that were never on any lost something."""
    nodes = [node.id for node in names.plan.nodes]
    ids = [*nodes, NOWHERE]
    nowhere = len(nodes)

    def index(rows: NDArray[Any]) -> Ints:
        return np.where(rows["node"] == NO_NODE, nowhere, rows["node"]).astype(np.int64)

    parts: dict[str, NodePart] = {}
    histograms = account.latency.by_node
    rows = _rows(account, ids, index(account.losses), index(account.odd), histograms)
    for name, row in zip(ids, rows, strict=True):
        if name != NOWHERE or any(value for value in row.values() if isinstance(value, int)):
            parts[name] = {**row, "owed": row["delivered"] + row["lost"]}
    return parts


def by_channel(account: Account, names: Names) -> dict[str, Part]:
    """Each channel of the plan."""
    channels = list(names.plan.channels)
    number = {name: index for index, name in enumerate(channels)}
    of_stream = np.array([number[stream.channel] for stream in names.plan.streams], np.int64)

    def index(rows: NDArray[Any]) -> Ints:
        return _looked_up(of_stream, rows["stream"])

    rows = _rows(account, channels, index(account.losses), index(account.odd), account.latency.by_channel)
    published = _summed(of_stream, account.by_stream["published"], len(channels))
    owed = _summed(of_stream, account.by_stream["owed"], len(channels))
    undecided = _summed(index(account.undecided), _lengths(account), len(channels))
    return _completed(channels, rows, published, owed, undecided)


def by_group(account: Account, names: Names) -> dict[str, Part]:
    """Each group of clients of the plan."""
    groups = names.plan.groups
    of_client = np.repeat(np.arange(len(groups)), [group.count for group in groups])

    def index(rows: NDArray[Any]) -> Ints:
        return _looked_up(of_client, rows["client"])

    ids = [group.name for group in groups]
    rows = _rows(account, ids, index(account.losses), index(account.odd), account.latency.by_group)
    channel_of = [stream.channel for stream in names.plan.streams]
    per_stream = account.by_stream["published"].tolist()
    published = [
        sum(
            count
            for channel, count in zip(channel_of, per_stream, strict=False)
            if channel in frozenset(group.channels)
        )
        for group in groups
    ]
    owed = _summed(of_client, account.by_client["owed"], len(groups))
    undecided = _summed(index(account.undecided), _lengths(account), len(groups))
    return _completed(ids, rows, published, owed, undecided)


def _rows(
    account: Account, ids: Sequence[str], lost: Ints, odd: Ints, histograms: Mapping[str, Histogram]
) -> list[NodePart]:
    """The terms that are known of parts of every kind; `lost` and `odd` have the part of each such row, or -1."""
    count = len(ids)
    losses = _counted(lost, count)
    unexplained = _counted(lost[account.losses["cause"] == Cause.UNEXPLAINED], count)
    kinds = {kind: _counted(odd[account.odd["kind"] == kind], count) for kind in Odd}
    found = []
    for part, name in enumerate(ids):
        histogram = histograms.get(name, Histogram())
        found.append(
            NodePart(
                owed=0,
                delivered=histogram.n,
                lost=losses[part],
                unexplained=unexplained[part],
                duplicated=kinds[Odd.DUPLICATED][part],
                reordered=kinds[Odd.REORDERED][part],
                unexpected=kinds[Odd.UNEXPECTED][part],
                disagreed=kinds[Odd.DISAGREED][part],
                corrupted=kinds[Odd.CORRUPTED][part],
                latency_ms=latency_block(histogram, account.clock),
            )
        )
    return found


def _completed(
    ids: Sequence[str],
    rows: Sequence[NodePart],
    published: Sequence[int],
    owed: Sequence[int],
    undecided: Sequence[int],
) -> dict[str, Part]:
    return {
        name: {"published": published[at], **row, "owed": owed[at], "indeterminate": undecided[at]}
        for at, (name, row) in enumerate(zip(ids, rows, strict=True))
    }


def _lengths(account: Account) -> Ints:
    """How many messages each row of what is undecided stands for."""
    rows = account.undecided
    return rows["last"].astype(np.int64) - rows["first"].astype(np.int64) + 1


def _counted(part: Ints, count: int) -> list[int]:
    return [int(n) for n in np.bincount(part[(part >= 0) & (part < count)], minlength=count)]


def _summed(part: Ints, values: NDArray[Any], count: int) -> list[int]:
    within = min(len(part), len(values))
    part, values = part[:within], values[:within]
    known = (part >= 0) & (part < count)
    return [int(n) for n in np.bincount(part[known], values[known], minlength=count)]


def _looked_up(part_of: Ints, numbers: NDArray[Any]) -> Ints:
    """The part that each number is of; -1 for one that is unknown."""
    if not len(part_of):  # a run without clients
        return np.full(len(numbers), -1)
    known = numbers < len(part_of)
    return np.where(known, part_of[np.where(known, numbers, 0)], -1)
