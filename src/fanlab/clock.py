"""The only clock for durations: CLOCK_MONOTONIC in nanoseconds, one per boot, containers included.

A process that takes part in a run of another boot's tells that boot's time instead: see `follow`.
"""

import time
from datetime import UTC, datetime
from pathlib import Path

NS_PER_S = 1_000_000_000
NS_PER_US = 1_000
NS_PER_MS = 1_000_000


_ahead_ns = 0  # of the clock that is followed


def now_ns() -> int:
    """Nanoseconds on this boot's monotonic clock, or on the one that is followed."""
    return time.monotonic_ns() - _ahead_ns


def follow(ahead_ns: int) -> None:
    """From here on tell the time of a clock that our own is ahead of by so much. Once, before any time is kept."""
    global _ahead_ns  # noqa: PLW0603 - a process has one clock
    _ahead_ns = ahead_ns


def ahead_ns() -> int:
    """By how much this boot's monotonic clock is ahead of the one that is followed; 0: none is."""
    return _ahead_ns


def wall_offset_ns() -> int:
    """The wall clock less the monotonic one, at this moment: it brings other programs' log stamps onto our clock."""
    before = now_ns()
    wall = time.time_ns()  # noqa: TID251 - to do away with it
    return wall - (before + now_ns()) // 2


def utc_stamp() -> str:
    """The wall clock as `20260131T235959Z`: names run directories, never measures anything."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def boot_id() -> str | None:
    """The kernel's boot id, equal for all processes that share a monotonic clock; None where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
