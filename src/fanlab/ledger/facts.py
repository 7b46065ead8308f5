"""What is known of each loss: all that the table in `causes` decides on, looked up for all losses at once. Pure."""

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.breaks import ENDS_NODES, Kind
from fanlab.ledger.causes import CLOSING, SLOW, WRITE_FAILED, Facts, Hop
from fanlab.ledger.connection import PAUSE, End, Place, closed_as_slow, end_of, no_node_up, outages_of, place_of
from fanlab.ledger.cutoff import NO_BREAK, Cut, cut_of
from fanlab.ledger.drops import NO_DROP
from fanlab.ledger.faultlog import AFTERMATH_NS, REDIS
from fanlab.ledger.harm import SLOWS, Harm, doing
from fanlab.ledger.histogram import Ints
from fanlab.ledger.lookups import either_fault, fault_at, node_fault
from fanlab.ledger.lost import Losses, World
from fanlab.ledger.received import Bools
from fanlab.ledger.records import Status
from fanlab.ledger.redisjournal import RedisJournal
from fanlab.ledger.whereabouts import Whereabouts, carried, whereabouts
from fanlab.ledger.windows import NEVER


def facts_of(losses: Losses, world: World) -> Facts:
    """All facts; what needs a loop loops over faults and nodes, which are few."""
    place = place_of(losses, world)
    end = end_of(losses, world, place)
    seen = whereabouts(
        world.traffic, place.node, losses.message, closed_ns=place.closed_ns, live=place.live, gone=end.gone
    )
    cut = cut_of(losses, world, place, seen, end)
    dropped = world.drops.reasons(place.node, losses.stream, losses.seq, losses.client, place.live)
    outage_over, outage_from_ns, outage_fault = outages_of(losses, world)
    own_end = world.own.ended(losses.client, np.where(place.live, place.closed_ns, outage_from_ns))
    stops, door = (
        fault_at(doing(world.faults, harm), REDIS, losses.sent_ns, losses.done_ns, aftermath_ns=AFTERMATH_NS)
        for harm in (Harm.STOPS_PUBLISHING, Harm.SHUTS_THE_DOOR)
    )
    breaking = doing(world.faults, ~Harm.SHUTS_THE_DOOR)
    redis = fault_at(breaking, REDIS, losses.sent_ns, losses.done_ns, aftermath_ns=AFTERMATH_NS)
    strictly = fault_at(breaking, REDIS, losses.sent_ns, losses.done_ns, aftermath_ns=0)
    black = ~np.isin(place.node, list(world.traffic.heard))
    in_dark = black & ~watched_at(world.traffic.redis, losses.sent_ns)
    due_ns = losses.sent_ns, np.minimum(losses.sent_ns + world.lateness_ns, place.closed_ns)
    untold = place.live & ~seen.missed & (dropped == NO_DROP)
    doubtful, _ = world.own.unread_at(losses.client, *due_ns, untold)
    slowed = closed_as_slow(losses, world, place)
    slow_fault = _slowing(losses, world, place.node, np.where(slowed, place.closed_ns, losses.done_ns))
    silent = place.live & (losses.next_sent_ns >= place.closed_ns)  # nothing came after it
    by_link = np.where(end.held >= 0, end.held, np.where(end.caught & end.link, end.fault, -1))
    unread, surely_unread = world.own.unread_at(losses.client, *due_ns, untold & (cut.kind == NO_BREAK))
    return Facts(
        node=place.node,
        hop=_hop(losses, world, place, seen=seen, end=end, cut=cut, doubtful=doubtful),
        failed=losses.status == Status.FAILED,
        redis_away=(stops >= 0) | silent_at(world.traffic.redis, losses.sent_ns),
        away=place.away,
        joining=place.joining,
        live=place.live,
        confirmed_later=place.confirmed_ns < NEVER,
        outage_over=outage_over | world.partial,
        no_node_up=no_node_up(world, losses.client, place.node, losses.sent_ns),
        own_end=own_end & np.where(place.live, end.last & (end.fault < 0), outage_fault < 0),
        dropped_slow=dropped == SLOW,
        dropped_closing=dropped == CLOSING,
        dropped_write=dropped == WRITE_FAILED,
        unread=unread,
        surely_unread=surely_unread,
        cut_off=cut.kind == Kind.SILENT,
        buffer_killed=cut.kind == Kind.KILLED,
        in_gap=cut.kind == Kind.GAP,
        deaf=cut.kind == Kind.DEAF,
        gap_likely=place.live & ~seen.had & ~seen.all_counted & (strictly >= 0) & in_dark,
        uncounted=place.live & seen.uncounted,
        returned=cut.returned,
        link_held=place.live & ~seen.missed & (end.held >= 0) & (end.held_all | silent),
        link_ended=place.live & (~seen.missed | _nobody_left(seen, end)) & end.caught & end.link,
        node_frozen=end.caught & (end.kind == PAUSE) & (~seen.had | end.in_hand),
        node_starved=end.caught & end.starved,
        node_died=end.caught & np.isin(end.kind, ENDS_NODES),
        closed_slow=end.last & ~seen.missed & slowed,
        drop_likely=place.live & black & ~seen.missed & _dragged(losses, world, place.node),
        publish_fault=world.injected_only(np.where(stops >= 0, stops, door)),
        redis_fault=world.injected_only(redis),
        outage_fault=outage_fault,
        end_fault=np.where(end.fault < world.injected, end.fault, world.injected_only(redis)),
        slow_fault=world.injected_only(slow_fault),
        close_fault=world.injected_only(np.where(slowed & (slow_fault >= 0), slow_fault, end.fault)),
        link_fault=world.injected_only(by_link),
        break_fault=world.injected_only(np.where((cut.fault < 0) & (cut.kind == Kind.DEAF), by_link, cut.fault)),
        silence_fault=world.injected_only(np.where(cut.silence_fault < 0, by_link, cut.silence_fault)),
    )


