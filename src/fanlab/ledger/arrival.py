"""In which order a client's deliveries came: that of its journal, where times agree with it.

An engine journals what its clients receive in the order received, and a client's life is in one stripe. Where a journal
has it otherwise (a client in two stripes, times that fall), the times decide, and that client's deliveries are held
until all are there. Either way the result does not depend on the order in which stripes are read.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.histogram import Ints
from fanlab.ledger.received import Bools
from fanlab.ledger.records import DELIVERY_DTYPE

Chunk = tuple[int, NDArray[Any]]  # the number of its stripe, DELIVERY_DTYPE records
Chunks = Callable[[], Iterator[Chunk]]  # each call anew
_NO_SOURCE = -1


class Arrival:
    """Finds clients whose deliveries are not in the order received. Clients that the plan lacks share one place."""

    def __init__(self, clients: int) -> None:
        self.disordered: Bools = np.zeros(clients + 1, np.bool_)
        self._last_recv: Ints = np.zeros(clients + 1, np.int64)
        self._source: Ints = np.full(clients + 1, _NO_SOURCE)

    def note(self, records: NDArray[Any], source: int) -> None:
        """Look at the next chunk of one stripe."""
        client = places(records, len(self.disordered))
        recv = records["recv_ns"].astype(np.int64)
        if (recv[1:] < recv[:-1]).any():
            order = np.argsort(client, kind="stable")
            of, at = client[order], recv[order]
            self.disordered[of[1:][(of[1:] == of[:-1]) & (at[1:] < at[:-1])]] = True
        late = (recv < self._last_recv[client]) | ((self._source[client] != source) & (self._source[client] >= 0))
        self.disordered[client[late]] = True
        np.maximum.at(self._last_recv, client, recv)  # the last one's, but of clients that are disordered already
        self._source[client] = source


def in_order(chunks: Chunks, disordered: Bools) -> Iterator[NDArray[Any]]:
    """All deliveries, each client's in the order received: those of disordered clients (see Arrival) come last."""
    if not disordered.any():
        yield from (records for _, records in chunks())
        return
    held = Held(disordered)
    for source, records in chunks():
        yield held.split(records, source)
    yield held.sorted()


class Held:
    """Keeps back the deliveries of chosen clients until all are there."""

    def __init__(self, clients: Bools) -> None:
        """`clients` as in Arrival.disordered."""
        self._clients = clients
        self._kept: list[tuple[NDArray[Any], int]] = []

    def split(self, records: NDArray[Any], source: int) -> NDArray[Any]:
        """Keep those of the chosen clients; return the others."""
        kept = self._clients[places(records, len(self._clients))]
        if not kept.any():
            return records
        self._kept.append((records[kept], source))
        return records[~kept]

    def sorted(self) -> NDArray[Any]:
        """All that was kept, by time. A stable sort: what tie within a stripe stays in the stripe's order."""
        records = np.concatenate([np.zeros(0, DELIVERY_DTYPE), *(part for part, _ in self._kept)])
        source = np.repeat(
            np.array([number for _, number in self._kept], np.int64), [len(part) for part, _ in self._kept]
        )
        return records[np.lexsort((source, records["recv_ns"]))]


def places(records: NDArray[Any], size: int) -> Ints:
    """The client of each record; one that is none of the plan's has the last place."""
    return np.minimum(records["client"].astype(np.int64), size - 1)
