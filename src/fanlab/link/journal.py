"""The link's journal: JSON lines, appended, each on disk's way within 20 ms. Times are CLOCK_MONOTONIC, ns.

    {"t", "ev": "open", "proxy", "id", "down", "up"}            connected through; the addresses of who connected to the
                                                                link, and of the link's own end of the upstream socket
    {"t", "ev": "close", "proxy", "id", "why", "passed", "discarded"}    both sides are closed; bytes [up, down]
    {"t", "ev": "unopened", "proxy", "id", "down", "why"}       closed before it was connected through
    {"t", "ev": "toxic", "proxy", "name", "type", "state"}      "on", or "off"

`why` is "end" (a FIN from either side), "down-reset" or "up-reset" (that side sent a RST, or is gone), "reset"
(ordered), a toxic's name, "up-refused" or "up-unreachable", "given-up" (who connected is gone), "link-ended".
"""

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

_FLUSH_AFTER_S: Final = 0.01


class Journal:
    """Append-only. `on_failure` is called once when a line cannot be written: a full disk, as a rule."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop, on_failure: Callable[[OSError], None]) -> None:
        """Raises OSError if the file cannot be opened."""
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._loop = loop
        self._on_failure = on_failure
        self._failed = False
        self._lines = bytearray()
        self._timer: asyncio.TimerHandle | None = None

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a line, soon."""
        self._lines += json.dumps(row, separators=(",", ":")).encode() + b"\n"
        if self._timer is None:
            self._timer = self._loop.call_later(_FLUSH_AFTER_S, self.flush)

    def flush(self) -> None:
        """Append what waits, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            while self._lines:
                del self._lines[: os.write(self._fd, self._lines)]
        except OSError as error:
            self._lines.clear()
            if not self._failed:
                self._failed = True
                self._on_failure(error)

    def close(self) -> None:
        """Append what waits, and close the file."""
        self.flush()
        os.close(self._fd)