def _nobody_left(seen: Whereabouts, end: End) -> Bools:
    """Whether the node may have had it and say nothing of it, for its clients were gone by then."""
    return end.caught & end.link & ~seen.uncounted & ~end.gone


def _dragged(losses: Losses, world: World, node: Ints) -> Bools:
    """Whether a fault made the way from the node to its clients slow when each message was sent, or just before."""
    faults, when = doing(world.faults, Harm.DRAGS_CLIENTS), (losses.sent_ns, losses.done_ns)
    dragged: Bools = node_fault(faults, world.node_names, node, *when, aftermath_ns=AFTERMATH_NS) >= 0
    return dragged


def _slowing(losses: Losses, world: World, node: Ints, until_ns: Ints) -> Ints:
    """The fault that made the clients of the node, or their links, too slow; else one that let much come at once."""
    found = np.full(len(node), -1)
    bursts = Harm.HUSHES_REDIS | Harm.DRAGS_REDIS | Harm.STOPS_PUBLISHING
    for harm in (bursts, SLOWS):
        hit = either_fault(
            doing(world.faults, harm), world.node_names, node, losses.sent_ns, until_ns, aftermath_ns=AFTERMATH_NS
        )
        found = np.where(hit >= 0, hit, found)
    return found


def _hop(
    losses: Losses, world: World, place: Place, *, seen: Whereabouts, end: End, cut: Cut, doubtful: Bools
) -> NDArray[np.uint8]:
    """Where a live client's message was lost, as far as that is proven; see `whereabouts`."""
    journals = np.isin(place.node, list(world.traffic.heard))
    missed = (seen.missed & ~_nobody_left(seen, end)) | (cut.surely & ~seen.had)
    # by its clients: several were owed it, none had it as far as can be read, and the node was cut off, or hung
    hung = end.hung & end.caught
    cut_off = (cut.listed | cut.parted) & ~((end.held >= 0) | (end.last & end.link))
    missed |= seen.alike & ~seen.had & ~doubtful & np.where(journals, hung, cut_off | hung)
    open_ = place.live & ~journals & ~seen.had & ~missed & (cut.kind == NO_BREAK)
    had = seen.had.copy()
    had[open_] = carried(world.traffic, place.node[open_], losses.message[open_], seen.after_ns[open_])
    hop = np.where(missed, Hop.REDIS_NODE, np.where(had, Hop.NODE_SOCKET, Hop.UNKNOWN))
    return hop.astype(np.uint8)


def watched_at(redis: RedisJournal | None, t_ns: Ints) -> Bools:
    """Whether Redis' list of subscribers was read before and after each time."""
    if redis is None or not len(redis.watched):
        return np.zeros(len(t_ns), np.bool_)
    from_ns, until_ns = redis.watched[:, 0], redis.watched[:, 1]
    at = np.searchsorted(from_ns, t_ns, side="right") - 1
    watched: Bools = (at >= 0) & (t_ns <= until_ns[np.maximum(at, 0)])
    return watched


def silent_at(redis: RedisJournal | None, t_ns: Ints) -> Bools:
    """Whether Redis did not answer those who watched it, before it did again."""
    if redis is None or not len(redis.watched):
        return np.zeros(len(t_ns), np.bool_)
    silent: Bools = ~watched_at(redis, t_ns) & (t_ns > redis.watched[0, 0]) & (t_ns < redis.watched[-1, 0])
    return silent
