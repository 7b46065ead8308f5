"""How busy the load generator's own processes were, from the `health` events in their stripes. Pure."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fanlab.clock import NS_PER_S


class HealthEvent(NamedTuple):
    """What an engine said of the second before `t`."""

    t: int
    cpu_s: float  # CPU time since the process began
    lags_ms: tuple[float, ...]  # how late each tick of its loop came


Health = Sequence[HealthEvent]  # of one process, by time


def loop_lag_p99_ms(processes: Iterable[Health], from_ns: int, until_ns: int) -> float | None:
    """The 99th percentile of tick lateness over the span, of the process where it is worst. None: not measured.

    An event speaks of the second before it, so those up to a second after the span count too.
    """
    worst: float | None = None
    for health in processes:
        lags = sorted(lag for event in health if from_ns < event.t <= until_ns + NS_PER_S for lag in event.lags_ms)
        if lags:
            worst = max(worst or 0.0, lags[math.ceil(0.99 * len(lags)) - 1])
    return worst


def cpu_share(processes: Iterable[Health], from_ns: int, until_ns: int) -> float | None:
    """The busiest process's share of one core over the span, as nearly as its events cut it. None: not measured."""
    shares: list[float] = []
    for health in processes:
        before = [event for event in health if event.t <= from_ns][-1:]
        after = [event for event in health if event.t >= until_ns][:1]
        span = [*before, *(event for event in health if from_ns < event.t < until_ns), *after]
        if len(span) > 1 and span[-1].t > span[0].t:
            shares.append((span[-1].cpu_s - span[0].cpu_s) / ((span[-1].t - span[0].t) / NS_PER_S))
    return max(shares, default=None)
