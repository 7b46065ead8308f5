"""Where each loss's client was when the message was published, and how the connection that it was on ended. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.breaks import ENDS_NODES
from fanlab.ledger.ends import among, fault_of_end
from fanlab.ledger.faultlog import AFTERMATH_NS, IN_FLIGHT_NS
from fanlab.ledger.harm import OF_CLIENTS, Harm, doing, harm_of, hits_all, hushed, parting
from fanlab.ledger.histogram import Ints
from fanlab.ledger.lookups import fault_at, latest, node_fault
from fanlab.ledger.lost import Losses, World
from fanlab.ledger.received import Bools
from fanlab.ledger.records import NO_NODE
from fanlab.ledger.result import FaultAccount
from fanlab.ledger.whereabouts import IN_HAND_NS
from fanlab.ledger.windows import NEVER

PAUSE: Final = "pause"
_CUT_OFF: Final = Harm.CUTS_REDIS | Harm.HUSHES_REDIS


@dataclass(frozen=True, slots=True)
class Place:
    """By loss: where its client was, and on which connection."""

    node: Ints  # that the client was on, or last on; NO_NODE
    asked_ns: Ints  # for the channel, on that connection
    confirmed_ns: Ints
    closed_ns: Ints
    away: Bools
    joining: Bools
    live: Bools


def place_of(losses: Losses, world: World) -> Place:
    """Look up the subscription that each client had last asked for."""
    subs = world.subs
    # The table's place for (client, channel): channels are few, clients many
    span = 1 + int(max(subs["channel"].max(initial=0), losses.channel.max(initial=0)))
    group = subs["client"] * span + subs["channel"]
    at = latest(group, subs["subscribing_ns"], losses.client * span + losses.channel, losses.sent_ns)
    some = at >= 0
    row = subs[np.maximum(at, 0)] if len(subs) else np.zeros(len(at), subs.dtype)
    closed_ns = np.where(some, row["closed_ns"], 0)
    confirmed_ns = np.where(some, row["subscribed_ns"], NEVER)
    away = closed_ns <= losses.sent_ns
    joining = ~away & (confirmed_ns > losses.sent_ns)
    node = np.where(some, row["node"], NO_NODE).astype(np.int64)
    asked_ns = np.where(some, row["subscribing_ns"], 0)
    return Place(node, asked_ns, confirmed_ns, closed_ns, away, joining, ~away & ~joining)


@dataclass(frozen=True, slots=True)
class End:
    """By loss: what its connection's end tells. `fault` is that of the node then, an index into World.faults or -1."""

    fault: Ints
    kind: NDArray[np.str_]  # of that fault
    last: Bools  # nothing that was sent before the connection ended came after this message
    # The node was at fault when the message was sent, or so soon after that it may have been on its way
    troubled: Bools
    gone: Bools  # from when it was sent on the node was surely dead, or paused until the connection was over
    in_hand: Bools  # the node may have been handing it from client to client when that fault struck
    hung: Bools  # the node had time to hand it on before it died, and handed nothing on
    starved: Bools  # that fault kept the node from running fast enough
    link: Bools  # that fault is one of the way from the node to its clients
    held: Ints  # a fault that let nothing pass on that way when the message was sent; -1
    held_all: Bools  # ... for whichever client

    @property
    def caught(self) -> Bools:
        """Whether the end of the connection may have taken the message with it.

        A fault takes what was on its way. A connection that was silent for longer when its node died was broken before.
        """
        caught: Bools = self.last & self.troubled
        return caught


