"""The simulated system: publishers, Redis, nodes and clients as discrete events, on simpy.

    publisher  --schedule-->  Redis: one server, first come first served; a publish, then a write for each node
               --redis-->     node: one server; a write for each client, so that the first has it long before the last,
                              and then what the message costs besides: what of that comes first is part of the wait
               --client-->    client

What queues is worked out as it goes: Redis' queue by simpy, a node's by when it is free again (it never turns anything
away, so that is the same, and a message to a thousand nodes is one event). Times are ns since publishing began.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import numpy as np
import simpy
from numpy.typing import NDArray

from fanlab.clock import NS_PER_S
from fanlab.ledger.records import Status
from fanlab.load.config import Backoff
from fanlab.load.subscriber import backoff_ns, next_node
from fanlab.planned import publishing_ns, stream_offsets
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import Plan
from fanlab.seed import rng
from fanlab.simulate.fate import Event, Fate, LinkFate
from fanlab.simulate.model import Model
from fanlab.simulate.parts import Batch, Draws, Floats, Ints, Message, Recorder, generator
from fanlab.simulate.people import Party, People
from fanlab.simulate.warp import Warp, released

Happens = Generator[simpy.Event, Any, None]

PARTS: Final = 64  # a big party that is cut off comes back in so many
_LOOK_AGAIN_NS: Final = 100_000_000  # a client that waits for its node's Redis: whether the node is still there
NEVER_NS: Final = float(1 << 60)


@dataclass(slots=True)
class World:
    """One system under one scenario. `run` once."""

    scenario: Scenario
    plan: Plan
    model: Model
    fate: Fate
    recorder: Recorder
    told_apart: bool  # each client has a history of its own; else parties have
    egress_bytes_per_s: float = float("inf")  # of each node
    env: simpy.Environment = field(default_factory=simpy.Environment)
    people: People = field(init=False)
    busy_ns: Floats = field(init=False)  # by node, and of Redis at the end
    waiting: int = 0  # publishes in front of Redis, at the most
    _draws: dict[str, Draws] = field(init=False)
    _inbox: simpy.Store = field(init=False)
    _redis_up: bool = True
    _session: int = 0
    _channel: list[int] = field(init=False)  # by stream
    _up: NDArray[np.bool_] = field(init=False)  # by node
    _lives: Ints = field(init=False)
    _linked: NDArray[np.bool_] = field(init=False)  # to Redis
    _subscribed: NDArray[np.bool_] = field(init=False)  # channels × nodes, as Redis has it
    _arrived_ns: Floats = field(init=False)  # what came last, in order
    _free_ns: Floats = field(init=False)  # in the node's own time
    _line_free_ns: Floats = field(init=False)
    _dead_ns: Floats = field(init=False)  # when it dies next
    _relinked: dict[int, simpy.Event] = field(default_factory=dict)
    _randoms: dict[tuple[str, int, int], Random] = field(default_factory=dict)  # of parties that lost a connection

    def __post_init__(self) -> None:
        nodes, channels = len(self.plan.nodes), {name: at for at, name in enumerate(self.plan.channels)}
        delays = self.model.delays
        names = ("schedule", "redis", "reply", "stall", "connect", "subscribe", "resubscribe", "rejoin", "notice")
        lanes = max(nodes, len(self.plan.streams))
        self._draws = {name: Draws(getattr(delays, name), self.scenario.seed, name, lanes) for name in names}
        self._inbox = simpy.Store(self.env)
        self._channel = [channels[stream.channel] for stream in self.plan.streams]
        self.people = People(self.plan)
        self._up, self._linked = np.ones(nodes, np.bool_), np.ones(nodes, np.bool_)
        self._lives = np.zeros(nodes, np.int64)
        self._subscribed = np.zeros((len(channels), nodes), np.bool_)
        self._arrived_ns, self._free_ns, self._line_free_ns = np.zeros(nodes), np.zeros(nodes), np.zeros(nodes)
        self._dead_ns = np.array([self._next_death(node, 0.0) for node in range(nodes)])
        self.busy_ns = np.zeros(nodes + 1)

    def run(self) -> None:
        """From the first publish until the drain's deadline, or until nothing happens any more."""
        for group, config in zip(self.plan.groups, self.scenario.clients, strict=True):
            for party in self.people.newcomers(group, told_apart=self.told_apart):
                if config.join_ns is None:
                    self._subscribe(party.node, self.people.settle(party, party.node))
                else:
                    late = party.parts(PARTS)
                    for turn, part in enumerate(late):
                        self.env.process(self._join(part, self._joins_ns(part, turn / len(late))))
        for stream in self.plan.streams:
            self.env.process(self._publisher(stream.index))
        self.env.process(self._redis())
        self.env.process(self._happenings())
        self.env.run(until=publishing_ns(self.scenario) + self.scenario.phases.drain.deadline_ns)

    def real(self, node: int, own_ns: Floats) -> Floats:
        """A node's own times in real ones."""
        warp = self.fate.node_warps.get(node)
        return own_ns if warp is None else warp.time(own_ns)

    def alive(self, node: int) -> bool:
        """Whether a node is up now."""
        return bool(self._up[node])

    def _joins_ns(self, party: Party, share: float) -> float:
        """When a party of a late group begins to connect; one that is not told apart is taken in the middle."""
        config, spec = self.scenario.clients[party.group], self.plan.groups[party.group]
        turn = share * spec.count if party.clients is None else float(party.clients[0] - spec.first_client)
        return self.scenario.phases.warm_up_ns + (config.join_ns or 0) + turn * 1e9 / config.spawn_rate_per_s

    # publishers and Redis

    def _publisher(self, stream: int) -> Happens:
        end_ns = publishing_ns(self.scenario)
        lag, lane, env = self._draws["schedule"], np.array([stream]), self.env
        for number, offset in enumerate(stream_offsets(self.scenario, self.plan, stream), start=1):
            if offset >= end_ns:
                return
            sent_ns = max(offset + float(lag.in_line(offset, lane)[0]), env.now)
            if sent_ns > env.now:
                yield env.timeout(sent_ns - env.now)
            message = Message(stream, self._channel[stream], number, offset, env.now)
            self.recorder.meant(message)
            if self._redis_up:
                self._inbox.put((self._session, message))
                self.waiting = max(self.waiting, len(self._inbox.items))
            else:
                self.recorder.ended(message, Status.FAILED, env.now, -1)

    def _redis(self) -> Happens:
        """One server: who is subscribed when it begins with a publish is written to."""
        warp, env, costs = self.fate.redis_warp, self.env, self.model.costs
        publish_ns, send_ns = costs.redis_publish_ns.value, costs.redis_send_ns.value
        while True:
            session, message = yield self._inbox.get()
            if session != self._session:
                self.recorder.ended(message, Status.UNKNOWN, env.now, -1)
                continue
            begin_ns = float(warp.time(warp.work(env.now))) if warp else env.now
            if begin_ns > env.now:
                yield env.timeout(begin_ns - env.now)
            nodes = np.flatnonzero(self._subscribed[message.channel])
            work_ns = publish_ns + send_ns * len(nodes)
            self.busy_ns[-1] += work_ns
            end_ns = float(warp.time(warp.work(begin_ns) + work_ns)) if warp else begin_ns + work_ns
            yield env.timeout(end_ns - env.now)
            if session != self._session:  # it died over it
                self.recorder.ended(message, Status.UNKNOWN, env.now, -1)
                continue
            self.recorder.ended(message, Status.OK, end_ns + self._draws["reply"].one(), len(nodes))
            if len(nodes):
                self._hand_over(message, nodes, end_ns - send_ns * np.arange(len(nodes) - 1, -1, -1.0))

    # nodes

    def _hand_over(self, message: Message, nodes: Ints, left_ns: Floats) -> None:
        """The copies of a message, as they leave Redis, on to their nodes and through them."""
        costs, payload = self.model.costs, self.scenario.publishers[self.plan.streams[message.stream].config]
        at_ns = left_ns + self._draws["redis"].in_line(self.env.now, nodes)
        for node in self.fate.to_nodes.keys() & set(nodes.tolist()):
            place = int(np.searchsorted(nodes, node))
            at_ns[place] = self.slowed(self.fate.to_nodes[node], at_ns[place : place + 1], node)[0]
        at_ns = np.maximum(at_ns, self._arrived_ns[nodes])
        self._arrived_ns[nodes] = at_ns
        own_ns = at_ns.copy()
        for node in self.fate.node_warps.keys() & set(nodes.tolist()):
            place = int(np.searchsorted(nodes, node))
            own_ns[place] = self.fate.node_warps[node].work(at_ns[place])
        received_ns = np.maximum(own_ns, self._free_ns[nodes])
        count = self.people.listeners[message.channel, nodes]
        span_ns = costs.node_delivery_ns.value * count + self._draws["stall"].many(len(nodes)) * (count > 0)
        line_ns = payload.payload_bytes * NS_PER_S / self.egress_bytes_per_s
        first_ns = np.maximum(received_ns, self._line_free_ns[nodes])
        self._line_free_ns[nodes] = first_ns + line_ns * count
        done_ns, dead_ns = received_ns + span_ns, self._dead_ns[nodes]
        self._free_ns[nodes] = done_ns + costs.node_message_ns.value
        self.busy_ns[nodes] += costs.node_message_ns.value + span_ns
        pace_ns = np.maximum(span_ns / np.maximum(count, 1), line_ns)
        self.recorder.batch(Batch(message, nodes, received_ns, first_ns, pace_ns, done_ns, count, dead_ns))

    def slowed(self, link: LinkFate, at_ns: Floats, node: int) -> Floats:
        """When what was sent over a link at those times arrives."""
        for start_ns, until_ns, more_ns, jitter_ns in link.slower:
            hit = (at_ns >= start_ns) & (at_ns < until_ns)
            spread = generator(self.scenario.seed, f"jitter {node} {at_ns[0]:.0f}").uniform(-1, 1, len(at_ns))
            at_ns = at_ns + hit * np.maximum(0.0, more_ns + jitter_ns * spread)
        return released(at_ns, link.holds)

    def _subscribe(self, node: int, channels: Sequence[int]) -> None:
        """The node asks Redis for channels, if it has a connection; else it will when it has one."""
        if self._linked[node]:
            for channel in channels:
                self._subscribed[channel, node] = True
                self.recorder.node_says(self.env.now, node, "subscribed", ch=self.plan.channels[channel])

    def _next_death(self, node: int, after_ns: float) -> float:
        deaths = (one.at_ns for one in self.fate.events if one.what == "node-down" and one.node == node)
        return min((at_ns for at_ns in deaths if at_ns > after_ns), default=NEVER_NS)

    # what happens to them

    def _happenings(self) -> Happens:
        for event in self.fate.events:
            yield self.env.timeout(max(0.0, event.at_ns - self.env.now))
            match event.what:
                case "node-down":
                    self._node_down(event)
                case "node-up":
                    self._node_up(event.node)
                case "reset":
                    self._reset(event)
                case "redis-down":
                    self._redis_up, self._session = False, self._session + 1
                    self._cut(range(len(self.plan.nodes)))
                case "redis-up":
                    self._redis_up = True
                    self._link_again(range(len(self.plan.nodes)), "rejoin", event)
                case "cut":
                    nodes = range(len(self.plan.nodes)) if event.node < 0 else [event.node]
                    self._cut(nodes)
                    self._link_again(nodes, "resubscribe", event)

    def _node_down(self, event: Event) -> None:
        node, now = event.node, self.env.now
        if event.orderly:
            self.recorder.node_says(now, node, "stop")
        self._up[node] = self._linked[node] = False
        self._lives[node] += 1
        self._subscribed[:, node] = False
        gone = list(self.people.at[node])
        self.people.leave(gone, node)
        self._send_away(gone, node, 1001 if event.orderly else 1006)

    def _node_up(self, node: int) -> None:
        now = self.env.now
        self._up[node] = True
        self._arrived_ns[node] = self._line_free_ns[node] = now
        warp = self.fate.node_warps.get(node)
        self._free_ns[node] = now if warp is None else float(warp.work(now))
        self._dead_ns[node] = self._next_death(node, now)
        self.recorder.node_says(now, node, "start")
        if self._redis_up:
            self._linked[node] = True
            self.recorder.node_says(now, node, "redis", state="up")

    def _reset(self, event: Event) -> None:
        """Clients lose their connections, each its own; the node leaves what nobody listens to any more."""
        parties: list[Party] = []
        random = rng(self.scenario.seed, "simulate", "reset", event.fault)
        for party in list(self.people.at[event.node]):
            self.people.leave([party], event.node)
            for part in party.parts(PARTS):
                hit = random.random() < event.share
                (parties.append(part) if hit else self.people.settle(part, event.node))
        for channel in np.flatnonzero(self._subscribed[:, event.node] & (self.people.listeners[:, event.node] == 0)):
            self._subscribed[channel, event.node] = False
            self.recorder.node_says(self.env.now, event.node, "unsubscribed", ch=self.plan.channels[channel])
        self._send_away(parties, event.node, 1006)

    def _cut(self, nodes: Sequence[int]) -> None:
        """Those nodes have no connection to Redis any more."""
        for node in nodes:
            if self._linked[node]:
                self._linked[node] = False
                self.recorder.node_says(self.env.now, node, "redis", state="down", error="simulated", why="closed")
        self._subscribed[:, list(nodes)] = False

    def _link_again(self, nodes: Sequence[int], how: str, event: Event) -> None:
        for node in nodes:
            if self._up[node]:
                self.env.process(self._link(node, self._draws[how].one(), event.since_ns))

    def _link(self, node: int, after_ns: float, lost_ns: float) -> Happens:
        life, session = self._lives[node], self._session
        yield self.env.timeout(after_ns)
        if not self._up[node] or self._lives[node] != life or self._session != session or self._linked[node]:
            return
        self._linked[node] = True
        self.recorder.node_says(self.env.now, node, "redis", state="up")
        wanted = np.flatnonzero(self.people.listeners[:, node]).tolist()
        self._subscribe(node, wanted)
        for channel in wanted:
            since = {"from": lost_ns, "to": self.env.now}
            self.recorder.node_says(self.env.now, node, "gap", ch=self.plan.channels[channel], **since)
        waiting = self._relinked.pop(node, None)
        if waiting is not None:
            waiting.succeed()

    # clients

    def _send_away(self, parties: Sequence[Party], node: int, code: int) -> None:
        for party in parties:
            self.recorder.cut_off(self.env.now, party, node)
            for part in party.parts(PARTS):
                self.env.process(self._come_back(part, node, code))

    def _come_back(self, party: Party, node: int, code: int) -> Happens:
        yield self.env.timeout(max(1.0, self._draws["notice"].one()))
        self.recorder.life(self.env.now, "closed", party, node, code=code, reason="", own=False)
        yield from self._try_until_in(party, node)

    def _join(self, party: Party, at_ns: float) -> Happens:
        yield self.env.timeout(at_ns)
        if not (yield from self._try(party, party.node, 0)):
            yield from self._try_until_in(party, party.node)

    def _try_until_in(self, party: Party, node: int) -> Happens:
        """As load.subscriber has it: back off, choose a node, connect, subscribe; until it is in."""
        group, spec = self.scenario.clients[party.group], self.plan.groups[party.group]
        wait = group.reconnect
        backoff = Backoff(wait.initial_ns, wait.factor, wait.max_ns, wait.jitter)
        kind, *which = party.name
        random = self._randoms.setdefault(party.name, rng(self.scenario.seed, kind, *which[: 1 + (kind == "cohort")]))
        tried, attempt, inside = {node}, 0, False
        while not inside:
            yield self.env.timeout(backoff_ns(backoff, attempt, random))
            attempt += 1
            crowd = self._crowd(spec.nodes) if group.failover == "least-connections" else {}
            node = next_node(group.failover, spec.nodes, node, frozenset(tried), crowd)
            tried.add(node)
            if tried.issuperset(spec.nodes):
                tried = {node}
            inside = yield from self._try(party, node, attempt)

    def _crowd(self, nodes: Sequence[int]) -> dict[int, int]:
        """How many clients each node has."""
        return {node: sum(party.count for party in self.people.at[node]) for node in nodes}

    def _try(self, party: Party, node: int, attempt: int) -> Generator[simpy.Event, Any, bool]:
        """One attempt; whether it came to a subscription."""
        env, tell, life = self.env, self.recorder.life, self._lives[node]
        tell(env.now, "connecting", party, node, attempt=attempt)
        refused = not self._up[node]
        connect_ns = self._draws["connect"].one()
        yield env.timeout(connect_ns / 2 if refused else self._until_served(node, connect_ns))
        if refused or self._lives[node] != life:
            tell(env.now, "failed", party, node, error="simulated: nobody listens")
            return False
        tell(env.now, "open", party, node)
        names = [self.plan.channels[channel] for channel in self.people.channels(party)]
        for name in names:
            tell(env.now, "subscribing", party, node, channel=name)
        asking_ns = self._draws["subscribe"].one() / 2  # there, and back
        yield env.timeout(self._until_served(node, asking_ns))
        while not self._linked[node] and self._lives[node] == life:
            yield self._relinked.setdefault(node, env.event()) | env.timeout(_LOOK_AGAIN_NS)
        if self._lives[node] != life:
            yield env.timeout(self._draws["notice"].one())
            tell(env.now, "closed", party, node, code=1006, reason="", own=False)
            return False
        self._subscribe(node, self.people.settle(party, node))
        yield env.timeout(asking_ns)
        if party.at_home and self._lives[node] == life:  # else it was sent away meanwhile, and is on its way back
            for name in names:
                tell(env.now, "subscribed", party, node, channel=name)
        return True

    def _until_served(self, node: int, takes_ns: float) -> float:
        """How long it takes a node that may be standing still to do what takes so long."""
        warp: Warp | None = self.fate.node_warps.get(node)
        if warp is None:
            return takes_ns
        return float(warp.time(warp.work(self.env.now) + takes_ns)) - self.env.now
