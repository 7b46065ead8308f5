"""Why each message was lost: one decision table over what the journals say. The first row that holds decides.

Before it, `facts_of` looks up for each loss where its client was when the message was published:

    away      it had no connection: the last one had ended, the next was not yet open
    joining   it had a connection, on which the channel was not yet confirmed
    live      it was subscribed

A loss has one cause. The fault it goes back to is that of the thing the cause speaks of: of the outage for a client
that was away, of the connection's end for what was in flight, of Redis for the rest.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.faultlog import AFTERMATH_NS, IN_FLIGHT_NS, REDIS, window_ns
from fanlab.ledger.histogram import Ints
from fanlab.ledger.received import Bools
from fanlab.ledger.records import NO_NODE, Status
from fanlab.ledger.result import FaultAccount, Outage
from fanlab.ledger.windows import NEVER


class Cause(IntEnum):
    """What made a (message, client) pair a loss. The names are those of summary.json's loss.by_cause."""

    UNEXPLAINED = 0
    PUBLISH_FAILED = 1
    REDIS_DOWN = 2
    NO_SUBSCRIBER = 3
    NODE_DOWN = 4
    RESUBSCRIBE_GAP = 5
    OUTPUT_BUFFER_KILL = 6
    PARTITION = 7
    NODE_CRASH_IN_FLIGHT = 8
    SLOW_CLIENT_DROP = 9
    NOT_OPEN = 10
    WRITE_ERROR = 11
    CLIENT_RECONNECTING = 12
    NEVER_RETURNED = 13
    NEVER_SUBSCRIBED = 14
    GENERATOR_FAULT = 15

    @property
    def label(self) -> str:
        """The name in summaries: `node_crash_in_flight`."""
        return self.name.lower()


class Hop(IntEnum):
    """Between which two a message was lost. The names are those of summary.json's loss.by_hop."""

    UNKNOWN = 0  # the evidence does not reach that far: said, never guessed
    PUBLISHER_REDIS = 1  # it never came to Redis
    REDIS_NODE = 2  # Redis had it, the node did not
    NODE_SOCKET = 3  # the node had it and did not hand it to the client's connection, or died with it
    CLIENT = 4  # the client was not there to receive it

    @property
    def label(self) -> str:
        """The name in summaries: `redis_node`."""
        return self.name.lower()


DROPS: Final = ("slow", "closing", "write_failed")  # reasons of a node's `drop` lines; see nodes/PROTOCOL.md
SLOW, CLOSING, WRITE_FAILED = range(3)


@dataclass(frozen=True, slots=True)
class Losses:
    """The losses to explain: equally long arrays. Times are those of the publish, in ns."""

    client: Ints
    channel: Ints
    stream: Ints
    seq: Ints
    message: Ints  # the index of its message in messages.Messages
    sent_ns: Ints
    done_ns: Ints
    status: NDArray[np.uint8]
    receivers: Ints
    next_sent_ns: Ints  # when the next message that it did get of this stream was sent; NEVER: none


@dataclass(frozen=True, slots=True)
class World:
    """What is known beside the losses."""

    subs: NDArray[Any]  # windows.SUB_DTYPE, sorted by (client, channel, time)
    outages: Sequence[Outage]  # with their faults; sorted by (client, start)
    faults: Sequence[FaultAccount]
    node_names: tuple[str, ...]
    choice: Ints  # by client: which of `choices` it has when its node dies; -1: only the node it was on
    choices: Sequence[Sequence[int]]  # node indexes
    gaps: NDArray[np.int64]  # rows (node, channel, from, to)
    drops: NDArray[np.int64]  # rows (node, stream, seq, t, place of the reason in DROPS)
    heard: Mapping[int, Bools]  # by index of each node that keeps a journal: the messages that it says it had
    partial: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of each loss: equally long arrays."""

    node: Ints  # that the client was on, or last on; NO_NODE
    failed: Bools  # the publish certainly failed
    unheard: Bools  # Redis replied that nobody was subscribed
    away: Bools
    joining: Bools
    live: Bools
    confirmed_later: Bools  # the channel was confirmed on that connection in the end
    outage_over: Bools  # the outage it fell into ended
    no_node_up: Bools  # every node that its client may go to was down
    dropped_slow: Bools  # the node says that it dropped the message for some client, whose buffer was full
    dropped_closing: Bools  # ... whose connection was ending
    dropped_write: Bools  # ... to which the write failed
    closed_slow: Bools  # the node had begun to drop for slow clients, and nothing came before the connection ended
    in_gap: Bools  # the node did not have it, being without its subscription then, or losing that with this on its way
    gap_unseen: Bools  # Redis was at fault and the node keeps no journal that could tell
    node_frozen: Bools  # the node was paused, and nothing came before the connection ended
    node_died: Bools  # the connection ended with the node, and nothing came on it after this
    redis_fault: Ints  # index of the fault of Redis at work at the publish; -1
    outage_fault: Ints
    end_fault: Ints  # of the node, at the end of the connection
    gap_fault: Ints


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: where `holds`, the cause is `cause` and the fault is the one that `fault` names in Facts."""

    cause: Cause
    why: str
    holds: Callable[[Facts], Bools]
    fault: str | None


