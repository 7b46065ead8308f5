"""What a damaged token may have been: every good one that is a single byte away from it.

A token is `fl1`, 40 hex digits and 4 more: big-endian run (u16), stream (u16), seq (u32), intended time (u64), µs from
then to the sending (u32), and the CRC-16 (CCITT, from 0) of those 20 bytes. Its letters are small.
"""

import binascii
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

LENGTH: Final = 47
_BEGINNING: Final = "fl1"
_DIGITS: Final = "0123456789abcdef"
_FIELDS: Final = struct.Struct(">HHIQI")
_CRC_AT: Final = 43


class Guess(NamedTuple):
    """A message that a damaged token may have been."""

    run: int
    stream: int
    seq: int
    intended: int


@lru_cache(maxsize=4096)  # a node that damages a message does so once for all its clients
def guesses(damaged: bytes) -> frozenset[Guess]:
    """What differs in exactly one byte from `damaged`, wherever in it a token may stand."""
    text = damaged.decode("latin-1")
    return frozenset(
        guess
        for start in range(len(text) - LENGTH + 1)
        for changed in _one_byte_away(text[start : start + LENGTH])
        if (guess := _read(changed)) is not None
    )


def _one_byte_away(text: str) -> Iterator[str]:
    """Texts with another byte in one place, of which the others stand as in a token."""
    wrong = [at for at, letter in enumerate(text) if letter not in _letters(at)]
    if len(wrong) > 1:
        return
    for at in wrong or range(LENGTH):
        for letter in _letters(at):
            if letter != text[at]:
                yield text[:at] + letter + text[at + 1 :]


def _letters(at: int) -> str:
    """What may stand in a place of a token."""
    return _BEGINNING[at] if at < len(_BEGINNING) else _DIGITS


def _read(text: str) -> Guess | None:
    fields = bytes.fromhex(text[len(_BEGINNING) : _CRC_AT])
    if binascii.crc_hqx(fields, 0) != int(text[_CRC_AT:], 16):
        return None
    return Guess(*_FIELDS.unpack(fields)[:4])