def end_of(losses: Losses, world: World, place: Place) -> End:
    """Look up the faults of the nodes; those that only cut them off from Redis end no client's connection."""
    faults = doing(world.faults, ~_CUT_OFF)
    closed_ns, sent_ns, done_ns = place.closed_ns, losses.sent_ns, losses.done_ns

    def at_work(of: Sequence[FaultAccount], from_ns: Ints, to_ns: Ints, aftermath_ns: int = AFTERMATH_NS) -> Ints:
        return node_fault(of, world.node_names, place.node, from_ns, to_ns, aftermath_ns=aftermath_ns)

    given_up = among(world.too_slow, losses.client, closed_ns) | among(world.without_answer, losses.client, closed_ns)
    fault = fault_of_end(faults, world.node_names, place.node, closed_ns, given_up)
    kind = np.where(fault >= 0, np.array([one.kind for one in faults] or [""])[fault], "")
    harm = np.array([harm_of(one).value for one in faults] or [0])[fault]
    on_the_way = at_work(doing(faults, OF_CLIENTS), sent_ns, closed_ns) >= 0
    held = at_work(hushed(faults, Harm.HUSHES_CLIENTS), sent_ns, done_ns, 0)
    parted = at_work(parting(faults), sent_ns, done_ns, 0)
    parted = np.where(np.array([one.requested_ns or 0 for one in faults] or [0])[parted] > place.asked_ns, parted, -1)
    struck_ns = np.array([one.requested_ns or 0 for one in faults] or [0])[fault]
    bitten_ns = np.array([one.confirmed_ns or NEVER for one in faults] or [0])[fault]
    hung = (fault >= 0) & (sent_ns + IN_HAND_NS < np.minimum(struck_ns, closed_ns)) & np.isin(kind, ENDS_NODES)
    return End(
        fault=fault,
        kind=kind,
        last=place.live & (losses.next_sent_ns > closed_ns),
        troubled=at_work(faults, sent_ns, done_ns + IN_FLIGHT_NS) >= 0,
        gone=_gone(faults, world.node_names, place, sent_ns),
        in_hand=(fault >= 0) & (done_ns + IN_HAND_NS >= struck_ns) & (sent_ns <= bitten_ns),
        hung=hung & ~on_the_way,
        starved=(fault >= 0) & (harm & Harm.STARVES.value > 0),
        link=(fault >= 0) & (harm & OF_CLIENTS.value > 0),
        held=np.where(held >= 0, held, parted),
        held_all=(held >= 0) & np.array([hits_all(one) for one in faults] or [False])[held],
    )


def _gone(faults: Sequence[FaultAccount], node_names: Sequence[str], place: Place, sent_ns: Ints) -> Bools:
    found = np.zeros(len(sent_ns), np.bool_)
    for fault in faults:
        if fault.target not in node_names or fault.requested_ns is None or fault.confirmed_ns is None:
            continue
        back_ns = NEVER if fault.heal_requested_ns is None else fault.heal_requested_ns
        held = (place.node == node_names.index(fault.target)) & (sent_ns >= fault.confirmed_ns)
        if fault.kind in ENDS_NODES:
            found |= held & (sent_ns < back_ns)
        elif fault.kind == PAUSE:
            found |= held & (place.closed_ns <= back_ns) & (place.closed_ns < NEVER)
    return found


def outages_of(losses: Losses, world: World) -> tuple[Bools, Ints, Ints]:
    """Of the outage that each loss may fall into: whether it ended, when it began (NEVER: none), its fault or -1."""
    starts = np.array([outage.start_ns for outage in world.outages] or [NEVER])
    clients = np.array([outage.client for outage in world.outages] or [-1])
    over = np.array([outage.resubscribed_ns is not None for outage in world.outages] or [False])
    faults = np.array([-1 if outage.fault is None else outage.fault for outage in world.outages] or [-1])
    outage = latest(clients, starts, losses.client, losses.sent_ns)
    some = outage >= 0
    return over[outage] & some, np.where(some, starts[outage], NEVER), np.where(some, faults[outage], -1)


def no_node_up(world: World, client: Ints, node: Ints, t_ns: Ints) -> Bools:
    """Whether every node that each client may go to was down at t_ns."""
    none_up = np.zeros(len(client), np.bool_)
    faults = doing(world.faults, Harm.ENDS | Harm.FREEZES)
    if not faults:
        return none_up
    up = np.ones((len(world.node_names), len(client)), np.bool_)
    for name in {fault.target for fault in faults} & set(world.node_names):
        up[world.node_names.index(name)] = fault_at(faults, name, t_ns, t_ns, aftermath_ns=0) < 0
    choice = world.choice[client]
    own = (choice < 0) & (node < len(up))
    none_up[own] = ~up[node[own], np.flatnonzero(own)]
    for index, nodes in enumerate(world.choices):
        none_up |= (choice == index) & ~up[list(nodes)].any(axis=0)
    return none_up


def closed_as_slow(losses: Losses, world: World, place: Place) -> Bools:
    """Whether the connection ended for its client's slowness: by its close code, or as the node had dropped for it."""
    ended = place.closed_ns < NEVER
    told = among(world.too_slow, losses.client, place.closed_ns)
    dropped = world.drops.slow_since(place.node, losses.client, place.asked_ns, losses.done_ns, place.closed_ns)
    return ended & (told | dropped)
