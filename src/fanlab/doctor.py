"""What `fanlab doctor` looks at: whether this machine can run scenarios, and what to do where it cannot."""

import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fanlab import provenance
from fanlab.errors import EnvironmentFailure
from fanlab.load import bulk
from fanlab.topology import netem, packetfilter, redis
from fanlab.topology.engine import connect, named_host

_ENOUGH_FILES = 4096
_ENOUGH_BYTES = 500_000_000
_ENGINE_WITHIN_S = 3.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `bad` stops runs, `note` limits them."""

    mark: Literal["ok", "note", "bad"]
    what: str
    hint: str | None = None


def examine(directory: Path) -> list[Finding]:
    """Look at Python, Redis, the clock, limits, cores, the disk under `directory`, Docker, faults of packets."""
    return [_python(), _receiving(), _redis(), _clock(), _files(), _cores(), _disk(directory), _docker(), *_packets()]


def _python() -> Finding:
    return Finding("ok", f"Python {sys.version.split()[0]}")


def _receiving() -> Finding:
    library, found = bulk.find()
    if library is None:
        hint = "that takes more CPU per delivery; to save it, have a C compiler and install fanlab again"
        return Finding("note", f"clients receive with Python alone: {found}", hint)
    return Finding("ok", "clients receive with compiled code")


def _redis() -> Finding:
    try:
        found = redis.find_server()
    except EnvironmentFailure as error:
        return Finding("bad", error.message, error.hint)
    return Finding("ok", f"{found.version} ({found.source})")


def _clock() -> Finding:
    boot_id = provenance.clock_facts()["boot_id"]
    if boot_id is None:
        return Finding("note", "no boot id: runs from several hosts or boots cannot be told apart")
    return Finding("ok", "one monotonic clock for all processes of this boot")


def _files() -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    what = "open files per process: no limit" if hard == resource.RLIM_INFINITY else f"open files per process: {hard}"
    if hard != resource.RLIM_INFINITY and hard < _ENOUGH_FILES:
        return Finding("note", what, "each client is one open file: raise it with `ulimit -Hn`")
    return Finding("ok", what)


def _cores() -> Finding:
    cores = provenance.usable_cores()
    if cores == 1:
        return Finding("note", "1 core", "nodes, Redis and the load share it: expect late figures")
    return Finding("ok", f"{cores} cores")


def _disk(directory: Path) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=directory):
            free = shutil.disk_usage(directory).free
    except OSError as error:
        return Finding("bad", f"cannot write here: {error.strerror}", "run in a writable directory, or use --out")
    if free < _ENOUGH_BYTES:
        return Finding("note", f"{free / 1e6:.0f} MB free here", "a journal takes 32 bytes per delivery")
    return Finding("ok", f"{free / 1e9:.0f} GB free here")


def _docker() -> Finding:
    """Never bad: only --backend docker needs an engine."""
    try:
        client = connect(_ENGINE_WITHIN_S)
    except EnvironmentFailure as error:
        return Finding("note", f"{error.message}; every scenario runs as local processes", error.hint)
    version, host = client.version().get("Version", "of some version"), named_host()
    client.close()
    return Finding("ok", f"a Docker engine {version} at {host}, for --backend docker")


def _packets() -> Iterator[Finding]:
    """Never bad: the proxy does without."""
    for kind, why in (("partition", packetfilter.refusal()), ("latency", netem.refusal())):
        if why is None:
            yield Finding("ok", f"{kind} with `by: packets`, in containers")
        else:
            yield Finding("note", f"no {kind} with `by: packets`: {why}")
