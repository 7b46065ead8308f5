"""Why a node's cache missed an update: a decision table, in the order and words of `causes`. The first row decides.

A node is a subscriber of Redis as a client is one of a node, but simpler: it is there from the beginning of the run to
its end, and what it is not there for it misses. What became of its subscription is asked of what losses are held
against, as if the cache were one more client of the node, whose connection ends with the node's process.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from fanlab.ledger.breaks import ENDS_NODES, Kind
from fanlab.ledger.cached import MissCause, MissHop
from fanlab.ledger.connection import PAUSE, Place, end_of
from fanlab.ledger.cutoff import cut_of
from fanlab.ledger.facts import silent_at, watched_at
from fanlab.ledger.faultlog import AFTERMATH_NS, REDIS, window_ns
from fanlab.ledger.histogram import Ints
from fanlab.ledger.lookups import fault_at
from fanlab.ledger.lost import Losses, World
from fanlab.ledger.nodejournal import NodeJournal
from fanlab.ledger.received import Bools
from fanlab.ledger.records import Status
from fanlab.ledger.whereabouts import whereabouts
from fanlab.ledger.windows import NEVER


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of each miss; the names that causes.Facts has, too, mean the same. Faults are indexes, or -1."""

    failed: Bools
    redis_away: Bools
    redis_fault: Ints
    had: Bools  # the node had the message, by its journal or one of its clients
    missed: Bools  # the node surely did not
    down: Bools
    down_fault: Ints
    dying: Bools  # on its way to the node, or in its hands, when that died
    dying_fault: Ints
    cut_off: Bools
    buffer_killed: Bools
    in_gap: Bools
    deaf: Bools
    break_fault: Ints
    uncounted: Bools
    returned: Bools
    silence_fault: Ints
    gap_likely: Bools


@dataclass(frozen=True, slots=True)
class _Rule:
    cause: MissCause
    why: str
    holds: Callable[[_Facts], Bools]
    fault: str | None = None


_RULES: Final = (
    _Rule(MissCause.REDIS_DOWN, "the publish failed while Redis was at fault",
          lambda f: f.failed & f.redis_away, "redis_fault"),
    _Rule(MissCause.PUBLISH_FAILED, "the publish failed",
          lambda f: f.failed),
    _Rule(MissCause.NOT_TAKEN, "the node had the message, and its cache did not take it",
          lambda f: f.had & ~f.dying),
    _Rule(MissCause.NODE_DOWN, "the node was down, or not yet subscribed again",
          lambda f: f.down & ~f.had, "down_fault"),
    _Rule(MissCause.OUTPUT_BUFFER_KILL, "Redis had closed the node's connection for its output buffer",
          lambda f: f.buffer_killed, "break_fault"),
    _Rule(MissCause.PARTITION, "the node's link to Redis was silent, and Redis held it open",
          lambda f: f.cut_off, "break_fault"),
    _Rule(MissCause.RESUBSCRIBE_GAP, "the node had lost its subscription at Redis",
          lambda f: f.in_gap, "break_fault"),
    _Rule(MissCause.NO_SUBSCRIBER, "the node had no subscription, and did not renew it",
          lambda f: f.deaf, "break_fault"),
    _Rule(MissCause.NODE_CRASH_IN_FLIGHT, "the node died before, or just after, it could take it",
          lambda f: f.dying, "dying_fault"),
    _Rule(MissCause.RESUBSCRIBE_GAP, "Redis did not count the node, which lost its subscription and came back",
          lambda f: f.uncounted & f.returned, "silence_fault"),
    _Rule(MissCause.NO_SUBSCRIBER, "Redis did not count the node",
          lambda f: f.uncounted, "silence_fault"),
    _Rule(MissCause.RESUBSCRIBE_GAP, "Redis was at fault, and nobody knows of the node's subscription",
          lambda f: f.gap_likely, "redis_fault"),
)  # fmt: skip
_HOPS: Final[Mapping[MissCause, MissHop]] = {
    MissCause.PUBLISH_FAILED: MissHop.PUBLISHER_REDIS,
    MissCause.REDIS_DOWN: MissHop.PUBLISHER_REDIS,
    MissCause.NO_SUBSCRIBER: MissHop.REDIS_NODE,
    MissCause.NODE_DOWN: MissHop.REDIS_NODE,
    MissCause.RESUBSCRIBE_GAP: MissHop.REDIS_NODE,
    MissCause.OUTPUT_BUFFER_KILL: MissHop.REDIS_NODE,
    MissCause.PARTITION: MissHop.REDIS_NODE,
    MissCause.NOT_TAKEN: MissHop.NODE_CACHE,
}


def explain_misses(missed: Losses, node: int, world: World, channels: Sequence[str]) -> tuple[Ints, Ints, Ints]:
    """For each update that a node missed its MissCause, its MissHop, and the index of the fault it goes back to or -1.

    Of `missed` neither `client` nor `next_sent_ns` is looked at. `channels` are the plan's.
    """
    facts = _facts(missed, node, world, channels)
    count = len(missed.sent_ns)
    cause, fault = np.full(count, int(MissCause.UNEXPLAINED)), np.full(count, -1)
    unsettled = np.ones(count, np.bool_)
    for rule in _RULES:
        hit = unsettled & rule.holds(facts)
        cause[hit] = rule.cause
        if rule.fault is not None:
            fault[hit] = getattr(facts, rule.fault)[hit]
        unsettled &= ~hit
    hop = np.array([_HOPS.get(each, MissHop.UNKNOWN) for each in MissCause])[cause]
    hop[(hop == MissHop.UNKNOWN) & facts.missed] = MissHop.REDIS_NODE
    return cause, hop, world.injected_only(fault)


