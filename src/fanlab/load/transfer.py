"""Files over a stream: a line with name and length, the bytes, a line with their CRC-32, and the receiver's word on it.

What does not arrive as it was sent is not kept: a journal with a hole nobody knows of is worse than none.
"""

import asyncio
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fanlab.errors import EnvironmentFailure
from fanlab.load.joining import Incoming, refused
from fanlab.load.wire import encode

CHUNK_BYTES: Final = 1 << 18


class NotStored(EnvironmentFailure):
    """A file did not come over."""


async def send_file(path: Path, incoming: Incoming, writer: asyncio.StreamWriter) -> None:
    """Send a file whole, as long as it is now. Raises NotStored, with the receiver's reason, and OSError."""
    with path.open("rb") as file:
        left, crc = os.fstat(file.fileno()).st_size, 0
        writer.write(encode({"ev": "file", "name": path.name, "bytes": left}))
        await _expect(incoming, "go", path.name)
        while left and (data := file.read(min(CHUNK_BYTES, left))):
            crc = zlib.crc32(data, crc)
            left -= len(data)
            writer.write(data)
            await writer.drain()
    writer.write(encode({"ev": "sent", "crc": crc}))
    await _expect(incoming, "stored", path.name)


async def receive_file(
    reader: asyncio.StreamReader,
    incoming: Incoming,
    writer: asyncio.StreamWriter,
    place_of: Callable[[str], Path | None],
    moved: Callable[[], None],
) -> str:
    """Receive one file to where `place_of(name)` says (None: not wanted); returns its name. `moved`: bytes have come.

    Raises NotStored, which the sender has been told, and ConnectionError where it left.
    """
    head = await incoming.next()
    if head is None:
        raise ConnectionResetError("the sender left")
    name, size = str(head.get("name"))[:100], head.get("bytes")
    place = place_of(name)
    if head.get("ev") != "file" or place is None or not isinstance(size, int) or size < 0:
        raise await _not_stored(writer, f"{name!r} is no journal of this worker's")
    if place.exists():
        raise await _not_stored(writer, f"{name} is here already")
    part = place.with_name(f".{place.name}.part")
    try:
        with part.open("wb") as file:
            writer.write(encode({"op": "go"}))
            crc = await _copy(reader, size, file.write, moved)
            file.flush()
            os.fsync(file.fileno())
        sent = await incoming.next()
        if sent is None:
            raise ConnectionResetError("the sender left")
        if sent.get("crc") != crc:
            raise await _not_stored(
                writer, f"{name} arrived damaged: its CRC is {crc}, and should be {sent.get('crc')}"
            )
        part.rename(place)
    except OSError as error:
        if isinstance(error, ConnectionError):
            raise
        raise await _not_stored(writer, f"{name} cannot be stored: {error.strerror or error}") from error
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError(f"the sender left in the middle of {name}") from error
    finally:
        part.unlink(missing_ok=True)
    writer.write(encode({"op": "stored"}))
    await writer.drain()
    return name


async def _copy(
    reader: asyncio.StreamReader, size: int, write: Callable[[bytes], object], moved: Callable[[], None]
) -> int:
    crc, left = 0, size
    while left:
        data = await reader.read(min(CHUNK_BYTES, left))
        if not data:
            raise asyncio.IncompleteReadError(b"", left)
        crc = zlib.crc32(data, crc)
        left -= len(data)
        write(data)
        moved()
    return crc


async def _expect(incoming: Incoming, op: str, name: str) -> None:
    answer = await incoming.next()
    if answer is None:
        raise NotStored(f"{name} did not come over: the run has hung up")
    if answer.get("op") != op:
        raise NotStored(f"{name} is refused: {answer.get('why')}")


async def _not_stored(writer: asyncio.StreamWriter, why: str) -> NotStored:
    await refused(writer, why)
    return NotStored(why)
