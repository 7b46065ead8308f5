"""The node's journal: JSON lines, appended in whole batches. The events stand in ../PROTOCOL.md.

A batch goes to the kernel in one write, so the death of this process costs at most what was gathered since the last
batch (20 ms), and tears at most the last line. A full disk is said once and never stops the fan-out.
"""

import asyncio
import json
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

FLUSH_AFTER_S = 0.02
FLUSH_BYTES = 64 * 1024
BACKLOG_BYTES = 8 * 1024 * 1024  # kept while the disk refuses; past it, new lines are dropped and counted

TOKEN = re.compile(rb"fl1[0-9a-f]{44}")
MARK_LENGTH = 19

log = logging.getLogger("node")


def mark_of(payload: bytes) -> bytes | None:
    """The leading 19 characters of the fanlab token in a payload: they name the message. None without a token."""
    found = TOKEN.search(payload)
    return found.group()[:MARK_LENGTH] if found else None


class Gathered(Protocol):
    """What gathers journal lines; `FileJournal` and `NoJournal` do."""

    errors: int
    lines_dropped: int

    def event(self, t_ns: int, name: str, **fields: str | int) -> None:
        """A rare event, with any fields."""

    def message(self, t_ns: int, channel_json: bytes, mark: bytes | None, written: int, done_ns: int) -> None:
        """A message: received at `t_ns`, handed to `written` clients, done at `done_ns`."""

    def drop(
        self, t_ns: int, channel_json: bytes, mark: bytes | None, count: int, why: str, *, who: Sequence[int] = ()
    ) -> None:
        """The message received at `t_ns` was not handed to `count` clients; `who` are those that told a number."""

    def cached(self, t_ns: int, channel_json: bytes, mark: bytes | None, key: str) -> None:
        """The cache took a message at `t_ns`, as its entry `key`."""

    def flush(self) -> None:
        """Write what was gathered."""

    def close(self) -> None:
        """Write what was gathered, and close."""


class NoJournal:
    """For a node that was given no journal path."""

    errors = 0
    lines_dropped = 0

    def event(self, t_ns: int, name: str, **fields: str | int) -> None:
        """Nothing."""

    def message(self, t_ns: int, channel_json: bytes, mark: bytes | None, written: int, done_ns: int) -> None:
        """Nothing."""

    def drop(
        self, t_ns: int, channel_json: bytes, mark: bytes | None, count: int, why: str, *, who: Sequence[int] = ()
    ) -> None:
        """Nothing."""

    def cached(self, t_ns: int, channel_json: bytes, mark: bytes | None, key: str) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class FileJournal:
    """Appends to one file. Belongs to one event loop."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        """Open or create `path`; raises OSError."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._path = path
        self._loop = loop
        self._lines: list[bytes] = []
        self._size = 0
        self._rest = b""  # what the disk has not taken yet
        self._timer: asyncio.TimerHandle | None = None
        self.errors = 0
        self.lines_dropped = 0
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            self._rest = b"\n"  # a killed process left half a line: end it, so that ours begins a new one

    def event(self, t_ns: int, name: str, **fields: str | int) -> None:
        """A rare event, with any fields."""
        self._add(json.dumps({"t": t_ns, "ev": name, **fields}, separators=(",", ":")).encode() + b"\n")

    def message(self, t_ns: int, channel_json: bytes, mark: bytes | None, written: int, done_ns: int) -> None:
        """A message: received at `t_ns`, handed to `written` clients, done at `done_ns`."""
        if mark is None:
            line = b'{"t":%d,"ev":"msg","ch":%b,"n":%d,"done":%d}\n' % (t_ns, channel_json, written, done_ns)
        else:
            line = b'{"t":%d,"ev":"msg","ch":%b,"mark":"%b","n":%d,"done":%d}\n' % (
                t_ns,
                channel_json,
                mark,
                written,
                done_ns,
            )
        self._add(line)

    def drop(
        self, t_ns: int, channel_json: bytes, mark: bytes | None, count: int, why: str, *, who: Sequence[int] = ()
    ) -> None:
        """The message received at `t_ns` was not handed to `count` clients; `who` are those that told a number."""
        quoted = b"" if mark is None else b'"mark":"%b",' % mark
        numbers = b',"who":[%b]' % b",".join(b"%d" % number for number in who) if who else b""
        self._add(
            b'{"t":%d,"ev":"drop","ch":%b,%b"n":%d,"why":"%b"%b}\n'
            % (t_ns, channel_json, quoted, count, why.encode(), numbers)
        )

    def cached(self, t_ns: int, channel_json: bytes, mark: bytes | None, key: str) -> None:
        """The cache took a message at `t_ns`, as its entry `key`."""
        quoted = b"" if mark is None else b',"mark":"%b"' % mark
        self._add(
            b'{"t":%d,"ev":"cache","ch":%b,"key":%b%b}\n' % (t_ns, channel_json, json.dumps(key).encode(), quoted)
        )

    def flush(self) -> None:
        """Write what was gathered, in one write."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._fd < 0 or not (self._lines or self._rest):
            return
        batch = self._rest + b"".join(self._lines)
        self._lines.clear()
        self._size = 0
        try:
            written = os.write(self._fd, batch)
        except OSError as error:
            written = 0
            if not self.errors:
                log.error(  # noqa: TRY400 - the reason says it all
                    "journal %s cannot be written: %s; going on without", self._path, error.strerror
                )
            self.errors += 1
        self._rest = batch[written:]
        if self._rest:
            self._later()

    def close(self) -> None:
        """Write what was gathered, and close. Safe to call twice."""
        if self._fd >= 0:
            self.flush()
            if self._timer is not None:
                self._timer.cancel()
            os.close(self._fd)
            self._fd = -1

    def _add(self, line: bytes) -> None:
        if len(self._rest) > BACKLOG_BYTES:
            self.lines_dropped += 1
            return
        self._lines.append(line)
        self._size += len(line)
        if self._size >= FLUSH_BYTES:
            self.flush()
        else:
            self._later()

    def _later(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_AFTER_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.flush()
