"""How far each lost message came: whether the client's node had it, as far as that can be proven. Pure.

That the node had it is proven by its journal, and by any of its clients that received the message. Of a node without a
journal also by this: Redis counted every connection that it listed, the node's among them, and that same connection
lived on until something later had come over it. TCP loses nothing in between.

That the node did *not* have it is proven
    by its journal, where that goes on: the same process had something that Redis has later, or ended in order;
    by Redis' count, where it is made up by other nodes that had the message;
    by its death or pause, where that was seen before the message was sent;
    by Redis' list of subscribers, where the node was not on it;
    and, of a node without a journal, where none of its clients had the message, several of them were subscribed, and
    the node was cut off from Redis or hung at that time: what a node has read it hands on at once.
A process that is killed takes up to 20 ms of its journal with it, so of what came right before that nobody can tell.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fanlab.clock import NS_PER_MS
from fanlab.ledger.arrival import Chunks
from fanlab.ledger.histogram import Ints
from fanlab.ledger.messages import Messages
from fanlab.ledger.nodejournal import NodeJournal
from fanlab.ledger.received import Bools
from fanlab.ledger.redisjournal import Gone, RedisJournal, Subscriber
from fanlab.ledger.windows import NEVER
from fanlab.ledger.witnessname import WITNESS_NAME

IN_HAND_NS: Final = 20 * NS_PER_MS  # what a node has read it hands on within this, and journals
_LOW = np.uint64(0xFFFF_FFFF)


class Handed:
    """Which messages came to any client through each node: noted while the deliveries stream by."""

    def __init__(self, messages: Messages, nodes: int) -> None:
        self._base = messages.base
        self.table: Bools = np.zeros((nodes, len(messages.status)), np.bool_)

    def noting(self, chunks: Chunks) -> Chunks:
        """The same chunks, looked at on their way."""

        def through() -> Iterator[tuple[int, NDArray[Any]]]:
            for number, records in chunks():
                self._note(records)
                yield number, records

        return through

    def _note(self, records: NDArray[Any]) -> None:
        """One message comes to many clients at once, so that most records repeat the one before."""
        words = np.ascontiguousarray(records).view("<u8").reshape(len(records), 4)
        key = (words[:, 3] << np.uint64(32)) | (words[:, 2] & _LOW)  # node, stream, seq: see records.DELIVERY
        key = key[np.append(True, key[1:] != key[:-1])] if len(key) else key
        seq = (key & _LOW).astype(np.int64)
        stream = ((key >> np.uint64(32)) & np.uint64(0xFFFF)).astype(np.int64)
        node = (key >> np.uint64(48)).astype(np.int64)
        known = (stream < len(self._base) - 1) & (node < len(self.table)) & (seq > 0)
        node, stream, seq = node[known], stream[known], seq[known]
        at = self._base[stream] + seq - 1
        real = at < self._base[stream + 1]
        self.table[node[real], at[real]] = True


@dataclass(frozen=True, slots=True)
class Traffic:
    """Which node had which message, and in which order Redis had them."""

    messages: Messages  # whose receivers are nodes
    channel: Ints  # by message
    handed: Bools  # nodes × messages: came to a client
    heard: Mapping[int, Ints]  # by index of each node that keeps a journal: when it says it had each message; 0: never
    journals: Mapping[int, NodeJournal]
    redis: RedisJournal | None
    uncounted_witness: bool  # there was a witness whose journal is missing: Redis' counts may hold one too many

    def had(self, node: int) -> Bools:
        """By message, whether the node had it."""
        had: Bools = self.handed[node].copy()
        if node in self.heard:
            had |= self.heard[node] > 0
        return had


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """By loss; what is said of those whose client was not live means nothing."""

    had: Bools  # by the node's journal or one of its clients
    missed: Bools  # the node did not have it, by its journal or Redis' count
    uncounted: Bools  # ... by Redis' count
    all_counted: Bools  # Redis counted as many receivers as there are nodes
    alike: Bools  # none of the node's clients got it, and several were owed it
    before_ns: Ints  # when what the node had last of this channel before it was sent; -1: it had nothing
    after_ns: Ints  # ... next after it; NEVER: nothing


def whereabouts(
    traffic: Traffic, node: Ints, message: Ints, *, closed_ns: Ints, live: Bools, gone: Bools
) -> Whereabouts:
    """What the nodes' journals, their clients and Redis' counts say. The loop is over nodes, which are few.

    What a node journals long after it was sent, and after the client's connection had ended (`closed_ns`), it did not
    have in time, whoever of its clients received it then; nor what any of them received where it was `gone` all the
    while: dead, or paused until that end.
    """
    count = len(node)
    had, ever, missed, uncounted, alike = (np.zeros(count, np.bool_) for _ in range(5))
    before_ns, after_ns = np.full(count, -1), np.full(count, NEVER)
    asked = np.flatnonzero(live & (node < len(traffic.handed)))
    receivers, done_ns = traffic.messages.receivers[message], traffic.messages.done_ns[message]
    all_counted = receivers - traffic.uncounted_witness >= len(traffic.handed)
    if len(asked):
        order = _Order(traffic)
        had_by = np.zeros(len(traffic.messages.status), np.int64)
        for one in range(len(traffic.handed)):
            by_node = traffic.had(one)
            had_by += by_node
            rows = asked[node[asked] == one]
            if not len(rows):
                continue
            ever[rows] = by_node[message[rows]]
            had[rows] = traffic.handed[one][message[rows]]
            if one in traffic.heard:
                had_ns = traffic.heard[one][message[rows]]
                late = had_ns > np.maximum(closed_ns[rows], done_ns[rows] + IN_HAND_NS)
                had[rows] = (had[rows] | (had_ns > 0)) & ~late
                missed[rows] = late | ((had_ns == 0) & order.journal_goes_on(one, message[rows]))
            before_ns[rows], after_ns[rows] = order.neighbours(by_node, message[rows])
        uncounted[asked] = (receivers[asked] >= 0) & (receivers[asked] <= had_by[message[asked]])
        uncounted &= ~ever
        alike[asked] = _several(node[asked], message[asked]) & ~traffic.handed[node[asked], message[asked]]
    had &= ~gone
    return Whereabouts(had, (missed | uncounted | gone) & ~had, uncounted, all_counted, alike, before_ns, after_ns)


def carried(traffic: Traffic, node: Ints, message: Ints, after_ns: Ints) -> Bools:
    """Whether Redis sent each message over a connection of the node on which something later came, too."""
    found = np.zeros(len(node), np.bool_)
    redis = traffic.redis
    if redis is None or not len(node) or any(one.psub for one in redis.subscribers if one.node is not None):
        return found  # a connection with patterns may be counted more than once
    sent_ns, done_ns = traffic.messages.sent_ns[message], traffic.messages.done_ns[message]
    came_ns, went_ns = _comings(redis)
    listed = np.searchsorted(came_ns, done_ns, side="right") - np.searchsorted(went_ns, sent_ns, side="left")
    counted = traffic.messages.receivers[message] - traffic.uncounted_witness >= np.maximum(listed, 1)
    for one in np.unique(node).tolist():
        for sure_from, _, sure_until, _ in redis.subscribed(one).tolist():
            found |= (node == one) & (sure_from <= sent_ns) & (after_ns <= sure_until)
    sure: Bools = found & counted
    return sure


def _comings(redis: RedisJournal) -> tuple[Ints, Ints]:
    """When connections may have begun to subscribe at the earliest, and may have ended at the latest, in order."""
    came: list[int] = []
    went: list[int] = []
    here: set[int] = set()
    rows: list[Subscriber | Gone] = [*redis.subscribers, *redis.gone]
    for row in sorted(rows, key=lambda row: row.t):
        if isinstance(row, Gone):
            went += [row.t] if row.id in here else []
            here.discard(row.id)
        elif row.name != WITNESS_NAME:
            came += [row.before] if row.id not in here else []
            here.add(row.id)
    return np.sort(np.array(came, np.int64)), np.array(went, np.int64)


class _Order:
    """Messages in the order in which Redis had them, by channel and in all, as their publishers' clocks have it."""

    def __init__(self, traffic: Traffic) -> None:
        sent_ns = traffic.messages.sent_ns
        self._traffic = traffic
        self._by_channel = np.lexsort((sent_ns, traffic.channel))
        self._place = np.empty(len(sent_ns), np.int64)
        self._place[self._by_channel] = np.arange(len(sent_ns))
        self._in_all = np.argsort(sent_ns, kind="stable")

    def neighbours(self, had: Bools, message: Ints) -> tuple[Ints, Ints]:
        """When the last message before and the first one after each, of those `had` of its channel, were sent."""
        order, traffic = self._by_channel, self._traffic
        place, count = self._place[message], len(order)
        lower = np.maximum.accumulate(np.where(had[order], np.arange(count), -1))
        upper = np.minimum.accumulate(np.where(had[order], np.arange(count), count)[::-1])[::-1]
        before, after = np.append(-1, lower)[place], np.append(upper, count)[place + 1]
        channel, sent_ns = traffic.channel, traffic.messages.sent_ns
        last, first = order[np.maximum(before, 0)], order[np.minimum(after, count - 1)]
        known = (before >= 0) & (channel[last] == channel[message])
        follows = (after < count) & (channel[first] == channel[message])
        return np.where(known, sent_ns[last], -1), np.where(follows, sent_ns[first], NEVER)

    def journal_goes_on(self, node: int, message: Ints) -> Bools:
        """Whether the process that would have had each message journaled something later, or ended in order."""
        traffic, order = self._traffic, self._in_all
        journal, heard = traffic.journals[node], traffic.heard[node]
        sent_ns, done_ns = traffic.messages.sent_ns, traffic.messages.done_ns
        count = len(order)
        upper = np.minimum.accumulate(np.where(heard[order] > 0, np.arange(count), count)[::-1])[::-1]
        after = np.append(upper, count)[np.searchsorted(sent_ns[order], done_ns[message], side="right")]
        told_ns = np.append(heard[order], NEVER)[after]
        restart_ns = _next(journal.starts, sent_ns[message])
        goes_on: Bools = (told_ns < restart_ns) | (_next(journal.stops, sent_ns[message]) < restart_ns)
        return goes_on


def _next(times_ns: Sequence[int], at_ns: Ints) -> Ints:
    """The first of `times_ns` after each time; NEVER."""
    ordered = np.append(np.sort(np.asarray(times_ns, np.int64)), NEVER)
    found: Ints = ordered[np.searchsorted(ordered[:-1], at_ns, side="right")]
    return found


def _several(node: Ints, message: Ints) -> Bools:
    """Whether more than one loss is of the same message on the same node."""
    key = (message << 16) | node
    _, number, count = np.unique(key, return_inverse=True, return_counts=True)
    several: Bools = count[number] > 1
    return several
