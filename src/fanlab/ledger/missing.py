"""What was owed and did not come: per stream, a table of its pairs × its messages, in blocks of bounded size."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.fold import Grid
from fanlab.ledger.histogram import Ints
from fanlab.ledger.messages import Messages
from fanlab.ledger.pairs import Pairs
from fanlab.ledger.received import Bools, run_begins
from fanlab.ledger.records import Status
from fanlab.ledger.windows import NEVER

_CELLS = 1 << 21  # of a block: some 30 MB with all its temporaries

Runs = tuple[Ints, Ints, Ints]  # (pair, low, high), sorted


@dataclass(slots=True)
class PhaseDebt:
    """One phase's terms of the identity, but for what was delivered."""

    owed: int = 0
    lost: int = 0
    indeterminate: int = 0


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the evidence ends. Behind it a missing message may yet have come."""

    partial: bool  # not drained to the end: what was on its way over an open connection is not lost
    horizon_ns: Ints  # by client: its stripe surely holds all that came before; NEVER: all there was


@dataclass(slots=True)
class Debts:
    """What the tables come to. Losses are of the measure phase: a pair, a message, and what that pair got next."""

    grid_owed: Ints
    grid_lost: Ints
    owed_by_client: Ints
    lost_by_client: Ints
    owed_by_stream: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # of the measure phase
    measure: PhaseDebt = field(default_factory=PhaseDebt)
    warm_up: PhaseDebt = field(default_factory=PhaseDebt)
    pair: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    message: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    next_message: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # -1: it got nothing more of the stream
    undecided: Runs = field(default_factory=lambda: (np.zeros(0, np.int64),) * 3)  # (pair, first message, last message)


@dataclass(frozen=True, slots=True)
class _Block:
    stream: int
    pairs: slice
    messages: slice
    owed: Bools  # all four are pairs × messages
    lost: Bools
    indeterminate: Bools
    got: Bools


def debts(pairs: Pairs, messages: Messages, runs: Runs, grid: Grid, cut: Cut, *, zero_ns: int, clients: int) -> Debts:
    """Hold what each pair was owed against the runs of numbers that it received."""
    found = Debts(
        np.zeros(grid.bins, np.int64), np.zeros(grid.bins, np.int64),
        np.zeros(clients, np.int64), np.zeros(clients, np.int64),
        owed_by_stream=np.zeros(len(messages.base) - 1, np.int64),
    )  # fmt: skip
    losses: list[tuple[Ints, Ints, Ints]] = []
    undecided: list[Runs] = []
    for block in _blocks(pairs, messages, runs, cut):
        measure = messages.intended_ns[block.messages] >= zero_ns
        for phase, chosen in ((found.measure, measure), (found.warm_up, ~measure)):
            phase.owed += int(np.count_nonzero(block.owed[:, chosen]))
            phase.lost += int(np.count_nonzero(block.lost[:, chosen]))
            phase.indeterminate += int(np.count_nonzero(block.indeterminate[:, chosen]))
        intended = messages.intended_ns[block.messages][measure]
        of = pairs.client[block.pairs]
        found.owed_by_stream[block.stream] += int(np.count_nonzero(block.owed[:, measure]))
        for table, over_time, by_client in (
            (block.owed[:, measure], found.grid_owed, found.owed_by_client),
            (block.lost[:, measure], found.grid_lost, found.lost_by_client),
        ):
            np.add(over_time, grid.count(intended, np.count_nonzero(table, axis=0)), out=over_time)
            np.add.at(by_client, of, np.count_nonzero(table, axis=1))
        losses.append(_losses(block, measure))
        undecided.append(_undecided(block, measure))
    if losses:
        found.pair, found.message, found.next_message = (np.concatenate(parts) for parts in zip(*losses, strict=True))
        pair, first, last = (np.concatenate(parts) for parts in zip(*undecided, strict=True))
        found.undecided = pair, first, last
    return found


def _blocks(pairs: Pairs, messages: Messages, runs: Runs, cut: Cut) -> Iterator[_Block]:
    may_exist, uncertain = messages.may_exist, messages.uncertain
    failed = messages.status == Status.FAILED
    for stream in range(len(messages.base) - 1):
        of_stream = slice(int(messages.base[stream]), int(messages.base[stream + 1]))
        count = of_stream.stop - of_stream.start
        every = pairs.of_stream(stream)
        step = max(1, _CELLS // max(1, count))
        for first in range(every.start, every.stop, step):
            of_pairs = slice(first, min(first + step, every.stop))
            window = pairs.window[of_pairs]
            sent, done = messages.sent_ns[of_stream], messages.done_ns[of_stream]
            counts = (may_exist | failed)[of_stream]
            owed = (done >= _column(window, "ask_ns")) & (sent <= _column(window, "left_ns")) & counts
            sure = (sent > _column(window, "confirm_ns")) & (done < _column(window, "fade_ns")) & ~uncertain[of_stream]
            got = _table(runs, of_pairs, count) & owed & may_exist[of_stream]
            missing = owed & ~got
            lost = missing & sure
            if cut.partial or (cut.horizon_ns[window["client"]] < NEVER).any():
                lost &= ~(_trailing(got) & _open_at_the_end(window, cut, done))
            yield _Block(stream, of_pairs, of_stream, owed, lost, missing & ~lost, got)


def _open_at_the_end(window: NDArray[Any], cut: Cut, done: Ints) -> Bools:
    """Whether each message may have been on its way when the evidence ended."""
    horizon = cut.horizon_ns[window["client"]][:, None]
    held: Ints = (
        _column(window, "held_ns") if cut.partial else np.where(horizon < NEVER, _column(window, "held_ns"), NEVER)
    )
    unseen: Bools = (done >= horizon) | (done >= held)
    return unseen


def _trailing(got: Bools) -> Bools:
    """Whether each message is one after which nothing of the stream came."""
    after: Bools = ~np.logical_or.accumulate(got[:, ::-1], axis=1)[:, ::-1]
    return after


def _table(runs: Runs, of_pairs: slice, count: int) -> Bools:
    """Which of `count` messages each pair received, from its runs."""
    pair, low, high = runs
    first, end = np.searchsorted(pair, [of_pairs.start, of_pairs.stop])
    row, low, high = pair[first:end] - of_pairs.start, low[first:end], high[first:end]
    real = low <= count
    row, low, high = row[real], low[real], np.minimum(high[real], count)
    edges = np.zeros((of_pairs.stop - of_pairs.start, count + 1), np.int8)
    edges[row, low - 1] += 1  # runs of a pair neither overlap nor touch: each cell is named once
    edges[row, high] -= 1
    return np.cumsum(edges, axis=1, dtype=np.int8)[:, :-1].astype(np.bool_)


def _losses(block: _Block, measure: Bools) -> tuple[Ints, Ints, Ints]:
    """(pair, message, next message received) of each loss of the measure phase."""
    row, column = np.nonzero(block.lost & measure)
    hit, row_in_hit = np.unique(row, return_inverse=True)
    count = block.got.shape[1]
    following = np.where(block.got[hit], np.arange(count), count)
    following = np.minimum.accumulate(following[:, ::-1], axis=1)[:, ::-1]
    after = following[row_in_hit, column]
    return (
        row + block.pairs.start,
        column + block.messages.start,
        np.where(after < count, after + block.messages.start, -1),
    )


def _undecided(block: _Block, measure: Bools) -> Runs:
    """What is indeterminate of the measure phase, as runs of messages: an unknown outage is one, however long."""
    row, column = np.nonzero(block.indeterminate & measure)
    begins = np.flatnonzero(run_begins(row, column))
    ends = np.append(begins[1:], len(row))[: len(begins)] - 1
    return (
        row[begins] + block.pairs.start,
        column[begins] + block.messages.start,
        column[ends] + block.messages.start,
    )


def _column(window: NDArray[Any], name: str) -> Ints:
    column: Ints = window[name][:, None]
    return column
