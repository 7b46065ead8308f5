"""Whether everybody saw messages in one order: Redis gives all its subscribers the same, over all its channels.

The reference is the order in which the witness had them, by its first copies. Without a witness it is the order in
which one client had them through one node: the one who received most, of several the lowest numbers. Then what is
found are those who differ from that client, and nobody knows who is right.

A first copy is out of order when, through the same node, the client already had a message of *another* stream that the
reference has later. Of its own stream it would be reordered, which is counted apart and not here once more. Messages
that the reference lacks are left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.arrival import places
from fanlab.ledger.histogram import Ints
from fanlab.ledger.lookups import first_of_each
from fanlab.ledger.messages import Messages
from fanlab.ledger.odd import Odd, odd_rows
from fanlab.ledger.records import DELIVERY_DTYPE
from fanlab.ledger.witness import Witness

NOWHERE: Final = -1  # of a message that the reference lacks, and of one that a lane had none before
_PLACE_BITS: Final = 32


@dataclass(frozen=True, slots=True)
class Lanes:
    """A lane is one client through one node. What the plan lacks, clients and nodes alike, shares the last number."""

    clients: int
    nodes: int

    @property
    def count(self) -> int:
        """How many there are."""
        return (self.clients + 1) * (self.nodes + 1)

    def of(self, records: NDArray[Any]) -> Ints:
        """The lane of each delivery."""
        node = np.minimum(records["node"].astype(np.int64), self.nodes)
        return places(records, self.clients + 1) * (self.nodes + 1) + node

    def named(self, lane: int) -> tuple[int, int]:
        """The client and node of a lane."""
        return divmod(lane, self.nodes + 1)


@dataclass(frozen=True, slots=True)
class Reference:
    """The order that all are held against."""

    place: Ints  # by message: its place in the order, or NOWHERE
    lane: int | None  # that it was taken from; None: from the witness


def needs_order(messages: Messages) -> bool:
    """Whether there are messages of at least two streams: one alone can only be reordered in itself."""
    return bool(np.count_nonzero(np.diff(messages.base)) > 1)


def witness_order(witness: Witness | None, messages: Messages) -> Reference | None:
    """The order of the witness; None where it had nothing."""
    place = None if witness is None else witness.order(messages)
    return None if place is None or not (place >= 0).any() else Reference(place, None)


def busiest_order(
    deliveries: Iterable[NDArray[Any]], again: Iterable[NDArray[Any]], copies: NDArray[Any], messages: Messages,
    lanes: Lanes,
) -> Reference:  # fmt: skip
    """The order of the lane that had most messages. `deliveries` and `again` are the same; `copies` are ODD_DTYPE."""
    had = np.zeros(lanes.count, np.int64)
    for records in deliveries:
        had += np.bincount(lanes.of(records[_message(records, messages) >= 0]), minlength=lanes.count)
    had -= np.bincount(lanes.of(copies[_message(copies, messages) >= 0]), minlength=lanes.count)
    had[-lanes.nodes - 1 :] = 0  # no client of the plan
    lane = int(had.argmax())
    parts = [np.zeros(0, np.int64)]
    for records in again:
        message = _message(records[lanes.of(records) == lane], messages)
        parts.append(message[message >= 0])
    sequence = np.concatenate(parts)
    place = np.full(len(messages.status), NOWHERE)
    first = first_of_each(sequence)  # of several copies
    place[sequence[first]] = first
    return Reference(place, lane)


def disagreements(
    deliveries: Iterable[NDArray[Any]], odd: NDArray[Any], reference: Reference, messages: Messages, lanes: Lanes
) -> NDArray[Any]:
    """ODD_DTYPE rows, of both phases. `odd` are the copies, strangers and reordered messages of both, ODD_DTYPE."""
    check = _Check(reference, messages, lanes)
    late = [check.late(records) for records in deliveries]
    found = np.concatenate([np.zeros(0, DELIVERY_DTYPE), *late])
    return odd_rows(Odd.DISAGREED, found[_only_first_and_in_turn(found, odd, messages)])


class _Check:
    """Runs along each lane, from chunk to chunk, with the two highest places it had: of two different streams."""

    def __init__(self, reference: Reference, messages: Messages, lanes: Lanes) -> None:
        self._place = reference.place
        self._messages = messages
        self._lanes = lanes
        self._stream = np.zeros(int(reference.place.max(initial=0)) + 1, np.int64)  # of the message at each place
        placed = np.flatnonzero(reference.place >= 0)
        self._stream[reference.place[placed]] = messages.stream[placed]
        self._high: Ints = np.full(lanes.count, NOWHERE)
        self._other: Ints = np.full(lanes.count, NOWHERE)  # the highest of another stream than that of `_high`

    def late(self, records: NDArray[Any]) -> NDArray[Any]:
        """Those deliveries that come after another stream's message with a higher place."""
        message = _message(records, self._messages)
        place = np.where(message >= 0, self._place[message], NOWHERE) if len(self._place) else message
        if (place < 0).any():
            records, place = records[place >= 0], place[place >= 0]
        if not len(records):
            return records
        lane = self._lanes.of(records)
        order = _stable_order(lane, self._lanes.count)
        lane, place = lane[order], place[order]
        stream = self._stream[place]
        first = np.append(True, lane[1:] != lane[:-1])
        carried_high, carried_other = self._high[lane[first]], self._other[lane[first]]

        high = place.copy()
        high[first] = np.maximum(place[first], carried_high)
        high = _running_maximum(lane, high)
        before = np.append(NOWHERE, high[:-1])
        before[first] = carried_high
        # A new highest of another stream than the old one makes the old one the highest of the others.
        of = self._stream[high]
        turn = np.append(True, of[1:] != of[:-1]) | first
        other = np.where(stream != of, place, NOWHERE)
        begins = turn & ~first
        other[begins] = np.maximum(other[begins], before[begins])
        same = of[first] == self._stream[carried_high]
        other[first] = np.maximum(other[first], np.where(same, carried_other, carried_high))
        other = _running_maximum(np.cumsum(turn), other)
        other_before = np.append(NOWHERE, other[:-1])
        other_before[first] = carried_other

        last = np.append(first[1:], True)  # NumPy promises nothing of repeated indexes
        self._high[lane[last]], self._other[lane[last]] = high[last], other[last]
        of_others = np.where(self._stream[before] != stream, before, other_before)
        found: NDArray[Any] = records[order[of_others > place]]
        return found


