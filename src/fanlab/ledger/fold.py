"""One pass over all deliveries: first copies, duplicates, disorder, what nobody was owed, and how late it all was.

Chunks of any size come in any order. Within a chunk the deliveries of each (client, stream) pair are sorted together
in the order of the journal; what follows on in number is then a run, and only pairs whose runs do not simply rise are
looked at record by record. The first copy of a message is the one received first. A journal has a client's deliveries
in the order received; where one does not (see `arrival`), `deliveries_settled` starts again and sorts those clients'
deliveries by time, at the cost of holding them in memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.arrival import Arrival, Chunks, in_order
from fanlab.ledger.histogram import Histogram, Ints
from fanlab.ledger.latency import LatencyTable, Part
from fanlab.ledger.messages import Messages
from fanlab.ledger.odd import Odd, odd_rows
from fanlab.ledger.pairs import Pairs, pair_key
from fanlab.ledger.received import Bools, Received, run_begins
from fanlab.ledger.records import Status
from fanlab.ledger.result import Outage
from fanlab.ledger.windows import NEVER

_SEQ_BITS = 32


@dataclass(frozen=True, slots=True)
class Grid:
    """Bins over time. What lies outside counts in the first or the last."""

    start_ns: int
    bin_ns: int
    bins: int

    def bin_of(self, t_ns: Ints) -> Ints:
        """The bin of each time."""
        return np.clip((t_ns - self.start_ns) // self.bin_ns, 0, self.bins - 1)

    def count(self, t_ns: Ints, weights: Ints | None = None) -> Ints:
        """How many fall in each bin."""
        return np.bincount(self.bin_of(t_ns), weights, self.bins).astype(np.int64)


@dataclass(slots=True)
class Counts:
    """What one phase's deliveries come to."""

    delivered: int = 0
    duplicated: int = 0
    reordered: int = 0
    unexpected: int = 0
    disagreed: int = 0
    corrupted: int = 0


@dataclass(slots=True)
class Settled:
    """What the deliveries come to. `measure` and `warm_up` go by the intended time of the message."""

    received: Received
    top: Ints  # the highest number of each pair that was owed to it and came; 0: none
    latency: LatencyTable
    client_hop: Histogram
    over_time: Ints
    by_client: Ints
    first_message_ns: Ints  # by outage; NEVER: none
    measure: Counts = field(default_factory=Counts)
    warm_up: Counts = field(default_factory=Counts)
    odd: list[NDArray[Any]] = field(default_factory=list)  # ODD_DTYPE rows of the measure phase, in no order
    odd_warm_up: list[NDArray[Any]] = field(default_factory=list)
    disordered: Bools = field(default_factory=lambda: np.zeros(1, np.bool_))  # see arrival.Arrival
    contradictions: int = 0  # received although the publish is known to have failed


@dataclass(frozen=True, slots=True)
class Context:
    """All that deliveries are held against."""

    pairs: Pairs
    messages: Messages
    zero_ns: int
    grid: Grid
    clients: int
    node_names: tuple[str, ...]
    channel: Part  # `of` each stream
    group: Part  # `of` each client
    node_done_ns: Mapping[int, Ints]  # by node index: when it had handed out each message; 0: not journaled
    outages: Sequence[Outage]  # sorted by client and time


def deliveries_settled(chunks: Chunks, context: Context) -> Settled:
    """Fold all deliveries. The result depends neither on the order of the chunks nor on where they are cut."""
    arrival = Arrival(context.clients)
    fold = _Fold(context)
    for source, records in chunks():
        arrival.note(records, source)
        fold.feed(records)
    if arrival.disordered.any():
        fold = _Fold(context)
        for records in in_order(chunks, arrival.disordered):
            fold.feed(records)
    settled = fold.finish()
    settled.disordered = arrival.disordered
    return settled


