"""CPU and memory limits for processes of this machine, by control groups of fanlab's own (version 1 or 2).

Making one takes root, or a group that was delegated to this user; `refusal` finds out by making one. Memory is counted
from when a process enters its group, and what it starts is where it is then, so a unit that is to be limited later is
put there before it is executed. See cgroups(7).
A group's name says whose it is, so that one that was left behind can be told from one in use.
"""

import contextlib
import errno
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

from fanlab.errors import EnvironmentFailure
from fanlab.topology.backend import Need
from fanlab.topology.labels import Marks, Owner

PERIOD_US: Final = 100_000  # the kernel's own default for CPU quotas
SMALLEST_QUOTA_US: Final = 1000  # the kernel takes no less
CONTROLLERS: Final = {Need.CPU_LIMIT: "cpu", Need.MEMORY_LIMIT: "memory"}
_NO_LIMIT: Final = ("-1", "max")
_NAME: Final = re.compile(r"fanlab-([0-9a-z]+)-(\d+)-(\d+)-.+")  # its run, and its owner's pid and start
_PROBE: Final = "probe"  # in place of a run's id
_SHRINK_TRIES: Final = 20
_REMOVE_S: Final = 5.0  # between a kill and the last process's leaving its group
_LOOK_S: Final = 0.02
_PAGE: Final = 4096


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where groups with a controller can be made."""

    root: Path
    unified: bool  # version 2


@cache
def refusal(need: Need) -> str | None:
    """Why no group that limits this can be made here; None: one has been made, and removed."""
    found = hierarchy(CONTROLLERS[need])
    if found is None:
        return f"it needs a cgroup with the {CONTROLLERS[need]} controller, and this system mounts none"
    probe = Group(CONTROLLERS[need], group_name(Marks(_PROBE, Owner.of(os.getpid())), need))
    try:
        probe.make()
        probe.path.rmdir()
    except (EnvironmentFailure, OSError) as error:
        cause = error.__cause__ if isinstance(error, EnvironmentFailure) else error
        return (
            f"it needs a cgroup of fanlab's own under {found.root} ({getattr(cause, 'strerror', error)}): run as root,"
            " or delegate one; with --backend docker the engine does it"
        )
    return None


def group_name(marks: Marks, unit: str) -> str:
    """`fanlab-<run id>-<owner's pid>-<its start>-<unit>`."""
    return f"fanlab-{marks.run_id}-{marks.owner.pid}-{marks.owner.start_ticks}-{unit.replace(' ', '-')}"


@dataclass(frozen=True, slots=True)
class NamedGroup:
    """The folder of a group that is there, and whose it is. Groups do not outlive a boot."""

    path: Path
    marks: Marks

    @property
    def title(self) -> str:
        """As it is told."""
        return f"cgroup {self.path}"

    def remove(self) -> str | None:
        """End what is in it, which is nobody else's, and remove it; returns why it is still there."""
        end = time.monotonic() + _REMOVE_S
        while True:
            self._kill()
            try:
                self.path.rmdir()
            except FileNotFoundError:
                return None
            except OSError as error:
                if time.monotonic() >= end:
                    return error.strerror
                time.sleep(_LOOK_S)
            else:
                return None

    def _kill(self) -> None:
        members = self.path / "cgroup.procs"
        for pid in _words(members):
            with contextlib.suppress(OSError):
                fd = os.pidfd_open(int(pid))
                try:
                    if pid in _words(members):  # still, now that nobody else can be taken for it
                        signal.pidfd_send_signal(fd, signal.SIGKILL)
                finally:
                    os.close(fd)


def named_groups() -> Iterator[NamedGroup]:
    """The groups of this user's that were made here by any run."""
    here = Owner.of(os.getpid())
    roots = {found.root for controller in CONTROLLERS.values() if (found := hierarchy(controller)) is not None}
    for path in sorted(path for root in roots for path in root.glob("fanlab-*")):
        match = _NAME.fullmatch(path.name)
        if match and path.exists() and path.stat().st_uid == os.getuid():
            yield NamedGroup(path, Marks(match[1], replace(here, pid=int(match[2]), start_ticks=int(match[3]))))


