"""What journals hold: the fixed-size records of the hot paths, and the token that payloads carry.

All times are nanoseconds on CLOCK_MONOTONIC. All numbers are little-endian. Indexes are those of the run's plan.
"""

import binascii
import struct
from enum import IntEnum
from typing import NamedTuple

import numpy as np

NO_NODE = 0xFFFF

DELIVERY = struct.Struct("<QQIIHHI")  # recv_ns, intended_ns, seq, client, stream, node, sent_lag_us
DELIVERY_DTYPE = np.dtype(
    [
        ("recv_ns", "<u8"),
        ("intended_ns", "<u8"),
        ("seq", "<u4"),
        ("client", "<u4"),
        ("stream", "<u2"),
        ("node", "<u2"),
        ("sent_lag_us", "<u4"),
    ]
)

INTENT = struct.Struct("<QIHH")  # intended_ns, seq, stream, 0: written before the message is sent
INTENT_DTYPE = np.dtype([("intended_ns", "<u8"), ("seq", "<u4"), ("stream", "<u2"), ("zero", "<u2")])

OUTCOME = struct.Struct("<QQIHBBiI")  # sent_ns, done_ns, seq, stream, status, 0, receivers, 0
OUTCOME_DTYPE = np.dtype(
    [
        ("sent_ns", "<u8"),
        ("done_ns", "<u8"),
        ("seq", "<u4"),
        ("stream", "<u2"),
        ("status", "u1"),
        ("zero", "u1"),
        ("receivers", "<i4"),
        ("zero2", "<u4"),
    ]
)

WITNESS = struct.Struct("<QQIHH")  # recv_ns, intended_ns, seq, stream, 0: one per copy, in Redis' own order
WITNESS_DTYPE = np.dtype(
    [("recv_ns", "<u8"), ("intended_ns", "<u8"), ("seq", "<u4"), ("stream", "<u2"), ("zero", "<u2")]
)

READ = struct.Struct("<QQQIIHHBBH")  # intended_ns, asked_ns, answered_ns, seq, object, stream, node, status, sweep, 0
READ_DTYPE = np.dtype(
    [
        ("intended_ns", "<u8"),
        ("asked_ns", "<u8"),
        ("answered_ns", "<u8"),
        ("seq", "<u4"),  # the version that the entry had; 0: none
        ("object", "<u4"),  # the key is (stream, object): see scenario.plan.object_key
        ("stream", "<u2"),
        ("node", "<u2"),
        ("status", "u1"),  # a ReadStatus
        ("sweep", "u1"),  # 1: one of the reads of every entry that end a run
        ("zero", "<u2"),
    ]
)


class ReadStatus(IntEnum):
    """How a read of a cache entry ended."""

    OK = 0  # the entry, with a token of this run and key
    MISSING = 1  # 404: nothing is held under this key
    FAILED = 2  # no answer, an error, or one from which nobody can tell what is held


class Status(IntEnum):
    """How a publish ended. Three kinds of answer: yes, no, and nobody knows."""

    OK = 0  # Redis replied with a count of receivers
    FAILED = 1  # certainly not published: refused, or an error reply
    TIMED_OUT = 2  # no reply in time: may have been published
    UNKNOWN = 3  # the connection broke after it was sent: may have been published
    UNSENT = 4  # the generator missed the slot: a fault of the measurement, not of the system


class Token(NamedTuple):
    """The fields of a marker."""

    run: int  # low 16 bits of the run's seed-independent id: foreign traffic is told apart by it
    stream: int
    seq: int
    intended_ns: int
    sent_lag_us: int  # how long after its intended time the message was handed to the socket


TOKEN_PREFIX = b"fl1"
TOKEN_LENGTH = 47
MARK_LENGTH = 19  # the leading part that names the message: prefix, run, stream, seq; what a node's journal quotes
_FIELDS = struct.Struct(">HHIQI")
_LAG_MAX = 0xFFFF_FFFF


def encode_token(token: Token) -> bytes:
    """47 ASCII characters: `fl1`, then 40 hex digits of the fields, then 4 of their CRC-16 (CCITT).

    Only letters and digits, so that JSON, URL and HTML escaping leave it as it is.
    """
    fields = _FIELDS.pack(*token[:4], min(token.sent_lag_us, _LAG_MAX))
    return b"%b%b%04x" % (TOKEN_PREFIX, fields.hex().encode(), binascii.crc_hqx(fields, 0))


def decode_token(text: bytes) -> Token | None:
    """The token at the start of `text`; None where it is cut short or damaged."""
    if len(text) < TOKEN_LENGTH or not text[:43].islower():  # unhexlify would take a digit whose case was changed
        return None
    try:
        fields = binascii.unhexlify(text[3:43])
    except ValueError:  # binascii.Error is one
        return None
    return Token(*_FIELDS.unpack(fields)) if b"%04x" % binascii.crc_hqx(fields, 0) == text[43:47] else None
