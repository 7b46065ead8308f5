"""A coarse latency histogram for the live view and Locust's statistics. The ledger has the exact values."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fanlab.load.batch import BUCKETS, PER_OCTAVE, Batch


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

    def take(self, failures: int = 0) -> Batch | None:
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
