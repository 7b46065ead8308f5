"""The account of a simulated system of any size: by cohort, not by client. No journals, no run directory, no verdict.

A fan-out to k clients is one batch, whose finishing times lie evenly between its first and its last: POINTS of them
stand for all. A batch that its node's death cuts short is delivered as far as it had come.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from fanlab.clock import NS_PER_MS
from fanlab.ledger.histogram import FINE_BITS, bucket_of, upper_end
from fanlab.ledger.records import Status
from fanlab.planned import publishing_ns
from fanlab.simulate.parts import Batch, Draws, Floats, Ints, Message
from fanlab.simulate.people import Party
from fanlab.simulate.world import World

POINTS: Final = 16
_PERCENTS: Final = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}


@dataclass(frozen=True, slots=True)
class CohortAccount:
    """One cohort: owed = delivered + lost."""

    group: str
    node: str
    clients: int
    owed: int
    delivered: int

    @property
    def lost(self) -> int:
        """What it was owed and did not get."""
        return self.owed - self.delivered


@dataclass(frozen=True, slots=True)
class Figures:
    """What a simulation comes to. Counts are of the measure phase."""

    nodes: int
    clients: int
    published: int  # all that may have come to Redis
    failed: int  # publishes that certainly did not
    owed: int
    delivered: int
    lost: int
    latency_ms: dict[str, float | None]  # intended send -> client
    redis_busy: float  # share of a core, from the first publish to the last
    node_busy: float  # ... of the busiest node
    redis_waiting: int  # publishes in front of Redis, at the most
    node_egress_bytes_per_s: float  # payload alone, of the busiest node
    node_memory_bytes: float  # of the fullest node, at the end
    cohorts: tuple[CohortAccount, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON; of the cohorts those that lost something."""
        lost = [{**asdict(one), "lost": one.lost} for one in self.cohorts if one.lost]
        return {"backend": "simulate", **asdict(self), "cohorts": len(self.cohorts), "cohorts_with_loss": lost}


