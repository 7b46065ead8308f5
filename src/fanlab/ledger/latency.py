"""Latency as the account keeps it: intended send to receive, of the first copies of the measure phase."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from fanlab.ledger.histogram import COARSE_BITS, FINE_BITS, Histogram, Ints, bucket_of

_FINE_PARTS = 1000  # of more parts (nodes never are) each histogram is within 0.8 %: there is memory to think of
_MIDDLE_BITS = 8


@dataclass(frozen=True, slots=True)
class Part:
    """One way to divide deliveries up: of each the number of its part (int64), and the names of all the parts."""

    of: Ints
    names: Sequence[str]


@dataclass(slots=True)
class LatencyTable:
    """Histograms of the same deliveries from several sides.

    `over_time` has one coarse histogram per bin of the Account, by *intended* time: what a message sent then was in
    for. A message that waited out a pause is thus found where it was sent, not where it came.
    """

    overall: Histogram = field(default_factory=Histogram)
    by_node: dict[str, Histogram] = field(default_factory=dict)  # node id -> fine histogram; the node it came through
    over_time: list[Histogram] = field(default_factory=list)
    by_channel: dict[str, Histogram] = field(default_factory=dict)
    by_group: dict[str, Histogram] = field(default_factory=dict)  # of the client

    @classmethod
    def empty(cls, bins: int) -> "LatencyTable":
        """A table without deliveries."""
        return cls(over_time=[Histogram(COARSE_BITS) for _ in range(bins)])

    def add(
        self,
        latency_ns: Ints,
        node: Ints,
        time_bin: Ints,
        node_names: tuple[str, ...],
        *,
        channel: Part | None = None,
        group: Part | None = None,
    ) -> None:
        """Count deliveries: int64 arrays of equal length; bins outside the table count in its first or last."""
        if not len(latency_ns):
            return
        index = bucket_of(np.maximum(latency_ns, 0), FINE_BITS)
        self.overall.add(latency_ns, index)
        for table, part in ((self.by_node, Part(node, node_names)), (self.by_channel, channel), (self.by_group, group)):
            if part is not None:
                _add_parts(table, part, latency_ns, index)
        for at, chosen in _grouped(np.clip(time_bin, 0, len(self.over_time) - 1)):
            self.over_time[at].add(latency_ns[chosen])


def _add_parts(table: dict[str, Histogram], part: Part, latency_ns: Ints, index: Ints) -> None:
    bits = FINE_BITS if len(part.names) <= _FINE_PARTS else _MIDDLE_BITS
    for number, chosen in _grouped(part.of):
        name = part.names[number] if number < len(part.names) else f"#{number}"
        histogram = table.setdefault(name, Histogram(bits))
        histogram.add(latency_ns[chosen], index[chosen] if histogram.bits == FINE_BITS else None)


def _grouped(number: Ints) -> Iterator[tuple[int, slice | Ints]]:
    """Where each number stands. What is sorted is only cut; a stable sort of 16-bit keys is a radix sort: linear."""
    low = int(number[0])
    if low == number[-1] and not (number != low).any():
        yield low, slice(None)
        return
    rises = number[1:] >= number[:-1]
    order = None if rises.all() else np.argsort(number.astype(np.uint16), kind="stable")
    ranked = number if order is None else number[order]
    begins = np.append(0, np.flatnonzero(ranked[1:] != ranked[:-1]) + 1)
    for begin, end in zip(begins.tolist(), [*begins[1:].tolist(), len(ranked)], strict=True):
        yield int(ranked[begin]), slice(begin, end) if order is None else order[begin:end]
