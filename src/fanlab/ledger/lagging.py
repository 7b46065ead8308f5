"""Who asked while its node lagged: what the node still had to hand out then may come to it, and is owed to it if so.

A node that is behind hands out what was published some time ago, and a client that has just subscribed gets that, too.
Nobody knows how far behind a node is, but its other clients' deliveries tell: a message of which it handed out the
first copy after a client had asked is due to that client as well. One that others had before was replayed.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.arrival import Chunks
from fanlab.ledger.histogram import Ints
from fanlab.ledger.messages import Messages
from fanlab.ledger.pairs import Pairs, pair_key
from fanlab.ledger.windows import NEVER


def reached_back(pairs: Pairs, messages: Messages, chunks: Chunks) -> Pairs:
    """The same pairs, with those windows begun earlier that have deliveries of a node that lagged.

    A window then begins with the earliest of those publishes. Deliveries are read only where a client asked after
    publishing had begun, and a second time only where one got what was published before.
    """
    if not _joined_late(pairs, messages):
        return pairs
    pair, message, node = _early(pairs, messages, chunks)
    if not len(pair):
        return pairs
    place = node * len(messages.status) + message
    wanted = np.unique(place)
    first_ns = _first_to_others(pairs, messages, chunks, wanted)[np.searchsorted(wanted, place)]
    ask_ns = pairs.window["ask_ns"].copy()
    due = (first_ns < NEVER) & (first_ns >= ask_ns[pair])
    np.minimum.at(ask_ns, pair[due], messages.done_ns[message[due]])
    window = pairs.window.copy()
    window["ask_ns"] = ask_ns
    return replace(pairs, window=window)


def _joined_late(pairs: Pairs, messages: Messages) -> bool:
    first_ns = np.full(len(messages.base) - 1, NEVER)
    np.minimum.at(first_ns, messages.stream, messages.done_ns)
    return bool((pairs.window["ask_ns"] > first_ns[pairs.stream]).any())


def _early(pairs: Pairs, messages: Messages, chunks: Chunks) -> tuple[Ints, Ints, Ints]:
    """(pair, message, node) of deliveries that were published before they were asked for."""
    found = [np.zeros((0, 3), np.int64)]
    for records, pair, message in _known(pairs, messages, chunks):
        early = messages.done_ns[message] < pairs.window["ask_ns"][pair]
        rows = (pair[early], message[early], records["node"][early].astype(np.int64))
        found.append(np.stack(rows, axis=1))
    pair, message, node = np.concatenate(found).T
    return pair, message, node


def _first_to_others(pairs: Pairs, messages: Messages, chunks: Chunks, wanted: Ints) -> Ints:
    """When each (node, message) of `wanted`, sorted, first came to a client that had asked for it before; or NEVER."""
    first_ns = np.full(len(wanted), NEVER)
    for records, pair, message in _known(pairs, messages, chunks):
        place = records["node"].astype(np.int64) * len(messages.status) + message
        at = np.minimum(np.searchsorted(wanted, place), len(wanted) - 1)
        hit = (wanted[at] == place) & (messages.done_ns[message] >= pairs.window["ask_ns"][pair])
        np.minimum.at(first_ns, at[hit], records["recv_ns"][hit].astype(np.int64))
    return first_ns


def _known(pairs: Pairs, messages: Messages, chunks: Chunks) -> Iterator[tuple[NDArray[Any], Ints, Ints]]:
    """Deliveries that may have been: with their pair and their message."""
    may_exist = messages.may_exist
    for _, records in chunks():
        pair = pairs.find(pair_key(records["client"], records["stream"]))
        message = messages.find(records["stream"].astype(np.int64), records["seq"].astype(np.int64))
        known = (pair >= 0) & (message >= 0) & may_exist[message]
        known &= messages.sent_ns[message] <= pairs.window["left_ns"][pair]
        yield records[known], pair[known], message[known]
