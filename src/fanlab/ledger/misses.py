"""Why a node's cache missed an update: a decision table, in the order and words of `causes`. The first row decides.

A node is a subscriber of Redis as a client is one of a node, but simpler: it is there from the beginning of the run to
its end, and what it is not there for it misses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.cached import MissCause, MissHop
from fanlab.ledger.faultlog import AFTERMATH_NS, IN_FLIGHT_NS, REDIS, window_ns
from fanlab.ledger.histogram import Ints
from fanlab.ledger.lookups import fault_at
from fanlab.ledger.nodejournal import NodeJournal
from fanlab.ledger.received import Bools
from fanlab.ledger.result import FaultAccount
from fanlab.ledger.windows import NEVER

_LOG_NS: Final = 1_000_000_000  # between what a node calls the beginning of a gap and Redis' log line on why it began


@dataclass(frozen=True, slots=True)
class Missed:
    """The updates that a node missed: equally long arrays. Times are those of the publish, in ns."""

    channel: NDArray[Any]  # its name
    sent_ns: Ints
    done_ns: Ints
    failed: Bools  # the publish certainly failed
    receivers: Ints  # nodes that Redis handed it to; -1: not known
    heard: Bools  # the node's journal says that it had the message


@dataclass(frozen=True, slots=True)
class Subscriber:
    """The node, and what may have cut it off."""

    id: str
    journal: NodeJournal | None
    faults: Sequence[FaultAccount]
    buffer_kills_ns: Sequence[int]  # when Redis closed its connection for being too far behind


@dataclass(frozen=True, slots=True)
class _Facts:
    missed: Missed
    journals: bool
    redis_fault: Ints  # index of the fault of Redis that held at the publish, or had just healed; -1
    redis_held: Bools  # a fault of Redis held at the publish
    down: Bools
    down_fault: Ints
    dying: Bools  # published just before the node died
    dying_fault: Ints
    in_gap: Bools
    gap_fault: Ints
    overrun: Bools  # in a gap that began with Redis closing the node's connection for its output buffer


@dataclass(frozen=True, slots=True)
class _Rule:
    cause: MissCause
    why: str
    holds: Callable[[_Facts], Bools]
    fault: str | None


_RULES: Final = (
    _Rule(MissCause.REDIS_DOWN, "the publish failed while Redis was at fault",
          lambda f: f.missed.failed & (f.redis_fault >= 0), "redis_fault"),
    _Rule(MissCause.PUBLISH_FAILED, "the publish failed",
          lambda f: f.missed.failed, None),
    _Rule(MissCause.NOT_TAKEN, "the node says that it had the message, and its cache did not take it",
          lambda f: f.missed.heard & ~f.dying, None),
    _Rule(MissCause.NODE_DOWN, "the node was down, or not yet subscribed again",
          lambda f: f.down, "down_fault"),
    _Rule(MissCause.OUTPUT_BUFFER_KILL, "Redis had closed the node's connection for its output buffer",
          lambda f: f.overrun, "gap_fault"),
    _Rule(MissCause.RESUBSCRIBE_GAP, "the node says that its subscription had a gap",
          lambda f: f.in_gap, "gap_fault"),
    _Rule(MissCause.NODE_CRASH_IN_FLIGHT, "the node died before, or just after, it could take it",
          lambda f: f.dying, "dying_fault"),
    _Rule(MissCause.NO_SUBSCRIBER, "Redis had no node that was subscribed",
          lambda f: f.missed.receivers == 0, "redis_fault"),
    _Rule(MissCause.RESUBSCRIBE_GAP, "Redis was at fault, and the node keeps no journal of its subscription",
          lambda f: f.redis_held & ~np.bool_(f.journals), "redis_fault"),
)  # fmt: skip
_HOPS: Final[Mapping[MissCause, MissHop]] = {
    MissCause.PUBLISH_FAILED: MissHop.PUBLISHER_REDIS,
    MissCause.REDIS_DOWN: MissHop.PUBLISHER_REDIS,
    MissCause.NO_SUBSCRIBER: MissHop.REDIS_NODE,
    MissCause.NODE_DOWN: MissHop.REDIS_NODE,
    MissCause.RESUBSCRIBE_GAP: MissHop.REDIS_NODE,
    MissCause.OUTPUT_BUFFER_KILL: MissHop.REDIS_NODE,
    MissCause.NOT_TAKEN: MissHop.NODE_CACHE,
}


def explain_misses(missed: Missed, node: Subscriber) -> tuple[Ints, Ints, Ints]:
    """For each miss its MissCause, its MissHop, and the index of the fault that it goes back to or -1."""
    facts = _facts(missed, node)
    count = len(missed.sent_ns)
    cause, fault = np.full(count, int(MissCause.UNEXPLAINED)), np.full(count, -1)
    unsettled = np.ones(count, np.bool_)
    for rule in _RULES:
        hit = unsettled & rule.holds(facts)
        cause[hit] = rule.cause
        if rule.fault is not None:
            fault[hit] = getattr(facts, rule.fault)[hit]
        unsettled &= ~hit
    hops = np.array([_HOPS.get(each, MissHop.UNKNOWN) for each in MissCause])
    hop = hops[cause]
    # Where nobody knows why: a journal that lacks the message tells at least that the node did not have it.
    hop[(cause == MissCause.UNEXPLAINED) & ~missed.heard & (node.journal is not None)] = MissHop.REDIS_NODE
    return cause, hop, fault


def _facts(missed: Missed, node: Subscriber) -> _Facts:
    sent, done = missed.sent_ns, missed.done_ns
    down, down_fault = _down(missed, node)
    deaths = [fault for fault in node.faults if fault.target == node.id and fault.kind in ("crash", "stop")]
    dying, dying_fault = np.zeros(len(sent), np.bool_), np.full(len(sent), -1)
    for fault in deaths:
        if fault.requested_ns is not None:
            near = (sent <= fault.requested_ns) & (done >= fault.requested_ns - IN_FLIGHT_NS)
            dying |= near
            dying_fault[near] = node.faults.index(fault)
    in_gap, gap_fault, overrun = _gaps(missed, node)
    return _Facts(
        missed=missed,
        journals=node.journal is not None,
        redis_fault=fault_at(node.faults, REDIS, sent, done, aftermath_ns=AFTERMATH_NS),
        redis_held=fault_at(node.faults, REDIS, sent, done, aftermath_ns=0) >= 0,
        down=down,
        down_fault=down_fault,
        dying=dying,
        dying_fault=dying_fault,
        in_gap=in_gap,
        gap_fault=gap_fault,
        overrun=overrun,
    )


def _down(missed: Missed, node: Subscriber) -> tuple[Bools, Ints]:
    """Whether the node was down at each publish, and the fault that had put it down; -1: it went by itself."""
    journal = node.journal or NodeJournal()
    down, by = np.zeros(len(missed.sent_ns), np.bool_), np.full(len(missed.sent_ns), -1)
    spans: list[tuple[int, int, int]] = []  # (from, until, fault)
    for index, fault in enumerate(node.faults):
        window = window_ns(fault)
        if fault.target != node.id or window is None:
            continue
        if fault.kind in ("crash", "stop") or (fault.kind == "pause" and window[1] == NEVER):
            spans.append((*window, index))
    again = sorted(journal.starts)[1:]
    unasked = [t_ns for t_ns in again if not any(from_ns <= t_ns <= until_ns for from_ns, until_ns, _ in spans)]
    spans += [(_last_sign_ns(journal, start_ns), start_ns, -1) for start_ns in unasked]
    for from_ns, until_ns, index in spans:
        for channel in np.unique(missed.channel).tolist():
            again_ns = _subscribed_ns(journal, channel, from_ns) if until_ns < NEVER else NEVER
            hit = (missed.channel == channel) & (missed.done_ns >= from_ns)
            hit &= missed.sent_ns <= (until_ns if again_ns is None else again_ns)
            down |= hit
            by[hit] = np.maximum(by[hit], index)
    return down, by


def _gaps(missed: Missed, node: Subscriber) -> tuple[Bools, Ints, Bools]:
    """Whether each falls in a gap of the node's subscription, the gap's fault, and whether a full buffer began it."""
    count = len(missed.sent_ns)
    inside, by, overrun = np.zeros(count, np.bool_), np.full(count, -1), np.zeros(count, np.bool_)
    for channel, from_ns, to_ns in node.journal.gaps if node.journal else ():
        hit = (missed.channel == channel) & (missed.sent_ns <= to_ns) & (missed.done_ns >= from_ns)
        inside |= hit
        by[hit] = _fault_of(node, from_ns, to_ns)
        if any(from_ns - _LOG_NS <= t_ns <= to_ns for t_ns in node.buffer_kills_ns):
            overrun |= hit
    return inside, by, overrun


def _fault_of(node: Subscriber, from_ns: int, to_ns: int) -> int:
    """The fault of Redis, else of the node, that was under way, or just over, in a span; -1."""
    span = np.array([from_ns]), np.array([to_ns])
    found = [fault_at(node.faults, target, *span, aftermath_ns=AFTERMATH_NS)[0] for target in (REDIS, node.id)]
    return int(found[0] if found[0] >= 0 else found[1])


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
