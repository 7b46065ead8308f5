"""What a run is going to publish, and how many deliveries that makes when nothing breaks. Pure and seeded."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from fanlab.clock import NS_PER_S
from fanlab.load.pacer import expected_count, offsets_ns
from fanlab.scenario.check import planned_messages
from fanlab.scenario.model import ClientGroup, Scenario
from fanlab.scenario.plan import Plan
from fanlab.seed import rng

EXACT_UP_TO = 5_000_000  # messages of a scenario; past that a dry run takes the rate's integral, to answer at once
_JOINING_POINTS = 100  # a group that joins late is averaged over this many of its clients


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
    phases = scenario.phases
    total = sum(each.count * planned_messages(each.rate, publishing_ns(scenario)) for each in scenario.publishers)
    found: list[Expected] = []
    for stream in plan.streams:
        edges = (phases.warm_up_ns, publishing_ns(scenario))
        count = count_before if total <= EXACT_UP_TO else _about_before
        before, end = count(scenario, plan, stream.index, edges)
        subscribers, owed = 0, 0.0
        for spec, group in zip(plan.groups, scenario.clients, strict=True):
            if stream.channel in spec.channels:
                subscribers += spec.count
                missed = missed_by_joining(scenario, group, stream.config)
                owed += spec.count * (end - before - min(missed, end - before))
        measure = end - before
        found.append(
            Expected(stream.index, stream.publisher, stream.channel, before, measure, subscribers, round(owed))
        )
    return found


def publishing_ns(scenario: Scenario) -> int:
    """From the first publish to the end of the measure phase."""
    return scenario.phases.warm_up_ns + scenario.phases.measure_ns


def stream_offsets(scenario: Scenario, plan: Plan, stream: int) -> Iterator[int]:
    """The intended times of one stream's messages, in ns since publishing began: what its publisher will keep to."""
    config = plan.streams[stream].config
    first = next(each.index for each in plan.streams if each.config == config)
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


def _about_before(scenario: Scenario, plan: Plan, stream: int, edges: tuple[int, ...]) -> list[int]:
    rate = scenario.publishers[plan.streams[stream].config].rate
    return [round(expected_count(rate, 0, edge)) for edge in edges]


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


def missed_by_joining(scenario: Scenario, group: ClientGroup, config: int) -> float:
    """Messages of the measure phase that go by, on average, before a client of a late group comes: never owed to it."""
    if group.join_ns is None:
        return 0.0
    phases, rate = scenario.phases, scenario.publishers[config].rate
    points = min(group.count, _JOINING_POINTS)
    missed = 0.0
    for point in range(points):
        turn = point * group.count // points
        joins_ns = min(group.join_ns + round(turn * NS_PER_S / group.spawn_rate_per_s), phases.measure_ns)
        missed += expected_count(rate, phases.warm_up_ns, phases.warm_up_ns + joins_ns)
    return missed / points
