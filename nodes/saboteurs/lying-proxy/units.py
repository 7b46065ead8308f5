"""Byte streams cut into units that can be lied about: WebSocket frames of a server, replies of Redis. Pure.

Both cutters take bytes as they come and give whole units; what is not whole yet waits in `rest`.
"""

from typing import NamedTuple

CRLF = b"\r\n"
DATA_OPCODES = (0x1, 0x2)


class Unit(NamedTuple):
    """One frame or reply: its bytes, and where in them the published payload stands (empty: it holds none)."""

    data: bytes
    start: int
    end: int
    last: bool = False  # nothing comes after it: a close frame


class Frames:
    """Cuts what a WebSocket server sends (RFC 6455, section 5.2; never masked) into frames."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[Unit]:
        """The frames that are whole now."""
        buffer = self.rest + data if self.rest else data
        units, at, size = [], 0, len(buffer)
        while size - at >= 2:
            length, start = buffer[at + 1] & 0x7F, at + 2
            if length == 126:
                length, start = int.from_bytes(buffer[start : start + 2], "big"), start + 2
            elif length == 127:
                length, start = int.from_bytes(buffer[start : start + 8], "big"), start + 8
            end = start + length
            if size < end or size < start:
                break
            opcode, whole = buffer[at] & 0x0F, buffer[at] & 0x80
            holds = whole and opcode in DATA_OPCODES
            units.append(Unit(buffer[at:end], start - at if holds else end - at, end - at, opcode == 0x8))
            at = end
        self.rest = buffer[at:]
        return units


class Replies:
    """Cuts what Redis sends (RESP2) into replies; the payload is that of a `message`."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[Unit]:
        """The replies that are whole now."""
        buffer = self.rest + data if self.rest else data
        units, at = [], 0
        while (found := _reply(buffer, at)) is not None:
            end, last_bulk = found
            unit = buffer[at:end]
            pushed = unit.startswith(b"*3\r\n$7\r\nmessage\r\n")
            units.append(Unit(unit, last_bulk - at if pushed else len(unit), len(unit) - 2 if pushed else len(unit)))
            at = end
        self.rest = buffer[at:]
        return units


def _reply(buffer: bytes, at: int) -> tuple[int, int] | None:
    """Where the reply that begins at `at` ends, and where its last bulk string begins; None: it is not whole."""
    wanted, bulk = 1, at
    while wanted:
        line_end = buffer.find(CRLF, at)
        if line_end < 0:
            return None
        kind, number = buffer[at : at + 1], buffer[at + 1 : line_end]
        at = line_end + 2
        wanted -= 1
        if kind == b"*":
            wanted += max(0, int(number))
        elif kind == b"$" and int(number) >= 0:
            bulk, at = at, at + int(number) + 2
            if len(buffer) < at:
                return None
    return at, bulk