def hierarchy(controller: str, mounts: Path = Path("/proc/self/mounts")) -> Hierarchy | None:
    """The mounted hierarchy that has a controller; None: there is none."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    for line in lines:
        _, place, kind, options, *_ = line.split(" ")
        if kind == "cgroup" and controller in options.split(","):
            return Hierarchy(Path(place), unified=False)
    for line in lines:
        _, place, kind, *_ = line.split(" ")
        if kind == "cgroup2" and controller in _words(Path(place) / "cgroup.controllers"):
            return Hierarchy(Path(place), unified=True)
    return None


class Group:
    """A group of one controller, for one unit's processes. Its folder can be removed once they have all ended."""

    def __init__(self, controller: str, name: str) -> None:
        """Raises EnvironmentFailure where this system has no such controller. Nothing is made yet."""
        found = hierarchy(controller)
        if found is None:
            raise EnvironmentFailure(f"this system mounts no cgroup with the {controller} controller")
        self.controller = controller
        self.unified = found.unified
        self.root = found.root
        self.path = found.root / name

    def make(self) -> None:
        """Make its folder. Raises EnvironmentFailure if that may not be.

        In version 2 the groups there may have to be given the controller first, and they keep it: taken back, it would
        be taken from somebody else's group, too.
        """
        try:
            if self.unified and self.controller not in _words(self.root / "cgroup.subtree_control"):
                _write(self.root / "cgroup.subtree_control", f"+{self.controller}")
            self.path.mkdir()
        except OSError as error:
            raise EnvironmentFailure(f"no cgroup can be made at {self.path}: {error.strerror}") from error

    def remove(self) -> None:
        """Remove its folder, if no process is in it any more."""
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def set_cores(self, cores: float | None) -> None:
        """At most so many cores' worth of time in each tenth of a second; None: no limit."""
        quota = None if cores is None else max(SMALLEST_QUOTA_US, round(cores * PERIOD_US))
        try:
            if self.unified:
                _write(self.path / "cpu.max", f"{'max' if quota is None else quota} {PERIOD_US}")
            else:
                _write(self.path / "cpu.cfs_period_us", str(PERIOD_US))
                _write(self.path / "cpu.cfs_quota_us", "-1" if quota is None else str(quota))
        except OSError as error:
            raise EnvironmentFailure(f"the kernel refuses a CPU limit at {self.path}: {error.strerror}") from error

    def cores(self) -> float | None:
        """The limit that the kernel holds; None: none."""
        if self.unified:
            quota, period = (_words(self.path / "cpu.max") or ["max", str(PERIOD_US)])[:2]
        else:
            quota = _text(self.path / "cpu.cfs_quota_us") or "-1"
            period = _text(self.path / "cpu.cfs_period_us") or str(PERIOD_US)
        return None if quota in _NO_LIMIT else int(quota) / int(period)

    def set_memory(self, limit_bytes: int | None) -> None:
        """At most so many bytes, past which the kernel kills; None: no limit.

        Version 1 takes no limit below what is in use: it gets the least that it takes, and the next page is too much.
        """
        file = self.path / ("memory.max" if self.unified else "memory.limit_in_bytes")
        wanted = ("max" if self.unified else "-1") if limit_bytes is None else str(limit_bytes)
        for step in range(_SHRINK_TRIES):
            try:
                _write(file, wanted)
            except OSError as error:
                if error.errno != errno.EBUSY or limit_bytes is None:
                    raise EnvironmentFailure(f"the kernel refuses a limit at {self.path}: {error.strerror}") from error
                wanted = str(max(limit_bytes, self.usage()) + step * _PAGE)
            else:
                return
        raise EnvironmentFailure(f"the kernel takes no limit near {limit_bytes} bytes at {self.path}")

    def memory(self) -> int | None:
        """The limit in bytes that the kernel holds; None: none."""
        text = _text(self.path / ("memory.max" if self.unified else "memory.limit_in_bytes"))
        if text is None or text in _NO_LIMIT or int(text) >= 2**62:
            return None
        return int(text)

    def usage(self) -> int:
        """The bytes in use; 0 of a group that is gone."""
        return int(_text(self.path / ("memory.current" if self.unified else "memory.usage_in_bytes")) or 0)

    def kills(self) -> int:
        """How many processes of it the kernel has killed for want of memory."""
        file = self.path / ("memory.events" if self.unified else "memory.oom_control")
        words = _words(file)
        return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0


def _write(file: Path, text: str) -> None:
    """In one write(2), unbuffered: the kernel's answer is to that."""
    fd = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _text(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None


def _words(file: Path) -> list[str]:
    return (_text(file) or "").split()
