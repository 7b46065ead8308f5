"""How busy the load generator's own processes were, from the `health` events in their stripes. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fanlab.clock import NS_PER_S


class HealthEvent(NamedTuple):
    """What an engine said of the second before `t`. None: its system does not tell."""

    t: int
    cpu_s: float  # CPU time since the process began
    lags_ms: tuple[float, ...]  # how late each tick of its loop came
    cpu_wait_s: float | None = None  # since the process began: ready to run, and another had the CPU
    gc_max_ms: float | None = None  # the longest pause of its garbage collector
    stolen_s: float | None = None  # since boot, over all CPUs: the hypervisor ran somebody else
    cpus: int | None = None  # which `stolen_s` is of


Health = Sequence[HealthEvent]  # of one process, by time


def health_event(line: Mapping[str, Any]) -> HealthEvent:
    """The event from its JSON. Raises KeyError, TypeError or ValueError where it is none."""
    cpus = line.get("cpus")
    return HealthEvent(
        t=int(line["t"]),
        cpu_s=float(line["cpu_s"]),
        lags_ms=tuple(map(float, line["lags_ms"])),
        cpu_wait_s=_number(line.get("cpu_wait_s")),
        gc_max_ms=_number(line.get("gc_max_ms")),
        stolen_s=_number(line.get("stolen_s")),
        cpus=None if cpus is None else int(cpus),
    )


def loop_lag_p99_ms(processes: Iterable[Health], from_ns: int, until_ns: int) -> float | None:
    """The 99th percentile of tick lateness over the span, of the process where it is worst. None: not measured.

    An event speaks of the second before it, so those up to a second after the span count too.
    """
    worst: float | None = None
    for health in processes:
        lags = sorted(lag for event in _spoken_of(health, from_ns, until_ns) for lag in event.lags_ms)
        if lags:
            worst = max(worst or 0.0, lags[math.ceil(0.99 * len(lags)) - 1])
    return worst


def cpu_share(processes: Iterable[Health], from_ns: int, until_ns: int) -> float | None:
    """The busiest process's share of one core over the span, as nearly as its events cut it. None: not measured."""
    ends = [_ends(health, from_ns, until_ns) for health in processes]
    return max(((last.cpu_s - first.cpu_s) / _seconds(first, last) for first, last in filter(None, ends)), default=None)


def cpu_wait_share(processes: Iterable[Health], from_ns: int, until_ns: int) -> float | None:
    """The share of the span for which a process was kept from its CPU by others, of the one where it is worst."""
    shares = [
        (last.cpu_wait_s - first.cpu_wait_s) / _seconds(first, last)
        for first, last in filter(None, (_ends(health, from_ns, until_ns) for health in processes))
        if first.cpu_wait_s is not None and last.cpu_wait_s is not None
    ]
    return max(shares, default=None)


def steal_share(processes: Iterable[Health], from_ns: int, until_ns: int) -> float | None:
    """The share of the machine's CPU time that the hypervisor gave to others. None: not measured."""
    shares = [
        (last.stolen_s - first.stolen_s) / _seconds(first, last) / last.cpus
        for first, last in filter(None, (_ends(health, from_ns, until_ns) for health in processes))
        if first.stolen_s is not None and last.stolen_s is not None and last.cpus
    ]
    return max(shares, default=None)


def gc_max_ms(processes: Iterable[Health], from_ns: int, until_ns: int) -> float | None:
    """The longest pause that a process's own garbage collector made. None: not measured; 0: it never ran."""
    spoken = [event for health in processes for event in _spoken_of(health, from_ns, until_ns)]
    return max((event.gc_max_ms for event in spoken if event.gc_max_ms is not None), default=None)


def _spoken_of(health: Health, from_ns: int, until_ns: int) -> list[HealthEvent]:
    return [event for event in health if from_ns < event.t <= until_ns + NS_PER_S]


def _ends(health: Health, from_ns: int, until_ns: int) -> tuple[HealthEvent, HealthEvent] | None:
    """The events between which counters that only grow are compared: just before the span and just after it."""
    before = [event for event in health if event.t <= from_ns][-1:]
    after = [event for event in health if event.t >= until_ns][:1]
    span = [*before, *(event for event in health if from_ns < event.t < until_ns), *after]
    return (span[0], span[-1]) if span and span[-1].t > span[0].t else None


def _seconds(first: HealthEvent, last: HealthEvent) -> float:
    return (last.t - first.t) / NS_PER_S


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
