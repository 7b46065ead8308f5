"""How the story of a message and a client ends, in sentences: what was decided, why, and what led there. Pure."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from fanlab.ledger.causes import Cause, Hop
from fanlab.ledger.closeup import mark_of
from fanlab.ledger.harm import OF_CLIENTS, harm_of
from fanlab.ledger.odd import CopyCause, Odd
from fanlab.ledger.records import Status
from fanlab.ledger.result import FaultAccount
from fanlab.report import text, words
from fanlab.report.case import Case, Others
from fanlab.report.moments import Moment
from fanlab.report.summary import clock_block

_UNCERTAIN: Final = (Status.TIMED_OUT, Status.UNKNOWN)
_AWAY: Final = frozenset({Cause.CLIENT_RECONNECTING, Cause.NEVER_RETURNED, Cause.NEVER_SUBSCRIBED, Cause.NODE_DOWN})
_BETWEEN: Final = {  # what a fault did to the node
    Cause.NODE_CRASH_IN_FLIGHT: "died",
    Cause.RESUBSCRIBE_GAP: "was without its subscription",
    Cause.NO_SUBSCRIBER: "was without a subscription",
    Cause.OUTPUT_BUFFER_KILL: "was cut off by Redis",
    Cause.PARTITION: "and Redis did not reach each other",
    Cause.SLOW_CLIENT_DROP: "could not get rid of what came for the client",
    Cause.NOT_OPEN: "was losing the client's connection",
    Cause.WRITE_ERROR: "could not write to the client",
}
_BETWEEN_BY: Final = {  # the same, where the fault does it in a way of its own
    (Cause.NODE_CRASH_IN_FLIGHT, "memory-limit"): "was killed for want of memory",
    (Cause.RESUBSCRIBE_GAP, "redis-maxclients"): "could not get in to subscribe again",
    (Cause.NODE_DOWN, "cpu-throttle"): "had too little CPU to go on",
    (Cause.NODE_DOWN, "memory-limit"): "had too little memory to go on",
}
_ODD_WORDS: Final[dict[Odd, str]] = {
    Odd.REORDERED: "REORDERED: it came after a later message of its own stream.",
    Odd.DISAGREED: "DISAGREED: it came after a message of another stream that Redis has later.",
    Odd.UNEXPECTED: "UNEXPECTED: it was not owed to this client.",
    Odd.CORRUPTED: "CORRUPTED: its bytes are not those that were published.",
}


def ending_of(case: Case, chain: Sequence[str], others: Others) -> Iterator[str]:
    """What became of it, what is telling beside that, and what the other clients got."""
    if case.outcome == "warm_up":
        came = "The client received it." if len(case.deliveries) else "The client did not receive it."
        yield f"In the warm-up, which counts for nothing: no cause was looked for. {came}"
    elif case.outcome == "lost":
        yield from _loss(case, chain)
    elif case.outcome == "indeterminate":
        yield f"INDETERMINATE: {_doubt(case)}."
    elif case.outcome == "not_owed":
        yield f"NOT OWED: {_excuse(case)}."
    else:
        yield from _arrival(case)
    if case.outcome in ("lost", "indeterminate"):
        yield from _silence(case)
    if case.node is not None and (others.received or others.lost):
        yield (
            f"The other clients on {case.node_id}: {text.count(others.node_received)} received it, "
            f"{text.count(others.node_lost)} lost it; on all nodes {text.count(others.received)} and "
            f"{text.count(others.lost)}."
        )
    if words.clock_if_apart(clock := clock_block(case.account)):
        yield f"Each process's times are of its own clock; publishers' and clients': {words.clock(clock)}."


def chain_of(case: Case, told: Sequence[Moment]) -> tuple[str, ...]:
    """From the fault, through what it did, to the loss; empty for what was not lost."""
    if case.cause is None:
        return ()
    steps = [] if case.fault is None else [case.names.fault(case.fault)]
    if case.cause in _AWAY:
        who = f"client {case.seen.client}"
        ended = [m for m in told if m.who == who and m.what.startswith("loses") and m.t_ns <= case.done_ns]
        if ended:
            lost = ended[-1].what.split(":", 1)[0].removeprefix("loses ")  # that to the node before, if it has moved on
            steps.append(f"the client lost {lost} at {case.at(ended[-1].t_ns)}")
            return (*steps, text.label(case.cause.label))
    between = _between(case.cause, case.fault)
    if between is not None:
        steps.append(f"{case.node_id} {between}")
    return (*steps, text.label(case.cause.label))


def _between(cause: Cause, fault: FaultAccount | None) -> str | None:
    if fault is not None and cause is Cause.PARTITION and harm_of(fault) & OF_CLIENTS:
        return "and the client did not reach each other"
    return _BETWEEN_BY.get((cause, "" if fault is None else fault.kind), _BETWEEN.get(cause))


def _loss(case: Case, chain: Sequence[str]) -> Iterator[str]:
    if case.hop is None or case.cause is None:
        return
    where = ", nobody can tell where" if case.hop is Hop.UNKNOWN else f" at {words.hop(case.hop.label)}"
    known = case.cause is not Cause.UNEXPLAINED
    yield f"LOST{where}, {'because of ' if known else ''}{text.label(case.cause.label)}: {case.why}."
    if case.fault is not None:
        yield f"It goes back: {' ⇒ '.join(chain)}."
    elif known:
        yield "It goes back to no fault of the scenario."
    if case.hop is Hop.UNKNOWN or not known:
        yield from (f"The evidence is coarse: {sentence}" for sentence in _coarse(case))


def _coarse(case: Case) -> Iterator[str]:
    """What the evidence lacks, less what it lacks of other nodes."""
    others = {node.id for node in case.names.plan.nodes} - {case.node_id}
    for sentence in case.account.evidence.coarse:
        if not others.intersection(re.findall(r"[\w-]+", sentence)):
            yield text.sentence(sentence, 400)


def _silence(case: Case) -> Iterator[str]:
    """What keeps no journal, or has one that says nothing of the message: as telling as what does."""
    witness = case.seen.witness
    if witness is not None and not case.seen.copies(case.stream.index):
        span = np.array([case.sent_ns]), np.array([case.done_ns])
        there = bool(witness.surely_saw(*span)[0])
        yield "The witness at Redis did not have it" + (", and was there." if there else ", but may have been away.")
    if case.node is None:
        return
    if case.node not in case.seen.nodes:
        yield f"{case.node_id} keeps no journal: what it did with it is not known."
    elif not any((mark_of(line) or (-1,))[0] == case.stream.index for line in case.seen.nodes[case.node]):
        yield f"{case.node_id}'s journal does not have it."


def _arrival(case: Case) -> Iterator[str]:
    at = case.at(int(case.deliveries[0]["recv_ns"]))
    yield f"DELIVERED at {at}, {case.late} after the time at which it was meant to be sent."
    odd = case.account.odd
    rows = odd[
        (odd["client"] == case.seen.client) & (odd["seq"] == case.seen.seq) & (odd["stream"] == case.stream.index)
    ]
    for kind in Odd:
        of_kind = rows[rows["kind"] == kind]
        if not len(of_kind):
            continue
        if kind is Odd.DUPLICATED:
            causes = sorted({text.label(CopyCause(int(row["cause"])).label) for row in of_kind})
            yield f"DUPLICATED: {len(of_kind)} more, put down to: {text.listing(causes)}."
        else:
            yield _ODD_WORDS[kind]


def _doubt(case: Case) -> str:
    """Why nobody can tell."""
    if case.status is None:
        return "the publisher died over it, and nobody knows if it was published"
    if case.status in _UNCERTAIN:
        return "its publish had no answer, and nobody knows if it was published"
    asked, confirmed, left = _entitled(case)
    if asked is not None and case.done_ns < asked:
        behind = f"when the client first asked for the channel at {case.at(asked)}, its node was still behind"
        return f"{behind}: it handed out what was older than this, and may have handed out this before"
    if confirmed is None or case.sent_ns <= confirmed:
        asking = "" if asked is None else f" (asked for at {case.at(asked)}, confirmed "
        asking += "" if asked is None else ("never)" if confirmed is None else f"at {case.at(confirmed)})")
        return f"it was published while the client's first subscription was on its way{asking}"
    if left is not None and case.done_ns <= left:
        return f"it was published shortly before the client left at {case.at(left)}, and may have been on its way"
    return "the evidence ends before it can be known to be lost: it may have been on its way"


def _excuse(case: Case) -> str:
    """Why it was not owed."""
    asked, _, left = _entitled(case)
    if case.status is Status.UNSENT:
        return "it was never sent: the generator missed its slot"
    if asked is None:
        return f"the client never asked for {text.clean(case.stream.channel, 60)}"
    if case.done_ns < asked:
        return f"it was published before the client first asked for its channel, at {case.at(asked)}"
    if left is not None and case.sent_ns > left:
        return f"it was published after the client had left, at {case.at(left)}"
    return "the client was not subscribed by then"


def _entitled(case: Case) -> tuple[int | None, int | None, int | None]:
    """When the client first asked for the channel, was first subscribed to it, and left."""

    def first(name: str, channel: str | None) -> int | None:
        times = [e["t"] for e in case.seen.events if e["ev"] == name and e.get("channel") == channel]
        return min(times, default=None)

    channel = case.stream.channel
    return first("subscribing", channel), first("subscribed", channel), first("left", None)
