"""Latency as the account keeps it: intended send to receive, of the first copies of the measure phase."""

from dataclasses import dataclass, field

import numpy as np

from fanlab.ledger.histogram import COARSE_BITS, Histogram, Ints


@dataclass(slots=True)
class LatencyTable:
    """Histograms of the same deliveries from three sides.

    `over_time` has one coarse histogram per bin of the Account, by *intended* time: what a message sent then was in
    for. A message that waited out a pause is thus found where it was sent, not where it came.
    """

    overall: Histogram = field(default_factory=Histogram)
    by_node: dict[str, Histogram] = field(default_factory=dict)  # node id -> fine histogram; the node it came through
    over_time: list[Histogram] = field(default_factory=list)

    @classmethod
    def empty(cls, bins: int) -> "LatencyTable":
        """A table without deliveries."""
        return cls(over_time=[Histogram(COARSE_BITS) for _ in range(bins)])

    def add(self, latency_ns: Ints, node: Ints, time_bin: Ints, node_names: tuple[str, ...]) -> None:
        """Count deliveries: three int64 arrays of equal length; bins outside the table count in its first or last."""
        if not len(latency_ns):
            return
        self.overall.add(latency_ns)
        for index, part in _grouped(latency_ns, node):
            name = node_names[index] if index < len(node_names) else f"#{index}"
            self.by_node.setdefault(name, Histogram()).add(part)
        for index, part in _grouped(latency_ns, np.clip(time_bin, 0, len(self.over_time) - 1)):
            self.over_time[index].add(part)


def _grouped(values: Ints, group: Ints) -> list[tuple[int, Ints]]:
    """The values of each group; a stable sort of 16-bit keys is a radix sort, so this stays linear."""
    order = np.argsort(group.astype(np.uint16), kind="stable")
    names, starts = np.unique(group[order], return_index=True)
    return list(zip(names.tolist(), np.split(values[order], starts[1:]), strict=True))
