"""How often a process was held back by its CPU limit: its control group's own count (version 1 or 2). Linux only."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

from fanlab.topology.cgroups import Hierarchy, hierarchy

_PROC = Path("/proc")


class Throttled(NamedTuple):
    """Periods (of 100 ms, usually) in which the group ran, and those in which it used its limit up; both only grow."""

    periods: int
    held_back: int


def throttled(pid: int, *, proc: Path = _PROC, found: Hierarchy | None = None) -> Throttled | None:
    """The counts of the control group that a process is in; None where it has no limit, or nothing tells."""
    cpu = found or _here()
    if cpu is None:
        return None
    try:
        place = _place((proc / str(pid) / "cgroup").read_text(encoding="utf-8"))
        if place is None:
            return None
        stat = (cpu.root / place.lstrip("/") / "cpu.stat").read_text(encoding="utf-8")
        counts = dict(line.split(maxsplit=1) for line in stat.splitlines())
        told = Throttled(int(counts["nr_periods"]), int(counts["nr_throttled"]))
    except (OSError, ValueError, KeyError):
        return None
    return told if told.periods else None


@cache
def _here() -> Hierarchy | None:
    return hierarchy("cpu")


def _place(groups: str) -> str | None:
    """Where in the CPU hierarchy: lines are `number:controllers:path`; version 2 has one, numbered 0, without any."""
    unified: str | None = None
    for line in groups.splitlines():
        number, controllers, path = line.split(":", maxsplit=2)
        if "cpu" in controllers.split(","):
            return path
        if number == "0":
            unified = path
    return unified
