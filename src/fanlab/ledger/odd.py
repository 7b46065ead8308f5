"""Deliveries that should not have been, or not so: copies, disorder, strangers, damage. What each kind is, and why.

They stand beside the ledger identity, never in it: a pair that came twice was delivered once and duplicated once.
"""

from enum import IntEnum
from typing import Final

import numpy as np


class Odd(IntEnum):
    """What is wrong with a delivery. The names are those of summary.json's ledger block."""

    DUPLICATED = 0  # received again
    REORDERED = 1  # received after a later message of its own stream
    DISAGREED = 2  # received, on one node, after a message of another stream that Redis has later: no total order
    UNEXPECTED = 3  # received though not owed
    CORRUPTED = 4  # received with bytes that are not those published

    @property
    def label(self) -> str:
        """The name in summaries."""
        return self.name.lower()


class CopyCause(IntEnum):
    """Why a message came twice. The names are those of summary.json's duplicates.by_cause."""

    UNEXPLAINED = 0
    PUBLISH_RETRIED = 1  # the witness had it from Redis more than once, too
    DOUBLE_SUBSCRIPTION = 2  # Redis had it once, and handed it to the node more than once: channel and pattern both
    REPLAY = 3  # the first copy came over an earlier connection of this client

    @property
    def label(self) -> str:
        """The name in summaries."""
        return self.name.lower()


UNKNOWN_STREAM: Final = 0xFFFF  # with seq 0: a corrupted delivery of which nobody can tell what it was

ODD_DTYPE = np.dtype(
    [
        ("recv_ns", "<u8"),
        ("client", "<u4"),
        ("seq", "<u4"),
        ("stream", "<u2"),
        ("node", "<u2"),  # that it came through
        ("kind", "u1"),  # an Odd
        ("cause", "u1"),  # of a copy, a CopyCause; else 0
    ]
)
