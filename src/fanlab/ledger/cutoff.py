"""Which losses a break of their node's subscription took, and which Redis' counts put down to its absence. Pure."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.breaks import PARTITION, Kind, Way, breaks_met
from fanlab.ledger.connection import End, Place
from fanlab.ledger.faultlog import AFTERMATH_NS, IN_FLIGHT_NS, REDIS
from fanlab.ledger.histogram import Ints
from fanlab.ledger.lookups import fault_at, node_fault
from fanlab.ledger.lost import Losses, World
from fanlab.ledger.received import Bools
from fanlab.ledger.whereabouts import Whereabouts
from fanlab.ledger.windows import NEVER

NO_BREAK: Final = 255


@dataclass(frozen=True, slots=True)
class Cut:
    """By loss: the break that took it. Faults are indexes into World.faults, -1 for none."""

    kind: NDArray[np.uint8]  # a breaks.Kind, or NO_BREAK
    fault: Ints  # at the break
    listed: Bools  # the break is known from Redis' list alone
    surely: Bools  # the node surely had no subscription then
    silence_fault: Ints  # at work since the node last had something of this channel
    returned: Bools  # and the node had something of this channel again later


def cut_of(losses: Losses, world: World, place: Place, seen: Whereabouts, end: End) -> Cut:
    """What the node had, no break can have taken; nor, once the break had begun, what Redis counted every node for."""
    may = place.live & ~seen.had
    black = ~np.isin(place.node, list(world.traffic.heard))
    way = Way(
        node=np.where(may, place.node, -1),
        channel=losses.channel,
        sent_ns=losses.sent_ns,
        done_ns=losses.done_ns,
        closed_ns=place.closed_ns,
        next_ns=np.where(black, seen.after_ns, losses.next_sent_ns),
        patient=end.troubled,
        uncounted=seen.uncounted,
    )
    table = _silences(world, way, seen, end)
    met = breaks_met(table, way)
    row = table[met.row] if len(table) else np.zeros(len(may), table.dtype)
    begun = losses.sent_ns >= row["sure_from"]
    some = met.row >= 0
    some &= ~(row["listed"] & (row["kind"] == Kind.GAP) & seen.all_counted & begun)
    told_ns = np.where(row["kind"] == Kind.DEAF, row["sure_from"], row["to_ns"])
    at_break = _fault(world, place.node, row["from_ns"], told_ns)
    stamped = node_fault(
        [fault for fault in world.faults if fault.kind == PARTITION],
        world.node_names, place.node, losses.sent_ns, losses.done_ns, aftermath_ns=0,
    )  # fmt: skip
    numbers = np.array([at for at, fault in enumerate(world.faults) if fault.kind == PARTITION] or [-1])
    parted = may & (stamped >= 0) & ~(some & (row["kind"] == Kind.KILLED))
    silence_fault, returned = _silence(losses, world, place, seen)
    return Cut(
        kind=np.where(parted, Kind.SILENT, np.where(some, row["kind"], NO_BREAK)).astype(np.uint8),
        fault=np.where(parted, numbers[stamped], np.where(some, at_break, -1)),
        listed=some & row["listed"],
        surely=some & ~met.ahead & begun & (losses.done_ns <= row["sure_to"]),
        silence_fault=silence_fault,
        returned=returned,
    )


def _silences(world: World, way: Way, seen: Whereabouts, end: End) -> NDArray[Any]:
    """The breaks, with those that Redis listed long after the node had fallen silent as what they are.

    Redis counted the node for what it did not have, more than IN_FLIGHT_NS before its connection was seen to go, and
    neither it nor the node was at fault: the link was cut first.
    """
    table = world.breaks
    plain = table["listed"] & (table["kind"] == Kind.GAP)
    if not plain.any():
        return table
    met = breaks_met(table, way, patient=True)
    row = table[met.row]
    redis_fault = fault_at(world.faults, REDIS, way.sent_ns, row["from_ns"], aftermath_ns=AFTERMATH_NS)
    long = met.ahead & plain[met.row] & (row["from_ns"] > way.done_ns + IN_FLIGHT_NS)
    long &= ~end.troubled & ~seen.uncounted & (redis_fault < 0)
    table = table.copy()
    table["kind"][met.row[long]] = Kind.SILENT
    return table


def _fault(world: World, node: Ints, from_ns: Ints, to_ns: Ints) -> Ints:
    """The last fault of Redis, else of each node, in [from_ns, to_ns] or just over; -1."""
    redis = fault_at(world.faults, REDIS, from_ns, to_ns, aftermath_ns=AFTERMATH_NS)
    of_node = node_fault(world.faults, world.node_names, node, from_ns, to_ns, aftermath_ns=AFTERMATH_NS)
    return np.where(redis >= 0, redis, of_node)


def _silence(losses: Losses, world: World, place: Place, seen: Whereabouts) -> tuple[Ints, Bools]:
    """Of a node that keeps no journal or tells of no break: what was at fault since it was last heard of."""
    since_ns = np.where(seen.before_ns >= 0, seen.before_ns, place.confirmed_ns)
    fault = _fault(world, place.node, since_ns, losses.done_ns)
    healed_ns = np.array([one.heal_confirmed_ns or 0 for one in world.faults] or [0])[fault]
    returned = (fault >= 0) & ((seen.after_ns < NEVER) | (losses.sent_ns <= healed_ns))
    return fault, returned
