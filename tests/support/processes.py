"""Which processes a run has left behind: found by the run directory's path, which each of them was told somehow."""

import time
from pathlib import Path

import psutil


def family(pid: int) -> list[psutil.Process]:
    """The process and all its descendants as of now; those that end meanwhile are left out."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def mentioning(path: Path) -> list[psutil.Process]:
    """Every live process with `path` in its arguments, its environment or its working directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            told = [*process.cmdline(), *process.environ().values(), process.cwd()]
        except psutil.Error:
            continue
        if any(str(path) in text for text in told):
            found.append(process)
    return found


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; psutil compares start times, so a reused pid does not count."""
    return [process for process in processes if _runs(process)]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False  # it ended between the two questions


def left_after(deadline_s: float, processes: list[psutil.Process], path: Path) -> list[psutil.Process]:
    """What is still there at the deadline, of `processes` and of all that mention `path`; returns early when clean."""
    end = time.monotonic() + deadline_s
    while left := [*alive(processes), *mentioning(path)]:
        if time.monotonic() > end:
            return left
        time.sleep(0.05)
    return []
