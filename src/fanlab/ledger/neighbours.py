"""What may have come where something unreadable came: of each stream, the one message between its neighbours. Pure.

The damaged copies of a client cut its time into intervals. Per interval and stream the first and last delivery are
kept, so memory grows with what is damaged, not with deliveries.
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.histogram import Ints
from fanlab.ledger.messages import Messages

_NONE: Final = -1
_MOST_CELLS: Final = 1 << 22  # beyond that nothing is said: so much damage leaves no neighbours to go by


def between_neighbours(
    damage: NDArray[Any], deliveries: Iterable[NDArray[Any]], messages: Messages
) -> tuple[Ints, Ints, Ints]:
    """(row of `damage`, stream, seq) where seq - 1 came last before it and seq + 1 first after it, on its node.

    `damage` has t, client and node, sorted by t; what is named may have come elsewhere, or never have been published.
    """
    streams = len(messages.base) - 1
    table = _Intervals(damage, streams)
    if not len(damage) or table.cells > _MOST_CELLS:
        none = np.zeros(0, np.int64)
        return none, none, none
    for records in deliveries:
        table.note(records, messages)
    return table.gaps()


class _Intervals:
    """Interval i of a client ends at its i-th damaged copy; the last one has no end."""

    def __init__(self, damage: NDArray[Any], streams: int) -> None:
        self._damage = damage
        self._streams = streams
        self._clients, count = np.unique(damage["client"], return_counts=True)
        self._base = np.concatenate(([0], np.cumsum(count + 1)))
        self.cells = int(self._base[-1]) * streams
        self._times = np.unique(damage["t"])
        self._ends = np.sort(self._moment(np.searchsorted(self._clients, damage["client"]), damage["t"]))
        cells = self.cells if self.cells <= _MOST_CELLS else 0
        highest = np.iinfo(np.int64).max
        self._first_ns, self._first = np.full(cells, highest), np.full((cells, 2), _NONE)  # seq and node
        self._last_ns, self._last = np.full(cells, _NONE), np.full((cells, 2), _NONE)

    def note(self, records: NDArray[Any], messages: Messages) -> None:
        """Deliveries, in any order."""
        client = np.minimum(np.searchsorted(self._clients, records["client"].astype(np.int64)), len(self._clients) - 1)
        stream = records["stream"].astype(np.int64)
        chosen = self._clients[client] == records["client"].astype(np.int64)
        chosen &= messages.find(stream, records["seq"].astype(np.int64)) >= 0
        records, client, stream = records[chosen], client[chosen], stream[chosen]
        recv = records["recv_ns"].astype(np.int64)
        cell = self._interval(client, recv) * self._streams + stream
        order = np.lexsort((records["node"], records["seq"], recv, cell))
        cell, recv, records = cell[order], recv[order], records[order]
        value = np.column_stack((records["seq"].astype(np.int64), records["node"].astype(np.int64)))
        first = np.append(True, cell[1:] != cell[:-1])[: len(cell)]
        last = np.append(first[1:], True)[: len(cell)]
        at = np.flatnonzero(first)
        seq = value[:, 0]
        known_ns, known = self._first_ns[cell[at]], self._first[cell[at], 0]
        at = at[(recv[at] < known_ns) | ((recv[at] == known_ns) & (seq[at] < known))]
        self._first_ns[cell[at]], self._first[cell[at]] = recv[at], value[at]
        at = np.flatnonzero(last)
        known_ns, known = self._last_ns[cell[at]], self._last[cell[at], 0]
        at = at[(recv[at] > known_ns) | ((recv[at] == known_ns) & (seq[at] > known))]
        self._last_ns[cell[at]], self._last[cell[at]] = recv[at], value[at]

    def gaps(self) -> tuple[Ints, Ints, Ints]:
        """See between_neighbours."""
        rows = int(self._base[-1])
        index = np.arange(rows)[:, None]
        of_client = np.repeat(self._base[:-1], np.diff(self._base))[:, None]
        end_of_client = np.repeat(self._base[1:], np.diff(self._base))[:, None]
        came = (self._last_ns >= 0).reshape(rows, self._streams)
        before = np.maximum.accumulate(np.where(came, index, _NONE), axis=0)
        before = np.where(before >= of_client, before, _NONE)
        after = np.minimum.accumulate(np.where(came, index, rows)[::-1], axis=0)[::-1]
        after = np.where(after < end_of_client, after, _NONE)

        client = np.searchsorted(self._clients, self._damage["client"])
        order = np.lexsort((np.arange(len(client)), client))  # by client, then time
        interval = np.empty(len(client), np.int64)
        interval[order] = np.arange(len(client)) + client[order]  # each client before it has one interval more
        stream = np.arange(self._streams)
        left, right = before[interval], after[interval + 1]
        known = (left >= 0) & (right >= 0)
        low = self._last[np.where(known, left, 0) * self._streams + stream]
        high = self._first[np.where(known, right, 0) * self._streams + stream]
        node = self._damage["node"].astype(np.int64)[:, None]
        fits = known & (high[..., 0] == low[..., 0] + 2) & (low[..., 1] == node) & (high[..., 1] == node)
        row, of_stream = np.nonzero(fits)
        return row, of_stream, low[row, of_stream, 0] + 1

    def _interval(self, client: Ints, recv: Ints) -> Ints:
        """How many of the client's damaged copies came before, counted over all clients' intervals."""
        earlier = np.searchsorted(self._ends, self._moment(client, recv), side="right")
        return earlier + client

    def _moment(self, client: Ints, t_ns: Ints) -> Ints:
        """One number that orders by client, then by the times of damage."""
        return client * (len(self._times) + 1) + np.searchsorted(self._times, t_ns, side="right")
