"""What a scenario's parts must be to one another: names that exist, times that fit, work that can be done. Pure."""

import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from fanlab import resources
from fanlab.clock import NS_PER_S
from fanlab.scenario.gates import GateError, parse_gate
from fanlab.scenario.model import (
    AnyRate,
    BurstRate,
    ClientGroup,
    Fault,
    NodeFault,
    Publisher,
    RampRate,
    Reader,
    RedisKillPubsub,
    Scenario,
    StepRate,
)
from fanlab.scenario.plan import make_plan, object_key
from fanlab.units import format_duration

CHOICES = ("one", "minority", "all")  # fault targets that are no node's name
MIN_PAYLOAD_BYTES = 47  # the marker, ledger.records.TOKEN_LENGTH
MAX_PAYLOAD_BYTES = 2**20
OBJECT_BYTES = len('{"id":"","token":"","pad":""}')  # what a JSON object adds to its id, the marker and the filler
MAX_READS_PER_S = 2000  # that many reads of a frozen node wait at once for each second of their timeout
MAX_NODES = 1000
MAX_FAULTS = 200
MAX_CLIENTS = 100_000
MAX_STREAMS = 10_000
MAX_MESSAGES = 50_000_000

Keys = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong, and at which keys (as YAML has them; list entries by index)."""

    keys: Keys
    what: str
    suggestion: str | None = None


@dataclass(frozen=True, slots=True)
class _World:
    """A scenario with what its parts may name, made once."""

    scenario: Scenario
    nodes: int
    channels: frozenset[str]


def check(scenario: Scenario, node_kinds: Collection[str], caching: Collection[str] = frozenset()) -> Iterator[Finding]:
    """Everything wrong with a scenario whose single values are right.

    `node_kinds` are those that can be started; `caching` those of them that have a cache to read.
    """
    nodes = sum(group.count for group in scenario.topology.nodes)
    world = _World(scenario, nodes, frozenset(scenario.channels))
    yield from _topology(world, node_kinds)
    yield from _unique(("channels",), scenario.channels, "the channel")
    yield from _clients(world)
    yield from _publishers(world)
    yield from _readers(world, caching)
    yield from _phases(scenario)
    yield from _faults(world)
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


def nearest(name: str, names: Collection[str], likeness: float = 0.6) -> str | None:
    """The one of `names` that was probably meant; `likeness`, a difflib ratio, is how much it takes."""
    close = difflib.get_close_matches(name[:64], list(names)[:200], n=1, cutoff=likeness)
    return close[0] if close else None


def _topology(world: _World, node_kinds: Collection[str]) -> Iterator[Finding]:
    if world.nodes > MAX_NODES:
        yield Finding(("topology", "nodes"), f"{world.nodes:,} nodes; one run takes at most {MAX_NODES:,}")
    for index, group in enumerate(world.scenario.topology.nodes):
        if group.kind not in node_kinds:
            offer = f"on offer: {resources.on_offer(node_kinds)}" if node_kinds else "no kind is on offer here"
            what = f"no kind of node is called {group.kind!r} (a folder under nodes/ with a node.yaml); {offer}"
            yield Finding(("topology", "nodes", index, "kind"), what, nearest(group.kind, node_kinds))


def _unique(keys: Keys, names: Sequence[str], what: str, key: str | None = None) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if first.setdefault(name, index) != index:
            at = (*keys, index, key) if key else (*keys, index)
            yield Finding(at, f"{what} {name!r} is there already")


def _channel(keys: Keys, name: str, world: _World) -> Iterator[Finding]:
    if name not in world.channels:
        what = f"no channel {name!r} is listed under `channels`"
        yield Finding(keys, what, nearest(name, world.scenario.channels))


def _is_node(name: str, world: _World) -> bool:
    """Whether it is one of node-1 … node-N."""
    match = re.fullmatch("node-([1-9][0-9]{0,5})", name)
    return match is not None and int(match[1]) <= world.nodes


def _node(keys: Keys, name: str, world: _World, others: Sequence[str] = ()) -> Iterator[Finding]:
    if name in others or _is_node(name, world):
        return
    are = "node-1 is the only one" if world.nodes == 1 else f"there are node-1 … node-{world.nodes}"
    meant = "node-" + "".join(re.findall("[0-9]", name)).lstrip("0")
    yield Finding(keys, f"there is no node {name!r}; {are}", meant if _is_node(meant, world) else nearest(name, others))


def _clients(world: _World) -> Iterator[Finding]:
    scenario = world.scenario
    if not scenario.clients:
        yield Finding(
            ("clients",),
            "nobody listens, so nothing is owed and nothing tested; add a group (with `join` it comes late)",
        )
    yield from _unique(("clients",), [group.group for group in scenario.clients], "the group", "group")
    for index, group in enumerate(scenario.clients):
        yield from _client_group(("clients", index), group, world)


def _client_group(keys: Keys, group: ClientGroup, world: _World) -> Iterator[Finding]:
    yield from _unique((*keys, "channels"), group.channels, "the channel")
    for number, channel in enumerate(group.channels):
        yield from _channel((*keys, "channels", number), channel, world)
    if group.nodes is not None:
        if not group.nodes:
            yield Finding((*keys, "nodes"), "names no node; leave it out for all of them")
        yield from _unique((*keys, "nodes"), group.nodes, "the node")
        for number, node in enumerate(group.nodes):
            yield from _node((*keys, "nodes", number), node, world)
    if group.spawn_rate_per_s <= 0:
        yield Finding((*keys, "spawn_rate"), "must be above 0/s, or no client ever comes")
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


def _publishers(world: _World) -> Iterator[Finding]:
    scenario = world.scenario
    yield from _unique(("publishers",), [each.name for each in scenario.publishers], "the publisher", "name")
    for index, publisher in enumerate(scenario.publishers):
        keys = ("publishers", index)
        yield from _channel((*keys, "channel"), publisher.channel, world)
        yield from _rate((*keys, "rate"), publisher, scenario)
        if not MIN_PAYLOAD_BYTES <= publisher.payload_bytes <= MAX_PAYLOAD_BYTES:
            what = f"must be from {MIN_PAYLOAD_BYTES}B (the marker that every message carries) to 1MiB"
            yield Finding((*keys, "payload"), what)
        if publisher.timeout_ns == 0:
            yield Finding((*keys, "timeout"), "must be above 0s")
        yield from _objects(keys, publisher)
    yield from _keys_shared(world)


def _objects(keys: Keys, publisher: Publisher) -> Iterator[Finding]:
    if publisher.objects is None:
        return
    name = publisher.name if publisher.count == 1 else f"{publisher.name}-{publisher.count}"
    needed = OBJECT_BYTES + MIN_PAYLOAD_BYTES + len(object_key(name, publisher.objects, publisher.objects))
    if MIN_PAYLOAD_BYTES <= publisher.payload_bytes < needed:
        yield Finding(
            (*keys, "payload"), f"must be at least {needed}B to hold a JSON object with its id and the marker"
        )


def _keys_shared(world: _World) -> Iterator[Finding]:
    """Two publishers whose objects have the same ids: nobody could tell which of their messages an entry holds."""
    publishers = world.scenario.publishers
    if not any(each.objects for each in publishers):
        return
    first: dict[str, int] = {}
    for stream in make_plan(world.scenario).streams:
        if publishers[stream.config].objects and first.setdefault(stream.publisher, stream.config) != stream.config:
            what = f"its objects would have the ids of those of {publishers[first[stream.publisher]].name!r}"
            yield Finding(("publishers", stream.config, "name"), what)
            return


def _readers(world: _World, caching: Collection[str]) -> Iterator[Finding]:
    readers = world.scenario.readers
    yield from _unique(("readers",), [each.name for each in readers], "the reader", "name")
    for index, reader in enumerate(readers):
        yield from _reader(("readers", index), reader, world, caching)
    rate_per_s = sum(each.rate_per_s for each in readers)
    if rate_per_s > MAX_READS_PER_S:
        yield Finding(("readers",), f"{rate_per_s:,.0f} reads per second; one run takes at most {MAX_READS_PER_S:,}")


def _reader(keys: Keys, reader: Reader, world: _World, caching: Collection[str]) -> Iterator[Finding]:
    yield from _channel((*keys, "channel"), reader.channel, world)
    written = [each for each in world.scenario.publishers if each.channel == reader.channel]
    if reader.channel in world.channels and not any(each.objects for each in written):
        what = f"no publisher on {reader.channel!r} has `objects`, so there is nothing to read"
        yield Finding((*keys, "channel"), what)
    if reader.rate_per_s <= 0:
        yield Finding((*keys, "rate"), "must be above 0/s")
    if reader.timeout_ns == 0:
        yield Finding((*keys, "timeout"), "must be above 0s")
    kinds = [group.kind for group in world.scenario.topology.nodes for _ in range(group.count)][:MAX_NODES]
    named = [f"node-{number + 1}" for number in range(len(kinds))] if reader.nodes is None else reader.nodes
    if not named:
        yield Finding((*keys, "nodes"), "names no node; leave it out for all of them")
    yield from _unique((*keys, "nodes"), named, "the node")
    for number, node in enumerate(named):
        at: Keys = keys if reader.nodes is None else (*keys, "nodes", number)
        if not _is_node(node, world):
            yield from _node(at, node, world)
        elif (kind := kinds[int(node.removeprefix("node-")) - 1]) not in caching:
            what = f"{node} is of kind {kind!r}, which has no cache to read (no `cache` in its node.yaml)"
            yield Finding(at, f"{what}; name those that have one under `nodes`" if reader.nodes is None else what)
            return


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


def _faults(world: _World) -> Iterator[Finding]:
    scenario = world.scenario
    if len(scenario.faults) > MAX_FAULTS:
        yield Finding(("faults",), f"{len(scenario.faults):,} faults; one run takes at most {MAX_FAULTS}")
    for index, fault in enumerate(scenario.faults):
        if fault.at_ns >= scenario.phases.measure_ns > 0:
            yield Finding(("faults", index, "at"), _too_late(scenario))
        if not isinstance(fault, RedisKillPubsub) and fault.for_ns == 0:
            yield Finding(
                ("faults", index, "for"),
                "must be above 0s; leave it out for a fault that lasts to the end"
                if isinstance(fault, NodeFault)
                else "must be above 0s",
            )
        if isinstance(fault, NodeFault):
            yield from _targets(("faults", index, "target"), fault, world)
    yield from _overlaps(scenario)


def _targets(keys: Keys, fault: NodeFault, world: _World) -> Iterator[Finding]:
    if isinstance(fault.target, str):
        yield from _node(keys, fault.target, world, CHOICES)
        return
    if not fault.target:
        yield Finding(keys, "names no node")
    yield from _unique(keys, fault.target, "the node")
    for number, node in enumerate(fault.target):
        if node in CHOICES:
            yield Finding((*keys, number), f"{node!r} cannot stand in a list; write it alone: `target: {node}`")
        else:
            yield from _node((*keys, number), node, world)


def _overlaps(scenario: Scenario) -> Iterator[Finding]:
    reported: set[int] = set()
    in_order = sorted(enumerate(scenario.faults), key=lambda entry: entry[1].at_ns)
    for (one, earlier), (two, later) in combinations(in_order[:MAX_FAULTS], 2):
        shared = _shared(earlier, later) if two not in reported and later.at_ns < _end_ns(earlier) else None
        if shared:
            until = "to the end" if _end_ns(earlier) == _FOREVER_NS else f"until {format_duration(_end_ns(earlier))}"
            yield Finding(
                ("faults", two, "at"),
                f"{shared} under faults.{one} ({earlier.kind}, {until}); nobody could tell what each of them cost",
            )
            reported.add(two)


_FOREVER_NS = 2**63


def _end_ns(fault: Fault) -> int:
    for_ns = getattr(fault, "for_ns", 0)  # killed connections are gone at once
    return _FOREVER_NS if for_ns is None else fault.at_ns + max(1, for_ns)


def _shared(one: Fault, two: Fault) -> str | None:
    """What two faults at the same time would both hit, as the beginning of a sentence."""
    if not isinstance(one, NodeFault) or not isinstance(two, NodeFault):
        same = not isinstance(one, NodeFault) and not isinstance(two, NodeFault)
        return "Redis is then" if same else None
    targets = _listed(one) + _listed(two)
    if "all" in targets:
        return "the same node is then"
    if any(target in CHOICES for target in targets):
        return "the same node may be then"
    both = [node for node in _listed(one) if node in _listed(two)]
    return f"{both[0]} is then" if both else None


def _listed(fault: NodeFault) -> list[str]:
    return fault.target if isinstance(fault.target, list) else [fault.target]


def _gates(world: _World) -> Iterator[Finding]:
    for index, text in enumerate(world.scenario.gates):
        try:
            gate = parse_gate(text)
        except GateError as error:
            yield Finding(("gates", index), error.what, error.suggestion)
            continue
        node = gate.field.removeprefix("loss.by_node.")
        if node == gate.field and gate.field.startswith("cache.by_node."):
            node = gate.field.removeprefix("cache.by_node.").partition(".")[0]
        if node != gate.field:
            yield from _node(("gates", index), node, world)
        channel = gate.field.removeprefix("loss.by_channel.")
        if channel != gate.field:
            yield from _channel(("gates", index), channel, world)


def _work(scenario: Scenario) -> Iterator[Finding]:
    clients = sum(group.count for group in scenario.clients)
    if clients > MAX_CLIENTS:
        yield Finding(("clients",), f"{clients:,} clients; one run takes at most {MAX_CLIENTS:,}")
    streams = sum(publisher.count for publisher in scenario.publishers)
    if streams > MAX_STREAMS:
        yield Finding(("publishers",), f"{streams:,} publishers; one run takes at most {MAX_STREAMS:,}")
    duration_ns = _publishing_ns(scenario)
    planned = sum(each.count * planned_messages(each.rate, duration_ns) for each in scenario.publishers)
    if MAX_MESSAGES < planned < float("inf"):  # endless: a burst every 0s, reported where it stands
        yield Finding(
            ("publishers",),
            f"{planned:,.0f} messages are planned in {format_duration(duration_ns)}; one run takes at most"
            f" {MAX_MESSAGES:,}: lower a rate, or shorten phases.measure",
        )


def _publishing_ns(scenario: Scenario) -> int:
    return scenario.phases.warm_up_ns + scenario.phases.measure_ns
