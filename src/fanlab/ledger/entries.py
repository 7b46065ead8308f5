"""What a cache's entries held over time, from the versions that it took and the times at which it forgot. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.fold import Grid
from fanlab.ledger.histogram import Ints
from fanlab.ledger.lookups import last_of_each
from fanlab.ledger.updates import SEQ_BITS, SEQ_MASK, Updates, version
from fanlab.ledger.windows import NEVER

_PUBLISHED, _HELD = 0, 1


@dataclass(frozen=True, slots=True)
class Takes:
    """What one node's cache took, in any order: equally long arrays."""

    key: Ints
    seq: Ints
    t_ns: Ints
    resets_ns: Ints  # when the cache was emptied: the node died, or began anew
    journalled: bool  # False: these are first sightings by readers

    def next_ns(self, key: Ints, seq: Ints) -> Ints:
        """When the next newer version of each (key, seq) was taken; NEVER where none was."""
        found = np.full(len(key), NEVER)
        if len(self.key):
            order = np.argsort(version(self.key, self.seq), kind="stable")
            versions = version(self.key, self.seq)[order]
            at = np.searchsorted(versions, version(key, seq), side="right")
            real = np.minimum(at, len(versions) - 1)
            same = (at < len(versions)) & ((versions[real] >> SEQ_BITS) == key)
            found[same] = self.t_ns[order][real[same]]
        return found


def held_at_the_end(takes: Takes, keys: int) -> Ints:
    """By key, the version that was taken last; 0 where the cache took none, or forgot it."""
    held = np.zeros(keys, np.int64)
    last_reset_ns = int(takes.resets_ns.max(initial=0))
    order = np.argsort(takes.t_ns, kind="stable")
    order = order[takes.t_ns[order] > last_reset_ns]
    order = order[last_of_each(takes.key[order])]
    held[takes.key[order]] = takes.seq[order]
    return held


def wrong_over_time(updates: Updates, takes: Takes, grid: Grid) -> NDArray[np.float64]:
    """How many entries were wrong, on average over each bin.

    An entry is wrong from when a newer version was certainly published until that, or a still newer one, is taken, or
    until the cache is emptied.
    """
    t_ns, change = _changes(updates, takes)
    over_time = np.zeros(grid.bins + 1)
    steps = np.zeros(grid.bins + 1)
    inside = t_ns < grid.start_ns + grid.bin_ns * grid.bins
    t_ns, change = np.maximum(t_ns[inside], grid.start_ns), change[inside]
    at = grid.bin_of(t_ns)
    share = (grid.start_ns + (at + 1) * grid.bin_ns - t_ns) / grid.bin_ns
    np.add.at(over_time, at, change * share)
    np.add.at(steps, at + 1, change)
    return (over_time + np.cumsum(steps))[: grid.bins].round(9)


def _changes(updates: Updates, takes: Takes) -> tuple[Ints, Ints]:
    """The times at which something happens to an entry; +1: it goes wrong then, −1: right, 0: neither."""
    sure = np.flatnonzero(updates.certain)
    resets = takes.resets_ns
    held_keys = np.unique(takes.key)
    key = np.concatenate((updates.key[sure], takes.key, np.repeat(held_keys, len(resets))))
    seq = np.concatenate((updates.seq[sure], takes.seq, np.zeros(len(held_keys) * len(resets), np.int64)))
    t_ns = np.concatenate((updates.done_ns[sure], takes.t_ns, np.tile(resets, len(held_keys))))
    kind = np.full(len(key), _HELD)
    kind[: len(sure)] = _PUBLISHED
    order = np.lexsort((t_ns, key))
    key, seq, t_ns, kind = key[order], seq[order], t_ns[order], kind[order]
    # Running maxima never carry over from key to key, because versions and places ascend with the keys
    newest = np.maximum.accumulate(version(key, np.where(kind == _PUBLISHED, seq, 0))) & SEQ_MASK
    first = np.searchsorted(key, key)
    last = np.maximum.accumulate(np.where(kind == _HELD, np.arange(len(key)), -1))
    held = np.where(last >= first, seq[np.maximum(last, 0)], 0)
    wrong = (held > 0) & (held < newest)
    before = np.roll(wrong, 1) & (first < np.arange(len(key)))  # an entry begins right
    return t_ns, wrong.astype(np.int64) - before.astype(np.int64)
