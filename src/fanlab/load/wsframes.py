"""As much of RFC 6455 as a probe needs, without sockets: the client's handshake, its frames, and a reader of frames.

picows does all this for clients, and faster; but it owns its sockets, and a probe must read its own, with `recvmsg`.
"""

import base64
import hashlib
import os
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple
from urllib.parse import urlsplit

MAX_FRAME_BYTES = 1 << 24
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SHORT, _MEDIUM = 126, 127  # payload lengths from here on stand in 2 bytes of their own, and in 8
_CONTROL = 8  # opcodes from here on are control frames, which may come between the parts of a message


class Opcode(IntEnum):
    """What a frame is."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class Frame(NamedTuple):
    """A whole message (its parts joined) or a control frame."""

    opcode: int
    payload: bytes


class NotWebSocketError(Exception):
    """What came is no answer to our handshake, or no frame that a server may send."""


class Handshake:
    """One client handshake: `request` goes out, `accepted` reads what comes."""

    def __init__(self, url: str, server: str | None = None) -> None:
        """`url` is a ws:// URL; raises ValueError for any other. `server` is the Host, if it is not the URL's."""
        parts = urlsplit(url)
        if parts.scheme != "ws" or not parts.hostname:
            raise ValueError(f"{url} is no ws:// URL")
        self.host, self.port = parts.hostname, parts.port or 80
        key = base64.b64encode(os.urandom(16))
        self._expected = base64.b64encode(hashlib.sha1(key + _GUID).digest())  # noqa: S324 - what the RFC asks for
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.request = (
            f"GET {target} HTTP/1.1\r\nHost: {server or parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key.decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()

    def accepted(self, data: bytes) -> bytes | None:
        """What follows the answer's head in all that came so far; None: the head is not complete.

        Raises NotWebSocketError for a refusal.
        """
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            return None
        first, *lines = head.split(b"\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        if first.split(b" ")[1:2] != [b"101"] or headers.get(b"sec-websocket-accept") != self._expected:
            raise NotWebSocketError(first[:80].decode("latin-1"))
        return rest


def client_frame(opcode: Opcode, payload: bytes) -> bytes:
    """One whole frame as a client sends it: masked."""
    length = len(payload)
    if length < _SHORT:
        head = bytes((0x80 | opcode, 0x80 | length))
    elif length < 1 << 16:
        head = bytes((0x80 | opcode, 0x80 | _SHORT)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | _MEDIUM)) + length.to_bytes(8, "big")
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return head + mask + masked


def message_at(read: bytes, at: int) -> tuple[int, int] | None:
    """Where a message's payload begins and ends, if a whole data frame with a whole message in it begins at `at`.

    None for anything else: a part, a control frame, one with an extension's bits, one that is masked or not complete.
    """
    if len(read) - at < 2 or read[at] not in (0x81, 0x82):  # noqa: PLR2004 - the least head; final, text or binary
        return None
    length, start = read[at + 1], at + 2
    if length >= _SHORT:
        if length > _MEDIUM:
            return None
        start += 2 if length == _SHORT else 8
        length = int.from_bytes(read[at + 2 : start], "big")
    return (start, start + length) if start + length <= len(read) else None


class FrameReader:
    """Bytes in, frames out. `wanted` is how much to read so that a frame, with luck, comes alone."""

    __slots__ = ("_buffer", "_last", "_parts")

    def __init__(self) -> None:
        self._buffer = b""
        self._last = 2  # the length of the last frame: the next one of a channel is most often as long
        self._parts: list[bytes] = []

    @property
    def wanted(self) -> int:
        """How many bytes the frame that is coming lacks, as far as one can know before its head is there."""
        length, have = _frame_length(self._buffer), len(self._buffer)
        if length is not None:
            return length - have
        head = 2 if have < 2 else _payload_at(self._buffer)  # noqa: PLR2004 - the least head
        return max(self._last, head) - have

    @property
    def waiting(self) -> bool:
        """Whether part of a frame has come."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """What `data` completes, each as soon as it is found. Raises NotWebSocketError."""
        self._buffer = buffer = self._buffer + data if self._buffer else data
        while (length := _frame_length(buffer)) is not None and len(buffer) >= length:
            first, start = buffer[0], _payload_at(buffer)
            payload, self._buffer = buffer[start:length], buffer[length:]
            buffer, self._last = self._buffer, length
            frame = self._joined(first, payload)
            if frame is not None:
                yield frame

    def _joined(self, first: int, payload: bytes) -> Frame | None:
        """The message that a frame completes; None for a part."""
        opcode, final = first & 0x0F, bool(first & 0x80)
        if opcode >= _CONTROL:
            return Frame(opcode, payload)
        if final and not self._parts:
            return Frame(opcode, payload)
        self._parts.append(payload)
        if not final:
            return None
        whole, self._parts = b"".join(self._parts), []
        return Frame(Opcode.TEXT, whole)


def _payload_at(buffer: bytes) -> int:
    length = buffer[1] & 0x7F
    return 2 if length < _SHORT else 4 if length == _SHORT else 10


def _frame_length(buffer: bytes) -> int | None:
    """Head and payload of the frame at the start of `buffer`; None where its head is not complete."""
    if len(buffer) < 2 or len(buffer) < (start := _payload_at(buffer)):  # noqa: PLR2004 - the least head
        return None
    if buffer[1] & 0x80:
        raise NotWebSocketError("a server's frames are not masked")
    length = start + (buffer[1] if start == 2 else int.from_bytes(buffer[2:start], "big"))  # noqa: PLR2004
    if length > MAX_FRAME_BYTES:
        raise NotWebSocketError(f"a frame of {length} bytes")
    return length
