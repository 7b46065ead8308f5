"""Why and where each message was lost: one decision table over what is known. The first row that holds decides.

`facts.facts_of` looks up what the rows speak of, to begin with where the client was when the message was published:

    away      it had no connection: the last one had ended, the next was not yet open
    joining   it had a connection, on which the channel was not yet confirmed
    live      it was subscribed: from here on it matters what became of the message on its way to it

Evidence that names the message and the client (a node's `drop`) stands above evidence that names a time (a gap, a kill,
a death), and that above what is only likely. A loss has one cause. The fault it goes back to is that of the thing the
cause speaks of: of the outage for a client that was away, of the connection's end for what was in flight, of the break
for what a broken subscription took, of Redis for the rest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.histogram import Ints
from fanlab.ledger.received import Bools


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
class Facts:
    """What is known of each loss: equally long arrays. Faults are indexes, -1 for none."""

    node: Ints  # that the client was on, or last on; NO_NODE
    hop: NDArray[np.uint8]  # of a live client's loss, as far as it can be proven: REDIS_NODE, NODE_SOCKET or UNKNOWN

    failed: Bools  # the publish certainly failed
    redis_away: Bools  # Redis was at fault, dead, or did not answer those who watched it
    away: Bools
    joining: Bools
    live: Bools
    confirmed_later: Bools  # the channel was confirmed on that connection in the end
    outage_over: Bools  # the outage it fell into ended
    no_node_up: Bools  # every node that its client may go to was down
    own_end: Bools  # the connection that it lacked, or was on, ended because the client's engine had stood still

    dropped_slow: Bools  # the node says that it dropped the message for this client, whose buffer was full
    dropped_closing: Bools  # ... whose connection was ending
    dropped_write: Bools  # ... to which the write failed
    unread: Bools  # nothing so far tells of it, and a frame of the client's journal of that time cannot be read
    surely_unread: Bools  # ... which held as many deliveries as are missing

    cut_off: Bools  # the node's link to Redis was cut: a fault of that kind, or silence on a link that Redis held open
    buffer_killed: Bools  # it was in the output buffer for which Redis closed the node's connection, or came after that
    in_gap: Bools  # the node had lost its subscription and was about to renew it
    deaf: Bools  # ... and never did, or had none to begin with
    gap_likely: Bools  # nobody knows the node's subscription, and Redis was at fault
    uncounted: Bools  # Redis' reply proves that the node was not subscribed
    returned: Bools  # Redis was at fault since the node last had something of this channel, and later it had again

    link_held: Bools  # nothing passed between the node and the client when it was sent
    link_ended: Bools  # the connection ended by a fault of the way to the client, and nothing came before that
    node_frozen: Bools  # the node was paused, and nothing came before the connection ended
    node_starved: Bools  # the node was kept from running fast enough, and nothing came before the connection ended
    node_died: Bools  # the connection ended with the node, and nothing came on it after this
    closed_slow: Bools  # the connection ended for the client's slowness, and nothing came before that
    drop_likely: Bools  # the way to the client was slow by a fault, and its node does not say what it drops

    publish_fault: Ints  # of Redis, that stopped publishing
    redis_fault: Ints  # of Redis, at work at the publish
    outage_fault: Ints
    end_fault: Ints  # of the node, or of its links to clients, at the end of the connection
    slow_fault: Ints  # that lets a client's buffer fill
    close_fault: Ints  # for which the node gave the client up, or at the end of the connection
    link_fault: Ints  # of the node's links to clients
    break_fault: Ints  # at the break of the subscription
    silence_fault: Ints  # of Redis or the node, since the node last had something of this channel


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: where `holds`, the cause is `cause`, and hop and fault are as given, or as Facts have them."""

    cause: Cause
    hop: Hop | None  # None: Facts.hop
    why: str
    holds: Callable[[Facts], Bools]
    fault: str | None = None  # the field of Facts that names it


