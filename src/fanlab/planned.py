"""What a run is going to publish, and how many deliveries that makes when nothing breaks. Pure and seeded."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter

from fanlab.clock import NS_PER_S
from fanlab.load.pacer import expected_count, offsets_ns
from fanlab.scenario.check import planned_messages
from fanlab.scenario.model import AnyRate, ClientGroup, Scenario, StepRate
from fanlab.scenario.plan import Plan
from fanlab.seed import rng

EXACT_UP_TO = 100_000  # messages of a scenario; past that a dry run takes the rate's integral, to answer at once
_STEPS_PER_SEGMENT = 20  # what a stretch of a rate takes to work out, in messages that could be counted meanwhile
_JOINING_POINTS = 100  # a group that joins late is averaged over this many of its clients, at most
_JOINING_STEPS = 10_000  # and over as few as keep the sum over all late groups and all rates below this


@dataclass(frozen=True, slots=True)
class Expected:
    """One stream: messages planned in each phase, and the deliveries that those of the measure phase are owed."""

    stream: int
    publisher: str
    channel: str
    warm_up: int
    measure: int
    subscribers: int
    deliveries: int


def expected(scenario: Scenario, plan: Plan) -> list[Expected]:
    """Per stream, what is published and owed. A group that joins late is owed what comes after it, on average."""
    edges = (scenario.phases.warm_up_ns, publishing_ns(scenario))
    exact = _counting_steps(scenario) <= EXACT_UP_TO
    listeners = _Listeners(scenario, plan)
    about: dict[int, list[int]] = {}  # by config
    found: list[Expected] = []
    for stream in plan.streams:
        if not exact and stream.config not in about:
            rate = scenario.publishers[stream.config].rate
            about[stream.config] = [round(expected_count(rate, 0, edge)) for edge in edges]
        before, end = count_before(scenario, plan, stream.index, edges) if exact else about[stream.config]
        subscribers, owed = listeners.owed(stream.config, end - before)
        found.append(
            Expected(stream.index, stream.publisher, stream.channel, before, end - before, subscribers, round(owed))
        )
    return found


class _Listeners:
    """Who is owed how much of a stream; worked out once for all streams of the same making."""

    def __init__(self, scenario: Scenario, plan: Plan) -> None:
        self._scenario = scenario
        self._groups = list(zip(plan.groups, scenario.clients, strict=True))
        late = sum(group.join_ns is not None for group in scenario.clients)
        steps = late * sum(stretches(each.rate) for each in scenario.publishers)
        self._points = min(_JOINING_POINTS, _JOINING_STEPS // max(1, steps))
        self._missed: dict[int, list[tuple[int, float]]] = {}  # by config: clients, and what each of them misses
        self._owed: dict[tuple[int, int], tuple[int, float]] = {}

    def owed(self, config: int, measured: int) -> tuple[int, float]:
        """How many clients, and how many deliveries in all, for so many messages of the measure phase."""
        if (config, measured) not in self._owed:
            if config not in self._missed:
                self._missed[config] = list(self._missed_of(config))
            missed = self._missed[config]
            owed = sum(count * (measured - min(each, measured)) for count, each in missed)
            self._owed[config, measured] = sum(count for count, _ in missed), owed
        return self._owed[config, measured]

    def _missed_of(self, config: int) -> Iterator[tuple[int, float]]:
        phases, publisher = self._scenario.phases, self._scenario.publishers[config]
        whole = expected_count(publisher.rate, phases.warm_up_ns, phases.warm_up_ns + phases.measure_ns)
        for spec, group in self._groups:
            if publisher.channel in spec.channels:
                if group.join_ns is None or self._points:
                    yield spec.count, missed_by_joining(self._scenario, group, config, self._points)
                else:  # so many of them that each is taken for one whose rate is steady
                    (joins_ns,) = _joining_ns(self._scenario, group, 1)
                    yield spec.count, whole * joins_ns / phases.measure_ns


def stretches(rate: AnyRate) -> int:
    """In how many stretches a rate runs: what working it out costs."""
    return len(rate.steps) if isinstance(rate, StepRate) else 2


def _counting_steps(scenario: Scenario) -> float:
    duration_ns = publishing_ns(scenario)
    return sum(
        each.count * (planned_messages(each.rate, duration_ns) + _STEPS_PER_SEGMENT * stretches(each.rate))
        for each in scenario.publishers
    )


def publishing_ns(scenario: Scenario) -> int:
    """From the first publish to the end of the measure phase."""
    return scenario.phases.warm_up_ns + scenario.phases.measure_ns


def stream_offsets(scenario: Scenario, plan: Plan, stream: int) -> Iterator[int]:
    """The intended times of one stream's messages, in ns since publishing began: what its publisher will keep to."""
    config = plan.streams[stream].config
    first = bisect_left(plan.streams, config, key=attrgetter("config"))
    publisher = scenario.publishers[config]
    return offsets_ns(publisher.rate, rng(scenario.seed, "publisher", stream), phase=(stream - first) / publisher.count)


def count_before(scenario: Scenario, plan: Plan, stream: int, edges: tuple[int, ...]) -> list[int]:
    """How many of a stream's messages are due before each of the ascending `edges`, counted one by one."""
    counts = [0] * len(edges)
    for offset in stream_offsets(scenario, plan, stream):
        if offset >= edges[-1]:
            break
        counts[bisect_left(edges, offset + 1)] += 1
    return list(accumulate(counts))


def due_on(scenario: Scenario, channels: tuple[str, ...], from_ns: int, until_ns: int) -> float:
    """Messages due on average on some channels in [from, until) of the measure phase, times from time 0."""
    phases = scenario.phases
    first = phases.warm_up_ns + max(0, from_ns)
    last = phases.warm_up_ns + min(phases.measure_ns, until_ns)
    if first >= last:
        return 0.0
    return sum(
        publisher.count * expected_count(publisher.rate, first, last)
        for publisher in scenario.publishers
        if publisher.channel in channels
    )


def missed_by_joining(scenario: Scenario, group: ClientGroup, config: int, points: int = _JOINING_POINTS) -> float:
    """Messages of the measure phase that go by, on average, before a client of a late group comes: never owed to it.

    The average is over `points` of its clients, or all where there are fewer.
    """
    if group.join_ns is None:
        return 0.0
    first_ns, rate = scenario.phases.warm_up_ns, scenario.publishers[config].rate
    joins_ns = _joining_ns(scenario, group, points)
    return sum(expected_count(rate, first_ns, first_ns + each) for each in joins_ns) / len(joins_ns)


def _joining_ns(scenario: Scenario, group: ClientGroup, points: int) -> list[int]:
    """When that many clients of a late group come, evenly spread over it, at the latest when measuring ends."""
    points = min(group.count, points)
    turns = [(2 * point + 1) * group.count // (2 * points) for point in range(points)]
    after_ns = [(group.join_ns or 0) + turn * NS_PER_S / group.spawn_rate_per_s for turn in turns]
    return [round(min(each, scenario.phases.measure_ns)) for each in after_ns]
