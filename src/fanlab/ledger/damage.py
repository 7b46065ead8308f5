"""Damaged tokens: which message each of them was. Pure, and vectorised over the tokens.

A token's checksum (CRC-16, see records.encode_token) is linear: changing one digit changes it by an amount that depends
on the digit's place and the change alone. So what the checksum is off by names the single-byte changes that may have
happened, all of them; the table of messages, with the exact time at which each was meant to be sent, decides.
"""

import binascii
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.histogram import Ints
from fanlab.ledger.received import Bools
from fanlab.ledger.records import NO_NODE, TOKEN_LENGTH, TOKEN_PREFIX

KEPT_BYTES: Final = 64

# One `damaged` event. A good token names stream and seq; else `bytes` begin where it stands.
DAMAGE_DTYPE = np.dtype(
    [
        ("t", "<i8"),
        ("client", "<i8"),
        ("stripe", "<i4"),  # the number of its stripe
        ("node", "<u2"),
        ("stream", "<u2"),
        ("seq", "<u4"),
        ("good", "?"),  # its token checks: the damage is elsewhere
        ("size", "u1"),  # of `bytes`
        ("bytes", "u1", (KEPT_BYTES,)),
    ]
)
# A message that a damaged token may have been.
CANDIDATE_DTYPE = np.dtype([("row", "<i8"), ("run", "<i8"), ("stream", "<i8"), ("seq", "<i8"), ("intended_ns", "<i8")])

_FIELD_DIGITS: Final = 40
_CRC_DIGITS: Final = 4
_PREFIX: Final = np.frombuffer(TOKEN_PREFIX, np.uint8)
_DIGIT: Final = np.full(256, -1, np.int16)  # the value of a hex digit as tokens have them; -1: none
_DIGIT[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_BLOCK: Final = 4096  # tokens at a time: 640 possible changes each


def damage_row(event: Mapping[str, Any]) -> tuple[int, int, int, int, int, int, bool, int, bytes]:
    """A `damaged` event as a row of DAMAGE_DTYPE, its stripe still 0. Raises KeyError, TypeError, ValueError."""
    at = int(event["t"]), int(event["client"]), 0, int(event.get("node", NO_NODE))
    if "bytes" not in event:
        return *at, int(event["stream"]), int(event["seq"]), True, 0, b""
    kept = bytes.fromhex(event["bytes"])[:KEPT_BYTES]
    return *at, 0, 0, False, len(kept), kept


def damage_table(rows: list[tuple[Any, ...]], stripe: int) -> NDArray[Any]:
    """DAMAGE_DTYPE from the rows of one stripe."""
    table = np.zeros(len(rows), DAMAGE_DTYPE)
    for at, row in enumerate(rows):
        table[at] = (*row[:-1], np.frombuffer(row[-1].ljust(KEPT_BYTES, b"\0"), np.uint8))
    table["stripe"] = stripe
    return table


def single_changes(text: NDArray[np.uint8], size: Ints) -> NDArray[Any]:
    """All tokens that differ from one of these texts, at any place in it, in exactly one byte: CANDIDATE_DTYPE.

    `text` is rows of KEPT_BYTES, of which `size` count.
    """
    found = [np.zeros(0, CANDIDATE_DTYPE)]
    for first in range(0, len(text), _BLOCK):
        for start in range(KEPT_BYTES - TOKEN_LENGTH + 1):
            rows = first + np.flatnonzero(size[first : first + _BLOCK] >= start + TOKEN_LENGTH)
            found.append(_changes(text[rows, start : start + TOKEN_LENGTH], rows))
    return np.concatenate(found)


def _changes(text: NDArray[np.uint8], rows: Ints) -> NDArray[Any]:
    """The same for texts of a token's length."""
    digits = _DIGIT[text[:, len(_PREFIX) :]]
    wrong_prefix = np.count_nonzero(text[:, : len(_PREFIX)] != _PREFIX, axis=1)
    no_digit = digits < 0
    wrong = wrong_prefix + np.count_nonzero(no_digit, axis=1)
    possible = wrong <= 1
    if not possible.any():
        return np.zeros(0, CANDIDATE_DTYPE)
    digits, no_digit, rows = np.maximum(digits, 0)[possible], no_digit[possible], rows[possible]
    wrong_prefix, wrong = wrong_prefix[possible], wrong[possible]
    fields, crc = digits[:, :_FIELD_DIGITS], digits[:, _FIELD_DIGITS:]
    off = np.bitwise_xor.reduce(_CHANGE[np.arange(_FIELD_DIGITS), fields], axis=1) ^ _number(crc).astype(np.uint16)

    found = [_candidates(fields[whole], rows[whole]) for whole in [(wrong_prefix == 1) & (off == 0)]]
    # A digit of the checksum was hit: the one that is none, or the only one that differs.
    nibbles = np.stack([off >> shift & 0xF for shift in (12, 8, 4, 0)], axis=1)
    alone = np.count_nonzero(nibbles, axis=1)[:, None] - (nibbles != 0) == 0
    hit = alone & np.where(wrong[:, None] == 0, nibbles != 0, no_digit[:, _FIELD_DIGITS:])
    of, _ = np.nonzero(hit)
    found.append(_candidates(fields[of], rows[of]))
    # A digit of the fields was hit: the one that is none, or any whose change explains what the checksum is off by.
    where = (wrong[:, None] == 0) | no_digit[:, :_FIELD_DIGITS]
    of, place, change = np.nonzero((off[:, None, None] == _CHANGE[None]) & where[:, :, None])
    real = (change != 0) | no_digit[of, place]
    of, place, change = of[real], place[real], change[real]
    repaired = fields[of]
    repaired[np.arange(len(of)), place] ^= change.astype(repaired.dtype)
    found.append(_candidates(repaired, rows[of]))
    return np.concatenate(found)


def _candidates(fields: NDArray[np.int16], rows: Ints) -> NDArray[Any]:
    found = np.zeros(len(rows), CANDIDATE_DTYPE)
    found["row"] = rows
    for name, begin, end in (("run", 0, 4), ("stream", 4, 8), ("seq", 8, 16), ("intended_ns", 16, 32)):
        found[name] = _number(fields[:, begin:end])
    return found


def _number(digits: NDArray[np.int16]) -> Ints:
    number: Ints = np.zeros(len(digits), np.int64)
    for column in digits.T.astype(np.int64):
        number = (number << 4) | column
    return number


def _effects() -> NDArray[np.uint16]:
    """By place and change of a field's digit: what that does to the checksum."""
    table = np.zeros((_FIELD_DIGITS, 16), np.uint16)
    for place in range(_FIELD_DIGITS):
        for change in range(16):
            fields = bytearray(_FIELD_DIGITS // 2)
            fields[place // 2] = change << (4 if place % 2 == 0 else 0)
            table[place, change] = binascii.crc_hqx(fields, 0)
    return table


_CHANGE: Final = _effects()


def unique_pairs(first: Ints, second: Ints) -> Bools:
    """Which (first, second) are not a repetition of an earlier one."""
    order = np.lexsort((second, first))
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = (first[order][1:] != first[order][:-1]) | (second[order][1:] != second[order][:-1])
    chosen = np.zeros(len(order), np.bool_)
    chosen[order] = fresh
    return chosen
