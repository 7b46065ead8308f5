"""What the generator itself adds to the latency it reports: the delays that its probe connections measured. Pure.

A probe is a WebSocket connection in a clients engine's own loop, on a plain socket that the kernel stamps on receive
(SO_TIMESTAMPNS). From the stamp to the moment at which the engine handles the frame passes what it adds to every
latency: waking up, waiting for its turn behind other clients' frames, being off the CPU. See fanlab.load.probe.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fanlab.clock import NS_PER_S
from fanlab.ledger.histogram import Histogram

NS_PER_US = 1000


class ProbeEvent(NamedTuple):
    """What an engine's probes measured in the second before `t`, in µs from the kernel's receipt to the handling."""

    t: int
    stamped_us: tuple[int, ...]  # of messages with a stamp of their own
    inferred_us: tuple[int, ...]  # of those that share one with a later message: between two stamps


@dataclass(slots=True)
class ProbeDelays:
    """Delays over the measure phase, in ns: a histogram for each engine that had probes with something to read."""

    by_engine: list[Histogram] = field(default_factory=list)
    inferred: int = 0  # samples, of all engines


def probe_event(line: Mapping[str, Any]) -> ProbeEvent:
    """The event from its JSON. Raises KeyError, TypeError or ValueError where it is none."""
    return ProbeEvent(int(line["t"]), tuple(map(int, line["delays_us"])), tuple(map(int, line.get("inferred_us", ()))))


def probe_delays(engines: Iterable[Sequence[ProbeEvent]], from_ns: int, until_ns: int) -> ProbeDelays:
    """The delays over the span. An event speaks of the second before it, so those up to a second after it count too."""
    delays = ProbeDelays()
    for events in engines:
        of_engine = Histogram()
        for event in events:
            if from_ns < event.t <= until_ns + NS_PER_S:
                of_engine.add(np.array((*event.stamped_us, *event.inferred_us), np.int64) * NS_PER_US)
                delays.inferred += len(event.inferred_us)
        if of_engine.n:
            delays.by_engine.append(of_engine)
    return delays
