"""One WebSocket client's life, without its sockets: what happened comes in, what to do and what to journal come out.

A client that loses its connection backs off, goes where its failover policy says, and subscribes again; it is owed
messages all the while, until it leaves. The table below is the whole theory: a move that is not in it raises
`IllegalMove` and changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from fanlab.ledger.events import ClientEvent
from fanlab.load.config import Backoff, ClientsConfig
from fanlab.load.protocols import ClientProtocol
from fanlab.seed import rng


class State(StrEnum):
    """Where a client is in its life."""

    NEW = "new"
    CONNECTING = "connecting"
    SUBSCRIBING = "subscribing"
    SUBSCRIBED = "subscribed"
    BACKING_OFF = "backing-off"
    CLOSING = "closing"
    LEFT = "left"


class Input(StrEnum):
    """What can happen to it."""

    START = "start"
    OPENED = "opened"
    REFUSED = "refused"
    CONFIRMED = "confirmed"
    LOST = "lost"
    RETRY = "retry"
    LEAVE = "leave"


MOVES: Mapping[State, Mapping[Input, State]] = {
    State.NEW: {Input.START: State.CONNECTING, Input.LEAVE: State.LEFT},
    State.CONNECTING: {
        Input.OPENED: State.SUBSCRIBING,
        Input.REFUSED: State.BACKING_OFF,
        Input.LEAVE: State.CLOSING,
    },
    State.SUBSCRIBING: {
        Input.CONFIRMED: State.SUBSCRIBING,  # SUBSCRIBED with the last channel
        Input.LOST: State.BACKING_OFF,
        Input.LEAVE: State.CLOSING,
    },
    State.SUBSCRIBED: {
        Input.CONFIRMED: State.SUBSCRIBED,  # a node may say it twice
        Input.LOST: State.BACKING_OFF,
        Input.LEAVE: State.CLOSING,
    },
    State.BACKING_OFF: {Input.RETRY: State.CONNECTING, Input.LEAVE: State.LEFT},
    State.CLOSING: {
        Input.OPENED: State.CLOSING,  # the connection that was under way when it left
        Input.REFUSED: State.LEFT,
        Input.CONFIRMED: State.CLOSING,
        Input.LOST: State.LEFT,
        Input.LEAVE: State.CLOSING,
    },
    State.LEFT: {Input.LEAVE: State.LEFT},
}


class IllegalMove(Exception):  # noqa: N818 - it is a move, and the caller's mistake
    """An input that the state does not know."""


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection to a node."""

    node: int