RULES: Final[tuple[Rule, ...]] = (
    Rule(Cause.REDIS_DOWN, "the publish failed while Redis was at fault",
         lambda f: f.failed & (f.redis_fault >= 0), "redis_fault"),
    Rule(Cause.PUBLISH_FAILED, "the publish failed",
         lambda f: f.failed, None),
    Rule(Cause.NEVER_RETURNED, "the client had lost its connection, and was not back by the end",
         lambda f: f.away & ~f.outage_over, "outage_fault"),
    Rule(Cause.NODE_DOWN, "the client had no connection, and every node it may go to was down",
         lambda f: f.away & f.no_node_up, "outage_fault"),
    Rule(Cause.CLIENT_RECONNECTING, "the client had no connection, though a node was up: backing off, connecting",
         lambda f: f.away, "outage_fault"),
    Rule(Cause.CLIENT_RECONNECTING, "the client was connected again and its subscription was on its way",
         lambda f: f.joining & f.confirmed_later, "outage_fault"),
    Rule(Cause.CLIENT_RECONNECTING, "the client was connected again, but not for long enough to be subscribed",
         lambda f: f.joining & f.outage_over, "outage_fault"),
    Rule(Cause.NEVER_SUBSCRIBED, "the client was connected again and its subscription never confirmed",
         lambda f: f.joining, "outage_fault"),
    Rule(Cause.SLOW_CLIENT_DROP, "the node had it and dropped it: the client's buffer was full",
         lambda f: f.live & f.dropped_slow, None),
    Rule(Cause.WRITE_ERROR, "the node had it and could not write it to the client",
         lambda f: f.live & f.dropped_write, "end_fault"),
    Rule(Cause.RESUBSCRIBE_GAP, "the node had lost its subscription at Redis",
         lambda f: f.live & f.in_gap, "gap_fault"),
    Rule(Cause.NO_SUBSCRIBER, "Redis had no subscriber, though the client was subscribed at its node",
         lambda f: f.live & f.unheard, "redis_fault"),
    Rule(Cause.NODE_DOWN, "the node was paused, and the connection ended before it could say anything",
         lambda f: f.live & f.node_frozen, "end_fault"),
    Rule(Cause.NODE_CRASH_IN_FLIGHT, "the node died before the client got it, and before the client saw it die",
         lambda f: f.live & f.node_died, "end_fault"),
    Rule(Cause.NOT_OPEN, "the node had it and skipped the client: its connection was ending",
         lambda f: f.live & f.dropped_closing, None),
    Rule(Cause.SLOW_CLIENT_DROP, "the node closed connections of slow clients, and nothing came on this one after",
         lambda f: f.live & f.closed_slow, None),
    Rule(Cause.RESUBSCRIBE_GAP, "Redis was at fault, and the node keeps no journal of its subscription",
         lambda f: f.live & f.gap_unseen, "redis_fault"),
)  # fmt: skip


def explain(facts: Facts, rules: Sequence[Rule] = RULES) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """The Cause of each loss, and the index of the fault it goes back to or -1."""
    count = len(facts.node)
    cause = np.full(count, Cause.UNEXPLAINED, np.uint8)
    fault = np.full(count, -1, np.int16)
    unsettled = np.ones(count, np.bool_)
    for rule in rules:
        hit = unsettled & rule.holds(facts)
        cause[hit] = rule.cause
        if rule.fault is not None:
            fault[hit] = getattr(facts, rule.fault)[hit]
        unsettled &= ~hit
    return cause, fault


