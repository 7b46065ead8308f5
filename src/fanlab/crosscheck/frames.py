"""Reading stripes and files of JSON lines, from their documented format and nothing else.

A stripe is a sequence of frames: `FL`, one letter for the kind, a zero byte, the payload's length and a CRC-32 of
letter and payload (both u32, little-endian), the payload. It ends where a frame is cut short or does not begin as a
frame must; a frame whose CRC is wrong is skipped.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

LETTERS: Final = frozenset(b"SDIOWREHZ")  # start, deliveries, intents, outcomes, witness, reads, events, heartbeat, end
LONGEST: Final = 64 * 1024 * 1024

# Times are u64 in the journals and signed here, as sqlite's integers are: no monotonic clock gets to 2^63 ns.
DELIVERY: Final = struct.Struct("<qqIIHHI")  # received, intended, seq, client, stream, node, µs from intended to sent
INTENT: Final = struct.Struct("<qIHxx")  # intended, seq, stream
OUTCOME: Final = struct.Struct("<qqIHBxixxxx")  # sent, done, seq, stream, status, receivers
READ: Final = struct.Struct("<qqqIIHHBBxx")  # intended, asked, answered, seq, object, stream, node, status, sweep
WITNESS_RECORD: Final = struct.Struct("<qqIHxx")  # received, intended, seq, stream
HEARTBEAT: Final = struct.Struct("<q")

Row = tuple[Any, ...]


class Stripe:
    """One stripe. `closed` is known once `frames` has been read to its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.closed = False

    def frames(self) -> Iterator[tuple[str, bytes]]:
        """(letter, payload) of each good frame, in order; none where there is no such file."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            while len(head := file.read(12)) == 12:  # noqa: PLR2004 - the header's length
                letter, length = head[2], int.from_bytes(head[4:8], "little")
                if head[:2] != b"FL" or letter not in LETTERS or length > LONGEST:
                    return
                payload = file.read(length)
                if len(payload) != length:
                    return
                if zlib.crc32(head[2:3] + payload) == int.from_bytes(head[8:], "little"):
                    self.closed = letter == ord("Z")
                    yield chr(letter), payload


def records(shape: struct.Struct, payload: bytes) -> Iterator[Row]:
    """The whole records in a payload; a rest that is none is left out."""
    return shape.iter_unpack(memoryview(payload)[: len(payload) // shape.size * shape.size])


def objects(text: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text of lines. Lines that are none are passed over."""
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            yield found
