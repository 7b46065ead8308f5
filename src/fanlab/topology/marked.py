"""Processes that bear a run's mark: finding them in /proc, and ending them and nobody else. Elsewhere none is found.

A process is a run's if its environment says so. A program may overwrite its environment (redis-server does, to show a
title): it is the run's if it descends from one that is, or is in the session that the run's warden made. One with
marks of its own is judged by these alone. Processes of other pid namespaces, as a container's, go with those.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fanlab.topology.labels import Marks, Owner
from fanlab.topology.warden import OWNER_VARIABLE, ROUND_S, RUN_VARIABLE, ProcessStat, read_stat

GRACE_S: Final = 1.0  # between SIGTERM and SIGKILL
DEADLINE_S: Final = 10.0  # for the kernel to end what has been sent SIGKILL
_COMMAND_CHARS: Final = 60
_EXEC_S: Final = 0.2  # at most, until a program that is being started has its environment
_EXEC_POLL_S: Final = 0.001
_Env = Mapping[str, str]  # of a process, and no more of it than the marks


@dataclass(frozen=True, slots=True)
class Marked:
    """A process of a run; `env` as it was when it was found."""

    stat: ProcessStat
    marks: Marks
    env: _Env

    @property
    def pid(self) -> int:
        """Its number, here."""
        return self.stat.pid

    @property
    def key(self) -> tuple[int, int]:
        """What no other process of this boot has."""
        return self.stat.pid, self.stat.start_ticks

    @property
    def is_warden(self) -> bool:
        """Whether it is the owner itself."""
        return self.marks.owner.pid == self.pid

    @property
    def title(self) -> str:
        """With the beginning of its command line, as long as it has one."""
        words = ""
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{self.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        return f"process {self.pid} of run {self.marks.short}: {' '.join(words.split())[:_COMMAND_CHARS]}"


def find(run_id: str | None = None, *, session: int | None = None) -> list[Marked]:
    """The processes of one run, whosever they are by now, or those of all runs of this user.

    Neither this process nor one above it is among them. `session`: one that is known to be the run's alone.
    """
    stats = dict(_all())
    envs = {pid: _marks_in(pid) for pid in stats}
    found: dict[int, Marked] = {}
    for pid, env in envs.items():
        marks = _marks_by(pid, env)
        if marks is not None and (run_id == marks.run_id or (run_id is None and _is_mine(pid))):
            found[pid] = Marked(stats[pid], marks, env)
    sessions = {one.stat.session: one.marks for one in found.values() if one.stat.session == one.marks.owner.pid}
    if run_id is not None and session is not None:
        sessions[session] = Marks(run_id, Owner.of(session))
    for pid in [pid for pid, env in envs.items() if not env and pid != session]:
        stat = stats[pid]
        above = next((each for each in _line(stat.parent, stats) if envs[each]), None)
        marks = sessions.get(stat.session) if above is None or above not in found else found[above].marks
        if marks is not None:
            found[pid] = Marked(stat, marks, {})
    ours = set(_line(os.getpid(), stats))
    return [one for one in found.values() if one.pid not in ours]


def end(
    find_them: Callable[[], Iterable[Marked]], *, grace_s: float = GRACE_S, deadline_s: float = DEADLINE_S
) -> list[Marked]:
    """SIGTERM once to each, SIGKILL again and again after the grace, until none is found; returns who is still there.

    `find_them` is asked anew each time, for what they have started meanwhile.
    """
    began = time.monotonic()
    asked: set[tuple[int, int]] = set()
    while left := list(find_them()):
        passed_s = time.monotonic() - began
        if passed_s >= grace_s + deadline_s:
            break
        watch = select.poll()
        with contextlib.ExitStack() as stack:
            for process in left:
                if (fd := stack.enter_context(held(process))) is None:
                    continue
                watch.register(fd, select.POLLIN)
                if passed_s >= grace_s:
                    send(fd, signal.SIGKILL)
                elif process.key not in asked:
                    send(fd, signal.SIGTERM)
                    send(fd, signal.SIGCONT)  # one that is stopped must run to end
                    asked.add(process.key)
            watch.poll(ROUND_S * 1000)
    return left


@contextlib.contextmanager
def held(process: Marked) -> Iterator[int | None]:
    """A descriptor of this very process, which no later one with its number can be mistaken for; None: it has ended.

    It is looked at once more since the descriptor was opened: what that is of is what was found.
    """
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:
        yield None
        return
    try:
        stat = read_stat(process.pid)
        same = stat is not None and stat.start_ticks == process.stat.start_ticks
        yield fd if same and _marks_in(process.pid) == process.env else None
    finally:
        os.close(fd)


def send(fd: int, signum: int) -> None:
    """A signal to a process that is held; one that has ended, or is another user's by now, does not get it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        signal.pidfd_send_signal(fd, signum)


def _all() -> Iterator[tuple[int, ProcessStat]]:
    """All that run in this pid namespace, by their numbers.

    The list is made again until it names nobody new: one that is listed may start another, and end, before it is read.
    """
    listed: set[str] = set()
    with contextlib.suppress(OSError):
        ours = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - no Path for each
        while new := [name for name in os.listdir("/proc") if name.isdecimal() and name not in listed]:  # noqa: PTH208
            listed.update(new)
            for name in new:
                stat = read_stat(int(name))
                if stat is not None and stat.state not in "ZX" and _namespace(name) in (ours, None):
                    yield stat.pid, stat


def _namespace(pid: str) -> str | None:
    """None: of a process that this user may not look at."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")  # noqa: PTH115
    except OSError:
        return None


def _marks_in(pid: int) -> _Env:
    """What its environment has of the marks; nothing, of a process that this user may not look at."""
    end = time.monotonic() + _EXEC_S
    try:
        while not (data := Path(f"/proc/{pid}/environ").read_bytes()) and _begins(pid) and time.monotonic() < end:
            time.sleep(_EXEC_POLL_S)
    except OSError:
        return {}
    entries = data.split(b"\0")
    pairs = (entry.decode("utf-8", "replace").partition("=") for entry in entries if entry.startswith(b"FANLAB_"))
    return {name: value for name, _, value in pairs if name in (RUN_VARIABLE, OWNER_VARIABLE)}


def _begins(pid: int) -> bool:
    """Whether it is within an execve: the kernel has the new program, and neither its words nor its environment yet."""
    os.readlink(f"/proc/{pid}/exe")  # noqa: PTH115 - one of the kernel's own has none, and raises
    return not Path(f"/proc/{pid}/cmdline").read_bytes()


def _marks_by(pid: int, env: _Env) -> Marks | None:
    if RUN_VARIABLE in env and OWNER_VARIABLE not in env:  # a warden: it is told its run, and owns itself
        return Marks(env[RUN_VARIABLE], Owner.of(pid))
    return Marks.of_env(env)


def _is_mine(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}").stat().st_uid == os.getuid()
    except OSError:
        return False


def _line(pid: int, stats: Mapping[int, ProcessStat]) -> Iterator[int]:
    """The process, its parent, and so on up."""
    seen: set[int] = set()
    while pid in stats and pid not in seen:
        seen.add(pid)
        yield pid
        pid = stats[pid].parent