def facts_of(losses: Losses, world: World) -> Facts:
    """Look up all facts, vectorised over the losses; the loops are over faults and nodes, which are few."""
    subs = world.subs
    # The table's place for (client, channel): channels are few, clients many
    span = 1 + int(max(subs["channel"].max(initial=0), losses.channel.max(initial=0)))
    group = subs["client"] * span + subs["channel"]
    at = latest(group, subs["subscribing_ns"], losses.client * span + losses.channel, losses.sent_ns)
    some = at >= 0
    row = subs[np.maximum(at, 0)] if len(subs) else np.zeros(len(at), subs.dtype)
    closed = np.where(some, row["closed_ns"], 0)
    confirmed = np.where(some, row["subscribed_ns"], NEVER)
    node = np.where(some, row["node"], NO_NODE).astype(np.int64)
    away = closed <= losses.sent_ns
    joining = ~away & (confirmed > losses.sent_ns)
    live = ~away & ~joining

    starts = np.array([outage.start_ns for outage in world.outages], np.int64)
    clients = np.array([outage.client for outage in world.outages], np.int64)
    over = np.array([outage.resubscribed_ns is not None for outage in world.outages] or [False])
    outage_faults = np.array([-1 if outage.fault is None else outage.fault for outage in world.outages] or [-1])
    outage = latest(clients, starts, losses.client, losses.sent_ns)

    end_fault = _node_fault(world, node, closed, closed)
    kinds = np.array([fault.kind for fault in world.faults] or [""])
    ended_by = np.where(end_fault >= 0, kinds[end_fault], "")
    cut_off = live & (losses.next_sent_ns > closed)  # nothing that was sent before the end came after it
    # A fault takes what was on its way: sent while it held, or so shortly before that it may not have arrived yet.
    # A connection that had been silent for longer when its node died was broken before.
    troubled = _node_fault(world, node, losses.sent_ns, losses.done_ns + IN_FLIGHT_NS) >= 0
    in_gap, gap_from, gap_to = _gaps(world, losses, node, closed, troubled)
    in_gap &= ~_heard(world, node, losses.message)  # what it heard, no gap can have taken
    redis_fault = _fault_at(world.faults, REDIS, losses.sent_ns, losses.done_ns, aftermath_ns=AFTERMATH_NS)
    redis_strict = _fault_at(world.faults, REDIS, losses.sent_ns, losses.done_ns, aftermath_ns=0)
    gap_fault = _fault_at(world.faults, REDIS, gap_from, gap_to, aftermath_ns=AFTERMATH_NS)
    return Facts(
        node=node,
        failed=losses.status == Status.FAILED,
        unheard=losses.receivers == 0,
        away=away,
        joining=joining,
        live=live,
        confirmed_later=confirmed < NEVER,
        outage_over=(over[outage] & (outage >= 0)) | world.partial,
        no_node_up=_no_node_up(world, losses.client, node, losses.sent_ns),
        dropped_slow=_dropped(world.drops, SLOW, node, losses),
        dropped_closing=_dropped(world.drops, CLOSING, node, losses),
        dropped_write=_dropped(world.drops, WRITE_FAILED, node, losses),
        closed_slow=cut_off & (closed < NEVER) & _slow_since(world.drops, node, row["subscribing_ns"], losses.done_ns),
        in_gap=in_gap,
        gap_unseen=(redis_strict >= 0) & ~np.isin(node, list(world.heard)),
        node_frozen=cut_off & troubled & (ended_by == "pause"),
        node_died=cut_off & troubled & np.isin(ended_by, ("crash", "stop")),
        redis_fault=redis_fault,
        outage_fault=np.where(outage >= 0, outage_faults[outage], -1),
        end_fault=end_fault,
        gap_fault=np.where(gap_fault >= 0, gap_fault, _node_fault(world, node, gap_from, gap_from)),
    )


def latest(group: Ints, t_ns: Ints, of_group: Ints, at_ns: Ints) -> Ints:
    """For each (of_group, at_ns), the index of the last entry of that group with t_ns <= at_ns, or -1."""
    entries = len(group)
    everything = np.lexsort((
        np.concatenate((np.zeros(entries, np.int8), np.ones(len(of_group), np.int8))),  # at one time, entries first
        np.concatenate((t_ns, at_ns)),
        np.concatenate((group, of_group)),
    ))  # fmt: skip
    is_entry = everything < entries
    place = np.maximum.accumulate(np.where(is_entry, np.arange(len(everything)), -1))
    asked = ~is_entry
    before = place[asked]
    found = np.where(before >= 0, everything[np.maximum(before, 0)], -1)
    answer = np.full(len(of_group), -1)
    answer[everything[asked] - entries] = found
    same = (answer >= 0) & (group[np.maximum(answer, 0)] == of_group) if entries else np.zeros(len(of_group), np.bool_)
    return np.where(same, answer, -1)


