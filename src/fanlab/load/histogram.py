"""A coarse latency histogram for the live view and Locust's statistics. The ledger has the exact values.

Bucket b holds latencies of 2^(b/8) to 2^((b+1)/8) µs: 9 % wide, from a microsecond to two hours.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

PER_OCTAVE = 8
BUCKETS = 33 * PER_OCTAVE


def bucket_ms(bucket: int) -> float:
    """The middle of a bucket, in milliseconds."""
    return float(2 ** ((bucket + 0.5) / PER_OCTAVE) / 1e3)


def least_ms(bucket: int) -> float:
    """The lower end of a bucket, in milliseconds."""
    return float(2 ** (bucket / PER_OCTAVE) / 1e3)


@dataclass(slots=True)
class Histogram:
    """Counts by bucket, with the exact sum and extremes."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BUCKETS, np.int64))
    total_us: int = 0
    min_us: int | None = None
    max_us: int = 0

    def add(self, latencies_us: NDArray[np.int64]) -> None:
        """Count these latencies (µs, not negative)."""
        if not len(latencies_us):
            return
        buckets = (np.log2(np.maximum(latencies_us, 1)) * PER_OCTAVE).astype(np.int64)
        self.counts += np.bincount(np.minimum(buckets, BUCKETS - 1), minlength=BUCKETS)
        least = int(latencies_us.min())
        self.min_us = least if self.min_us is None else min(self.min_us, least)
        self.max_us = max(self.max_us, int(latencies_us.max()))
        self.total_us += int(latencies_us.sum())

    def take(self, failures: int = 0) -> "Batch | None":
        """What was counted since the last call, and start over; None if nothing was. `failures` have no latency."""
        present = np.flatnonzero(self.counts)
        if not len(present) and not failures:
            return None
        batch = Batch(
            count=int(self.counts.sum()),
            total_ms=self.total_us / 1e3,
            min_ms=(self.min_us or 0) / 1e3,
            max_ms=self.max_us / 1e3,
            buckets={int(bucket): int(self.counts[bucket]) for bucket in present},
            failures=failures,
        )
        self.counts[:] = 0
        self.total_us, self.min_us, self.max_us = 0, None, 0
        return batch


@dataclass(frozen=True, slots=True)
class Batch:
    """One second's latencies in one channel, as they travel to Locust. `count` leaves failures out."""

    count: int
    total_ms: float
    min_ms: float
    max_ms: float
    buckets: dict[int, int]
    failures: int = 0

    def to_json(self) -> dict[str, Any]:
        """For a JSON line; the keys of `buckets` become strings."""
        return {
            "count": self.count,
            "total_ms": self.total_ms,
            "min_ms": self.min_ms,
            "max_ms": self.max_ms,
            "buckets": {str(bucket): count for bucket, count in self.buckets.items()},
            "failures": self.failures,
        }


def batch_from_json(data: dict[str, Any]) -> Batch:
    """The batch that `to_json` wrote."""
    return Batch(**{**data, "buckets": {int(bucket): count for bucket, count in data["buckets"].items()}})


def percentile_ms(batches: Iterable[Batch], share: float) -> float | None:
    """The latency below which `share` of all samples lie, to within a bucket; None without samples."""
    merged: dict[int, int] = {}
    for batch in batches:
        for bucket, count in batch.buckets.items():
            merged[bucket] = merged.get(bucket, 0) + count
    rank = math.ceil(share * sum(merged.values()))
    seen = 0
    for bucket in sorted(merged):
        seen += merged[bucket]
        if seen >= rank:
            return bucket_ms(bucket)
    return None