class _Fold:
    def __init__(self, context: Context) -> None:
        count, window = len(context.pairs), context.pairs.window
        self._context = context
        self._ask: Ints = window["ask_ns"].copy()
        self._left: Ints = window["left_ns"].copy()
        self._may_exist = context.messages.may_exist
        self._dirty = np.zeros(count, np.bool_)
        self._strays: list[NDArray[Any]] = []
        self._returns = _Returns(context.outages, context.clients)
        self.settled = Settled(
            received=Received(count),
            top=np.zeros(count, np.int64),
            latency=LatencyTable.empty(context.grid.bins),
            client_hop=Histogram(),
            over_time=np.zeros(context.grid.bins, np.int64),
            by_client=np.zeros(context.clients, np.int64),
            first_message_ns=self._returns.first_message_ns,
        )

    def feed(self, records: NDArray[Any]) -> None:
        """Fold deliveries, those of each client in the order received, here and from call to call."""
        if not len(records):
            return
        key = pair_key(records["client"], records["stream"])
        order = np.argsort(key, kind="stable")
        records, key = records[order], key[order]
        begins = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
        found = self._context.pairs.find(key[begins])
        pair = np.repeat(found, np.diff(np.append(begins, len(key))))
        odd = (pair < 0) | (records["seq"] == 0)
        if odd.any():
            self._strays.append(records[odd])
            records, pair = records[~odd], pair[~odd]
        if len(records):
            self._fold(records, pair)

    def finish(self) -> Settled:
        """Count what belongs to no pair."""
        self._count_strays()
        return self.settled

    def _fold(self, records: NDArray[Any], pair: Ints) -> None:
        """`records` are sorted by pair, those of a pair in the order received."""
        context, settled = self._context, self.settled
        seq = records["seq"].astype(np.int64)
        recv = records["recv_ns"].astype(np.int64)
        first = self._first_copies(pair, seq)

        message = context.messages.find(records["stream"].astype(np.int64), seq)
        known = message >= 0  # what is looked up of one that is not known (-1) is never used
        intended = records["intended_ns"].astype(np.int64)
        owed = known.copy()
        if len(context.messages.status):
            intended = np.where(known, context.messages.intended_ns[message], intended)
            owed &= self._may_exist[message]
            owed &= context.messages.done_ns[message] >= self._ask[pair]
            owed &= context.messages.sent_ns[message] <= self._left[pair]
            failed = known & (context.messages.status[message] == Status.FAILED)
            settled.contradictions += int(np.count_nonzero(first & failed))
        good = first & owed
        late = np.zeros(len(good), np.bool_)
        late[good] = self._reordered(pair[good], seq[good])
        measure = intended >= context.zero_ns
        settled.measure.delivered += int(np.count_nonzero(good & measure))
        settled.warm_up.delivered += int(np.count_nonzero(good & ~measure))
        self._note_odd(Odd.DUPLICATED, ~first, records, measure)
        self._note_odd(Odd.REORDERED, late, records, measure)
        self._note_odd(Odd.UNEXPECTED, first & ~owed, records, measure)
        client = records["client"].astype(np.int64)
        self._returns.note(client[good], recv[good])
        good &= measure
        if not good.all():
            client, recv, intended, message, records = (
                client[good],
                recv[good],
                intended[good],
                message[good],
                records[good],
            )
        self._add_figures(client, recv, intended, message, records)

    def _note_odd(self, kind: Odd, chosen: Bools, records: NDArray[Any], measure: Bools) -> None:
        """Count the chosen deliveries by phase, and keep a row for each."""
        if not chosen.any():
            return
        settled, name = self.settled, kind.label
        for counts, rows, phase in (
            (settled.measure, settled.odd, measure),
            (settled.warm_up, settled.odd_warm_up, ~measure),
        ):
            found = odd_rows(kind, records[chosen & phase])
            setattr(counts, name, getattr(counts, name) + len(found))
            rows.append(found)

    def _add_figures(self, client: Ints, recv: Ints, intended: Ints, message: Ints, records: NDArray[Any]) -> None:
        context, settled = self._context, self.settled
        node = records["node"].astype(np.int64)
        settled.over_time += context.grid.count(recv)
        settled.by_client += np.bincount(client, minlength=context.clients)
        settled.latency.add(
            recv - intended,
            node,
            context.grid.bin_of(intended),
            context.node_names,
            channel=Part(context.channel.of[records["stream"]], context.channel.names),
            group=Part(context.group.of[client], context.group.names),
        )
        for index, done_ns in context.node_done_ns.items():
            of_node = node == index
            done = done_ns[message[of_node]]
            settled.client_hop.add((recv[of_node] - done)[done > 0])

    def _first_copies(self, pair: Ints, seq: Ints) -> Bools:
        """Which records are the first of their (pair, seq), also over earlier chunks; all are known from here on."""
        received, dirty = self.settled.received, self._dirty
        begins = np.flatnonzero(run_begins(pair, seq))
        of, low = pair[begins], seq[begins]
        high = seq[np.append(begins[1:], len(seq)) - 1]
        new_pair = np.append(True, of[1:] != of[:-1])
        below = np.append(0, high[:-1])
        below[new_pair] = received.open_high[of[new_pair]]
        falling = of[low <= below]
        dirty[falling] = True
        first = np.ones(len(seq), np.bool_)
        rises = ~dirty[of]
        if len(falling):
            rows = np.flatnonzero(dirty[pair])
            dirty[falling] = False
            key = (pair[rows] << _SEQ_BITS) | seq[rows]
            _, earliest = np.unique(key, return_index=True)
            fresh = earliest[~received.contains(pair[rows[earliest]], seq[rows[earliest]])]
            first[rows] = False
            first[rows[fresh]] = True
            received.add_new(pair[rows[fresh]], seq[rows[fresh]])
        received.add_rising(of[rises], low[rises], high[rises])
        return first

    def _reordered(self, pair: Ints, seq: Ints) -> Bools:
        """Which of these first copies come after a higher number of their pair; `top` is brought up to date."""
        top = self.settled.top
        # pairs rise, so the running maximum of (pair, seq) starts anew with each pair
        highest = np.maximum.accumulate((pair << _SEQ_BITS) | np.maximum(seq, top[pair])) & ((1 << _SEQ_BITS) - 1)
        last = np.append(pair[1:] != pair[:-1], True)[: len(pair)]  # NumPy promises nothing of repeated indexes
        top[pair[last]] = highest[last]
        return seq < highest

    def _count_strays(self) -> None:
        """Deliveries of channels never asked for: each (client, stream, seq) once, the rest are copies."""
        if not self._strays:
            return
        records = np.concatenate(self._strays)
        message = self._context.messages.find(records["stream"].astype(np.int64), records["seq"].astype(np.int64))
        intended = records["intended_ns"].astype(np.int64)
        if len(self._context.messages.status):
            intended = np.where(message >= 0, self._context.messages.intended_ns[np.maximum(message, 0)], intended)
        # a stable sort: what a client received at one instant stays in the order received
        order = np.lexsort((records["recv_ns"], records["seq"], records["stream"], records["client"]))
        records, measure = records[order], intended[order] >= self._context.zero_ns
        first = np.ones(len(records), np.bool_)
        same = [records[name][1:] == records[name][:-1] for name in ("client", "stream", "seq")]
        first[1:] = ~(same[0] & same[1] & same[2])
        self._note_odd(Odd.UNEXPECTED, first, records, measure)
        self._note_odd(Odd.DUPLICATED, ~first, records, measure)


