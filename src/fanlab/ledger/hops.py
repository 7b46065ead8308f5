"""Where the time went between the intended send and the client, as far as journals reach. Pure.

schedule   intended send -> handed to the socket        one sample per message
redis      handed to the socket -> read by a node       one sample per message and node that journals
node       read by a node -> handed to all its clients  one sample per message and node that journals
client     handed to all its clients -> received        one sample per delivery through such a node

A node hands a message to its clients one after another, so the first ones receive it before it is `done`: their
client hop counts as 0, and `Histogram.clamped` says for how many.
"""

from collections.abc import Mapping

import numpy as np

from fanlab.ledger.histogram import Histogram, Ints
from fanlab.ledger.lookups import first_of_each
from fanlab.ledger.messages import NO_MESSAGE, NO_OUTCOME, Messages
from fanlab.ledger.nodejournal import NodeJournal
from fanlab.ledger.received import Bools
from fanlab.ledger.records import Status


def node_times(journal: NodeJournal, messages: Messages) -> tuple[Ints, Ints]:
    """When a node received each message and had handed it out, in ns; 0 where its journal does not say.

    Of a message that it received twice, the first time counts.
    """
    received, done = np.zeros(len(messages.status), np.int64), np.zeros(len(messages.status), np.int64)
    rows = journal.messages[np.argsort(journal.messages[:, 2], kind="stable")]
    at = messages.find(rows[:, 0], rows[:, 1])
    rows, at = rows[at >= 0], at[at >= 0]
    first = first_of_each(at)
    received[at[first]], done[at[first]] = rows[first, 2], rows[first, 3]
    return received, done


def message_hops(messages: Messages, nodes: Mapping[int, tuple[Ints, Ints]], measure: Bools) -> dict[str, Histogram]:
    """The hops schedule, redis and node, over the messages in `measure`."""
    sent = measure & ~np.isin(messages.status, (NO_MESSAGE, NO_OUTCOME, Status.UNSENT, Status.FAILED))
    hops = {"schedule": Histogram(), "redis": Histogram(), "node": Histogram()}
    hops["schedule"].add((messages.sent_ns - messages.intended_ns)[sent])
    for received, done in nodes.values():
        known = sent & (received > 0)
        hops["redis"].add((received - messages.sent_ns)[known])
        hops["node"].add((done - received)[known])
    return hops
