"""JSON lines between parent, master, workers and engines: one object per line, told apart by its `op` or `ev`."""

import json
from collections.abc import Mapping
from typing import Any, Final

Message = dict[str, Any]
CONFIGURED: Final[Message] = {"op": "configured"}  # to a process that loads: its configuration is written, it may begin


def encode(message: Mapping[str, Any]) -> bytes:
    """One line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class LineReader:
    """Bytes in, messages out."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes. Raises ValueError for a line that is no JSON object."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [decode(line) for line in lines if line]


def decode(line: bytes) -> Message:
    """The message of one line, without its end. Raises ValueError if it is no JSON object."""
    message = json.loads(line)
    if isinstance(message, dict):
        return message
    raise ValueError(f"not a message: {line[:80]!r}")
