"""What each kind of fault can do to messages on their way: the one place where the ledger tells kinds apart. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from enum import Flag, auto
from typing import Final

from fanlab.clock import NS_PER_MS
from fanlab.ledger.faultlog import REDIS
from fanlab.ledger.result import FaultAccount

TOLD_NS: Final = 200 * NS_PER_MS  # the end of a process is noted this late at most
MEMORY_LIMIT: Final = "memory-limit"
CLIENTS: Final = "clients"  # which of a node's links a network fault is on, as its settings have it
PACKETS: Final = "packets"  # what it is done to, as its settings have it; else to bytes, by the link
TO_NODE: Final = "to-node"
FROM_NODE: Final = "from-node"


class Harm(Flag):
    """Of the target of a fault, unless it says otherwise."""

    ENDS = auto()  # its process ends, and with it all that it holds
    FREEZES = auto()  # it runs no further; its kernel goes on
    STARVES = auto()  # it runs, and too slowly to keep up
    CUTS_CLIENTS = auto()  # its connections to its clients end
    HUSHES_CLIENTS = auto()  # nothing passes on them, and neither end is told
    DRAGS_CLIENTS = auto()  # little passes on them, or late
    CUTS_REDIS = auto()  # its connection to Redis ends
    HUSHES_REDIS = auto()  # nothing passes on it, and not both ends are told
    DRAGS_REDIS = auto()  # little passes on it, or late
    STOPS_PUBLISHING = auto()  # Redis takes no publish
    DROPS_SUBSCRIBERS = auto()  # Redis' subscribers lose their connections
    SHRINKS_BUFFERS = auto()  # Redis closes whoever lags
    SHUTS_THE_DOOR = auto()  # Redis lets nobody in


OF_CLIENTS: Final = Harm.CUTS_CLIENTS | Harm.HUSHES_CLIENTS | Harm.DRAGS_CLIENTS  # on the way from node to client
SLOWS: Final = Harm.FREEZES | Harm.STARVES | Harm.HUSHES_CLIENTS | Harm.DRAGS_CLIENTS  # lets a client's buffer fill
ENDS_CONNECTIONS: Final = Harm.ENDS | Harm.FREEZES | Harm.STARVES | OF_CLIENTS  # of clients, at once or in the end

_ALONE: Final = {
    "crash": Harm.ENDS,
    "stop": Harm.ENDS,
    "restart": Harm.ENDS,
    "pause": Harm.FREEZES,
    "cpu-throttle": Harm.STARVES,
    MEMORY_LIMIT: Harm.STARVES,
    "clock-step": Harm.STARVES,
    "subscriber-churn": Harm.STARVES,
    "slow-clients": Harm.DRAGS_CLIENTS,
    "reconnect-storm": Harm.CUTS_CLIENTS,
    "redis-restart": Harm.STOPS_PUBLISHING | Harm.DROPS_SUBSCRIBERS,
    "redis-pause": Harm.STOPS_PUBLISHING,
    "redis-client-pause": Harm.STOPS_PUBLISHING,
    "redis-kill-pubsub": Harm.DROPS_SUBSCRIBERS,
    "redis-output-buffer": Harm.SHRINKS_BUFFERS,
    "redis-maxclients": Harm.SHUTS_THE_DOOR,
    "redis-disk-full": Harm.DROPS_SUBSCRIBERS | Harm.SHUTS_THE_DOOR,  # whoever lives by PING, which it refuses
}
_ON_A_LINK: Final = {  # to its clients, to Redis
    "partition": (Harm.HUSHES_CLIENTS, Harm.HUSHES_REDIS),
    "half-open": (Harm.CUTS_CLIENTS | Harm.HUSHES_CLIENTS, Harm.CUTS_REDIS | Harm.HUSHES_REDIS),
    "connection-reset": (Harm.CUTS_CLIENTS, Harm.CUTS_REDIS),
    "latency": (Harm.DRAGS_CLIENTS, Harm.DRAGS_REDIS),
    "bandwidth": (Harm.DRAGS_CLIENTS, Harm.DRAGS_REDIS),
    "slicing": (Harm.DRAGS_CLIENTS, Harm.DRAGS_REDIS),
}

_AT_ONCE: Final = ("connection-reset", "reconnect-storm")
KINDS: Final = frozenset({*_ALONE, *_ON_A_LINK})


def kinds_that(harm: Harm) -> tuple[str, ...]:
    """The kinds of faults that do this and no more."""
    return tuple(kind for kind, done in _ALONE.items() if done is harm)


def harm_of(fault: FaultAccount) -> Harm:
    """What it can do. Of a kind that nobody knows, what a fault of its target would do at the worst."""
    if fault.kind in _ON_A_LINK:
        return _ON_A_LINK[fault.kind][fault.settings.get("link") != CLIENTS]
    if fault.kind in _ALONE and (fault.target == REDIS) == fault.kind.startswith(REDIS):
        return _ALONE[fault.kind]
    return Harm.STOPS_PUBLISHING | Harm.DROPS_SUBSCRIBERS if fault.target == REDIS else Harm.STARVES


def doing(faults: Sequence[FaultAccount], harm: Harm) -> list[FaultAccount]:
    """All of them, in their places; those that do nothing of `harm` as if they had never been injected."""
    return [one if harm_of(one) & harm else replace(one, requested_ns=None) for one in faults]


def hushed(faults: Sequence[FaultAccount], harm: Harm) -> list[FaultAccount]:
    """As `doing`, of those that hold each message up, on new connections too, in the direction that messages go in.

    A partition of packets does so whichever its direction: what nobody can acknowledge is soon sent no further.
    """
    away = FROM_NODE if harm is Harm.HUSHES_REDIS else TO_NODE
    return [
        one
        if one.kind == "partition" and (one.settings.get("direction") != away or one.settings.get("by") == PACKETS)
        else replace(one, requested_ns=None)
        for one in doing(faults, harm)
    ]


def parting(faults: Sequence[FaultAccount]) -> list[FaultAccount]:
    """As `doing`, of those that leave the clients' ends of their connections alone, as long as they last."""
    found = doing(faults, Harm.CUTS_CLIENTS)
    return [one if harm_of(one) & Harm.HUSHES_CLIENTS else replace(one, requested_ns=None) for one in found]


def hits_all(fault: FaultAccount) -> bool:
    """Whether it hits each connection of its link, and not only a share of them."""
    return bool(fault.settings.get("share", 1) == 1)


def as_it_struck(fault: FaultAccount) -> FaultAccount:
    """As far as connections are concerned.

    A limit that its target was killed for is a crash at that time; one that killed nobody is a limit and no more. What
    resets connections is over when it is done, whoever comes back to where he was.
    """
    if fault.kind in _AT_ONCE and fault.confirmed_ns is not None:
        return replace(fault, heal_requested_ns=fault.confirmed_ns, heal_confirmed_ns=fault.confirmed_ns)
    if fault.kind != MEMORY_LIMIT or fault.ended_ns is None:
        return fault
    struck_ns = max(fault.requested_ns or 0, fault.ended_ns - TOLD_NS)
    return replace(fault, kind="crash", requested_ns=struck_ns, confirmed_ns=fault.ended_ns)
