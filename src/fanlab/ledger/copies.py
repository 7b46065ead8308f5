"""Why messages came twice: one decision table over what the journals say. The first row that holds decides.

Copies of a message to one client are numbered in the order received: the first copy is number 0 and delivered, the
others are what is to be explained.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.histogram import Ints
from fanlab.ledger.messages import Messages
from fanlab.ledger.nodejournal import NodeJournal
from fanlab.ledger.odd import CopyCause
from fanlab.ledger.pairs import pair_key
from fanlab.ledger.received import Bools
from fanlab.ledger.windows import NAMES
from fanlab.ledger.witness import Witness

_SEQ_BITS = 32
_OPEN: Final = NAMES.index("open")
_MANY = 2  # clients: what happens to one alone says nothing of its node


@dataclass(frozen=True, slots=True)
class CopyFacts:
    """What is known of each copy: equally long arrays."""

    number: Ints  # of the copy, over all nodes: 1 and up
    of_node: Ints  # of the copy among those of this client through this node: 0 and up
    witnessed: Ints  # copies of the message that the witness had from Redis
    once_surely: Bools  # the witness had the message, and surely all of it that Redis had sent until this copy came
    node_had: Ints  # how often the node's journal has it; 0: never, or there is none
    all_clients: Bools  # the node keeps no journal, and all whom it brought the message, several, had it twice from it
    reconnected: Bools  # the client's connection began after it had received the first copy


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: where `holds`, the cause is `cause`."""

    cause: CopyCause
    why: str
    holds: Callable[[CopyFacts], Bools]