class _Returns:
    """The first delivery after each outage. Clients have few outages: the loop is over the most that one has."""

    def __init__(self, outages: Sequence[Outage], clients: int) -> None:
        self._client = np.array([outage.client for outage in outages], np.int64)
        self.first_message_ns: Ints = np.full(len(outages), NEVER)
        self._has = np.zeros(clients, np.bool_)
        self._has[self._client] = True
        self._ranks: list[tuple[Ints, Ints]] = []  # by client: index of its r-th outage or -1, and when that was over
        seen = np.zeros(clients, np.int64)
        for index, outage in enumerate(outages):
            if outage.resubscribed_ns is None:
                continue
            rank = int(seen[outage.client])
            seen[outage.client] += 1
            if rank == len(self._ranks):
                self._ranks.append((np.full(clients, -1), np.full(clients, NEVER)))
            self._ranks[rank][0][outage.client] = index
            self._ranks[rank][1][outage.client] = outage.resubscribed_ns

    def note(self, client: Ints, recv: Ints) -> None:
        """Deliveries to any clients, in any order."""
        if not self._ranks:
            return
        hit = self._has[client]
        client, recv = client[hit], recv[hit]
        for index, over_ns in self._ranks:
            after = recv >= over_ns[client]
            np.minimum.at(self.first_message_ns, index[client[after]], recv[after])
