"""What the generator itself adds to the latency it reports, and how long messages waited for it. Pure.

A probe is a WebSocket connection in a clients engine's own loop, which knows of each message when the kernel received
it (SO_TIMESTAMPNS). See fanlab.load.probe.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fanlab.clock import NS_PER_S
from fanlab.ledger.histogram import Histogram

NS_PER_US = 1000


class ProbeEvent(NamedTuple):
    """What an engine's probes measured in the second before `t`: two figures in µs for each message, in any order."""

    t: int
    delays_us: tuple[int, ...]  # from the kernel's receipt until the engine had it
    late_us: tuple[int, ...]  # from the kernel's receipt to what a client's journal would say
    inferred: int  # of how many the kernel's receipt is put between two stamps, by when they were sent


@dataclass(slots=True)
class ProbeDelays:
    """Over the measure phase, in ns: a pair of histograms for each engine that had probes with something to read."""

    bias: list[Histogram] = field(default_factory=list)
    waits: list[Histogram] = field(default_factory=list)
    inferred: int = 0  # samples, of all engines


def probe_event(line: Mapping[str, Any]) -> ProbeEvent:
    """The event from its JSON. Raises KeyError, TypeError or ValueError where it is none."""
    delays_us, late_us = (tuple(map(int, line[name])) for name in ("delays_us", "late_us"))
    return ProbeEvent(int(line["t"]), delays_us, late_us, int(line["inferred"]))


def probe_delays(engines: Iterable[Sequence[ProbeEvent]], from_ns: int, until_ns: int) -> ProbeDelays:
    """The delays over the span. An event speaks of the second before it, so those up to a second after it count too."""
    delays = ProbeDelays()
    for events in engines:
        spoken = [event for event in events if from_ns < event.t <= until_ns + NS_PER_S]
        bias, waits = Histogram(), Histogram()
        for event in spoken:
            bias.add(np.array(event.late_us, np.int64) * NS_PER_US)
            waits.add(np.array(event.delays_us, np.int64) * NS_PER_US)
            delays.inferred += event.inferred
        if bias.n:
            delays.bias.append(bias)
            delays.waits.append(waits)
    return delays
