"""The (client, stream) pairs that anything is owed on, and what each is owed: windows spread over streams."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.histogram import Ints

_CLIENT_BITS = 32


@dataclass(frozen=True, slots=True)
class Pairs:
    """Sorted by (stream, client); `window` has, for each pair, the windows.WINDOW_DTYPE row that it falls under."""

    key: Ints
    client: Ints
    stream: Ints
    window: NDArray[Any]

    def __len__(self) -> int:
        return len(self.key)

    def find(self, key: Ints) -> Ints:
        """The index of each key (see `pair_key`), or -1 where the client never asked for the stream's channel."""
        if not len(self.key):
            return np.full(len(key), -1)
        at = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
        return np.where(self.key[at] == key, at, -1)

    def of_stream(self, stream: int) -> slice:
        """The pairs of one stream."""
        first, end = np.searchsorted(self.key, [stream << _CLIENT_BITS, (stream + 1) << _CLIENT_BITS])
        return slice(int(first), int(end))


def pair_key(client: NDArray[Any], stream: NDArray[Any]) -> Ints:
    """One int64 that orders by stream, then client."""
    return (stream.astype(np.int64) << _CLIENT_BITS) | client.astype(np.int64)


def spread(windows: NDArray[Any], stream_channels: Sequence[int]) -> Pairs:
    """Pairs from `windows` (sorted by channel, client) and the channel of each stream."""
    channel = windows["channel"].astype(np.int64)  # contiguous: a search in a field of records would copy it each time
    wanted = np.asarray(stream_channels, np.int64)
    first, end = np.searchsorted(channel, wanted), np.searchsorted(channel, wanted, side="right")
    count = end - first
    stream_of = np.repeat(np.arange(len(wanted)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    window = windows[np.repeat(first, count) + within]
    return Pairs(pair_key(window["client"], stream_of), window["client"].copy(), stream_of, window)
