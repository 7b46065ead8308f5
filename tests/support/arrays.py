"""The ledger's arrays, by hand and small: what it folds, without a run directory around it."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.messages import Messages
from fanlab.ledger.records import DELIVERY_DTYPE, Status
from fanlab.ledger.windows import NEVER, WINDOW_DTYPE


def made_messages(
    per_stream: Sequence[int], *, every: int = 10, took: int = 2, status: Iterable[int] | None = None
) -> Messages:
    """Number q of each stream is meant for `every` × q, sent 1 later, and answered after `took` more."""
    base = np.concatenate(([0], np.cumsum(per_stream))).astype(np.int64)
    intended = np.concatenate([np.zeros(0, np.int64), *(np.arange(1, count + 1) * every for count in per_stream)])
    kind = np.full(len(intended), Status.OK, np.uint8)
    if status is not None:
        kind[:] = list(status)
    return Messages(base, intended, intended + 1, intended + 1 + took, kind, np.ones(len(intended), np.int64))


def made_deliveries(*rows: tuple[int, ...]) -> NDArray[np.void]:
    """From (received, client, stream, seq, node, intended); what a row does not say is 0."""
    made = np.zeros(len(rows), DELIVERY_DTYPE)
    for at, row in enumerate(rows):
        recv, client, stream, seq, node, intended = (*row, *(0,) * (6 - len(row)))
        made[at] = (recv, intended, seq, client, stream, node, 0)
    return made


def made_windows(*rows: tuple[int, ...]) -> NDArray[np.void]:
    """From (client, channel, ask, confirm, fade, left, held): from the start and for ever, unless a row says more."""
    whole = (0, 0, 0, 0, NEVER, NEVER, NEVER)
    return np.array([(*row, *whole[len(row) :]) for row in rows], WINDOW_DTYPE)