def _facts(missed: Losses, node: int, world: World, channels: Sequence[str]) -> _Facts:
    sent, done, redis = missed.sent_ns, missed.done_ns, world.traffic.redis
    place = _place(missed, node, world)
    end = end_of(missed, world, place)
    seen = whereabouts(
        world.traffic, place.node, missed.message, closed_ns=place.closed_ns, live=place.live, gone=end.gone
    )
    end = replace(end, last=seen.after_ns > place.closed_ns)
    cut = cut_of(replace(missed, next_sent_ns=seen.after_ns), world, place, seen, end)
    redis_fault = fault_at(world.faults, REDIS, sent, done, aftermath_ns=AFTERMATH_NS)
    redis_held = fault_at(world.faults, REDIS, sent, done, aftermath_ns=0) >= 0
    in_dark = ~watched_at(redis, sent) & (node not in world.traffic.heard)
    down, down_fault = _down(missed, node, world, channels)
    return _Facts(
        failed=missed.status == Status.FAILED,
        redis_away=(redis_fault >= 0) | silent_at(redis, sent),
        redis_fault=redis_fault,
        had=seen.had,
        missed=seen.missed,
        down=down,
        down_fault=down_fault,
        dying=end.caught & np.isin(end.kind, ENDS_NODES),
        dying_fault=end.fault,
        cut_off=cut.kind == Kind.SILENT,
        buffer_killed=cut.kind == Kind.KILLED,
        in_gap=cut.kind == Kind.GAP,
        deaf=cut.kind == Kind.DEAF,
        break_fault=cut.fault,
        uncounted=seen.uncounted,
        returned=cut.returned,
        silence_fault=cut.silence_fault,
        gap_likely=redis_held & in_dark & ~seen.all_counted,
    )


def _place(missed: Losses, node: int, world: World) -> Place:
    """The place of a client that was subscribed to the node before all; its connection ends with the node's process."""
    ends = [
        fault.confirmed_ns
        for fault in world.faults
        if fault.target == world.node_names[node] and fault.kind in ENDS_NODES and fault.confirmed_ns is not None
    ]
    ordered = np.array([*sorted(ends), NEVER])
    closed_ns = ordered[np.searchsorted(ordered, missed.sent_ns, side="right")]
    always, no = np.zeros(len(closed_ns), np.int64), np.zeros(len(closed_ns), np.bool_)
    return Place(np.full(len(closed_ns), node), always, always, closed_ns, away=no, joining=no, live=~no)


def _down(missed: Losses, node: int, world: World, channels: Sequence[str]) -> tuple[Bools, Ints]:
    """Whether the node was down at each publish, and the fault that had put it down; -1: it went by itself."""
    journal = world.traffic.journals.get(node) or NodeJournal()
    down, by = np.zeros(len(missed.sent_ns), np.bool_), np.full(len(missed.sent_ns), -1)
    spans: list[tuple[int, int, int]] = []  # (from, until, fault)
    for index, fault in enumerate(world.faults):
        window = window_ns(fault)
        if fault.target != world.node_names[node] or window is None:
            continue
        if fault.kind in ENDS_NODES:
            back_ns = min((t_ns for t_ns in journal.starts if t_ns > window[0]), default=NEVER)
            spans.append((window[0], back_ns if window[1] == NEVER else window[1], index))
        elif fault.kind == PAUSE and window[1] == NEVER:
            spans.append((*window, index))
    again = sorted(journal.starts)[1:]
    unasked = [t_ns for t_ns in again if not any(from_ns <= t_ns <= until_ns for from_ns, until_ns, _ in spans)]
    spans += [(_last_sign_ns(journal, start_ns), start_ns, -1) for start_ns in unasked]
    for from_ns, until_ns, index in spans:
        for channel in np.unique(missed.channel).tolist():
            again_ns = _subscribed_ns(journal, channels[channel], from_ns) if until_ns < NEVER else NEVER
            hit = (missed.channel == channel) & (missed.done_ns >= from_ns)
            hit &= missed.sent_ns <= (until_ns if again_ns is None else again_ns)
            down |= hit
            by[hit] = np.maximum(by[hit], index)
    return down, by


def _last_sign_ns(journal: NodeJournal, before_ns: int) -> int:
    """The last message that a node had before a time; that time where it had none."""
    received = journal.messages[:, 2]
    earlier = received[received < before_ns]
    return int(earlier.max()) if len(earlier) else before_ns


def _subscribed_ns(journal: NodeJournal, channel: str, after_ns: int) -> int | None:
    """When Redis next confirmed the channel to the node; None where the journal does not say so."""
    told = [line.t for line in journal.subscriptions if line.state == "subscribed" and line.channel == channel]
    found = [t_ns for t_ns in told if t_ns > after_ns]
    return min(found, default=None)
