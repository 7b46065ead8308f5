"""Histograms of durations in ns: logarithmic octaves, each cut into equal buckets (after HdrHistogram).

A value v below 2^bits has a bucket of its own. Above, with e = floor(log2 v) − bits + 1, it falls in the bucket of
v >> e, which is 2^e wide: at most 2^(1 − bits) of its lower end. FINE is thus within 0.098 %, COARSE within 3.2 %.
n, minimum, maximum and sum are exact. Only the span of buckets in use is stored.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fanlab.clock import NS_PER_MS

FINE_BITS = 11
COARSE_BITS = 6
_CEILING = (1 << 52) - 1  # 52 days: beyond it a float64's exponent is no longer exact; such values share one bucket

Ints = NDArray[np.int64]


class Histogram:
    """Counts of durations. Adding is vectorised; negative values count as 0 and are told of in `clamped`."""

    __slots__ = ("_max", "_min", "bits", "clamped", "counts", "first", "n", "sum_ns")

    def __init__(self, bits: int = FINE_BITS) -> None:
        self.bits = bits
        self.n = 0
        self.sum_ns = 0
        self.clamped = 0
        self._min = 0
        self._max = 0
        self.first = 0  # the bucket that counts[0] stands for
        self.counts: Ints = np.zeros(0, np.int64)

    @classmethod
    def of(cls, values_ns: Ints | Sequence[int], bits: int = FINE_BITS) -> Self:
        """A histogram of these values."""
        made = cls(bits)
        made.add(np.asarray(values_ns, np.int64))
        return made

    def add(self, values_ns: Ints, index: Ints | None = None) -> None:
        """Count an array of int64. `index`: the bucket of each (of 0, for what is negative), where it is known."""
        if not len(values_ns):
            return
        low = int(values_ns.min())
        if low < 0:
            self.clamped += int(np.count_nonzero(values_ns < 0))
            values_ns, low = np.maximum(values_ns, 0), 0
        high = int(values_ns.max())
        index = bucket_of(values_ns, self.bits) if index is None else index
        first = int(index.min())
        self._add_counts(first, np.bincount(index - first).astype(np.int64))
        self._note(len(values_ns), int(values_ns.sum()), low, high)

    def merge(self, other: "Histogram") -> None:
        """Count what `other` counted; raises ValueError where its resolution differs."""
        if other.bits != self.bits:
            raise ValueError(f"a histogram of {other.bits} bits cannot be merged into one of {self.bits}")
        if other.n:
            self._add_counts(other.first, other.counts)
            self._note(other.n, other.sum_ns, other.min_ns or 0, other.max_ns or 0)
            self.clamped += other.clamped

    @property
    def min_ns(self) -> int | None:
        """The least value, exact; None where there is none."""
        return self._min if self.n else None

    @property
    def max_ns(self) -> int | None:
        """The greatest value, exact; None where there is none."""
        return self._max if self.n else None

    def percentile_ns(self, percent: float) -> int | None:
        """The value at or below which `percent` (0..100) of all values lie; None where there is none.

        It is the upper end of the bucket that holds the value of rank ceil(percent / 100 × n), but never above the
        maximum nor below the minimum: at least the true percentile, and above it by less than the bucket's width.
        """
        if not 0 <= percent <= 100:  # noqa: PLR2004
            raise ValueError(f"{percent} is no percentile: give 0 to 100")
        if not self.n:
            return None
        # percent × n is rounded first: 0.1 × 3000 must not become rank 301 by a float's last bit
        rank = max(1, int(np.ceil(round(percent * self.n, 6) / 100)))
        place = int(np.searchsorted(np.cumsum(self.counts), rank))
        upper = int(upper_end(np.asarray([self.first + place]), self.bits)[0])
        return max(self._min, min(upper, self._max))

    def percentile_ms(self, percent: float) -> float | None:
        """The same in ms."""
        value = self.percentile_ns(percent)
        return None if value is None else value / NS_PER_MS

    def buckets(self) -> tuple[Ints, Ints]:
        """The buckets in use: their upper ends in ns (the last no higher than the maximum), and their counts."""
        used = np.flatnonzero(self.counts)
        return np.minimum(upper_end(self.first + used, self.bits), self._max), self.counts[used]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        mine, theirs = self.buckets(), other.buckets()
        return (
            (self.bits, self.n, self.sum_ns, self._min, self._max, self.clamped)
            == (other.bits, other.n, other.sum_ns, other.min_ns or 0, other.max_ns or 0, other.clamped)
            and np.array_equal(mine[0], theirs[0])
            and np.array_equal(mine[1], theirs[1])
        )

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Histogram(n={self.n}, min_ns={self.min_ns}, max_ns={self.max_ns}, bits={self.bits})"

    def _add_counts(self, first: int, counts: Ints) -> None:
        if not len(self.counts):
            self.first, self.counts = first, counts.copy()
            return
        low = min(self.first, first)
        high = max(self.first + len(self.counts), first + len(counts))
        if high - low > len(self.counts):
            wider = np.zeros(high - low, np.int64)
            wider[self.first - low : self.first - low + len(self.counts)] = self.counts
            self.first, self.counts = low, wider
        self.counts[first - self.first : first - self.first + len(counts)] += counts

    def _note(self, n: int, sum_ns: int, low: int, high: int) -> None:
        self._min = min(self._min, low) if self.n else low
        self._max = max(self._max, high)
        self.n += n
        self.sum_ns += sum_ns


def bucket_of(values_ns: Ints, bits: int) -> Ints:
    """The bucket number of each value (int64, not negative)."""
    values_ns = np.minimum(values_ns, _CEILING)
    exponent = np.frexp(values_ns.astype(np.float64))[1].astype(np.int64)  # floor(log2 v) + 1; exact below 2^53
    shift = np.maximum(exponent - bits, 0)
    return (shift << (bits - 1)) + (values_ns >> shift)


def upper_end(buckets: Ints, bits: int) -> Ints:
    """The greatest value in each bucket, in ns."""
    half = 1 << (bits - 1)
    shift = np.maximum((buckets >> (bits - 1)) - 1, 0)
    ends: Ints = (((buckets - shift * half) + 1) << shift) - 1
    return ends
