"""Forty messages 10 ms apart, of which client 0 lacks some: the history that tests of causes are told on."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from fanlab.ledger.records import Status
from support.histories import History

ALL: Final = range(1, 41)


def stream(
    missing: Collection[int],
    clients: int = 1,
    receivers: int = 1,
    statuses: Mapping[int, Status] | None = None,
    **more: Any,
) -> History:
    """Client 0, on node 0 first, gets all but the missing ones, for which Redis replied `receivers`."""
    history = History(clients=clients, **more)
    for client in range(clients):
        history.subscribe(client, node=client)
    for seq in ALL:
        unheard = receivers if seq in missing else 1
        history.publish(seq, seq * 10, receivers=unheard, status=(statuses or {}).get(seq, Status.OK))
        if seq not in missing:
            history.deliver(0, seq, seq * 10 + 1)
    return history


def journal(history: History, heard: Iterable[int] = ALL, *, node: int = 0, stop: float | None = 900) -> History:
    """The node's journal, with what it heard of the forty messages; it ends in order."""
    history.node_line(node, -1900, "start", pid=1).node_line(node, -1600, "subscribed", ch="news")
    for seq in heard:
        history.fan_out(node, seq, seq * 10 + 0.5)
    return history if stop is None else history.node_line(node, stop, "stop")


def without(*missing: int) -> list[int]:
    """All but these."""
    return [seq for seq in ALL if seq not in missing]
