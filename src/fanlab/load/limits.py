"""How many connections one process may hold, and whose loopback it has."""

import resource
from pathlib import Path

RESERVED_FILES = 64  # the process's own: stripe, logs, sockets to its parent, modules being read


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one; returns how many connections that leaves room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return connections_allowed()


def connections_allowed() -> int:
    """How many connections one engine may hold, by the hard limit of open files."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 1_000_000 if hard == resource.RLIM_INFINITY else max(0, hard - RESERVED_FILES)


def net_namespace() -> str | None:
    """What all processes have in common that mean the same by 127.0.0.1, on one boot; None where a boot has but one."""
    try:
        return str(Path("/proc/self/ns/net").readlink())
    except OSError:
        return None
