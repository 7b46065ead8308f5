"""Where and with what a run was made: what a reader needs to repeat it, or to see why two runs cannot be compared."""

import importlib.metadata
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

from fanlab import clock

_PACKAGES = ("locust", "picows", "uvloop", "redis", "websockets", "numpy", "matplotlib", "pandas")


def host() -> dict[str, Any]:
    """The machine: system, kernel, processor, cores that this process may use, memory."""
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def _processor() -> str:
    """The model of the processor as the kernel names it, else as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name"))
    return next(names, platform.processor())


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Python and the packages that a figure may depend on."""
    found = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def limits() -> dict[str, Any]:
    """The limits that bound a run: open files, soft and hard."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {"open_files_soft": soft, "open_files_hard": hard}


def clock_facts() -> dict[str, Any]:
    """The clock that all times in the journals come from."""
    return {"name": "CLOCK_MONOTONIC", "boot_id": clock.boot_id()}
