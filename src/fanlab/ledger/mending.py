"""Damaged copies back in their place: what each of them was, and the deliveries with them among the others.

A copy that can be named arrived, so it counts as delivered as well as corrupted. It is named by

    its token        good, or with one byte changed: the only message that it can have been, of those owed to the client
    its neighbours   of one stream the messages before and after came right before and after it, through the same
                     node; one alone is missing between them, of one stream alone, and no other copy claims it

and otherwise it counts as corrupted, and as nothing else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.arrival import Chunks
from fanlab.ledger.damage import single_changes, unique_pairs
from fanlab.ledger.histogram import Ints
from fanlab.ledger.messages import Messages
from fanlab.ledger.neighbours import between_neighbours
from fanlab.ledger.odd import ODD_DTYPE, UNKNOWN_STREAM, Odd, odd_rows
from fanlab.ledger.pairs import Pairs, pair_key
from fanlab.ledger.received import Bools
from fanlab.ledger.records import DELIVERY_DTYPE

UNNAMED: Final = -1
_SEQ_BITS = 32


@dataclass(frozen=True, slots=True)
class Owed:
    """What damaged copies may have been."""

    messages: Messages
    pairs: Pairs
    run_tag: int | None  # None: of any run

    def may_be(self, pair: Ints, message: Ints) -> Bools:
        """Whether a client may have had a message; -1 for a pair or message that is none."""
        if not len(self.pairs) or not len(self.messages.status):
            return np.zeros(len(pair), np.bool_)
        window = self.pairs.window[pair]
        owed: Bools = (pair >= 0) & (message >= 0) & self.messages.may_exist[message]
        owed &= self.messages.done_ns[message] >= window["ask_ns"]
        owed &= self.messages.sent_ns[message] <= window["left_ns"]
        return owed

    def pair(self, client: Ints, stream: Ints) -> Ints:
        """The pair of each (client, stream); -1 for none."""
        return self.pairs.find(pair_key(client, stream))


@dataclass(frozen=True, slots=True)
class Mended:
    """What came of damaged copies."""

    deliveries: Mapping[int, NDArray[Any]] = field(default_factory=dict)  # by stripe, DELIVERY_DTYPE sorted by time
    corrupted: NDArray[Any] = field(default_factory=lambda: np.zeros(0, ODD_DTYPE))
    intended_ns: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # of each; when it came, if it has no name
    unnamed: int = 0


def mend(damage: NDArray[Any], chunks: Chunks, owed: Owed) -> Mended:
    """Name what can be named of `damage` (DAMAGE_DTYPE). `chunks` are read only for what its token does not name."""
    if not len(damage):
        return Mended()
    damage = damage[np.lexsort((damage["client"], damage["t"]))]
    told = damage["good"]
    message = np.full(len(damage), UNNAMED)
    message[told] = owed.messages.find(damage["stream"][told].astype(np.int64), damage["seq"][told].astype(np.int64))
    broken = np.flatnonzero(~told)
    message[broken] = _by_token(damage[broken], chunks, owed)
    rest = broken[message[broken] == UNNAMED]
    if len(rest):
        named = _deliveries(damage[broken], message[broken], owed.messages)
        message[rest] = _by_neighbours(damage[rest], with_mended(chunks, named), owed)
    rows = odd_rows(Odd.CORRUPTED, _as_received(damage, message, owed.messages))
    unnamed = (message == UNNAMED) & ~told
    rows["stream"][unnamed], rows["seq"][unnamed] = UNKNOWN_STREAM, 0
    rows["stream"][told], rows["seq"][told] = damage["stream"][told], damage["seq"][told]
    known = message != UNNAMED
    intended = damage["t"].copy()
    intended[known] = owed.messages.intended_ns[message[known]]
    return Mended(
        _deliveries(damage[broken], message[broken], owed.messages), rows, intended, int(np.count_nonzero(unnamed))
    )


def with_mended(chunks: Chunks, mended: Mapping[int, NDArray[Any]]) -> Chunks:
    """The same deliveries, and the mended ones among those of their stripe, by time.

    Of what one frame brought, which all came at one instant, a mended message stands before later ones of its stream.
    """
    if not mended:
        return chunks

    def merged() -> Iterator[tuple[int, NDArray[Any]]]:
        waiting = dict(mended)
        for source, records in chunks():
            if source in waiting:
                placed, waiting[source] = _placed(records, waiting[source])
                yield source, placed
            else:
                yield source, records
        yield from ((source, rest) for source, rest in waiting.items() if len(rest))

    return merged


def _by_token(damage: NDArray[Any], chunks: Chunks, owed: Owed) -> Ints:
    """The message that each can only have been; UNNAMED."""
    found = single_changes(damage["bytes"], damage["size"].astype(np.int64))
    found = found[np.isin(found["run"], [owed.run_tag]) if owed.run_tag is not None else slice(None)]
    message = owed.messages.find(found["stream"], found["seq"])
    pair = owed.pair(damage["client"][found["row"]], found["stream"])
    real = owed.may_be(pair, message)
    if real.any():
        real &= owed.messages.intended_ns[message] == found["intended_ns"]
        real &= owed.messages.sent_ns[message] <= damage["t"][found["row"]]
    row, message, pair = found["row"][real], message[real], pair[real]
    fresh = unique_pairs(row, message)
    row, message, pair = row[fresh], message[fresh], pair[fresh]
    several = np.bincount(row, minlength=len(damage))[row] > 1
    if several.any():  # what the client has not got is likelier than a copy of what it has
        key = _key(pair, message, owed.messages)
        kept = ~several | ~_received(key, chunks, owed)
        row, message = row[kept], message[kept]
    return _alone(row, message, len(damage))


def _by_neighbours(damage: NDArray[Any], chunks: Chunks, owed: Owed) -> Ints:
    row, stream, seq = between_neighbours(damage, (records for _, records in chunks()), owed.messages)
    message, pair = owed.messages.find(stream, seq), owed.pair(damage["client"][row], stream)
    real = owed.may_be(pair, message)
    if real.any():
        real &= owed.messages.sent_ns[message] <= damage["t"][row]
        real[real] = ~_received(_key(pair[real], message[real], owed.messages), chunks, owed)
    row, message = row[real], message[real]
    named = _alone(row, message, len(damage))
    rows = np.flatnonzero(named != UNNAMED)
    key = (damage["client"][rows] << _SEQ_BITS) | named[rows]
    _, claim, claims = np.unique(key, return_inverse=True, return_counts=True)
    named[rows[claims[claim] > 1]] = UNNAMED
    return named


def _alone(row: Ints, message: Ints, count: int) -> Ints:
    """By row, its only message; UNNAMED where it has none or several."""
    named = np.full(count, UNNAMED)
    named[row] = message
    named[np.bincount(row, minlength=count) > 1] = UNNAMED
    return named


def _key(pair: Ints, message: Ints, messages: Messages) -> Ints:
    return (pair << _SEQ_BITS) | (message - messages.base[messages.stream[message]] + 1)


def _received(key: Ints, chunks: Chunks, owed: Owed) -> Bools:
    """Whether the client has each of these (pair, seq) from elsewhere."""
    if not len(key):
        return np.zeros(0, np.bool_)
    wanted = np.unique(key)
    got = np.zeros(len(wanted), np.bool_)
    for _, records in chunks():
        pair = owed.pair(records["client"], records["stream"])
        of = (pair << _SEQ_BITS) | records["seq"].astype(np.int64)
        at = np.minimum(np.searchsorted(wanted, of), len(wanted) - 1)
        got[at[(pair >= 0) & (wanted[at] == of)]] = True
    return got[np.searchsorted(wanted, key)]


def _as_received(damage: NDArray[Any], message: Ints, messages: Messages) -> NDArray[Any]:
    """DELIVERY_DTYPE records; those without a name have stream and seq 0."""
    records = np.zeros(len(damage), DELIVERY_DTYPE)
    records["recv_ns"], records["client"], records["node"] = damage["t"], damage["client"], damage["node"]
    known = message != UNNAMED
    at = message[known]
    if len(at):
        stream = messages.stream[at]
        records["stream"][known], records["seq"][known] = stream, at - messages.base[stream] + 1
        records["intended_ns"][known] = messages.intended_ns[at]
    return records


def _deliveries(damage: NDArray[Any], message: Ints, messages: Messages) -> dict[int, NDArray[Any]]:
    named = message != UNNAMED
    records, stripe = _as_received(damage[named], message[named], messages), damage["stripe"][named]
    order = np.lexsort((records["seq"], records["recv_ns"]))
    records, stripe = records[order], stripe[order]
    return {int(number): records[stripe == number] for number in np.unique(stripe)}


def _placed(records: NDArray[Any], added: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """A chunk with what belongs into it, and what is left for later ones."""
    if not len(records):
        return records, added
    recv, t = records["recv_ns"], added["recv_ns"]
    left, right = np.searchsorted(recv, t), np.searchsorted(recv, t, side="right")
    place = np.where(t < recv[-1], right, -1)
    for tied in np.flatnonzero(right > left):
        same = records[left[tied] : right[tied]]
        later = (same["client"] == added["client"][tied]) & (same["stream"] == added["stream"][tied])
        later &= same["seq"] > added["seq"][tied]
        if later.any():
            place[tied] = left[tied] + int(later.argmax())
    here = place >= 0
    return np.insert(records, place[here], added[here]), added[~here]
