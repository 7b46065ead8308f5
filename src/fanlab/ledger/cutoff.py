"""Which losses a break of their node's subscription took, and which Redis' counts put down to its absence. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.breaks import Kind, Way, breaks_met
from fanlab.ledger.connection import End, Place
from fanlab.ledger.faultlog import AFTERMATH_NS, IN_FLIGHT_NS, REDIS
from fanlab.ledger.harm import Harm, doing, hushed
from fanlab.ledger.histogram import Ints
from fanlab.ledger.lookups import either_fault, fault_at, node_fault
from fanlab.ledger.lost import Losses, World
from fanlab.ledger.received import Bools
from fanlab.ledger.whereabouts import Whereabouts
from fanlab.ledger.windows import NEVER

NO_BREAK: Final = 255
_SLOWS: Final = Harm.FREEZES | Harm.STARVES | Harm.DRAGS_REDIS  # it reads too little, or too late
_CUTS: Final = Harm.ENDS | Harm.CUTS_REDIS | Harm.HUSHES_REDIS | Harm.STOPS_PUBLISHING | Harm.DROPS_SUBSCRIBERS
_REST: Final = (_CUTS, _SLOWS, Harm.SHRINKS_BUFFERS, Harm.SHUTS_THE_DOOR)
_BEGAN_BY: Final[Mapping[Kind, tuple[Harm, ...]]] = {  # what stands above what for each kind of break
    Kind.KILLED: (Harm.SHRINKS_BUFFERS, _SLOWS | Harm.HUSHES_REDIS, *_REST),
    Kind.SILENT: (Harm.CUTS_REDIS | Harm.HUSHES_REDIS, Harm.DRAGS_REDIS, *_REST),
    Kind.GAP: _REST,
    Kind.DEAF: _REST,
}


@dataclass(frozen=True, slots=True)
class Cut:
    """By loss: the break that took it. Faults are indexes into World.faults, -1 for none."""

    kind: NDArray[np.uint8]  # a breaks.Kind, or NO_BREAK
    fault: Ints  # at the break
    listed: Bools  # the break is known from Redis' list alone
    parted: Bools  # a fault let nothing pass between Redis and the node when it was published
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
    at_break = _began_by(world, table)[met.row] if len(table) else met.row
    at_break = _kept_out(world, losses, row, at_break)
    stamped = node_fault(
        hushed(world.faults, Harm.HUSHES_REDIS),
        world.node_names, place.node, losses.sent_ns, losses.done_ns, aftermath_ns=0,
    )  # fmt: skip
    parted = may & (stamped >= 0) & ~(some & (row["kind"] == Kind.KILLED))
    silence_fault, returned = _silence(losses, world, place, seen)
    return Cut(
        kind=np.where(parted, Kind.SILENT, np.where(some, row["kind"], NO_BREAK)).astype(np.uint8),
        fault=np.where(parted, stamped, np.where(some, at_break, -1)),
        listed=some & row["listed"],
        parted=parted,
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
    breaking = doing(world.faults, ~Harm.SHUTS_THE_DOOR)
    redis_fault = fault_at(breaking, REDIS, way.sent_ns, row["from_ns"], aftermath_ns=AFTERMATH_NS)
    long = met.ahead & plain[met.row] & (row["from_ns"] > way.done_ns + IN_FLIGHT_NS)
    long &= ~end.troubled & ~seen.uncounted & (redis_fault < 0)
    table = table.copy()
    table["kind"][met.row[long]] = Kind.SILENT
    return table


def _began_by(world: World, table: NDArray[Any]) -> Ints:
    """By break, the fault that began it, or -1: one under way stands above one just over."""
    found = np.full(len(table), -1)
    for kind, tiers in _BEGAN_BY.items():
        row = table[table["kind"] == kind]
        under_way, just_over = (
            _highest(world, tiers, row["node"], row["from_ns"], row["lost_ns"], aftermath_ns=aftermath_ns)
            for aftermath_ns in (0, AFTERMATH_NS)
        )
        found[table["kind"] == kind] = np.where(under_way >= 0, under_way, just_over)
    return found


def _highest(world: World, tiers: Sequence[Harm], node: Ints, from_ns: Ints, to_ns: Ints, *, aftermath_ns: int) -> Ints:
    """The last fault of Redis, or of each node, that does harm of the first tier, else of the next; -1."""
    found = np.full(len(node), -1)
    for harm in reversed(tiers):
        hit = either_fault(
            doing(world.faults, harm), world.node_names, node, from_ns, to_ns, aftermath_ns=aftermath_ns
        )  # fmt: skip
        found = np.where(hit >= 0, hit, found)
    return found


def _kept_out(world: World, losses: Losses, row: NDArray[Any], began_by: Ints) -> Ints:
    """By loss, the fault that began its break; or the one for which Redis then let nobody in to renew it.

    Not while Redis was not there to let anybody in; nor where the node did not try, or never came back.
    """
    away = [replace(one, heal_confirmed_ns=one.heal_requested_ns) for one in doing(world.faults, Harm.STOPS_PUBLISHING)]
    doors, sent_ns = doing(world.faults, Harm.SHUTS_THE_DOOR), losses.sent_ns
    door = fault_at(doors, REDIS, sent_ns, losses.done_ns, aftermath_ns=AFTERMATH_NS)
    opened_ns = np.array([NEVER if one.heal_confirmed_ns is None else one.heal_confirmed_ns for one in doors] or [0])
    begun_ns = np.where(row["listed"], row["from_ns"], row["lost_ns"])
    absent = fault_at(away, REDIS, sent_ns, sent_ns, aftermath_ns=0) >= 0
    kept = (door >= 0) & (sent_ns > begun_ns) & (opened_ns[door] > begun_ns)
    return np.where(kept & ~absent & np.isin(row["kind"], (Kind.GAP, Kind.KILLED)), door, began_by)


def _silence(losses: Losses, world: World, place: Place, seen: Whereabouts) -> tuple[Ints, Bools]:
    """Of a node that keeps no journal or tells of no break: what was at fault since it was last heard of."""
    since_ns = np.where(seen.before_ns >= 0, seen.before_ns, place.confirmed_ns)
    fault = _highest(world, _REST, place.node, since_ns, losses.done_ns, aftermath_ns=AFTERMATH_NS)
    healed_ns = np.array([one.heal_confirmed_ns or 0 for one in world.faults] or [0])[fault]
    returned = (fault >= 0) & ((seen.after_ns < NEVER) | (losses.sent_ns <= healed_ns))
    return fault, returned
