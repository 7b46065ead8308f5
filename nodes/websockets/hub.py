"""Who is subscribed to what: the state of every channel, without any I/O.

A channel's life, as Redis sees it from this node's one connection:

    absent --first client--> asked --`subscribe` confirmed--> live --last client left--> leaving --confirmed--> absent

Redis handles the commands of a connection in order and confirms them in order. So a client that comes while the
channel is leaving needs no lock: its SUBSCRIBE follows the UNSUBSCRIBE, and it waits until nothing is in flight for
the channel any more. A client is in `members`, which get messages, once its subscription holds; before that it is
in `waiting`, which get none. When the connection is lost, members stay and the channel is no longer live: what is
published until Redis confirms it again is a gap.
"""

import json
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Verb = Literal["SUBSCRIBE", "UNSUBSCRIBE"]
C = TypeVar("C", bound=Hashable)


class Channel(Generic[C]):
    """One channel. `in_flight` counts commands about it that Redis has not confirmed yet."""

    __slots__ = (
        *("name", "name_json", "pinned", "members", "waiting"),
        *("live", "live_since_ns", "gap_from_ns", "in_flight", "asked"),
    )

    def __init__(self, name: str, *, pinned: bool = False) -> None:
        self.name = name
        self.name_json = json.dumps(name).encode()  # as the journal quotes it
        self.members: dict[C, None] = {}  # in the order in which they came: each run fans out alike
        self.waiting: dict[C, None] = {}
        self.pinned = pinned  # the node itself listens, whether clients do or not
        self.live = False
        self.in_flight = 0
        self.asked: Verb | None = None  # the last command sent
        self.live_since_ns = 0
        self.gap_from_ns: int | None = None

    @property
    def wanted(self) -> bool:
        """Whether this node has any use for the channel."""
        return bool(self.pinned or self.members or self.waiting)


@dataclass(frozen=True, slots=True)
class Gap:
    """What was published between these times (ns) may not have come, though somebody on this node relied on it."""

    channel: str
    from_ns: int
    to_ns: int


@dataclass(frozen=True, slots=True)
class Confirmed(Generic[C]):
    """What a confirmation or a refusal by Redis means: whom to tell, and what was missed."""

    channel: str
    tell: tuple[C, ...] = ()
    gap: Gap | None = None
    asked: bool = True  # False: nobody sent that command, so the connection was replaced behind our back


