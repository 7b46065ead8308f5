"""Who is owed a stream, found by its number."""

import numpy as np
import pytest

from fanlab.ledger.pairs import pair_key, spread
from support.arrays import made_windows

# Clients 1 and 4 asked for channel 0, client 4 for channel 2; streams 0 and 3 are on channel 2, 1 on 0, 2 on 1.
WINDOWS = made_windows((1, 0, 11), (4, 0, 12), (4, 2, 13))
STREAMS = (2, 0, 1, 2)


def test_each_client_is_owed_each_stream_of_the_channels_it_asked_for():
    pairs = spread(WINDOWS, STREAMS)
    assert len(pairs) == 4
    assert pairs.stream.tolist() == [0, 1, 1, 3]
    assert pairs.client.tolist() == [4, 1, 4, 4]
    assert pairs.window["ask_ns"].tolist() == [13, 11, 12, 13]
    assert pairs.key.tolist() == sorted(pairs.key.tolist())


@pytest.mark.parametrize(
    ("client", "stream", "place"),
    [
        (4, 0, 0),
        (1, 1, 1),
        (4, 1, 2),
        (4, 3, 3),
        (1, 0, -1),
        (0, 0, -1),
        (5, 3, -1),
        (4, 2, -1),
        (2, 1, -1),
        (0, 9, -1),
    ],
)
def test_a_pair_is_found_by_client_and_stream(client, stream, place):
    pairs = spread(WINDOWS, STREAMS)
    assert pairs.find(pair_key(np.array([client]), np.array([stream]))).tolist() == [place]


def test_the_pairs_of_a_stream_stand_together():
    pairs = spread(WINDOWS, STREAMS)
    assert [pairs.of_stream(stream) for stream in range(5)] == [
        slice(0, 1), slice(1, 3), slice(3, 3), slice(3, 4), slice(4, 4),
    ]  # fmt: skip


def test_clients_and_streams_with_the_highest_numbers_keep_apart():
    top = np.array([2**32 - 1], np.uint32)
    low, high = pair_key(top, np.array([0], np.uint16)), pair_key(np.array([0], np.uint32), np.array([1], np.uint16))
    assert (int(low[0]), int(high[0])) == (2**32 - 1, 2**32)
    assert pair_key(top, np.array([0xFFFF], np.uint16)).tolist() == [(0xFFFF << 32) + 2**32 - 1]


def test_where_nobody_asked_nothing_is_found():
    pairs = spread(made_windows(), STREAMS)
    assert (len(pairs), pairs.of_stream(1)) == (0, slice(0, 0))
    assert pairs.find(pair_key(np.array([0, 1]), np.array([0, 1]))).tolist() == [-1, -1]
