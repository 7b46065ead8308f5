"""Deliveries that should not have been, or not so: copies, disorder, strangers, damage. What each kind is, and why.

They stand beside the ledger identity, never in it: a pair that came twice was delivered once and duplicated once.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray


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


def odd_rows(kind: Odd, records: NDArray[Any]) -> NDArray[Any]:
    """A row for each of these deliveries (anything with the fields recv_ns, client, seq, stream, node)."""
    rows = np.zeros(len(records), ODD_DTYPE)
    for name in ("recv_ns", "client", "seq", "stream", "node"):
        rows[name] = records[name]
    rows["kind"] = kind
    return rows


def sorted_odd(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """All rows as one array, by time received; the rest of each row decides where times tie."""
    rows = np.concatenate([np.zeros(0, ODD_DTYPE), *parts])
    return rows[np.lexsort([rows[name] for name in reversed(ODD_DTYPE.names or ())])]
