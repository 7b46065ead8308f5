"""RESP2, the protocol of Redis, without sockets: commands out, replies in. https://redis.io/docs/latest/develop/reference/protocol-spec/

redis-py is not used for publishing, because it repeats a PUBLISH whose reply is late.
"""

from dataclasses import dataclass
from typing import Any

from fanlab.errors import HarnessError

_CRLF = b"\r\n"


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """`-ERR …`: Redis did not do it."""

    text: str


Reply = int | bytes | ErrorReply | list[Any] | None


class _Incomplete(Exception):  # noqa: N818 - the ordinary case, not an error
    """More bytes are needed."""


def encode_command(*parts: bytes) -> bytes:
    """A command as an array of bulk strings."""
    return b"".join([b"*%d\r\n" % len(parts), *(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)])


class ReplyReader:
    """Bytes in, replies out, however the bytes are cut."""

    __slots__ = ("_at", "_buffer")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes. Raises HarnessError for bytes that are no RESP."""
        self._buffer += data
        self._at = 0
        replies: list[Reply] = []
        complete = 0
        try:
            while self._at < len(self._buffer):
                replies.append(self._reply())
                complete = self._at
        except _Incomplete:
            pass
        self._buffer = self._buffer[complete:]
        return replies

    def _line(self) -> bytes:
        end = self._buffer.find(_CRLF, self._at)
        if end < 0:
            raise _Incomplete
        line = self._buffer[self._at : end]
        self._at = end + 2
        return line

    def _bytes(self, length: int) -> bytes:
        end = self._at + length
        if len(self._buffer) < end + 2:
            raise _Incomplete
        data = self._buffer[self._at : end]
        self._at = end + 2
        return data

    def _reply(self) -> Reply:
        line = self._line()
        kind, rest = line[:1], line[1:]
        try:
            match kind:
                case b":":
                    return int(rest)
                case b"+":
                    return rest
                case b"-":
                    return ErrorReply(rest.decode("utf-8", "replace"))
                case b"$":
                    return self._bytes(int(rest)) if int(rest) >= 0 else None
                case b"*":
                    return [self._reply() for _ in range(int(rest))] if int(rest) >= 0 else None
        except ValueError:
            pass
        raise HarnessError(f"Redis sent {line[:60]!r}, which is no RESP2", hint="is the address that of a Redis?")