def _only_first_and_in_turn(found: NDArray[Any], odd: NDArray[Any], messages: Messages) -> NDArray[np.bool_]:
    """Which of the late deliveries are first copies, owed, and not reordered in their own stream."""
    key, odd_key = _key(found, messages), _key(odd, messages)
    chosen = ~np.isin(key, odd_key[np.isin(odd["kind"], (Odd.REORDERED, Odd.UNEXPECTED))])
    copy = (odd["kind"] == Odd.DUPLICATED) & np.isin(odd_key, key)
    # A delivery that a row names as a copy is none. Of several that look the same, as many are copies as rows say.
    rows = np.concatenate(
        [
            np.column_stack((number, of["recv_ns"].astype(np.int64), of["node"].astype(np.int64)))
            for number, of in ((key, found), (odd_key[copy], odd[copy]))
        ]
    )
    _, group, size = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    group = group.ravel()
    copies = np.bincount(group[len(key) :], minlength=len(size))
    of = group[: len(key)]
    order = np.argsort(of, kind="stable")
    begins = np.flatnonzero(np.append(True, of[order][1:] != of[order][:-1]))
    rank = np.zeros(len(of), np.int64)
    rank[order] = np.arange(len(of)) - np.repeat(begins, np.diff(np.append(begins, len(of))))
    return chosen & (rank < (size - 2 * copies)[of])  # size counts both kinds: those found, less as many copies


def _key(rows: NDArray[Any], messages: Messages) -> Ints:
    """One number for (client, message); negative where no publisher ever used the message's number."""
    return _message(rows, messages) | (rows["client"].astype(np.int64) << _PLACE_BITS)


def _message(rows: NDArray[Any], messages: Messages) -> Ints:
    return messages.find(rows["stream"].astype(np.int64), rows["seq"].astype(np.int64))


def _running_maximum(group: Ints, value: Ints) -> Ints:
    """Of rising groups, the highest value so far in each; values are NOWHERE and up, and fewer than 2**32."""
    return (np.maximum.accumulate((group << _PLACE_BITS) | (value + 1)) & ((1 << _PLACE_BITS) - 1)) - 1


def _stable_order(group: Ints, groups: int) -> Ints:
    """A stable argsort of numbers below `groups`. Of 16-bit keys numpy makes a radix sort, so this stays linear."""
    order = np.argsort((group & 0xFFFF).astype(np.uint16), kind="stable")
    return order if groups <= 1 << 16 else order[np.argsort((group[order] >> 16).astype(np.uint32), kind="stable")]