RULES: Final[tuple[Rule, ...]] = (
    Rule(Cause.REDIS_DOWN, Hop.PUBLISHER_REDIS, "the publish failed while Redis was at fault",
         lambda f: f.failed & f.redis_away, "publish_fault"),
    Rule(Cause.PUBLISH_FAILED, Hop.PUBLISHER_REDIS, "the publish failed",
         lambda f: f.failed, "publish_fault"),

    Rule(Cause.GENERATOR_FAULT, Hop.CLIENT, "the client's engine had stood still until it gave the connection up",
         lambda f: ~f.live & f.own_end),
    Rule(Cause.NEVER_RETURNED, Hop.CLIENT, "the client had lost its connection, and was not back by the end",
         lambda f: f.away & ~f.outage_over, "outage_fault"),
    Rule(Cause.NODE_DOWN, Hop.REDIS_NODE, "the client had no connection, and every node it may go to was down",
         lambda f: f.away & f.no_node_up, "outage_fault"),
    Rule(Cause.CLIENT_RECONNECTING, Hop.CLIENT, "the client had no connection, though a node was up",
         lambda f: f.away, "outage_fault"),
    Rule(Cause.CLIENT_RECONNECTING, Hop.CLIENT, "the client was connected again, its subscription on its way",
         lambda f: f.joining & f.confirmed_later, "outage_fault"),
    Rule(Cause.CLIENT_RECONNECTING, Hop.CLIENT, "the client was connected again, but not for long enough",
         lambda f: f.joining & f.outage_over, "outage_fault"),
    Rule(Cause.NEVER_SUBSCRIBED, Hop.CLIENT, "the client was connected again, its subscription never confirmed",
         lambda f: f.joining, "outage_fault"),

    # From here on the client was live.
    Rule(Cause.SLOW_CLIENT_DROP, Hop.NODE_SOCKET, "the node had it and dropped it: the client's buffer was full",
         lambda f: f.dropped_slow, "slow_fault"),
    Rule(Cause.WRITE_ERROR, Hop.NODE_SOCKET, "the node had it and could not write it to the client",
         lambda f: f.dropped_write, "end_fault"),
    Rule(Cause.NOT_OPEN, Hop.NODE_SOCKET, "the node had it and skipped the client: its connection was ending",
         lambda f: f.dropped_closing & ~f.node_died & ~f.node_frozen, "close_fault"),
    Rule(Cause.OUTPUT_BUFFER_KILL, None, "Redis had closed the node's connection for its output buffer",
         lambda f: f.buffer_killed, "break_fault"),
    Rule(Cause.PARTITION, None, "the node's link to Redis was silent, and not both of them knew",
         lambda f: f.cut_off, "break_fault"),
    Rule(Cause.RESUBSCRIBE_GAP, None, "the node had lost its subscription at Redis",
         lambda f: f.in_gap, "break_fault"),
    Rule(Cause.NO_SUBSCRIBER, None, "the node had no subscription, and did not renew it",
         lambda f: f.deaf, "break_fault"),
    Rule(Cause.GENERATOR_FAULT, Hop.CLIENT, "it came: the client's engine journaled it in a frame that cannot be read",
         lambda f: f.surely_unread),
    Rule(Cause.GENERATOR_FAULT, Hop.UNKNOWN, "what the client's engine journaled at that time cannot be read",
         lambda f: f.unread),
    Rule(Cause.PARTITION, None, "nothing passed between the node and the client when it was sent",
         lambda f: f.link_held, "link_fault"),
    Rule(Cause.NODE_DOWN, None, "the node was paused, and the connection ended before it could say anything",
         lambda f: f.node_frozen, "end_fault"),
    Rule(Cause.NODE_DOWN, None, "the node had too little CPU or memory, and its client gave it up with this on its way",
         lambda f: f.node_starved, "end_fault"),
    Rule(Cause.NODE_CRASH_IN_FLIGHT, None, "the node died before the client got it, or before the client saw it die",
         lambda f: f.node_died, "end_fault"),
    Rule(Cause.GENERATOR_FAULT, None, "the client's engine stood still, and gave the connection up with this on it",
         lambda f: f.live & f.own_end),
    Rule(Cause.RESUBSCRIBE_GAP, None, "Redis did not count the node, which lost its subscription and came back",
         lambda f: f.uncounted & f.returned, "silence_fault"),
    Rule(Cause.NO_SUBSCRIBER, None, "Redis did not count the node, though the client was subscribed there",
         lambda f: f.uncounted, "silence_fault"),
    Rule(Cause.SLOW_CLIENT_DROP, None, "the node gave the client up as too slow, and nothing came after this",
         lambda f: f.closed_slow, "close_fault"),
    Rule(Cause.PARTITION, None, "the way from the node to the client failed, and the connection ended with this on it",
         lambda f: f.link_ended, "link_fault"),
    Rule(Cause.RESUBSCRIBE_GAP, None, "Redis was at fault, and nobody knows of the node's subscription",
         lambda f: f.gap_likely, "redis_fault"),
    Rule(Cause.SLOW_CLIENT_DROP, None, "the way to the client was slow, and its node does not say what it dropped",
         lambda f: f.drop_likely, "slow_fault"),
)  # fmt: skip
OTHERWISE: Final = Rule(Cause.UNEXPLAINED, None, "nothing that is known explains it", lambda f: ~f.failed)


def explain(
    facts: Facts, rules: Sequence[Rule] = RULES
) -> tuple[NDArray[np.uint8], NDArray[np.int16], NDArray[np.uint8], NDArray[np.uint8]]:
    """Of each loss the Cause, the index of the fault it goes back to or -1, the Hop, and which rule decided."""
    count = len(facts.node)
    decided = np.full(count, len(rules), np.uint8)
    cause = np.full(count, OTHERWISE.cause, np.uint8)
    fault = np.full(count, -1, np.int16)
    hop = np.where(facts.live, facts.hop, Hop.UNKNOWN).astype(np.uint8)
    unsettled = np.ones(count, np.bool_)
    for place, rule in enumerate(rules):
        hit = unsettled & rule.holds(facts)
        cause[hit], decided[hit] = rule.cause, place
        if rule.hop is not None:
            hop[hit] = rule.hop
        if rule.fault is not None:
            fault[hit] = getattr(facts, rule.fault)[hit]
        unsettled &= ~hit
    return cause, fault, hop, decided


def why(rule: int) -> str:
    """The sentence of the rule at a place in RULES; past its end, that none held."""
    return (RULES[rule] if rule < len(RULES) else OTHERWISE).why