def _fault_at(faults: Sequence[FaultAccount], target: str, from_ns: Ints, to_ns: Ints, *, aftermath_ns: int) -> Ints:
    """The last fault on `target` whose window, or its aftermath, meets [from_ns, to_ns]; -1."""
    found = np.full(len(from_ns), -1)
    for index in sorted(range(len(faults)), key=lambda one: faults[one].requested_ns or 0):
        window = window_ns(faults[index])
        if faults[index].target == target and window is not None:
            found[(to_ns >= window[0]) & (from_ns <= window[1] + aftermath_ns)] = index
    return found


def _node_fault(world: World, node: Ints, from_ns: Ints, to_ns: Ints) -> Ints:
    """The last fault on each node that was under way, or just over, at any time in [from_ns, to_ns]; -1."""
    found = np.full(len(node), -1)
    for name in {fault.target for fault in world.faults} - {REDIS}:
        if name in world.node_names:
            of_node = node == world.node_names.index(name)
            hit = _fault_at(world.faults, name, from_ns, to_ns, aftermath_ns=AFTERMATH_NS)
            found[of_node] = hit[of_node]
    return found


def _no_node_up(world: World, client: Ints, node: Ints, t_ns: Ints) -> Bools:
    """Whether every node that each client may go to was down at t_ns."""
    up = np.ones((len(world.node_names), len(client)), np.bool_) if world.faults else np.ones((0, 0), np.bool_)
    for name in {fault.target for fault in world.faults} & set(world.node_names):
        up[world.node_names.index(name)] = _fault_at(world.faults, name, t_ns, t_ns, aftermath_ns=0) < 0
    none_up = np.zeros(len(client), np.bool_)
    if not up.size:
        return none_up
    choice = world.choice[client]
    own = (choice < 0) & (node < len(up))
    none_up[own] = ~up[node[own], np.flatnonzero(own)]
    for index, nodes in enumerate(world.choices):
        none_up |= (choice == index) & ~up[list(nodes)].any(axis=0)
    return none_up


def _heard(world: World, node: Ints, message: Ints) -> Bools:
    """Whether each node says that it had the message from Redis."""
    found = np.zeros(len(node), np.bool_)
    for index, heard in world.heard.items():
        of_node = node == index
        found[of_node] = heard[message[of_node]]
    return found


def _gaps(world: World, losses: Losses, node: Ints, closed: Ints, troubled: Bools) -> tuple[Bools, Ints, Ints]:
    """Whether each loss falls in a gap of its node's subscription, and that gap's bounds.

    What was published shortly before a gap that began on the same connection, with nothing later having come before
    it, was in Redis' buffer or the socket when the subscription went; so was what a troubled node had not read yet.
    """
    count = len(node)
    if not len(world.gaps):
        return np.zeros(count, np.bool_), np.full(count, NEVER), np.full(count, NEVER)
    gaps = world.gaps[np.lexsort((world.gaps[:, 2], world.gaps[:, 1], world.gaps[:, 0]))]
    from_ns, to_ns = gaps[:, 2], gaps[:, 3]
    span = 1 + int(max(gaps[:, 1].max(), losses.channel.max(initial=0)))
    group = gaps[:, 0] * span + gaps[:, 1]
    of_group = node * span + losses.channel
    last = latest(group, from_ns, of_group, losses.done_ns)
    inside = (last >= 0) & (losses.sent_ns <= to_ns[last])
    following = np.where(last >= 0, last + 1, np.searchsorted(group, of_group))
    real = np.minimum(following, len(gaps) - 1)
    ahead = (following < len(gaps)) & (group[real] == of_group)
    ahead &= (losses.next_sent_ns >= from_ns[real]) & (from_ns[real] <= closed)
    ahead &= troubled | (from_ns[real] <= losses.done_ns + IN_FLIGHT_NS)
    chosen, found = np.where(inside, last, real), inside | ahead
    return found, np.where(found, from_ns[chosen], NEVER), np.where(found, to_ns[chosen], NEVER)


def _dropped(drops: NDArray[np.int64], reason: int, node: Ints, losses: Losses) -> Bools:
    """Which messages the node of each loss says that it dropped for this reason."""
    table = drops[drops[:, 4] == reason]
    of_table = (table[:, 0] << 48) | (table[:, 1] << 32) | table[:, 2]
    return np.isin((node << 48) | (losses.stream << 32) | losses.seq, of_table)


def _slow_since(drops: NDArray[np.int64], node: Ints, since_ns: Ints, until_ns: Ints) -> Bools:
    """Whether each node dropped anything for a slow client between the two times."""
    slow = drops[drops[:, 4] == SLOW]
    at = latest(slow[:, 0], slow[:, 3], node, until_ns)
    return (at >= 0) & (slow[at, 3] >= since_ns) if len(slow) else np.zeros(len(node), np.bool_)
