"""What a scenario's parts must be to one another: names that exist, times that fit, work that can be done. Pure."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from fanlab import resources
from fanlab.clock import NS_PER_S
from fanlab.scenario.cachechecks import check_keys, check_objects, check_readers
from fanlab.scenario.faults import Fault, OnNodes
from fanlab.scenario.findings import (
    CHOICES,
    MAX_NODES,
    MIN_PAYLOAD_BYTES,
    Finding,
    Keys,
    World,
    named_twice,
    nearest,
    no_channel,
    no_node,
    world_of,
)
from fanlab.scenario.gatechecks import no_subject
from fanlab.scenario.gates import GateError, parse_gate
from fanlab.scenario.limitchecks import check_limits
from fanlab.scenario.model import (
    AnyRate,
    BurstRate,
    ClientGroup,
    Publisher,
    RampRate,
    Scenario,
    StepRate,
)
from fanlab.scenario.occurrences import occurrences_ns
from fanlab.scenario.packetchecks import by_packets, check_packets, links_of
from fanlab.units import format_duration

MAX_PAYLOAD_BYTES = 2**20
MAX_FAULTS = 200
MAX_STRIKES = 2_000  # faults, each counted once for every node that it hits
MAX_GROUPS = 500
MAX_SPAWN_S = 3_600_000  # a thousand hours
MAX_CLIENTS = 100_000
MAX_STREAMS = 10_000
MAX_MESSAGES = 50_000_000


def check(scenario: Scenario, node_kinds: Collection[str], caching: Collection[str] = frozenset()) -> Iterator[Finding]:
    """Everything wrong with a scenario whose single values are right.

    `node_kinds` are those that can be started; `caching` those of them that have a cache to read.
    """
    world = world_of(scenario)
    yield from _topology(world, node_kinds)
    yield from named_twice(("channels",), scenario.channels, "the channel")
    yield from _clients(world)
    yield from _publishers(world)
    yield from check_readers(world, caching)
    yield from _phases(scenario)
    yield from _faults(world)
    yield from check_limits(world)
    yield from _gates(world)
    yield from _work(scenario)


def planned_messages(rate: AnyRate, duration_ns: int) -> float:
    """Messages that one publisher of this rate sends on average in its first `duration_ns`: the rate's integral."""
    duration_s = duration_ns / NS_PER_S
    match rate:
        case RampRate(from_per_s=first, to_per_s=last, over_ns=over_ns):
            over_s = over_ns / NS_PER_S
            ramp_s = min(duration_s, over_s)
            reached = first + (last - first) * (ramp_s / over_s) if over_s else last
            return ramp_s * (first + reached) / 2 + (duration_s - ramp_s) * last
        case StepRate(steps=steps):
            ends = [*(step.at_ns for step in steps[1:]), duration_ns]
            spans = [max(0, min(end, duration_ns) - step.at_ns) for step, end in zip(steps, ends, strict=True)]
            return sum(step.rate_per_s * span / NS_PER_S for step, span in zip(steps, spans, strict=True))
        case BurstRate(size=size, every_ns=every_ns):
            return size * -(-duration_ns // every_ns) if every_ns else float("inf")
        case _:
            return rate.rate_per_s * duration_s


def _topology(world: World, node_kinds: Collection[str]) -> Iterator[Finding]:
    if world.nodes > MAX_NODES:
        yield Finding(("topology", "nodes"), f"{world.nodes:,} nodes; one run takes at most {MAX_NODES:,}")
    for index, group in enumerate(world.scenario.topology.nodes):
        if group.kind not in node_kinds:
            offer = f"on offer: {resources.on_offer(node_kinds)}" if node_kinds else "no kind is on offer here"
            what = f"no kind of node is called {group.kind!r} (a folder under nodes/ with a node.yaml); {offer}"
            yield Finding(("topology", "nodes", index, "kind"), what, nearest(group.kind, node_kinds))


def _clients(world: World) -> Iterator[Finding]:
    scenario = world.scenario
    if not scenario.clients:
        yield Finding(
            ("clients",),
            "nobody listens, so nothing is owed and nothing tested; add a group (with `join` it comes late)",
        )
    yield from named_twice(("clients",), [group.group for group in scenario.clients], "the group", "group")
    for index, group in enumerate(scenario.clients):
        yield from _client_group(("clients", index), group, world)


def _client_group(keys: Keys, group: ClientGroup, world: World) -> Iterator[Finding]:
    yield from named_twice((*keys, "channels"), group.channels, "the channel")
    for number, channel in enumerate(group.channels):
        yield from no_channel((*keys, "channels", number), channel, world)
    if group.nodes is not None:
        if not group.nodes:
            yield Finding((*keys, "nodes"), "names no node; leave it out for all of them")
        yield from named_twice((*keys, "nodes"), group.nodes, "the node")
        for number, node in enumerate(group.nodes):
            yield from no_node((*keys, "nodes", number), node, world)
    if group.spawn_rate_per_s <= 0:
        yield Finding((*keys, "spawn_rate"), "must be above 0/s, or no client ever comes")
    elif group.count / group.spawn_rate_per_s > MAX_SPAWN_S:
        what = f"so slow that the last of {group.count:,} clients comes after more than {MAX_SPAWN_S // 3600} hours"
        yield Finding((*keys, "spawn_rate"), what)
    if group.reconnect.max_ns < group.reconnect.initial_ns:
        yield Finding(
            (*keys, "reconnect", "max"),
            f"must be at least `initial`, which is {format_duration(group.reconnect.initial_ns)}",
        )
    if group.reconnect.initial_ns == 0:
        yield Finding(
            (*keys, "reconnect", "initial"), "must be above 0s, or clients hammer a dead node without a pause"
        )
    for key, value in (("ping_interval", group.ping_interval_ns), ("ping_timeout", group.ping_timeout_ns)):
        if value == 0:
            yield Finding((*keys, key), "must be above 0s")
    if group.join_ns is not None and group.join_ns >= world.scenario.phases.measure_ns > 0:
        yield Finding((*keys, "join"), _too_late(world.scenario))


def _publishers(world: World) -> Iterator[Finding]:
    scenario = world.scenario
    yield from named_twice(("publishers",), [each.name for each in scenario.publishers], "the publisher", "name")
    for index, publisher in enumerate(scenario.publishers):
        keys = ("publishers", index)
        yield from no_channel((*keys, "channel"), publisher.channel, world)
        yield from _rate((*keys, "rate"), publisher, scenario)
        if not MIN_PAYLOAD_BYTES <= publisher.payload_bytes <= MAX_PAYLOAD_BYTES:
            what = f"must be from {MIN_PAYLOAD_BYTES}B (the marker that every message carries) to 1MiB"
            yield Finding((*keys, "payload"), what)
        if publisher.timeout_ns == 0:
            yield Finding((*keys, "timeout"), "must be above 0s")
        yield from check_objects(keys, publisher)
    yield from check_keys(world)


def _rate(keys: Keys, publisher: Publisher, scenario: Scenario) -> Iterator[Finding]:
    rate, wrong = publisher.rate, False
    match rate:
        case RampRate(over_ns=0):
            yield Finding((*keys, "over"), "must be above 0s")
            wrong = True
        case BurstRate(every_ns=0):
            yield Finding((*keys, "every"), "must be above 0s")
            wrong = True
        case StepRate(steps=steps):
            if steps[0].at_ns != 0:
                yield Finding((*keys, "steps", 0, "at"), "the first step must start at 0s")
                wrong = True
            for number, (before, step) in enumerate(pairwise(steps), start=1):
                if step.at_ns <= before.at_ns:
                    what = f"steps must ascend; the one before starts at {format_duration(before.at_ns)}"
                    yield Finding((*keys, "steps", number, "at"), what)
                    wrong = True
    if not wrong and scenario.phases.measure_ns and planned_messages(rate, _publishing_ns(scenario)) <= 0:
        yield Finding(keys, "never publishes: its rate is 0 throughout")


def _phases(scenario: Scenario) -> Iterator[Finding]:
    phases = scenario.phases
    if phases.measure_ns == 0:
        yield Finding(("phases", "measure"), "must be above 0s")
    if phases.drain.quiet_ns == 0:
        yield Finding(("phases", "drain", "quiet"), "must be above 0s")
    if phases.drain.deadline_ns < phases.drain.quiet_ns:
        what = f"must be at least `quiet`, which is {format_duration(phases.drain.quiet_ns)}"
        yield Finding(("phases", "drain", "deadline"), what)


def _too_late(scenario: Scenario) -> str:
    return f"must be before the end of the measure phase, {format_duration(scenario.phases.measure_ns)}"


def _faults(world: World) -> Iterator[Finding]:
    scenario = world.scenario
    began = list(_beginnings(world))
    if len(began) > MAX_FAULTS:
        yield Finding(("faults",), f"{len(began):,} faults; one run takes at most {MAX_FAULTS}")
    for index, fault in enumerate(scenario.faults):
        if fault.at_ns >= scenario.phases.measure_ns > 0:
            yield Finding(("faults", index, "at"), _too_late(scenario))
        if "for_ns" in type(fault).model_fields and fault.lasts_ns == 0:
            optional = type(fault).model_fields["for_ns"].default is None
            yield Finding(
                ("faults", index, "for"),
                "must be above 0s; leave it out for a fault that lasts to the end" if optional else "must be above 0s",
            )
        yield from _repeat(("faults", index, "repeat"), fault, scenario)
        yield from check_packets(("faults", index), fault)
        if isinstance(fault, OnNodes):
            yield from _targets(("faults", index, "target"), fault, world)
            last_ns = fault.at_ns + _staggered_ns(fault, world.nodes)
            if fault.at_ns < scenario.phases.measure_ns <= last_ns:
                what = f"its last node's turn comes at {format_duration(last_ns)}; it {_too_late(scenario)}"
                yield Finding(("faults", index, "stagger"), what)
    yield from _overlaps(began)
    yield from _mixed(scenario.faults[:MAX_FAULTS])


def _repeat(keys: Keys, fault: Fault, scenario: Scenario) -> Iterator[Finding]:
    repeat, lasts_ns = fault.repeat, fault.lasts_ns
    if repeat is None:
        return
    if lasts_ns is None:
        yield Finding(keys, "a fault that lasts to the end cannot come again; say with `for` how long it lasts")
        return
    if repeat.every_ns <= lasts_ns:
        yield Finding((*keys, "every"), f"must be above how long the fault lasts, {format_duration(lasts_ns)}")
        return
    if repeat.times is not None and not repeat.random:
        last_ns = fault.at_ns + (repeat.times - 1) * repeat.every_ns
        if last_ns >= scenario.phases.measure_ns > 0:
            what = f"the last of them would begin at {format_duration(last_ns)}; it {_too_late(scenario)}"
            yield Finding((*keys, "times"), what)


def _targets(keys: Keys, fault: OnNodes, world: World) -> Iterator[Finding]:
    if isinstance(fault.target, str):
        yield from no_node(keys, fault.target, world, CHOICES)
        return
    if not fault.target:
        yield Finding(keys, "names no node")
    yield from named_twice(keys, fault.target, "the node")
    for number, node in enumerate(fault.target):
        if node in CHOICES:
            yield Finding((*keys, number), f"{node!r} cannot stand in a list; write it alone: `target: {node}`")
        else:
            yield from no_node((*keys, number), node, world)


@dataclass(frozen=True, slots=True)
class _Begun:
    """Fault `index` of the scenario, at one of its times."""

    index: int
    fault: Fault
    at_ns: int
    end_ns: int


def _beginnings(world: World) -> Iterator[_Begun]:
    scenario = world.scenario
    for index, fault in enumerate(scenario.faults):
        for at_ns in occurrences_ns(fault, index, seed=scenario.seed, end_ns=scenario.phases.measure_ns):
            yield _Begun(index, fault, at_ns, _end_ns(fault, at_ns, world.nodes))


def _overlaps(began: list[_Begun]) -> Iterator[Finding]:
    """Faults that would be in each other's way; that one's own times are not is `_repeat`'s to see."""
    reported: set[int] = set()
    in_order = sorted(began, key=lambda one: one.at_ns)
    for one, two in combinations(in_order[:MAX_FAULTS], 2):
        if one.index == two.index or two.index in reported:
            continue
        if two.at_ns >= one.end_ns or not one.fault.held & two.fault.held:
            continue
        shared = _shared(one.fault, two.fault)
        if shared:
            until = "to the end" if one.end_ns == _FOREVER_NS else f"until {format_duration(one.end_ns)}"
            key = "repeat" if two.at_ns != two.fault.at_ns else "at"
            yield Finding(
                ("faults", two.index, key),
                f"{shared} under faults.{one.index} ({one.fault.kind}, {until}); nobody could tell what each of them"
                " cost",
            )
            reported.add(two.index)


def _mixed(faults: Sequence[Fault]) -> Iterator[Finding]:
    """Packets of a link that the proxy is in: they go to the proxy, and not to the peer."""
    for (first, one), (second, two) in combinations(enumerate(faults), 2):
        index, other = (first, second) if by_packets(one) else (second, first)
        if by_packets(one) != by_packets(two) and links_of(one) & links_of(two) and _shared(one, two):
            what = (
                f"faults.{other} ({faults[other].kind}) leads this link of the same node through fanlab's proxy, where"
                " no packet of it is the peer's; say `by: link`, or leave the other one out"
            )
            yield Finding(("faults", index, "by"), what)


_FOREVER_NS = 2**63


def _end_ns(fault: Fault, at_ns: int, nodes: int) -> int:
    if fault.lasts_ns is None:
        return _FOREVER_NS
    staggered_ns = _staggered_ns(fault, nodes) if isinstance(fault, OnNodes) else 0
    return at_ns + staggered_ns + max(1, fault.lasts_ns)  # what is gone at once takes a moment


def _staggered_ns(fault: OnNodes, nodes: int) -> int:
    """From its first target's turn to its last one's, at most."""
    targets = len(fault.target) if isinstance(fault.target, list) else nodes if fault.target in CHOICES[1:] else 1
    return fault.stagger_ns * max(0, targets - 1)


def _shared(one: Fault, two: Fault) -> str | None:
    """What two faults at the same time would both hit, as the beginning of a sentence."""
    if not isinstance(one, OnNodes) or not isinstance(two, OnNodes):
        same = not isinstance(one, OnNodes) and not isinstance(two, OnNodes)
        return "Redis is then" if same else None
    targets = _listed(one) + _listed(two)
    if "all" in targets:
        return "the same node is then"
    if any(target in CHOICES for target in targets):
        return "the same node may be then"
    both = [node for node in _listed(one) if node in _listed(two)]
    return f"{both[0]} is then" if both else None


def _listed(fault: OnNodes) -> list[str]:
    return fault.target if isinstance(fault.target, list) else [fault.target]


def _gates(world: World) -> Iterator[Finding]:
    for index, text in enumerate(world.scenario.gates):
        try:
            gate = parse_gate(text)
        except GateError as error:
            yield Finding(("gates", index), error.what, error.suggestion)
            continue
        yield from no_subject(("gates", index), gate, world)


def _work(scenario: Scenario) -> Iterator[Finding]:
    if len(scenario.clients) > MAX_GROUPS:
        yield Finding(("clients",), f"{len(scenario.clients):,} groups; one run takes at most {MAX_GROUPS}")
    clients = sum(group.count for group in scenario.clients)
    if clients > MAX_CLIENTS:
        yield Finding(("clients",), f"{clients:,} clients; one run takes at most {MAX_CLIENTS:,}")
    streams = sum(publisher.count for publisher in scenario.publishers)
    if streams > MAX_STREAMS:
        yield Finding(("publishers",), f"{streams:,} publishers; one run takes at most {MAX_STREAMS:,}")
    strikes = sum(_struck(fault, scenario) for fault in scenario.faults)
    if strikes > MAX_STRIKES:
        what = f"{strikes:,} targets, a node counted for every fault on it; one run takes at most {MAX_STRIKES:,}"
        yield Finding(("faults",), what)
    duration_ns = _publishing_ns(scenario)
    planned = sum(each.count * planned_messages(each.rate, duration_ns) for each in scenario.publishers)
    if MAX_MESSAGES < planned < float("inf"):  # endless: a burst every 0s, reported where it stands
        yield Finding(
            ("publishers",),
            f"{planned:,.0f} messages are planned in {format_duration(duration_ns)}; one run takes at most"
            f" {MAX_MESSAGES:,}: lower a rate, or shorten phases.measure",
        )


def _struck(fault: Fault, scenario: Scenario) -> int:
    """How many targets a fault has, at most."""
    target = getattr(fault, "target", "one")
    if isinstance(target, list):
        return len(target)
    return sum(group.count for group in scenario.topology.nodes) if target in CHOICES[1:] else 1


def _publishing_ns(scenario: Scenario) -> int:
    return scenario.phases.warm_up_ns + scenario.phases.measure_ns
