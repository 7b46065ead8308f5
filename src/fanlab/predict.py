"""What each fault is going to cost, from the scenario alone: rate × outage × subscribers, spelled out. Pure.

A prediction is a mean: the spread of the back-off is symmetric, so its mean is the back-off itself. What a scenario
does not say (how long connecting takes, how soon a node is ready again) counts as no time, so predictions err low by
some milliseconds. Where too much would have to be guessed there is no figure, and the basis says why.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from fanlab.faults.timeline import PlannedFault, resolve
from fanlab.planned import due_on, stretches
from fanlab.scenario.model import Reconnect, Scenario
from fanlab.scenario.plan import GroupSpec, Plan
from fanlab.topology.backend import REDIS
from fanlab.units import format_duration

_BUFFER_BYTES = 8_000_000  # Redis closes a subscriber that stays over this (client-output-buffer-limit pubsub)
_DOWN = ("crash", "stop", "restart", "pause")
_BEFORE_ALL = -(2**63)
_AT_ONCE = 300_000  # steps of working it out, some µs each, after which whoever asked would have to wait
_SEPARATE_ATTEMPTS = 100  # of a client to come back; past them attempts nearer than a share of the phase count as one
_LATER_ATTEMPTS = 200


@dataclass(frozen=True, slots=True)
class Prediction:
    """One fault's foretold losses: (message, client) pairs of the measure phase. None: cannot be foretold."""

    fault: int  # PlannedFault.id
    predicted: float | None
    basis: str


@dataclass(frozen=True, slots=True)
class _Cohort:
    """Clients of one group that share their fate: on the same node, since the same time."""

    group: int
    node: int | None  # None: they never come back
    since_ns: int
    count: int


