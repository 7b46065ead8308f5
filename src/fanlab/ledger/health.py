"""How busy the load generator's own processes were, from the `health` events in their stripes. Pure."""

from collections.abc import Iterable, Sequence

from fanlab.clock import NS_PER_S

Health = Sequence[tuple[int, float, float]]  # (t, CPU seconds since the process began, loop lag p99 in ms), by time


def loop_lag_ms(processes: Iterable[Health], from_ns: int, until_ns: int) -> float | None:
    """The worst second of the worst process: the greatest p99 of loop lag in the span. None: not measured.

    An event speaks of the second before it, so those up to a second after the span count too.
    """
    lags = [lag for health in processes for t, _, lag in health if from_ns < t <= until_ns + NS_PER_S]
    return max(lags, default=None)


def cpu_share(processes: Iterable[Health], from_ns: int, until_ns: int) -> float | None:
    """The busiest process's share of one core over the span, as nearly as its events cut it. None: not measured."""
    shares: list[float] = []
    for health in processes:
        before = [event for event in health if event[0] <= from_ns][-1:]
        after = [event for event in health if event[0] >= until_ns][:1]
        span = [*before, *(event for event in health if from_ns < event[0] < until_ns), *after]
        if len(span) > 1 and span[-1][0] > span[0][0]:
            shares.append((span[-1][1] - span[0][1]) / ((span[-1][0] - span[0][0]) / NS_PER_S))
    return max(shares, default=None)
