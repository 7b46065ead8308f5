"""The last words of a unit, for whoever is told that it failed."""

import os
from pathlib import Path
from typing import Final

TAIL_BYTES: Final = 32_768
TAIL_LINE_CHARS: Final = 400


def tail(log: Path, lines: int) -> list[str]:
    """The last lines of a log file, long ones cut; none if it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.rstrip()[:TAIL_LINE_CHARS] for line in text.splitlines() if line.strip()][-lines:]