@dataclass(slots=True)
class _World:
    """Who is where, as the timeline goes on."""

    scenario: Scenario
    plan: Plan
    faults: Sequence[PlannedFault]
    cohorts: list[_Cohort] = field(default_factory=list)
    on: dict[str, list[PlannedFault]] = field(default_factory=dict)  # by target

    def __post_init__(self) -> None:
        for fault in self.faults:
            self.on.setdefault(fault.target, []).append(fault)

    def down(self, node: int, at_ns: int) -> bool:
        """Whether a node is down, or frozen, at a time."""
        return any(
            fault.target == self.plan.nodes[node].id
            and fault.kind in _DOWN
            and fault.at_ns <= at_ns
            and (fault.for_ns is None or at_ns < fault.at_ns + fault.for_ns)
            for fault in self.on.get(self.plan.nodes[node].id, ())
        )

    def steps(self) -> int:
        """About how many steps it takes to work out what every fault costs."""
        most = max(map(len, self.on.values()), default=0)
        rates = sum(stretches(each.rate) for each in self.scenario.publishers)
        clients, measure_ns = self.scenario.clients, self.scenario.phases.measure_ns
        returning = sum(_attempts(group.reconnect, measure_ns) for group in clients) * most
        return len(self.faults) * (returning + rates * len(clients) + len(self.cohorts) // 10)


def predict(scenario: Scenario, plan: Plan) -> list[Prediction]:
    """A prediction for every fault of the timeline, in its order."""
    world = _World(scenario, plan, resolve(scenario, plan))
    for spec, group in zip(plan.groups, scenario.clients, strict=True):
        since_ns = _BEFORE_ALL if group.join_ns is None else group.join_ns
        each, more = divmod(spec.count, len(spec.nodes))
        counts = [each + (turn < more) for turn in range(len(spec.nodes))]
        world.cohorts += [
            _Cohort(spec.index, node, since_ns, count) for node, count in zip(spec.nodes, counts, strict=True) if count
        ]
    if world.steps() > _AT_ONCE:
        why = "so many faults, groups and publishers are not worked out"
        return [Prediction(fault.id, None, why) for fault in world.faults]
    return [_KINDS[fault.kind](world, fault) for fault in world.faults]


def _attempts(reconnect: Reconnect, within_ns: int) -> int:
    """How often a client tries to come back within a time, at most."""
    attempts, spent_ns = 1, 0
    while spent_ns < within_ns and attempts < _SEPARATE_ATTEMPTS + _LATER_ATTEMPTS:
        spent_ns += backoff_mean_ns(reconnect, attempts - 1)
        attempts += 1
    return attempts


def backoff_mean_ns(reconnect: Reconnect, attempt: int) -> int:
    """The mean wait before attempt `attempt` (from 0): min(max, initial × factor^attempt)."""
    return round(min(reconnect.max_ns, reconnect.initial_ns * reconnect.factor ** min(attempt, 64)))


def _node_gone(world: _World, fault: PlannedFault) -> Prediction:
    """crash and stop: whoever is on the node loses what is published until it is subscribed elsewhere."""
    hit = next(node.index for node in world.plan.nodes if node.id == fault.target)
    counts: dict[int, int] = {}
    stay: list[_Cohort] = []
    for cohort in world.cohorts:
        if cohort.node == hit and cohort.since_ns <= fault.at_ns:
            counts[cohort.group] = counts.get(cohort.group, 0) + cohort.count
        else:
            stay.append(cohort)
    lost, terms = 0.0, []
    for group, count in counts.items():
        spec = world.plan.groups[group]
        moved, how = _way_back(world, _Cohort(group, hit, fault.at_ns, count), hit)
        due = due_on(world.scenario, spec.channels, fault.at_ns, moved.since_ns)
        outage = format_duration(moved.since_ns - fault.at_ns)
        lost += count * due
        terms.append(f"{count} clients of {spec.name} × {due:.4g} messages in {outage} ({how})")
        stay.append(moved)
    world.cohorts = stay
    if not terms:
        return Prediction(fault.id, 0.0, f"no client is on {fault.target} then")
    assumed = "back-off without its spread, nothing for connecting"
    return Prediction(fault.id, round(lost, 3), f"{' + '.join(terms)} = {lost:,.0f}; {assumed}")


def _way_back(world: _World, cohort: _Cohort, left: int) -> tuple[_Cohort, str]:
    """Where and when a cohort that fell off its node is subscribed again, and how; if at all before the end."""
    spec, reconnect = world.plan.groups[cohort.group], world.scenario.clients[cohort.group].reconnect
    end_ns, now_ns, attempt = world.scenario.phases.measure_ns, cohort.since_ns, 0
    while now_ns < end_ns:
        least_ns = end_ns // _LATER_ATTEMPTS if attempt >= _SEPARATE_ATTEMPTS else 1
        now_ns += max(1, least_ns, backoff_mean_ns(reconnect, attempt))
        attempt += 1
        target = _target(world, spec, left, attempt, now_ns)
        if now_ns < end_ns and not world.down(target, now_ns):
            how = f"back-off until attempt {attempt}, to {world.plan.nodes[target].id}"
            return replace(cohort, node=target, since_ns=now_ns), how
    return replace(cohort, node=None, since_ns=end_ns), "to the end: no node takes them"


def _target(world: _World, spec: GroupSpec, left: int, attempt: int, now_ns: int) -> int:
    """Where an attempt (from 1) goes; least-connections spread out, so the next live one in turn stands for them."""
    turn = spec.nodes.index(left)
    in_turn = [*spec.nodes[turn:], *spec.nodes[:turn]]
    match world.scenario.clients[spec.index].failover:
        case "sticky":
            return in_turn[0]
        case "round-robin":
            return in_turn[attempt % len(in_turn)]
        case _:
            return next((node for node in in_turn[1:] if not world.down(node, now_ns)), in_turn[0])


def _paused(world: _World, fault: PlannedFault) -> Prediction:
    """pause: the kernel goes on receiving, so what is published comes late; as long as nobody loses patience."""
    if fault.for_ns is None:
        return Prediction(fault.id, None, "the node never wakes: late and lost cannot be told apart")
    hit = next(node.index for node in world.plan.nodes if node.id == fault.target)
    groups = {cohort.group for cohort in world.cohorts if cohort.node == hit}
    patience_ns = min((world.scenario.clients[index].ping_timeout_ns for index in groups), default=2**63)
    if fault.for_ns >= patience_ns:
        what = (
            f"clients give up after a ping timeout of {format_duration(patience_ns)}; what reached the kernel by then"
        )
        return Prediction(fault.id, None, f"{what} nobody knows")
    until_ns = fault.at_ns + fault.for_ns
    held = sum(
        due_on(world.scenario, (publisher.channel,), fault.at_ns, until_ns) * publisher.payload_bytes
        for publisher in world.scenario.publishers
    )
    if held >= _BUFFER_BYTES:
        return Prediction(fault.id, None, "Redis has to hold so much for the node that it may close the connection")
    late = f"late, not lost: a pause of {format_duration(fault.for_ns)} is shorter than any ping timeout"
    return Prediction(fault.id, 0.0, f"{late}, and Redis holds what comes")


def _redis_away(world: _World, fault: PlannedFault) -> Prediction:
    """redis-restart: what is to be published meanwhile reaches nobody."""
    until_ns = fault.at_ns + (fault.for_ns or 0)
    lost, terms = 0.0, []
    for spec in world.plan.groups:
        count = sum(
            cohort.count for cohort in world.cohorts if cohort.group == spec.index and cohort.since_ns <= fault.at_ns
        )
        due = due_on(world.scenario, spec.channels, fault.at_ns, until_ns)
        if count and due:
            lost += count * due
            terms.append(f"{count} clients of {spec.name} × {due:.4g} messages in {format_duration(fault.for_ns or 0)}")
    bound = "a lower bound: until the nodes have subscribed again more is lost"
    return Prediction(fault.id, round(lost, 3), f"{' + '.join(terms) or '0 clients'} = {lost:,.0f}; {bound}")


def _pubsub_killed(_: _World, fault: PlannedFault) -> Prediction:
    """redis-kill-pubsub: lost is what comes until each node has subscribed again, which is the node's own affair."""
    return Prediction(fault.id, None, "rate × the time in which each node subscribes again, which no scenario says")


def _slower(_: _World, fault: PlannedFault) -> Prediction:
    """What makes things late: whether anything overflows meanwhile is the node's own affair."""
    return Prediction(fault.id, None, "late, not lost, unless a buffer overflows or somebody loses patience")


def _silent(_: _World, fault: PlannedFault) -> Prediction:
    """half-open: until whoever talks into the void asks whether anybody is there."""
    return Prediction(fault.id, None, "rate × the time until the silence is noticed, which no scenario says")


def _cut_off(_: _World, fault: PlannedFault) -> Prediction:
    """connection-reset: who comes back after one back-off, each on its own."""
    return Prediction(fault.id, None, "rate × the time in which each is connected again, and what was on its way")


def _harmless(_: _World, fault: PlannedFault) -> Prediction:
    """subscriber-churn: others' coming and going is no business of those that stay."""
    return Prediction(fault.id, 0.0, "a node keeps its clients apart: what others do costs nothing")


def _not_by_the_wall_clock(_: _World, fault: PlannedFault) -> Prediction:
    return Prediction(fault.id, 0.0, "a node that measures time by its monotonic clock notices nothing")


def _refuses_pings(_: _World, fault: PlannedFault) -> Prediction:
    return Prediction(fault.id, None, "nothing, or all of it: that depends on whether the nodes live by PING")


def _nobody_gets_in(_: _World, fault: PlannedFault) -> Prediction:
    """redis-maxclients, by itself: who is connected stays so."""
    return Prediction(fault.id, 0.0, "who is connected to Redis stays so; only a connection lost meanwhile costs more")


def _depends_on_need(_: _World, fault: PlannedFault) -> Prediction:
    return Prediction(fault.id, None, "nothing, or all that a crash costs: that depends on what the node needs")


def _cut_off_when_slow(_: _World, fault: PlannedFault) -> Prediction:
    return Prediction(fault.id, None, "nothing, until so much waits for a node: that depends on how fast it reads")


_KINDS: dict[str, Callable[[_World, PlannedFault], Prediction]] = {
    "crash": _node_gone,
    "stop": _node_gone,
    "restart": _node_gone,
    "pause": _paused,
    "cpu-throttle": _slower,
    "memory-limit": _depends_on_need,
    "clock-step": _not_by_the_wall_clock,
    "subscriber-churn": _harmless,
    "partition": _slower,
    "latency": _slower,
    "bandwidth": _slower,
    "slicing": _slower,
    "half-open": _silent,
    "slow-clients": _slower,
    "connection-reset": _cut_off,
    "reconnect-storm": _cut_off,
    f"{REDIS}-restart": _redis_away,
    f"{REDIS}-pause": _slower,
    f"{REDIS}-client-pause": _slower,
    f"{REDIS}-kill-pubsub": _pubsub_killed,
    f"{REDIS}-output-buffer": _cut_off_when_slow,
    f"{REDIS}-maxclients": _nobody_gets_in,
    f"{REDIS}-disk-full": _refuses_pings,
}
