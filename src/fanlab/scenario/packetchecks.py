"""What cannot be said of faults that are done to packets: the kernel is told addresses and ports, and no more. Pure."""

from collections.abc import Iterator
from typing import Final

from fanlab.clock import NS_PER_S
from fanlab.scenario.faults import Fault, Latency, OnLinks, OnPackets, Partition
from fanlab.scenario.findings import Finding, Keys
from fanlab.units import format_duration

# TCP waits twice as long for each further attempt, so that after an outage of n seconds the next one comes up to n
# seconds later; a fault has to be seen healed within 30 s.
MAX_PARTITION_NS: Final = 25 * NS_PER_S


def by_packets(fault: Fault) -> bool:
    """Whether the fault is done to packets."""
    return isinstance(fault, OnPackets) and fault.by == "packets"


def links_of(fault: Fault) -> frozenset[str]:
    """Which of its nodes' links the fault acts on."""
    return frozenset({str(getattr(fault, "link", "clients"))}) if isinstance(fault, OnLinks) else frozenset()


def check_packets(keys: Keys, fault: Fault) -> Iterator[Finding]:
    """What only the proxy can do, asked for by packets."""
    if not isinstance(fault, OnPackets) or fault.by != "packets":
        return
    if fault.share != 1:
        yield Finding((*keys, "share"), "`by: packets` hits all of a link's connections; a share takes `by: link`")
    if isinstance(fault, Partition):
        if fault.mode == "drop":
            what = "what is dropped of packets TCP sends again, which is `hold`; connections that end take `by: link`"
            yield Finding((*keys, "mode"), what)
        if fault.for_ns is not None and fault.for_ns > MAX_PARTITION_NS:
            what = (
                f"`by: packets` takes at most {format_duration(MAX_PARTITION_NS)}: TCP may wait as long again before"
                " its next attempt, and nobody could tell that it has healed"
            )
            yield Finding((*keys, "for"), what)
    if isinstance(fault, Latency) and fault.jitter_ns > fault.latency_ns:
        yield Finding((*keys, "jitter"), "must not be above `latency`: no packet comes before it was sent")
