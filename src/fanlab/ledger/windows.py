"""Who was owed what, and when: a fold over the clients' events. Pure; memory grows with clients and their connections.

A client's life, as its journal tells it:

    away --connecting--> trying --open--> on --closed--> away        trying --failed--> away
                                          on --subscribing, subscribed--> on            any --left--> left

It is owed a channel's messages from its first confirmed subscription until it leaves. Whatever ends a connection in
between begins an outage, which lasts until all its channels are confirmed again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanlab.errors import MeasurementError
from fanlab.ledger.records import NO_NODE
from fanlab.ledger.result import Outage

NEVER: Final = 1 << 62  # later than any time of a run
NO_CHANNEL: Final = -1

# One client event. `at` is its name's place in NAMES; channel indexes are the plan's.
EVENT_DTYPE = np.dtype(
    [("t", "<i8"), ("client", "<i8"), ("at", "u1"), ("node", "<u2"), ("channel", "<i4"), ("own", "?")]
)
NAMES: Final = ("connecting", "failed", "open", "subscribing", "subscribed", "closed", "left")

# One subscription on one connection; times that never came are NEVER.
SUB_DTYPE = np.dtype(
    [
        ("client", "<i8"),
        ("channel", "<i4"),
        ("node", "<u2"),
        ("subscribing_ns", "<i8"),
        ("subscribed_ns", "<i8"),
        ("closed_ns", "<i8"),
    ]
)
# What one client is owed of one channel, by the times of a publish (sent, done):
#   nothing   done < ask or sent > left
#   owed      sent > confirm and done < fade
#   edge      else: delivered if received, otherwise nobody can tell
# `held_ns` is when it asked for the channel on the connection that it still had at the end of its journal.
WINDOW_DTYPE = np.dtype(
    [
        ("client", "<i8"),
        ("channel", "<i4"),
        ("ask_ns", "<i8"),
        ("confirm_ns", "<i8"),
        ("fade_ns", "<i8"),
        ("left_ns", "<i8"),
        ("held_ns", "<i8"),
    ]
)

AWAY, TRYING, ON, LEFT = "away", "trying", "on", "left"
MOVES: Final[Mapping[str, Mapping[str, str]]] = {
    AWAY: {"connecting": TRYING, "left": LEFT},
    TRYING: {"failed": AWAY, "open": ON, "left": LEFT},
    ON: {"subscribing": ON, "subscribed": ON, "closed": AWAY, "left": LEFT},
    LEFT: dict.fromkeys(NAMES, LEFT),  # what was under way when it left still happens, and counts for nothing
}
# Where each event leaves a client whose journal has holes.
_AFTER: Final = {
    "connecting": TRYING, "failed": AWAY, "open": ON, "subscribing": ON, "subscribed": ON, "closed": AWAY, "left": LEFT
}  # fmt: skip
_SUBSCRIBING, _SUBSCRIBED, _CLOSED = 3, 4, 5  # places in a row of SUB_DTYPE
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Windows:
    """What the events come to. `windows` is sorted by (channel, client), `subs` by (client, channel, time)."""

    windows: NDArray[Any]  # WINDOW_DTYPE
    subs: NDArray[Any]  # SUB_DTYPE
    outages: list[Outage]  # sorted by (client, start)
    seen: int  # clients that have any event
    connected: int  # clients that were subscribed to all their channels at some time
    reconnects: int  # outages that ended
    never_returned: int  # clients whose last outage did not


class _Event(NamedTuple):
    t: int
    client: int
    at: int
    node: int
    channel: int
    own: bool

    def impossible(self, why: str, *, strict: bool) -> None:
        """Raise MeasurementError about this event, unless the journal is known to have holes."""
        if strict:
            quoted: dict[str, Any] = {"t": self.t, "ev": NAMES[self.at], "client": self.client, "node": self.node}
            if self.channel != NO_CHANNEL:
                quoted["channel"] = self.channel
            raise MeasurementError(
                f"a client's history cannot be: {quoted}: {why}",
                hint="the load's journals contradict themselves; please report it, with the run directory",
            )


@dataclass(slots=True)
class _Client:
    client: int
    asked: frozenset[int]
    strict: bool
    state: str = AWAY
    node: int = NO_NODE
    left_ns: int = NEVER
    last_closed_ns: int = NEVER  # NEVER while a connection is open
    connected: bool = False
    first_ask: dict[int, int] = field(default_factory=dict)
    first_confirm: dict[int, int] = field(default_factory=dict)
    current: dict[int, list[int]] = field(default_factory=dict)  # channel -> its row of subs on this connection
    unconfirmed: set[int] = field(default_factory=set)  # channels that it is still to be told of on this connection
    held: dict[int, int] = field(default_factory=dict)  # channel -> when it was asked for on the connection it kept
    outage: dict[str, int] | None = None
    subs: list[list[int]] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)

    def asks(self, event: _Event) -> None:
        """Begin a subscription on this connection."""
        row = [self.client, event.channel, event.node, event.t, NEVER, NEVER]
        self.current[event.channel] = row
        self.subs.append(row)

    def leaves(self, t: int) -> None:
        """It goes of its own will; a connection that it has closed itself just before is the one that it still had."""
        self.left_ns = t
        if self.state == ON:
            self.hold()

    def hold(self) -> None:
        """This connection is the one that it has at the end."""
        self.held = {channel: row[_SUBSCRIBING] for channel, row in self.current.items()}


def owed_windows(
    events: NDArray[Any],
    asked: Sequence[frozenset[int]],
    *,
    quiet_ns: int,
    publish_end_ns: int,
    strict: bool = True,
) -> Windows:
    """Fold `events` (EVENT_DTYPE, in each client's order where times tie) into windows, subscriptions and outages.

    `asked[c]` are the channels that client c is to subscribe to. What is published within `quiet_ns` before a client
    leaves in mid-run may have been on its way to it, so its owed window fades there; a client that leaves after
    publishing has ended was waited for by the drain. A history that cannot be raises MeasurementError with the event,
    unless `strict` is off (a journal with damaged frames): then the state follows the event.
    """
    order = np.lexsort((events["t"], events["client"]))
    clients: list[_Client] = []
    current: _Client | None = None
    for start in range(0, len(order), _BLOCK):  # tuples are ten times an array's size: never all at once
        for fields in events[order[start : start + _BLOCK]].tolist():
            event = _Event(*fields)
            if current is None or current.client != event.client:
                if not 0 <= event.client < len(asked):
                    event.impossible(f"the plan has {len(asked)} clients", strict=strict)
                    continue
                current = _Client(event.client, asked[event.client], strict)
                clients.append(current)
            _step(current, event)
    for one in clients:
        _finish(one)
    windows = [row for one in clients for row in _windows(one, quiet_ns, publish_end_ns)]
    subs = [tuple(row) for one in clients for row in one.subs]
    found = np.array(windows, WINDOW_DTYPE)
    table = np.array(subs, SUB_DTYPE)
    return Windows(
        windows=found[np.lexsort((found["client"], found["channel"]))],
        subs=table[np.lexsort((table["subscribing_ns"], table["channel"], table["client"]))],
        outages=[outage for one in clients for outage in one.outages],
        seen=len(clients),
        connected=sum(one.connected for one in clients),
        reconnects=sum(outage.resubscribed_ns is not None for one in clients for outage in one.outages),
        never_returned=sum(bool(one.outages) and one.outages[-1].resubscribed_ns is None for one in clients),
    )


def _step(one: _Client, event: _Event) -> None:
    name, channel, t = NAMES[event.at], event.channel, event.t
    to = MOVES[one.state].get(name)
    if to is None:
        event.impossible(f"the client is {one.state}", strict=one.strict)
        to = _AFTER[name]
    if one.state == LEFT:
        return
    if name != "left":
        one.held = {}
    if to == ON:  # told over an open connection, even where the journal has lost its opening
        one.last_closed_ns = NEVER
    if name == "open":
        one.node, one.current, one.unconfirmed = event.node, {}, set(one.asked)
        if one.outage is not None:
            one.outage |= {"reopened": t, "next": event.node}
    elif name == "subscribing":
        one.first_ask.setdefault(channel, t)
        if channel not in one.current:
            one.asks(event)
    elif name == "subscribed":
        _confirmed(one, event)
    elif name == "closed":
        _closed(one, t, own=event.own)
    elif name == "left":
        one.leaves(t)
    one.state = to


def _confirmed(one: _Client, event: _Event) -> None:
    if event.channel not in one.current:
        event.impossible("it did not ask for that channel on this connection", strict=one.strict)
        one.first_ask.setdefault(event.channel, event.t)
        one.asks(event)
    row = one.current[event.channel]
    row[_SUBSCRIBED] = min(row[_SUBSCRIBED], event.t)  # a node may say it twice
    one.first_confirm.setdefault(event.channel, event.t)
    one.unconfirmed.discard(event.channel)
    if not one.unconfirmed:
        one.connected = True
        if one.outage is not None:
            one.outages.append(_outage(one, event.t))
            one.outage = None


def _closed(one: _Client, t: int, *, own: bool) -> None:
    for row in one.current.values():
        row[_CLOSED] = t
    if own:
        one.hold()
    elif one.outage is None and one.first_confirm:
        one.outage = {"start": t, "node": one.node}
    one.current = {}
    one.last_closed_ns = t


def _finish(one: _Client) -> None:
    if one.state == ON:
        one.hold()
    if one.outage is not None:
        one.outages.append(_outage(one, None))


def _outage(one: _Client, resubscribed_ns: int | None) -> Outage:
    ended = one.outage or {}
    return Outage(
        client=one.client,
        node=ended["node"],
        start_ns=ended["start"],
        reopened_ns=ended.get("reopened"),
        resubscribed_ns=resubscribed_ns,
        first_message_ns=None,
        next_node=ended.get("next"),
        fault=None,
    )


def _windows(one: _Client, quiet_ns: int, publish_end_ns: int) -> list[tuple[int, ...]]:
    rows: list[tuple[int, ...]] = []
    for channel, ask_ns in one.first_ask.items():
        confirm_ns = one.first_confirm.get(channel, NEVER)
        left_ns = one.left_ns
        if confirm_ns == NEVER:  # what it asked for in vain can have held no longer than the connection
            left_ns = min(left_ns, one.last_closed_ns)
        fade_ns = left_ns - quiet_ns if left_ns < publish_end_ns else left_ns
        rows.append((one.client, channel, ask_ns, confirm_ns, fade_ns, left_ns, one.held.get(channel, NEVER)))
    return rows
