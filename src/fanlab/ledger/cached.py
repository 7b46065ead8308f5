"""What became of the nodes' caches: the part of the account that `ledger.caches` makes.

An **update** is a message of a publisher with `objects`; its key is (stream, object number). Every node that has a
cache is owed every update, from the beginning to the end of the measure phase, whatever happens to it meanwhile:

    owed = refreshed + missed + indeterminate, over (update, node) pairs

A **miss** is an update that the node's cache never took, superseded by a later one or not. An entry is **wrong** while
it holds an older version than the newest update of its key that was certainly published.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.histogram import Histogram


class MissCause(IntEnum):
    """Why a node's cache missed an update. The names are those of summary.json's cache.by_cause."""

    UNEXPLAINED = 0
    PUBLISH_FAILED = 1
    REDIS_DOWN = 2
    NO_SUBSCRIBER = 3
    NODE_DOWN = 4
    RESUBSCRIBE_GAP = 5
    NODE_CRASH_IN_FLIGHT = 6
    NOT_TAKEN = 7  # the node had the message and its cache did not take it: too large, not understood, a bug
    OUTPUT_BUFFER_KILL = 8
    PARTITION = 9

    @property
    def label(self) -> str:
        """The name in summaries: `resubscribe_gap`."""
        return self.name.lower()


class MissHop(IntEnum):
    """Between which two an update was lost. The names are those of summary.json's cache.by_hop."""

    UNKNOWN = 0
    PUBLISHER_REDIS = 1
    REDIS_NODE = 2
    NODE_CACHE = 3  # the node had it, its cache did not

    @property
    def label(self) -> str:
        """The name in summaries: `redis_node`."""
        return self.name.lower()


class Staleness(IntEnum):
    """Why a read got an old value: what became of the oldest update newer than it, at that node."""

    UNKNOWN = 0  # nobody knows whether the node ever took it
    LATE = 1  # propagation: the node took it, but after the read was asked
    LOST = 2  # the node missed it
    WITHHELD = 3  # the node had taken it by then, and answered with an older one all the same


MISS_DTYPE = np.dtype(
    [
        ("intended_ns", "<u8"),
        ("seq", "<u4"),
        ("stream", "<u2"),
        ("node", "<u2"),
        ("object", "<u4"),  # its key's number in the stream
        ("cause", "u1"),  # a MissCause
        ("hop", "u1"),  # a MissHop
        ("fault", "<i2"),  # index into Account.faults, or -1
        ("mended_ns", "<i8"),  # when that node took a later update of the key; windows.NEVER: it did not
    ]
)
STALE_DTYPE = np.dtype(
    [
        ("asked_ns", "<u8"),
        ("age_ns", "<u8"),  # since the oldest newer update was certainly published
        ("held", "<u4"),  # the seq that the read got
        ("newest", "<u4"),  # the seq that it should have got
        ("object", "<u4"),
        ("stream", "<u2"),
        ("node", "<u2"),
        ("why", "u1"),  # a Staleness
    ]
)
# An entry that is wrong at the end, and that no later update mended. `held` is never 0: an empty entry misleads nobody.
WRONG_DTYPE = np.dtype(
    [("object", "<u4"), ("held", "<u4"), ("newest", "<u4"), ("stream", "<u2"), ("node", "<u2"), ("swept", "?")]
)


@dataclass(frozen=True, slots=True)
class CacheTally:
    """Counts of the measure phase, of one node or of all. The first four are (update, node) pairs."""

    owed: int = 0
    refreshed: int = 0
    missed: int = 0
    indeterminate: int = 0
    wrong_for_good: int = 0  # entries that hold an old value at the end
    empty_at_end: int = 0  # entries that hold nothing at the end, though an update was published
    reads: int = 0
    reads_failed: int = 0  # no answer, or none that says what the cache holds
    reads_missing: int = 0  # the node says that it holds nothing under this key
    stale_reads: int = 0
    stale_reads_lost: int = 0
    stale_reads_withheld: int = 0

    @property
    def balanced(self) -> bool:
        """Whether the identity holds."""
        return self.owed == self.refreshed + self.missed + self.indeterminate

    def __add__(self, other: Self) -> "CacheTally":
        return CacheTally(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class NodeCache:
    """One node's cache. The lists and arrays over time have the account's bins."""

    tally: CacheTally
    refresh: Histogram  # intended send -> taken by the cache; only nodes whose journal says when
    refresh_over_time: list[Histogram]  # coarse, by intended time
    wrong_over_time: NDArray[np.float64]  # entries that were wrong, on average over each bin
    journalled: bool  # False: known from reads alone, so a refresh is known from when a read first saw it


@dataclass(frozen=True, slots=True)
class CacheAccount:
    """All caches. The rows are of the measure phase, sorted by time; `wrong` is by node and key."""

    updates: int
    nodes: Mapping[str, NodeCache]  # by node id, in the plan's order
    misses: NDArray[Any] = field(default_factory=lambda: np.zeros(0, MISS_DTYPE))
    stale: NDArray[Any] = field(default_factory=lambda: np.zeros(0, STALE_DTYPE))
    wrong: NDArray[Any] = field(default_factory=lambda: np.zeros(0, WRONG_DTYPE))

    @property
    def tally(self) -> CacheTally:
        """The sum over all nodes."""
        return sum((node.tally for node in self.nodes.values()), start=CacheTally())

    @property
    def refresh(self) -> Histogram:
        """The refresh latency over all nodes."""
        merged = Histogram()
        for node in self.nodes.values():
            merged.merge(node.refresh)
        return merged

    @property
    def staleness(self) -> Histogram:
        """How old the answers of stale reads were."""
        return Histogram.of(self.stale["age_ns"].astype(np.int64))
