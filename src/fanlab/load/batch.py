"""A second's latencies as they travel to Locust and the live view: a coarse histogram, read without numpy.

Locust's processes load this while a run waits for them, and numpy would keep them for longer than all else of it.
Bucket b holds latencies of 2^(b/8) to 2^((b+1)/8) µs: 9 % wide, from a microsecond to two hours.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

PER_OCTAVE = 8
BUCKETS = 33 * PER_OCTAVE


def bucket_ms(bucket: int) -> float:
    """The middle of a bucket, in milliseconds."""
    return float(2 ** ((bucket + 0.5) / PER_OCTAVE) / 1e3)


def least_ms(bucket: int) -> float:
    """The lower end of a bucket, in milliseconds."""
    return float(2 ** (bucket / PER_OCTAVE) / 1e3)


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
