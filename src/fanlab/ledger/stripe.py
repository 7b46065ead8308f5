"""Stripes: append-only journals, one per process, that survive SIGKILL with at most one torn frame at the end.

A frame is one `write`: magic `FL`, kind (one letter), a zero byte, length, CRC-32 of kind and payload, the payload.
What `write` has accepted is in the kernel, so the death of the writing process cannot lose it. A reader stops at the
first frame that is cut short and says so; a frame whose CRC fails in the middle is skipped and counted.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_HEADER = struct.Struct("<2sccII")
_MAGIC = b"FL"
_TIME = struct.Struct("<Q")
MAX_PAYLOAD = 1 << 26


class Kind(StrEnum):
    """What a frame holds."""

    START = "S"  # a JSON object: schema, role, pid, boot_id, started_ns
    DELIVERIES = "D"  # records.DELIVERY, packed
    INTENTS = "I"  # records.INTENT, packed
    OUTCOMES = "O"  # records.OUTCOME, packed
    WITNESS = "W"  # records.WITNESS, packed
    READS = "R"  # records.READ, packed
    EVENTS = "E"  # JSON lines, see ledger.events
    HEARTBEAT = "H"  # u64 ns: everything before it is in this stripe
    END = "Z"  # a JSON object: an orderly end


_KINDS = frozenset(Kind)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as read back."""

    kind: Kind
    payload: bytes


class StripeWriter:
    """Appends frames to one file. Not thread-safe: a stripe belongs to one thread of one process."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        """Create `path`, which must not exist, and write its START frame. Raises OSError."""
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self.write(Kind.START, json.dumps({"schema": 1, **header}).encode())

    def write(self, kind: Kind, payload: bytes | bytearray | memoryview) -> None:
        """Append one frame; an empty payload is no frame. Raises OSError (a full disk), never loses part in silence.

        Raises ValueError for more than MAX_PAYLOAD bytes, which no reader would take.
        """
        if not payload:
            return
        if len(payload) > MAX_PAYLOAD:
            raise ValueError(f"a frame of {len(payload)} bytes is beyond {MAX_PAYLOAD}: write it in parts")
        letter = kind.encode()
        head = _HEADER.pack(_MAGIC, letter, b"\0", len(payload), zlib.crc32(payload, zlib.crc32(letter)))
        frame = memoryview(head + payload)
        while frame:  # the kernel may take part of a large write
            frame = frame[os.write(self._fd, frame) :]

    def events(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Append events, a JSON line each, as one frame."""
        self.write(Kind.EVENTS, "".join(json.dumps(event, separators=(",", ":")) + "\n" for event in events).encode())

    def heartbeat(self, t_ns: int) -> None:
        """Say that everything that happened before `t_ns` is in this stripe."""
        self.write(Kind.HEARTBEAT, _TIME.pack(t_ns))

    def close(self, footer: Mapping[str, Any] | None = None) -> None:
        """Write the END frame and close. Safe to call twice."""
        if self._fd >= 0:
            try:
                self.write(Kind.END, json.dumps(footer or {}).encode())
            finally:
                os.close(self._fd)
                self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class StripeReader:
    """Iterates over the frames of a stripe; afterwards `torn`, `corrupt` and `closed` say how it ended.

    `skipped` has the kind and the length in bytes of each frame whose CRC failed, as far as its head can be trusted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = 0
        self.corrupt = 0
        self.closed = False
        self.skipped: list[tuple[Kind, int]] = []

    def __iter__(self) -> Iterator[Frame]:
        with self.path.open("rb") as file:
            while head := file.read(_HEADER.size):
                if len(head) < _HEADER.size:
                    self.torn = 1
                    return
                magic, kind, _, length, crc = _HEADER.unpack(head)
                if magic != _MAGIC or length > MAX_PAYLOAD or kind.decode("latin-1") not in _KINDS:
                    self.corrupt += 1  # lost the frame boundary: nothing after it can be trusted
                    return
                payload = file.read(length)
                if len(payload) < length:
                    self.torn = 1
                    return
                if zlib.crc32(payload, zlib.crc32(kind)) != crc:
                    self.corrupt += 1
                    self.skipped.append((Kind(kind.decode()), length))
                    continue
                frame = Frame(Kind(kind.decode()), payload)
                self.closed = frame.kind is Kind.END
                yield frame


def heartbeat_ns(frame: Frame) -> int:
    """The time in a HEARTBEAT frame."""
    return int(_TIME.unpack(frame.payload)[0])


def json_lines(frame: Frame) -> list[dict[str, Any]]:
    """The events in an EVENTS frame."""
    # No JSON text has a bare newline inside, so the lines are the elements of one array: three times as fast to parse.
    events: list[dict[str, Any]] = json.loads(b"[" + frame.payload.strip().replace(b"\n", b",") + b"]")
    return events