@dataclass(frozen=True, slots=True)
class Send:
    """Send a text frame."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Come back with RETRY after this long."""

    delay_ns: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection with code 1000."""


Action = Connect | Send | Wait | Close


@dataclass(frozen=True, slots=True)
class Outcome:
    """What follows from an input: things to do, and lines for the journal, each in order."""

    actions: tuple[Action, ...] = ()
    events: tuple[ClientEvent, ...] = ()
    owed: tuple[str, ...] = ()  # channels that it is owed from now on, and was not before
    released: tuple[str, ...] = ()  # channels that it is owed no more


def backoff_ns(backoff: Backoff, attempt: int, random: Random) -> int:
    """The wait before reconnection attempt `attempt` (from 0), jitter drawn from `random`."""
    exponent = min(attempt, 64)  # past that every factor above 1 has long reached the maximum, and floats overflow
    delay = min(backoff.max_ns, backoff.initial_ns * backoff.factor**exponent)
    return max(0, round(delay * (1 + backoff.jitter * random.uniform(-1, 1))))


def next_node(
    policy: str, nodes: Sequence[int], current: int, tried: frozenset[int], connections: Mapping[int, int]
) -> int:
    """The node to try after `current` failed. `tried` failed since the client was last subscribed.

    Least-connections looks at nodes that have not failed yet, since a dead node has the fewest of all; ties go to the
    next in turn. When all have failed it starts over with all but the current one.
    """
    if policy == "sticky" or len(nodes) == 1:
        return current
    at = nodes.index(current)
    in_turn = [*nodes[at + 1 :], *nodes[:at]]
    if policy == "round-robin":
        return in_turn[0]
    return min([node for node in in_turn if node not in tried] or in_turn, key=lambda node: connections.get(node, 0))


@dataclass(slots=True)
class Subscriber:
    """One client. Feed it `start`, `opened`, `refused`, `frame`, `lost`, `retry`, `leave`; do what it answers."""

    client: int
    group: ClientsConfig
    protocols: Sequence[ClientProtocol]  # by node index
    seed: int
    connections: Mapping[int, int]  # open or opening, by node, over this engine's clients
    state: State = State.NEW
    node: int = field(init=False)
    attempt: int = 0  # of the current round of reconnecting
    ever_subscribed: bool = False
    entitled: set[str] = field(default_factory=set)  # channels once confirmed: owed until it leaves
    pending: set[str] = field(default_factory=set)
    tried: set[int] = field(default_factory=set)
    _rng: Random | None = None  # made when first needed: it weighs 2.5 kB, and most clients never back off

    def __post_init__(self) -> None:
        self.node = self.group.nodes[(self.client - self.group.first_client) % len(self.group.nodes)]

    def start(self, t_ns: int) -> Outcome:
        """The client begins its life."""
        self._move(Input.START)
        return self._connect(t_ns)

    def opened(self, t_ns: int) -> Outcome:
        """The WebSocket is open."""
        self._move(Input.OPENED)
        event: ClientEvent = {"t": t_ns, "ev": "open", "client": self.client, "node": self.node}
        if self.state is State.CLOSING:
            return Outcome((Close(),), (event,))
        self.pending = set(self.group.channels)
        subscribing: list[ClientEvent] = [
            {"t": t_ns, "ev": "subscribing", "client": self.client, "node": self.node, "channel": channel}
            for channel in self.group.channels
        ]
        frames = self.protocols[self.node].subscribe(self.group.channels)
        return Outcome(tuple(Send(frame) for frame in frames), (event, *subscribing))

    def refused(self, t_ns: int, error: str) -> Outcome:
        """The attempt to connect came to nothing."""
        self._move(Input.REFUSED)
        event: ClientEvent = {"t": t_ns, "ev": "failed", "client": self.client, "node": self.node, "error": error}
        return Outcome((), (event,)) if self.state is State.LEFT else self._back_off(event)

    def frame(self, t_ns: int, text: bytes) -> Outcome:
        """A control frame came: only confirmations matter."""
        events: list[ClientEvent] = []
        owed: list[str] = []
        for channel in self.protocols[self.node].confirmed(text):
            self._move(Input.CONFIRMED)
            if channel not in self.pending:
                continue
            self.pending.discard(channel)
            if channel not in self.entitled and self.state is not State.CLOSING:  # whoever has left is owed nothing
                self.entitled.add(channel)
                owed.append(channel)
            events.append({"t": t_ns, "ev": "subscribed", "client": self.client, "node": self.node, "channel": channel})
            if not self.pending and self.state is State.SUBSCRIBING:
                self.state = State.SUBSCRIBED
                self.ever_subscribed = True
                self.attempt = 0
                self.tried.clear()
        return Outcome((), tuple(events), owed=tuple(owed))

    def lost(self, t_ns: int, code: int, reason: str) -> Outcome:
        """The connection ended, whoever ended it."""
        own = self.state is State.CLOSING
        self._move(Input.LOST)
        event: ClientEvent = {
            "t": t_ns,
            "ev": "closed",
            "client": self.client,
            "node": self.node,
            "code": code,
            "reason": reason,
            "own": own,
        }
        return Outcome((), (event,)) if own else self._back_off(event)

    def retry(self, t_ns: int) -> Outcome:
        """The back-off is over. Only now it is decided where to go.

        At the moment of loss all clients of a dead node would see the same least-connections node, and rush to it.
        """
        self._move(Input.RETRY)
        self.node = next_node(self.group.failover, self.group.nodes, self.node, frozenset(self.tried), self.connections)
        return self._connect(t_ns)

    def leave(self, t_ns: int) -> Outcome:
        """The client goes of its own will; from here on it is owed nothing."""
        before = self.state
        self._move(Input.LEAVE)
        if before in (State.CLOSING, State.LEFT):
            return Outcome()
        released = tuple(self.entitled)
        self.entitled.clear()
        connected = before in (State.SUBSCRIBING, State.SUBSCRIBED)
        left: ClientEvent = {"t": t_ns, "ev": "left", "client": self.client}
        return Outcome((Close(),) if connected else (), (left,), released=released)

    def _connect(self, t_ns: int) -> Outcome:
        event: ClientEvent = {
            "t": t_ns,
            "ev": "connecting",
            "client": self.client,
            "node": self.node,
            "attempt": self.attempt,
        }
        return Outcome((Connect(self.node),), (event,))

    def _back_off(self, event: ClientEvent) -> Outcome:
        self.pending.clear()
        self.tried.add(self.node)
        if self.tried.issuperset(self.group.nodes):
            self.tried = {self.node}
        self._rng = self._rng or rng(self.seed, "client", self.client)
        delay_ns = backoff_ns(self.group.backoff, self.attempt, self._rng)
        self.attempt += 1
        return Outcome((Wait(delay_ns),), (event,))

    def _move(self, happened: Input) -> None:
        to = MOVES[self.state].get(happened)
        if to is None:
            raise IllegalMove(f"client {self.client} is {self.state} and cannot take {happened}")
        self.state = to
