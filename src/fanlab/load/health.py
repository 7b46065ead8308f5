"""An engine watching itself: is it late because the system is, or because it has too much to do?

Once a second it tells what it knows in a `health` event, `?` where the system does not say:

| field       | what it is |
| ---         | --- |
| cpu_s       | CPU time since the process began |
| lags_ms     | how late each tick of its loop came in the last second |
| missed      | frames that came and could not be counted as this run's |
| gc_ms       | in the last second, for how long its garbage collector ran, in all |
| gc_max_ms   | and at the longest |
| cpu_wait_s? | since the process began, for how long it was ready to run and had no CPU (/proc/self/schedstat) |
| stolen_s?   | since boot and over all CPUs, for how long the hypervisor ran another machine (`steal` of /proc/stat) |
| cpus?       | how many CPUs that is of |
"""

import gc
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fanlab.clock import NS_PER_MS, NS_PER_S, now_ns
from fanlab.ledger.events import ClientEvent

TICK_NS = 10 * NS_PER_MS
_SCHEDSTAT: Final = Path("/proc/self/schedstat")
_STAT: Final = Path("/proc/stat")
_STEAL: Final = 8  # the column of /proc/stat's first line, its name counted (proc_stat(5))


class GcPauses:
    """How long this process's garbage collector stopped everything else. Registered with `watch`."""

    __slots__ = ("_began_ns", "_longest_ns", "_total_ns")

    def __init__(self) -> None:
        self._began_ns = 0
        self._total_ns = 0
        self._longest_ns = 0

    def __call__(self, phase: str, info: dict[str, int]) -> None:  # noqa: ARG002 - as gc calls it
        """A collection starts or stops."""
        if phase == "start":
            self._began_ns = now_ns()
        else:
            paused_ns = now_ns() - self._began_ns
            self._total_ns += paused_ns
            self._longest_ns = max(self._longest_ns, paused_ns)

    def watch(self) -> None:
        """Be told of every collection from here on, until the process ends."""
        gc.callbacks.append(self)

    def take_ms(self) -> tuple[float, float]:
        """In all and the longest since the last call, in ms."""
        total_ns, longest_ns = self._total_ns, self._longest_ns
        self._total_ns = self._longest_ns = 0
        return round(total_ns / NS_PER_MS, 3), round(longest_ns / NS_PER_MS, 3)


@dataclass(slots=True)
class Health:
    """Collects how late the engine's own ticks came, and tells them once a second. Ticks are due every `period_ns`."""

    period_ns: int = TICK_NS
    pauses: GcPauses = field(default_factory=GcPauses)
    _lags_ns: list[int] = field(default_factory=list)

    def tick(self, due_ns: int, now_ns: int) -> None:
        """A tick that was due at `due_ns` came at `now_ns`.

        Those that were due in between and never came are late too: a stall of ten periods is ten late ticks, not one
        (otherwise a percentile of them would leave out just what it is to show).
        """
        self._lags_ns.extend(range(now_ns - due_ns, -1, -self.period_ns) if now_ns >= due_ns else (0,))

    def event(self, t_ns: int, missed: int) -> ClientEvent:
        """The `health` event since the last call."""
        lags, self._lags_ns = self._lags_ns, []
        gc_ms, gc_max_ms = self.pauses.take_ms()
        event: ClientEvent = {
            "t": t_ns,
            "ev": "health",
            "cpu_s": round(time.process_time(), 6),
            "lags_ms": [round(lag / NS_PER_MS, 1) for lag in lags],
            "missed": missed,
            "gc_ms": gc_ms,
            "gc_max_ms": gc_max_ms,
        }
        cpu_wait_s, stolen_s = cpu_wait_of(_text(_SCHEDSTAT)), stolen_of(_text(_STAT))
        if cpu_wait_s is not None:
            event["cpu_wait_s"] = round(cpu_wait_s, 6)
        if stolen_s is not None:
            event["stolen_s"], event["cpus"] = round(stolen_s, 3), os.cpu_count() or 1
        return event


def cpu_wait_of(schedstat: str) -> float | None:
    """The seconds in /proc/self/schedstat for which the process waited on a run queue; None where it is no such."""
    fields = schedstat.split()
    return int(fields[1]) / NS_PER_S if len(fields) > 1 and fields[1].isdigit() else None


def stolen_of(stat: str) -> float | None:
    """The seconds of steal over all CPUs since boot, from the text of /proc/stat; None where it tells none."""
    fields = stat.partition("\n")[0].split()
    if len(fields) <= _STEAL or fields[0] != "cpu":
        return None
    return int(fields[_STEAL]) / os.sysconf("SC_CLK_TCK")


def _text(path: Path) -> str:
    """What stands in a small file of the kernel's; "" where there is none."""
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