@dataclass(slots=True)
class Tally:
    """A Recorder that counts."""

    world: World | None = None  # set before it runs
    meant_to: int = 0
    failed: int = 0
    _owed: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # by cohort
    _delivered: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    _sent_bytes: Floats = field(default_factory=lambda: np.zeros(0))  # by node
    _histogram: Floats = field(default_factory=lambda: np.zeros(1 << 16))
    _most_ns: float = 0.0
    _waits: Draws | None = None
    _on_channel: dict[int, Ints] = field(default_factory=dict)  # the cohorts that ask for it
    _there: dict[int, tuple[int, Ints, Ints, Ints]] = field(default_factory=dict)  # version, nodes, cohorts, counts

    def meant(self, message: Message) -> None:
        """Who was subscribed once is owed it."""
        world = self._of_world()
        if not len(self._owed):
            self._begin(world)
        if message.intended_ns >= world.scenario.phases.warm_up_ns:
            self.meant_to += 1
            on = self._on_channel[message.channel]
            self._owed[on] += np.array(world.people.entitled, np.int64)[on]

    def ended(self, message: Message, status: Status, done_ns: float, receivers: int) -> None:  # noqa: ARG002 - a Recorder's
        """Only how it went matters."""
        measured = message.intended_ns >= self._of_world().scenario.phases.warm_up_ns
        self.failed += measured and status is Status.FAILED

    def batch(self, batch: Batch) -> None:
        """How many get it, and when."""
        world = self._of_world()
        if batch.message.intended_ns < world.scenario.phases.warm_up_ns:
            return
        written, cut = self._written(world, batch)
        nodes, cohorts, counts = self._who(world, batch.message.channel)
        of_node = np.zeros(len(world.plan.nodes), np.int64)
        of_node[batch.node] = written
        whole = np.ones(len(world.plan.nodes), np.bool_)
        whole[batch.node[cut]] = False
        reached = np.zeros(len(world.plan.nodes), np.bool_)
        reached[batch.node] = True
        got = np.where(reached[nodes] & whole[nodes], counts, 0)
        for node in batch.node[cut].tolist():  # from the first of its parties on, as far as it had come
            mine = np.flatnonzero(nodes == node)
            before = np.cumsum(counts[mine]) - counts[mine]
            got[mine] = np.clip(of_node[node] - before, 0, counts[mine])
        np.add.at(self._delivered, cohorts, got)
        stream = world.plan.streams[batch.message.stream]
        self._sent_bytes[batch.node] += written * world.scenario.publishers[stream.config].payload_bytes
        self._time(world, batch, written)

    def cut_off(self, at_ns: float, party: Party, node: int) -> None:
        """What was on its way to those clients counts as delivered: a message or so."""

    def life(self, at_ns: float, event: str, party: Party, node: int, **more: Any) -> None:
        """Not kept."""

    def node_says(self, at_ns: float, node: int, event: str, **more: Any) -> None:
        """Not kept."""

    def figures(self) -> Figures:
        """What it comes to, once the world has run."""
        world = self._of_world()
        if not len(self._owed):
            self._begin(world)
        seconds = publishing_ns(world.scenario) / 1e9
        people, plan, costs = world.people, world.plan, world.model.costs
        cohorts = tuple(
            CohortAccount(plan.groups[one.group].name, plan.nodes[one.node].id, one.count, owed, delivered)
            for one, owed, delivered in zip(people.cohorts, self._owed.tolist(), self._delivered.tolist(), strict=True)
        )
        fullest = max(sum(party.count for party in parties) for parties in people.at)
        owed, delivered = int(self._owed.sum()), int(self._delivered.sum())
        return Figures(
            nodes=len(plan.nodes),
            clients=sum(group.count for group in plan.groups),
            published=self.meant_to - self.failed,
            failed=self.failed,
            owed=owed,
            delivered=delivered,
            lost=owed - delivered,
            latency_ms=self._percentiles(),
            redis_busy=float(world.busy_ns[-1]) / 1e9 / seconds,
            node_busy=float(world.busy_ns[:-1].max()) / 1e9 / seconds,
            redis_waiting=world.waiting,
            node_egress_bytes_per_s=float(self._sent_bytes.max()) / (world.scenario.phases.measure_ns / 1e9),
            node_memory_bytes=costs.node_base_bytes.value + costs.connection_bytes.value * fullest,
            cohorts=cohorts,
        )

    def _begin(self, world: World) -> None:
        groups = [set(group.channels) for group in world.plan.groups]
        for index, name in enumerate(world.plan.channels):
            on = [at for at, cohort in enumerate(world.people.cohorts) if name in groups[cohort.group]]
            self._on_channel[index] = np.array(on, np.int64)
        self._owed = np.zeros(len(world.people.cohorts), np.int64)
        self._delivered = np.zeros(len(world.people.cohorts), np.int64)
        self._sent_bytes = np.zeros(len(world.plan.nodes))
        self._waits = Draws(world.model.delays.client, world.scenario.seed, "client", len(world.plan.nodes))

    def _written(self, world: World, batch: Batch) -> tuple[Ints, Ints]:
        """How many clients each node reaches before it dies, and the places of those nodes that do."""
        written = batch.count.copy()
        last_ns = batch.first_ns + batch.pace_ns * batch.count
        for node in world.fate.node_warps.keys() & set(batch.node.tolist()):
            place = int(np.searchsorted(batch.node, node))
            last_ns[place] = world.real(node, last_ns[place : place + 1])[0]
        cut = np.flatnonzero(last_ns > batch.dead_ns)
        for place in cut.tolist():
            turns = np.arange(1, batch.count[place] + 1, dtype=np.float64)
            left_ns = world.real(int(batch.node[place]), batch.first_ns[place] + batch.pace_ns[place] * turns)
            written[place] = np.count_nonzero(left_ns <= batch.dead_ns[place])
        return written, cut

    def _who(self, world: World, channel: int) -> tuple[Ints, Ints, Ints]:
        """The parties that listen to a channel now: where, of which cohort, how many."""
        version, *there = self._there.get(channel, (-1,))
        if version != world.people.version:
            rows = [
                (node, party.cohort, party.count)
                for node, parties in enumerate(world.people.at)
                for party in parties
                if channel in world.people.channels(party)
            ]
            columns = np.array(rows, np.int64).reshape(-1, 3).T
            there = [columns[0], columns[1], columns[2]]
            self._there[channel] = (world.people.version, columns[0], columns[1], columns[2])
        return there[0], there[1], there[2]

    def _time(self, world: World, batch: Batch, written: Ints) -> None:
        """Count the latencies of a batch: POINTS of each node's, evenly spread over the clients that it reached."""
        spread = (np.arange(POINTS) + 0.5) / POINTS
        turn = np.floor(written[:, None] * spread) + 1
        left_ns = batch.first_ns[:, None] + batch.pace_ns[:, None] * turn
        special = (world.fate.node_warps.keys() | world.fate.to_clients.keys()) & set(batch.node.tolist())
        for node in special:
            place = int(np.searchsorted(batch.node, node))
            left_ns[place] = world.real(node, left_ns[place])
            link = world.fate.to_clients.get(node)
            left_ns[place] = left_ns[place] if link is None else world.slowed(link, left_ns[place], node)
        if self._waits is not None:
            left_ns = left_ns + self._waits.in_line(world.env.now, batch.node)[:, None]
        took_ns = np.maximum(left_ns - batch.message.intended_ns, 0.0).astype(np.int64).ravel()
        weight = np.repeat(written / POINTS, POINTS)
        self._most_ns = max(self._most_ns, float(took_ns[weight > 0].max(initial=0)))
        counted = np.bincount(bucket_of(took_ns, FINE_BITS), weights=weight)
        self._histogram[: len(counted)] += counted

    def _percentiles(self) -> dict[str, float | None]:
        total = np.cumsum(self._histogram)
        found: dict[str, float | None] = dict.fromkeys((*_PERCENTS, "max"))
        if total[-1] > 0:
            for name, percent in _PERCENTS.items():
                place = np.searchsorted(total, total[-1] * percent / 100)
                found[name] = float(upper_end(np.array([place]), FINE_BITS)[0]) / NS_PER_MS
            found["max"] = self._most_ns / NS_PER_MS
        return found

    def _of_world(self) -> World:
        if self.world is None:
            raise ValueError("a tally is given its world before that runs")
        return self.world
