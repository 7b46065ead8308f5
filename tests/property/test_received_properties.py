"""Runs of numbers against a set of numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fanlab.ledger.received import Received, run_begins

PAIRS, SEQS = 3, 12
keys = st.tuples(st.integers(0, PAIRS - 1), st.integers(1, SEQS))
batches = st.lists(st.lists(keys, max_size=10, unique=True), max_size=8)


def columns(rows):
    table = np.array(sorted(rows), np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def add(received: Received, rows: list[tuple[int, int]]) -> None:
    """As the fold does: rising runs in one go where all of a pair lies above what it has, else number by number."""
    pair, seq = columns(rows)
    rises = np.ones(len(pair), np.bool_)
    for one in set(pair.tolist()):
        rises[pair == one] = seq[pair == one].min() > received.open_high[one]
    received.add_new(pair[~rises], seq[~rises])
    pair, seq = pair[rises], seq[rises]
    begins = np.flatnonzero(run_begins(pair, seq))
    ends = np.append(begins[1:], len(seq)) - 1
    received.add_rising(pair[begins], seq[begins], seq[ends] if len(seq) else seq)


@given(batches)
def test_holds_what_was_added_as_the_fewest_runs(batches):
    received, expected = Received(PAIRS), set()
    for batch in batches:
        fresh = [key for key in batch if key not in expected]
        add(received, fresh)
        expected.update(fresh)
        pair, seq = columns([(p, s) for p in range(PAIRS) for s in range(1, SEQS + 1)])
        assert received.contains(pair, seq).tolist() == [key in expected for key in zip(pair, seq, strict=True)]
    runs = list(zip(*(part.tolist() for part in received.runs()), strict=True))
    assert runs == sorted(runs)
    assert {(pair, seq) for pair, low, high in runs for seq in range(low, high + 1)} == expected
    edges = {(pair, low) for pair, low, _ in runs}
    assert not any((pair, high + 1) in edges for pair, _, high in runs)


def test_an_unbroken_stream_is_one_run_however_long():
    received, pair = Received(2), np.arange(2)
    for chunk in range(500):
        low = np.full(2, chunk * 1000 + 1)
        received.add_rising(pair, low, low + 999)
        assert not len(received._key) + sum(len(of) for of, _, _ in received._loose)
    assert [part.tolist() for part in received.runs()] == [[0, 1], [1, 1], [500_000, 500_000]]
    assert received.contains(pair, pair + 1).all()