class Hub(Generic[C]):
    """All channels of a node. `send` is called with each command for Redis, in order; it must not block."""

    def __init__(self, send: Callable[[Verb, str], None], on_gap: Callable[[Gap], None]) -> None:
        self._send = send
        self._on_gap = on_gap
        self._channels: dict[str, Channel[C]] = {}
        self._names_of: dict[C, set[str]] = {}
        self._sent: deque[tuple[Verb, str]] = deque()  # not confirmed yet, oldest first
        self._connected = False

    def __iter__(self) -> Iterator[Channel[C]]:
        return iter(self._channels.values())

    def get(self, name: str) -> Channel[C] | None:
        """The channel, if anybody wants it or it is not quite gone."""
        return self._channels.get(name)

    def count(self, client: C) -> int:
        """How many channels a client has asked for."""
        return len(self._names_of.get(client, ()))

    def new_names(self, client: C, names: Iterable[str]) -> int:
        """How many of these the client does not have yet."""
        return len(set(names) - self._names_of.get(client, set()))

    @property
    def pinned_live(self) -> bool:
        """Whether the channels that the node itself needs hold."""
        return all(channel.live for channel in self._channels.values() if channel.pinned)

    def pin(self, name: str) -> None:
        """Keep a channel for the node itself."""
        channel = self._obtain(name)
        channel.pinned = True
        self._want(channel)

    def subscribe(self, client: C, name: str) -> bool:
        """Add a client; True if its subscription holds now, False if `confirmed` will tell later."""
        channel = self._obtain(name)
        self._names_of.setdefault(client, set()).add(name)
        if channel.live:
            channel.members[client] = None
            return True
        self._want(channel)
        channel.waiting[client] = None
        return False

    def unsubscribe(self, client: C, name: str, now_ns: int) -> None:
        """Take a client off a channel; nothing happens if it was not on it."""
        self._names_of.get(client, set()).discard(name)
        channel = self._channels.get(name)
        if channel is not None and (client in channel.members or client in channel.waiting):
            channel.members.pop(client, None)
            channel.waiting.pop(client, None)
            self._settle(channel, now_ns)

    def drop(self, client: C, now_ns: int) -> None:
        """Take a client off everything: its connection is gone."""
        for name in tuple(self._names_of.get(client, ())):
            self.unsubscribe(client, name, now_ns)
        self._names_of.pop(client, None)

    def connected(self) -> None:
        """A fresh connection to Redis: ask for every channel that is wanted."""
        self._connected = True
        self._sent.clear()
        for channel in self._channels.values():
            channel.in_flight = 0
            self._ask(channel, "SUBSCRIBE")

    def disconnected(self, known_good_ns: int, now_ns: int) -> None:
        """The connection is lost; all that was published until `known_good_ns` had come."""
        self._connected = False
        self._sent.clear()
        for channel in tuple(self._channels.values()):
            channel.in_flight = 0
            if channel.live:
                self._break(channel, known_good_ns)
            self._settle(channel, now_ns)

    def confirmed(self, verb: Verb, name: str, known_good_ns: int, now_ns: int) -> Confirmed[C]:
        """Redis confirmed a command; all that was published until `known_good_ns` had come before."""
        if not self._sent or self._sent[0] != (verb, name):
            return self._unasked(verb, name, known_good_ns, now_ns)
        self._sent.popleft()
        channel = self._channels[name]
        channel.in_flight -= 1
        channel.live = verb == "SUBSCRIBE"  # then nothing else is in flight: leaving begins at live only
        if not channel.live:
            self._settle(channel, now_ns)
            return Confirmed(name)
        channel.live_since_ns = now_ns
        gap = self._end_gap(channel, now_ns)
        tell = tuple(channel.waiting)
        channel.members |= channel.waiting
        channel.waiting.clear()
        self._settle(channel, now_ns)
        return Confirmed(name, tell, gap)

    def _unasked(self, verb: Verb, name: str, known_good_ns: int, now_ns: int) -> Confirmed[C]:
        """A channel was resubscribed, or taken from us, in silence: messages may be missing. The caller reconnects."""
        channel = self._channels.get(name)
        gap = None
        if channel is not None and channel.live:
            self._break(channel, known_good_ns)
            if verb == "SUBSCRIBE":
                channel.live = True
                channel.live_since_ns = now_ns
                gap = self._end_gap(channel, now_ns)
        return Confirmed(name, gap=gap, asked=False)

    def refused(self, now_ns: int) -> Confirmed[C] | None:
        """Redis answered the oldest command with an error: its clients will not get the channel. None: no command."""
        if not self._sent:
            return None
        _, name = self._sent.popleft()
        channel = self._channels[name]
        channel.in_flight -= 1
        tell = (*channel.members, *channel.waiting)
        for client in tell:
            self._names_of[client].discard(name)
        channel.members.clear()
        channel.waiting.clear()
        self._settle(channel, now_ns)
        return Confirmed(name, tell)

    def close(self, now_ns: int) -> None:
        """The node ends: gaps that are still open end here."""
        for channel in self._channels.values():
            self._end_gap(channel, now_ns)

    def _obtain(self, name: str) -> Channel[C]:
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = Channel(name)
        return channel

    def _want(self, channel: Channel[C]) -> None:
        """Ask for a channel unless it holds, or its last command in flight already asks."""
        asking = channel.in_flight > 0 and channel.asked == "SUBSCRIBE"
        if self._connected and not channel.live and not asking:
            self._ask(channel, "SUBSCRIBE")

    def _ask(self, channel: Channel[C], verb: Verb) -> None:
        channel.asked = verb
        self._sent.append((verb, channel.name))
        channel.in_flight += 1
        self._send(verb, channel.name)

    def _settle(self, channel: Channel[C], now_ns: int) -> None:
        """Leave a channel that nobody wants any more, and forget it once Redis knows. One in flight settles later."""
        if channel.wanted:
            return
        self._end_gap(channel, now_ns)
        if channel.live:
            channel.live = False
            self._ask(channel, "UNSUBSCRIBE")
        elif not channel.in_flight:
            del self._channels[channel.name]

    @staticmethod
    def _break(channel: Channel[C], known_good_ns: int) -> None:
        channel.live = False
        channel.gap_from_ns = max(known_good_ns, channel.live_since_ns)

    def _end_gap(self, channel: Channel[C], now_ns: int) -> Gap | None:
        if channel.gap_from_ns is None:
            return None
        gap = Gap(channel.name, channel.gap_from_ns, now_ns)
        channel.gap_from_ns = None
        self._on_gap(gap)
        return gap
