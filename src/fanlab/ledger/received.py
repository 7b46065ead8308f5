"""Which messages each (client, stream) pair has received, as runs of consecutive numbers.

An unbroken stream is one run however long it is, so memory grows with pairs and with what is missing, never with
deliveries. Runs come in any order; those of one pair never overlap.
"""

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.histogram import Ints

Bools = NDArray[np.bool_]
_SEQ_BITS = 32


class Received:
    """Sets of seq (u32, 1 and up) by pair index. The run with the highest numbers of each pair is kept apart, open."""

    def __init__(self, pairs: int) -> None:
        self.open_low: Ints = np.zeros(pairs, np.int64)
        self.open_high: Ints = np.zeros(pairs, np.int64)  # the highest number received; 0: none yet
        self._key: Ints = np.zeros(0, np.int64)  # closed runs: pair << 32 | low, sorted
        self._high: Ints = np.zeros(0, np.int64)
        self._loose: list[tuple[Ints, Ints, Ints]] = []  # closed runs (pair, low, high), not sorted in yet

    def contains(self, pair: Ints, seq: Ints) -> Bools:
        """Whether each (pair, seq) was added before."""
        self._tidy()
        found: Bools = (seq >= self.open_low[pair]) & (seq <= self.open_high[pair])
        if len(self._key):
            at = np.searchsorted(self._key, (pair << _SEQ_BITS) | seq, side="right") - 1
            found |= (at >= 0) & (self._key[at] >> _SEQ_BITS == pair) & (seq <= self._high[at])
        return found

    def add_rising(self, pair: Ints, low: Ints, high: Ints) -> None:
        """Add runs, sorted by pair and low, that do not touch in themselves and lie above all that the pair has."""
        if not len(pair):
            return
        first = np.append(True, pair[1:] != pair[:-1])
        last = np.append(first[1:], True)
        began = self.open_high[pair] > 0
        extends = first & began & (low == self.open_high[pair] + 1)
        low = np.where(extends, self.open_low[pair], low)
        closing = pair[first & began & ~extends]
        self._loose.append((closing, self.open_low[closing], self.open_high[closing]))
        self._loose.append((pair[~last], low[~last], high[~last]))
        self.open_low[pair[last]] = low[last]
        self.open_high[pair[last]] = high[last]

    def add_new(self, pair: Ints, seq: Ints) -> None:
        """Add numbers that none of the pairs has yet, sorted by pair and seq, each once."""
        above = seq > self.open_high[pair]
        for chosen, add in ((above, self.add_rising), (~above, self._add_closed)):
            of, low = pair[chosen], seq[chosen]
            begins = np.flatnonzero(run_begins(of, low))
            ends = np.append(begins[1:], len(low)) - 1
            if len(low):
                add(of[begins], low[begins], low[ends])

    def runs(self) -> tuple[Ints, Ints, Ints]:
        """All runs as (pair, low, high), sorted by pair and low; numbers that follow one another are in one run."""
        self._tidy()
        began = np.flatnonzero(self.open_high)
        key = np.concatenate((self._key, (began << _SEQ_BITS) | self.open_low[began]))
        high = np.concatenate((self._high, self.open_high[began]))
        order = np.argsort(key)
        key, high = _joined(key[order], high[order])
        return key >> _SEQ_BITS, key & ((1 << _SEQ_BITS) - 1), high

    def _add_closed(self, pair: Ints, low: Ints, high: Ints) -> None:
        self._loose.append((pair, low, high))

    def _tidy(self) -> None:
        """Sort loose runs in, and join those that have come to touch."""
        if not self._loose:
            return
        pair, low, high = (np.concatenate(parts) for parts in zip(*self._loose, strict=True))
        self._loose = []
        key = np.concatenate((self._key, (pair << _SEQ_BITS) | low))
        high = np.concatenate((self._high, high))
        order = np.argsort(key)
        self._key, self._high = _joined(key[order], high[order])


def run_begins(pair: Ints, seq: Ints) -> Bools:
    """Where, in arrays sorted by pair, a number does not follow the one before it."""
    begins = np.ones(len(seq), np.bool_)
    begins[1:] = (pair[1:] != pair[:-1]) | (seq[1:] != seq[:-1] + 1)
    return begins


def _joined(key: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Sorted runs, with each that goes on where the one before it ends made part of that one."""
    if not len(key):
        return key, high
    begins = np.append(True, key[1:] != ((key[:-1] >> _SEQ_BITS) << _SEQ_BITS | high[:-1]) + 1)
    ends = np.append(begins[1:], True)
    return key[begins], high[ends]
