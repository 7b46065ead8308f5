"""Exit codes, a contract that scripts and CI rely on."""

from enum import IntEnum


class Exit(IntEnum):
    """What the process's exit status means."""

    OK = 0
    GATE_FAILED = 1
    SCENARIO = 2  # also click's own code for a usage error
    INVALID = 3
    ENVIRONMENT = 4
    BUG = 70
    INTERRUPTED = 130
