"""What the witness had: a subscriber of fanlab's own, straight at Redis. See load.witness, which keeps the journal.

That a message is in its records proves that Redis had it, and their order is Redis' own. That a message is *not* in
them proves something only where the witness was surely up.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.histogram import Ints
from fanlab.ledger.lookups import first_of_each
from fanlab.ledger.messages import Messages
from fanlab.ledger.received import Bools
from fanlab.ledger.records import WITNESS_DTYPE
from fanlab.ledger.stripe import Kind, StripeReader, heartbeat_ns, json_lines

NO_RECEIVERS: Final = -1  # nobody can tell


@dataclass(frozen=True, slots=True)
class Witness:
    """What it had, and when it was there to have it."""

    records: NDArray[Any]  # records.WITNESS_DTYPE: one per copy, in the order in which Redis sent them
    up: NDArray[np.int64]  # rows (from, until) in ns, by time: whatever Redis had published in [from, until] is there
    torn: int = 0
    corrupt: int = 0
    closed: bool = False  # it ended in order

    def surely_saw(self, from_ns: Ints, until_ns: Ints) -> Bools:
        """Whether it must have what Redis published at any instant of [from_ns, until_ns]."""
        if not len(self.up):
            return np.zeros(len(from_ns), np.bool_)
        row = np.searchsorted(self.up[:, 0], from_ns, side="right") - 1
        saw: Bools = (row >= 0) & (until_ns <= self.up[np.maximum(row, 0), 1])
        return saw

    def copies(self, messages: Messages) -> Ints:
        """By message, how many copies of it the witness had."""
        at = messages.find(self.records["stream"].astype(np.int64), self.records["seq"].astype(np.int64))
        return np.bincount(at[at >= 0], minlength=len(messages.status)).astype(np.int64)

    def order(self, messages: Messages) -> Ints:
        """By message, the place of its first copy in Redis' order; -1 where the witness had none."""
        at = messages.find(self.records["stream"].astype(np.int64), self.records["seq"].astype(np.int64))
        order = np.full(len(messages.status), -1)
        place = np.flatnonzero(at >= 0)
        place = place[first_of_each(at[place])]
        order[at[place]] = place
        return order


def receivers_less_witness(messages: Messages, witness: Witness | None) -> Messages:
    """The messages with receivers that are nodes: Redis counts the witness, too.

    One reply counts it once, however many copies a retried publish made. NO_RECEIVERS where nobody can tell whether
    Redis counted it: it had no copy, and may have been cut off.
    """
    if witness is None:
        return messages
    copies = witness.copies(messages)
    unsure = (copies == 0) & (messages.receivers > 0) & ~witness.surely_saw(messages.sent_ns, messages.done_ns)
    receivers = np.where(messages.receivers >= 0, np.maximum(messages.receivers - (copies > 0), 0), NO_RECEIVERS)
    return replace(messages, receivers=np.where(unsure, NO_RECEIVERS, receivers))


def read_witness(path: Path) -> Witness | None:
    """The witness's journal; None where there is none. Torn and corrupt frames are counted, never fatal."""
    if not path.is_file():
        return None
    records: list[bytes] = []
    changes: list[tuple[int, bool]] = []
    good_ns = 0
    reader = StripeReader(path)
    for frame in reader:
        match frame.kind:
            case Kind.WITNESS:
                records.append(frame.payload[: len(frame.payload) // WITNESS_DTYPE.itemsize * WITNESS_DTYPE.itemsize])
            case Kind.HEARTBEAT:
                good_ns = heartbeat_ns(frame)
            case Kind.EVENTS:
                for event in json_lines(frame):
                    if event.get("ev") == "witness":
                        state_up = event.get("state") == "up"
                        changes.append((int(event["t" if state_up else "good"]), state_up))
    return Witness(
        records=np.frombuffer(b"".join(records), WITNESS_DTYPE),
        up=_intervals(changes, good_ns),
        torn=reader.torn,
        corrupt=reader.corrupt,
        closed=reader.closed,
    )


def _intervals(changes: list[tuple[int, bool]], good_ns: int) -> NDArray[np.int64]:
    """From (t, up or down) in order; an interval that is still open ends at `good_ns`."""
    rows: list[tuple[int, int]] = []
    since: int | None = None
    for t_ns, is_up in changes:
        if is_up and since is None:
            since = t_ns
        elif not is_up and since is not None:
            rows.append((since, max(since, t_ns)))
            since = None
    if since is not None and good_ns > since:
        rows.append((since, good_ns))
    return np.array(rows, np.int64).reshape(-1, 2)