RULES: Final[tuple[Rule, ...]] = (
    Rule(CopyCause.PUBLISH_RETRIED, "the witness had this many copies from Redis, too",
         lambda f: f.witnessed > f.number),
    Rule(CopyCause.DOUBLE_SUBSCRIPTION, "the node had it from Redis more often than the witness had",
         lambda f: f.once_surely & (f.of_node > 0) & (f.node_had > np.maximum(f.of_node, f.witnessed))),
    Rule(CopyCause.REPLAY, "the first copy came over an earlier connection of the client",
         lambda f: f.reconnected),
    Rule(CopyCause.DOUBLE_SUBSCRIPTION, "Redis had it once, and the node, which keeps no journal, gave it to all twice",
         lambda f: f.once_surely & (f.of_node > 0) & f.all_clients),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CopyWorld:
    """All that copies are held against."""

    messages: Messages
    witness: Witness | None
    events: NDArray[Any]  # windows.EVENT_DTYPE
    journals: Mapping[int, NodeJournal]  # by node index
    nodes: int


def copy_causes(
    copies: NDArray[Any], deliveries: Iterable[NDArray[Any]], world: CopyWorld, rules: Sequence[Rule] = RULES
) -> NDArray[np.uint8]:
    """The CopyCause of each of `copies` (ODD_DTYPE). `deliveries` are all that there were, first copies included."""
    cause = np.full(len(copies), CopyCause.UNEXPLAINED, np.uint8)
    if not len(copies):
        return cause
    facts = _facts(copies, deliveries, world)
    unsettled = np.ones(len(copies), np.bool_)
    for rule in rules:
        hit = unsettled & rule.holds(facts)
        cause[hit] = rule.cause
        unsettled &= ~hit
    return cause


class _Keys:
    """Numbers for the (client, stream, seq) that have copies, and for the (message, node) that brought them."""

    def __init__(self, copies: NDArray[Any], world: CopyWorld) -> None:
        self._pairs = np.unique(pair_key(copies["client"], copies["stream"]))
        self._keys = np.unique(self._compose(copies))
        self._world = world
        message = _message(copies, world.messages)
        self._messages = np.unique(message[message >= 0])
        self.count = len(self._keys)
        self.brought_count = len(self._messages) * (world.nodes + 1)

    def of(self, records: NDArray[Any]) -> Ints:
        """The number of each delivery's key; -1: it has no copies."""
        return _place(self._keys, self._compose(records))

    def brought(self, records: NDArray[Any]) -> Ints:
        """The number of each delivery's (message, node); -1: nobody got a copy of that message."""
        at = _place(self._messages, _message(records, self._world.messages))
        node = np.minimum(records["node"].astype(np.int64), self._world.nodes)
        return np.where(at >= 0, at * (self._world.nodes + 1) + node, -1)

    def _compose(self, records: NDArray[Any]) -> Ints:
        pair = _place(self._pairs, pair_key(records["client"], records["stream"]))
        return np.where(pair >= 0, (pair << _SEQ_BITS) | records["seq"].astype(np.int64), -1)


def _facts(copies: NDArray[Any], deliveries: Iterable[NDArray[Any]], world: CopyWorld) -> CopyFacts:
    keys = _Keys(copies, world)
    first_ns, nodes, brought = _all_copies(keys, deliveries)
    key, recv = keys.of(copies), copies["recv_ns"].astype(np.int64)
    first_node = nodes - _sums(key, copies["node"], keys.count)  # what is left when those of the others are gone
    node = np.minimum(copies["node"].astype(np.int64), world.nodes)
    of_node = _rank(key * (world.nodes + 1) + node, recv) + (first_node[key] == copies["node"])
    message = _message(copies, world.messages)
    witnessed = _witnessed(message, world)
    return CopyFacts(
        number=_rank(key, recv) + 1,
        of_node=of_node,
        witnessed=witnessed,
        once_surely=(witnessed > 0) & _surely_saw(message, recv, world),
        node_had=_node_had(message, copies["node"], world),
        all_clients=_all_clients(copies, of_node, keys.brought(copies), brought, world),
        reconnected=_opened(copies["client"], recv, world.events)
        > _opened(copies["client"], first_ns[key], world.events),
    )


def _all_copies(keys: _Keys, deliveries: Iterable[NDArray[Any]]) -> tuple[Ints, Ints, Ints]:
    """By key: when the first copy came, and the sum of all copies' node numbers. By (message, node): deliveries.

    Nothing of that depends on the order in which deliveries are read.
    """
    first_ns = np.full(keys.count, np.iinfo(np.int64).max)
    nodes = np.zeros(keys.count, np.int64)
    brought = np.zeros(keys.brought_count, np.int64)
    for records in deliveries:
        at = keys.brought(records)
        brought += np.bincount(at[at >= 0], minlength=len(brought))
        key = keys.of(records)
        copied = key >= 0
        np.minimum.at(first_ns, key[copied], records["recv_ns"][copied].astype(np.int64))
        nodes += _sums(key[copied], records["node"][copied], keys.count)
    return first_ns, nodes, brought


def _sums(group: Ints, numbers: NDArray[Any], groups: int) -> Ints:
    """By group, the sum of its numbers, which are 16 bits each: exact in floats."""
    return np.bincount(group, numbers.astype(np.float64), groups).astype(np.int64)


def _witnessed(message: Ints, world: CopyWorld) -> Ints:
    if world.witness is None or not len(world.messages.status):
        return np.zeros(len(message), np.int64)
    return np.where(message >= 0, world.witness.copies(world.messages)[message], 0)


def _surely_saw(message: Ints, recv: Ints, world: CopyWorld) -> Bools:
    if world.witness is None or not len(world.messages.status):
        return np.zeros(len(message), np.bool_)
    sure: Bools = (message >= 0) & world.witness.surely_saw(world.messages.sent_ns[message], recv)
    return sure


def _node_had(message: Ints, node: NDArray[Any], world: CopyWorld) -> Ints:
    had = np.zeros(len(message), np.int64)
    for index, journal in world.journals.items():
        at = world.messages.find(journal.messages[:, 0], journal.messages[:, 1])
        lines = np.bincount(at[at >= 0], minlength=len(world.messages.status) + 1)
        had = np.where((node == index) & (message >= 0), lines[message], had)
    return had


def _all_clients(copies: NDArray[Any], of_node: Ints, at: Ints, brought: Ints, world: CopyWorld) -> Bools:
    """Deliveries of a message through a node, less its repetitions, are the clients that the node brought it to."""
    known = at >= 0
    again = np.bincount(at[known & (of_node > 0)], minlength=len(brought))
    twice = np.bincount(at[known & (of_node == 1)], minlength=len(brought))
    clients = brought - again
    every = (twice == clients) & (clients >= _MANY)
    silent = ~np.isin(copies["node"], list(world.journals))
    return known & silent & every[at] if len(every) else known


def _opened(client: NDArray[Any], t_ns: Ints, events: NDArray[Any]) -> Ints:
    """Numbers that, for one and the same client, rise with each connection that it had opened by then."""
    opens = events[events["at"] == _OPEN]
    times = np.unique(opens["t"])
    span = len(times) + 1
    opened = np.sort(opens["client"] * span + np.searchsorted(times, opens["t"], side="right"))
    of = client.astype(np.int64) * span + np.searchsorted(times, t_ns, side="right")
    return np.searchsorted(opened, of, side="right")


def _rank(group: Ints, t_ns: Ints) -> Ints:
    """The place of each in its group, by time: 0 and up."""
    order = np.lexsort((t_ns, group))
    begins = np.flatnonzero(np.append(True, group[order][1:] != group[order][:-1]))
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.repeat(begins, np.diff(np.append(begins, len(group))))
    return rank


def _message(rows: NDArray[Any], messages: Messages) -> Ints:
    return messages.find(rows["stream"].astype(np.int64), rows["seq"].astype(np.int64))


def _place(table: Ints, values: Ints) -> Ints:
    """Where each value is in a sorted table; -1: not there."""
    if not len(table):
        return np.full(len(values), -1)
    at = np.minimum(np.searchsorted(table, values), len(table) - 1)
    return np.where(table[at] == values, at, -1)
