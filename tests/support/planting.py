"""A made-up system in which losses are planted, so that the truth of each is known: its cause, its hop and its fault.

    story = Story(journaling=True)
    PLANTS["resubscribe_gap"](story, node=0, at=1000)
    history, truth = story.told()

Three nodes with two clients each (client c is on node c mod 3), one channel, a message every 20 ms from time 0 on: it
is sent 0.1 ms after its time, nodes have it 0.4 ms later, clients after 0.5 ms more. `told` plays it all and writes
down what everybody who watches would have seen. Plants act between messages: at … + 10 ms.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from fanlab.ledger.causes import Cause, Hop
from fanlab.ledger.records import Status
from support.histories import History, ns

PERIOD_MS: Final = 20
NODES: Final = 3
FOREVER: Final = 1e9


class Truth(NamedTuple):
    """What is true of a loss."""

    cause: Cause
    hop: Hop
    fault: int = -1


class Spell(NamedTuple):
    """From when to when something holds, for messages sent in (start, end]; and what a loss by it is."""

    start: float
    end: float
    truth: Truth
    drop: str | None = None  # the reason that the node would give

    def holds(self, at: float) -> bool:
        """Whether it does."""
        return self.start < at <= self.end


@dataclass
class Link:
    """One connection of a node to Redis, as Redis lists it."""

    start: float
    end: float = FOREVER


Truths = dict[tuple[int, int], Truth]  # by (client, seq)


@dataclass
class Story:
    """What happens, and who would tell of it."""

    journaling: bool = True
    witness: bool = True
    watch: bool = True
    named: bool = True  # nodes say whom a drop concerns
    per_node: int = 2
    end: float = 6500
    poll: float = 5
    history: History = field(init=False)
    failed: list[Spell] = field(default_factory=list)
    uncounted: dict[int, list[Spell]] = field(default_factory=lambda: defaultdict(list))  # by node: Redis has it not
    unheard: dict[int, list[Spell]] = field(default_factory=lambda: defaultdict(list))  # by node: counted, but not had
    unsaid: dict[int, list[Spell]] = field(default_factory=lambda: defaultdict(list))  # by node: had, not journaled
    unhanded: dict[int, list[Spell]] = field(default_factory=lambda: defaultdict(list))  # by client: had by its node
    absent: dict[int, list[Spell]] = field(default_factory=lambda: defaultdict(list))  # by client: not connected
    unread: list[Spell] = field(default_factory=list)
    links: dict[int, list[Link]] = field(default_factory=dict)
    lines: list[tuple[int, float, str, dict[str, Any]]] = field(default_factory=list)  # node, at, name, fields
    kills: list[tuple[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        clients = NODES * self.per_node
        self.history = History(clients=clients, nodes=NODES, measure_ms=self.end, failover="sticky")
        self.history.witness_up_ms = (-2000, self.end + 500)
        self.history.evidence = {"witness": self.witness}
        for client in range(clients):
            self.history.subscribe(client, node=client % NODES)
        self.links = {node: [Link(-1900)] for node in range(NODES)}
        for node in range(NODES):
            self.say(node, -1950, "start", pid=1)
            self.say(node, -1940, "redis", state="up")
            self.say(node, -1900, "subscribed", ch="news")

    def of(self, node: int) -> list[int]:
        """The clients of a node."""
        return list(range(node, NODES * self.per_node, NODES))

    def say(self, node: int, at: float, name: str, **more: Any) -> None:
        """A line that the node's journal has, if it keeps one."""
        self.lines.append((node, at, name, more))

    def fault(self, kind: str, target: str, at: float, until: float | None = None, **settings: Any) -> int:
        """An injected fault; its index."""
        self.history.fault(kind, target, at, until, **settings)
        return len(self.history.faults) - 1

    def reconnect(self, node: int, at: float, back: float | None) -> None:
        """The node's connection to Redis goes, and the next one is subscribed at `back`."""
        self.links[node][-1].end = at
        if back is not None:
            self.links[node].append(Link(back))

    def away(self, client: int, start: float, back: float | None, **how: Any) -> None:
        """The client's connection ends, and it is subscribed again at `back`, on its own node."""
        node = client % NODES
        self.history.close(client, start, node, **how)
        if back is not None:
            self.history.subscribe(client, node=node, at=back - 2)

    def told(self) -> tuple[History, Truths]:
        """Play it."""
        truths: Truths = {}
        seq, at = 0, 0.0
        while at < self.end:
            seq += 1
            self._publish(seq, at, truths)
            at += PERIOD_MS
        for node, when, name, more in sorted(self.lines, key=lambda line: line[1]):
            if self.journaling:
                self.history.node_line(node, when, name, **more)
        for lines in self.history.node_lines.values():
            lines.sort(key=lambda line: line["t"])
        self.history.deliveries.sort()
        self.history.unreadable = [(spell.start, spell.end) for spell in self.unread]
        if self.watch:
            self._list()
        return self.history, truths

    def _publish(self, seq: int, at: float, truths: Truths) -> None:
        failed = _first(self.failed, at)
        counted = [node for node in range(NODES) if not _first(self.uncounted[node], at)]
        status = Status.OK if failed is None else Status.FAILED
        self.history.publish(seq, at, receivers=len(counted) + self.witness, status=status)
        if failed is None and self.witness:
            self.history.witnessed(seq, at + 0.3)
        for node in range(NODES):
            lost = failed or _first(self.uncounted[node], at) or _first(self.unheard[node], at)
            if lost is None and self.journaling and not _first(self.unsaid[node], at):
                self.history.fan_out(node, seq, at + 0.5, n=len(self.of(node)))
            for client in self.of(node):
                own = _first(self.absent[client], at) or _first(self.unhanded[client], at)
                spell = failed or (own if own and self._is_absent(client, at) else lost or own)
                if spell is not None:
                    truths[client, seq] = spell.truth
                    if spell.drop is not None and self.journaling:
                        who = [client] if self.named else None
                        self.history.drop(node, seq, at + 0.5, spell.drop, who=who)
                    continue
                self.history.deliver(client, seq, at + 1, node=node)
                unread = _first(self.unread, at + 1)
                if unread is not None:
                    truths[client, seq] = unread.truth

    def _is_absent(self, client: int, at: float) -> bool:
        return _first(self.absent[client], at) is not None

    def _list(self) -> None:
        """What polls every `poll` ms see of the connections; a poll falls on each multiple of it."""
        self.history.watched(-2000, self.end + 400)
        id_ = 10
        for node, links in self.links.items():
            for link in links:
                id_ += 1
                gone = None if link.end == FOREVER else (link.end // self.poll + 1) * self.poll
                self.history.listed(node, id_, (link.start // self.poll + 1) * self.poll, gone, poll=self.poll)
                for of, at in self.kills:
                    if of == node and at == link.end:
                        self.history.buffer_kill(node, id_, at + 1)


def _first(spells: list[Spell], at: float) -> Spell | None:
    return next((spell for spell in spells if spell.holds(at)), None)


def publish_failed(story: Story, node: int, at: float) -> None:  # noqa: ARG001 - it concerns all nodes
    """Redis refuses to publish for a while."""
    story.failed.append(Spell(at, at + 60, Truth(Cause.PUBLISH_FAILED, Hop.PUBLISHER_REDIS)))


def redis_down(story: Story, node: int, at: float) -> None:  # noqa: ARG001 - it concerns all nodes
    """Redis is gone for a while; nodes come back before the publishers do."""
    fault = story.fault("redis-restart", "redis", at, at + 100)
    story.failed.append(Spell(at, at + 140, Truth(Cause.REDIS_DOWN, Hop.PUBLISHER_REDIS, fault)))
    for each in (each for each in range(NODES) if story.links[each][-1].end == FOREVER):
        story.reconnect(each, at, at + 120)
        story.say(each, at + 1, "redis", state="down", why="closed", error="closed")
        story.say(each, at + 119, "redis", state="up")
        gap = {"from": ns(at - 5), "to": ns(at + 120)}
        story.say(each, at + 120, "gap", ch="news", **gap)
        story.say(each, at + 120, "subscribed", ch="news")


def no_subscriber(story: Story, node: int, at: float) -> None:
    """The node loses its subscription and never renews it."""
    story.uncounted[node].append(Spell(at, FOREVER, Truth(Cause.NO_SUBSCRIBER, Hop.REDIS_NODE)))
    story.reconnect(node, at, None)
    story.say(node, at + 1, "redis", state="down", why="closed", error="closed")
    story.say(node, at + 2, "redis", state="up")


def resubscribe_gap(story: Story, node: int, at: float, *, lasts: float = 100) -> None:
    """The node loses its subscription and renews it."""
    truth = Truth(Cause.RESUBSCRIBE_GAP, Hop.REDIS_NODE)
    story.uncounted[node].append(Spell(at, at + lasts, truth))
    _renewed(story, node, at, at, at + lasts, why="closed")


def output_buffer_kill(story: Story, node: int, at: float) -> None:
    """The node does not read for 100 ms, then Redis closes its connection, then it is back."""
    truth = Truth(Cause.OUTPUT_BUFFER_KILL, Hop.REDIS_NODE)
    story.unheard[node].append(Spell(at, at + 100, truth))
    story.uncounted[node].append(Spell(at + 100, at + 200, truth))
    story.kills.append((node, at + 100))
    _renewed(story, node, at, at + 100, at + 200, why="closed")


def partition(story: Story, node: int, at: float) -> None:
    """The link falls silent; the node gives it up after 1.5 s, Redis only later."""
    truth = Truth(Cause.PARTITION, Hop.REDIS_NODE)
    story.unheard[node].append(Spell(at, at + 1600, truth))
    _renewed(story, node, at, at + 1500, at + 1600, why="timeout")
    story.links[node][-2].end = at + 1700


def _renewed(story: Story, node: int, since: float, at: float, back: float, *, why: str) -> None:
    story.reconnect(node, at, back)
    story.say(node, at + 1, "redis", state="down", why=why, error=why)
    story.say(node, back - 1, "redis", state="up")
    story.say(node, back, "gap", ch="news", **{"from": ns(since - 5), "to": ns(back)})
    story.say(node, back, "subscribed", ch="news")


def node_down(story: Story, node: int, at: float) -> None:
    """The node dies and is started again; its clients may go nowhere else."""
    fault = story.fault("crash", f"node-{node + 1}", at, at + 200)
    down, gone = Truth(Cause.NODE_DOWN, Hop.REDIS_NODE, fault), Truth(Cause.CLIENT_RECONNECTING, Hop.CLIENT, fault)
    _dies(story, node, at, at + 195)
    story.uncounted[node].append(Spell(at, at + 195, down))
    for client in story.of(node):
        story.absent[client] += [Spell(at, at + 201, down), Spell(at + 201, at + 245, gone)]
        story.away(client, at + 1, at + 245)


def never_returned(story: Story, node: int, at: float) -> None:
    """The node dies for good; its clients may go nowhere else."""
    fault = story.fault("crash", f"node-{node + 1}", at)
    truth = Truth(Cause.NEVER_RETURNED, Hop.CLIENT, fault)
    _dies(story, node, at, None)
    story.uncounted[node].append(Spell(at, FOREVER, truth))
    for client in story.of(node):
        story.absent[client].append(Spell(at, FOREVER, truth))
        story.away(client, at + 1, None)


def node_crash_in_flight(story: Story, node: int, at: float) -> None:
    """The node hangs, then dies without having said what it had; its clients see that late, and come back."""
    fault = story.fault("crash", f"node-{node + 1}", at + 100, at + 200)
    story.unheard[node].append(Spell(at, at + 100, Truth(Cause.NODE_CRASH_IN_FLIGHT, Hop.REDIS_NODE, fault)))
    _dies(story, node, at + 100, at + 195)
    dead = Truth(Cause.NODE_CRASH_IN_FLIGHT, Hop.REDIS_NODE, fault)
    story.uncounted[node].append(Spell(at + 100, at + 195, dead))
    for client in story.of(node):
        story.absent[client] += [
            Spell(at + 125, at + 201, Truth(Cause.NODE_DOWN, Hop.REDIS_NODE, fault)),
            Spell(at + 201, at + 245, Truth(Cause.CLIENT_RECONNECTING, Hop.CLIENT, fault)),
        ]
        story.away(client, at + 125, at + 245)


def node_died_by_itself(story: Story, node: int, at: float) -> None:
    """The node dies though nobody killed it."""
    story.unheard[node].append(Spell(at, at + 100, Truth(Cause.NODE_CRASH_IN_FLIGHT, Hop.REDIS_NODE)))
    story.history.died(node, at + 101)
    _dies(story, node, at + 100, None)
    story.uncounted[node].append(Spell(at + 100, FOREVER, Truth(Cause.NODE_CRASH_IN_FLIGHT, Hop.REDIS_NODE)))
    for client in story.of(node):
        story.absent[client].append(Spell(at + 125, FOREVER, Truth(Cause.NEVER_RETURNED, Hop.CLIENT)))
        story.away(client, at + 125, None)


def _dies(story: Story, node: int, at: float, back: float | None) -> None:
    story.reconnect(node, at, back)
    if back is not None:
        story.say(node, back - 3, "start", pid=2)
        story.say(node, back - 2, "redis", state="up")
        story.say(node, back, "subscribed", ch="news")


def _dropped(cause: Cause, why: str) -> Callable[[Story, int, float], None]:
    def plant(story: Story, node: int, at: float) -> None:
        story.unhanded[story.of(node)[0]].append(Spell(at, at + 60, Truth(cause, Hop.NODE_SOCKET), why))

    plant.__doc__ = f"The node drops messages for one of its clients: {why}."
    return plant


def client_reconnecting(story: Story, node: int, at: float) -> None:
    """One client's connection breaks, and it is back soon."""
    client = story.of(node)[0]
    story.absent[client].append(Spell(at, at + 65, Truth(Cause.CLIENT_RECONNECTING, Hop.CLIENT)))
    story.away(client, at, at + 65)


def never_subscribed(story: Story, node: int, at: float) -> None:
    """One client's connection breaks; it is back at once, and nobody confirms its subscription."""
    client = story.of(node)[0]
    story.absent[client].append(Spell(at, FOREVER, Truth(Cause.NEVER_SUBSCRIBED, Hop.CLIENT)))
    story.history.close(client, at, node).event(at + 1, "connecting", client, node=node, attempt=0)
    story.history.event(at + 2, "open", client, node=node)
    story.history.event(at + 2, "subscribing", client, node=node, channel="news")


def generator_fault(story: Story, node: int, at: float) -> None:  # noqa: ARG001 - it concerns one engine's clients
    """A frame of a journal of ours is damaged."""
    story.unread.append(Spell(at, at + 50, Truth(Cause.GENERATOR_FAULT, Hop.CLIENT)))


PLANTS: Final[Mapping[str, Callable[[Story, int, float], None]]] = {
    "publish_failed": publish_failed,
    "redis_down": redis_down,
    "no_subscriber": no_subscriber,
    "node_down": node_down,
    "resubscribe_gap": resubscribe_gap,
    "output_buffer_kill": output_buffer_kill,
    "partition": partition,
    "node_crash_in_flight": node_crash_in_flight,
    "slow_client_drop": _dropped(Cause.SLOW_CLIENT_DROP, "slow"),
    "not_open": _dropped(Cause.NOT_OPEN, "closing"),
    "write_error": _dropped(Cause.WRITE_ERROR, "write_failed"),
    "client_reconnecting": client_reconnecting,
    "never_returned": never_returned,
    "never_subscribed": never_subscribed,
    "generator_fault": generator_fault,
}
BY_ITSELF: Final = node_died_by_itself
