"""What the timeline does to each unit of a simulated system: who is up when, who is slow, which links hold. Pure.

Times are ns since publishing began. What a fault costs follows from the model's delays, drawn once for each fault.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal, NamedTuple

import numpy as np

from fanlab.errors import Problem, ScenarioError
from fanlab.faults.timeline import PlannedFault
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import Plan
from fanlab.simulate.model import Delays
from fanlab.simulate.warp import Warp
from fanlab.topology.backend import REDIS
from fanlab.units import format_duration

PATIENCE_NS: Final = 5_000_000_000  # the node contract's REDIS_TIMEOUT_MS: a link held longer is given up
_ENDS: Final = ("crash", "stop", "restart")
_LINKS: Final = ("partition", "latency")
_RESETS: Final = ("connection-reset", "reconnect-storm")
MODELLED: Final = (
    *_ENDS, "pause", "cpu-throttle", *_LINKS, *_RESETS,
    f"{REDIS}-restart", f"{REDIS}-pause", f"{REDIS}-client-pause", f"{REDIS}-kill-pubsub",
)  # fmt: skip

Stretches = list[tuple[float, float, float]]
Happening = Literal["node-down", "node-up", "redis-down", "redis-up", "cut", "reset"]


class Event(NamedTuple):
    """Something that happens to a unit: `node` is -1 for Redis."""

    at_ns: float
    what: Happening
    node: int
    fault: int
    share: float = 1.0  # of the node's clients
    orderly: bool = False  # a node that says goodbye
    since_ns: float = 0.0  # of Redis' return, and of a cut: when the subscriptions were lost


class Stamp(NamedTuple):
    """A line of faults.jsonl, but for its form."""

    at_ns: float
    fault: int
    name: Literal["requested", "confirmed", "heal_requested", "heal_confirmed"]


@dataclass(slots=True)
class LinkFate:
    """What holds on a link, of all its connections: (from, until) of holds; (from, until, more, jitter) of latency."""

    holds: list[tuple[float, float]] = field(default_factory=list)
    slower: list[tuple[float, float, float, float]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.holds or self.slower)


@dataclass(slots=True)
class Fate:
    """All of it."""

    events: list[Event] = field(default_factory=list)
    stamps: list[Stamp] = field(default_factory=list)
    node_warps: dict[int, Warp] = field(default_factory=dict)
    redis_warp: Warp = field(default_factory=Warp)
    to_nodes: dict[int, LinkFate] = field(default_factory=dict)  # Redis -> node
    to_clients: dict[int, LinkFate] = field(default_factory=dict)  # node -> its clients


def refuse_unmodelled(scenario: Scenario, timeline: Sequence[PlannedFault], file: str) -> None:
    """Raises ScenarioError with everything in the scenario that the simulator does not model."""
    why = [what for fault in timeline if (what := _unmodelled(scenario, fault)) is not None]
    if scenario.readers:
        why.append("readers: nodes' caches are not simulated")
    if why:
        raise ScenarioError([Problem(file, 0, 0, "", f"cannot be simulated: {what}") for what in dict.fromkeys(why)])


def _unmodelled(scenario: Scenario, fault: PlannedFault) -> str | None:
    known = fault.settings
    if fault.kind not in MODELLED:
        return f"{fault.kind}; the simulator knows {', '.join(MODELLED)}"
    if fault.kind in _LINKS and known["share"] < 1:
        return f"{fault.kind} of a share of the connections"
    if fault.kind == "partition" and known["mode"] == "drop":
        return "partition with mode drop"
    if fault.kind in _RESETS and known.get("link", "clients") == REDIS and known["share"] < 1:
        return f"{fault.kind} of a share of the connections to Redis"
    patience_ns = min((group.ping_timeout_ns for group in scenario.clients), default=PATIENCE_NS)
    if fault.kind in ("pause", "partition", f"{REDIS}-pause", f"{REDIS}-client-pause"):
        held_by_redis = fault.target == REDIS or known.get("link") == REDIS
        limit_ns = min(PATIENCE_NS, patience_ns) if held_by_redis else patience_ns
        if fault.for_ns is None or fault.for_ns >= limit_ns:
            return f"{fault.kind} of {limit_ns / 1e9:g} s or more: somebody gives the connection up ({_lasts(fault)})"
    return None


def _lasts(fault: PlannedFault) -> str:
    return "it lasts to the end" if fault.for_ns is None else f"it lasts {format_duration(fault.for_ns)}"


def fate_of(
    scenario: Scenario, plan: Plan, timeline: Sequence[PlannedFault], delays: Delays, random: np.random.Generator
) -> Fate:
    """What becomes of every unit. Draws from `random` in the timeline's order."""
    fate = Fate()
    numbers = {node.id: node.index for node in plan.nodes}
    slow: dict[int, Stretches] = {}
    for fault in timeline:
        at_ns = float(scenario.phases.warm_up_ns + fault.at_ns)
        until_ns = None if fault.for_ns is None else at_ns + fault.for_ns
        node = numbers.get(fault.target, -1)
        healed_ns = until_ns
        if fault.kind in _ENDS:
            fate.events.append(Event(at_ns, "node-down", node, fault.id, orderly=fault.kind != "crash"))
            if until_ns is not None:
                healed_ns = until_ns + float(delays.node_start.draw(random, 1)[0])
                fate.events.append(Event(healed_ns, "node-up", node, fault.id))
        elif fault.kind == f"{REDIS}-restart":
            fate.events += [
                Event(at_ns, "redis-down", -1, fault.id),
                Event(until_ns or at_ns, "redis-up", -1, fault.id, since_ns=at_ns),
            ]
        elif fault.kind == f"{REDIS}-kill-pubsub":
            fate.events.append(Event(at_ns, "cut", -1, fault.id, since_ns=at_ns))
        elif fault.kind in _RESETS:
            of_redis = fault.settings.get("link", "clients") == REDIS
            what: Happening = "cut" if of_redis else "reset"
            fate.events.append(Event(at_ns, what, node, fault.id, share=fault.settings["share"], since_ns=at_ns))
        elif fault.kind in _LINKS:
            _link(fate, fault, node, at_ns, until_ns)
        else:
            speed = min(1.0, fault.settings["cores"]) if fault.kind == "cpu-throttle" else 0.0
            slow.setdefault(node, []).append((at_ns, float(1 << 60) if until_ns is None else until_ns, speed))
        _stamp(fate, fault, at_ns, until_ns, healed_ns)
    for unit, stretches in slow.items():
        if unit < 0:
            fate.redis_warp = Warp(_apart(stretches))
        else:
            fate.node_warps[unit] = Warp(_apart(stretches))
    fate.events.sort(key=lambda event: event.at_ns)
    fate.stamps.sort(key=lambda stamp: stamp.at_ns)
    return fate


def _link(fate: Fate, fault: PlannedFault, node: int, at_ns: float, until_ns: float | None) -> None:
    known: Mapping[str, object] = fault.settings
    towards, links = ("to-node", fate.to_nodes) if known["link"] == REDIS else ("from-node", fate.to_clients)
    if known["direction"] not in ("both", towards):
        return  # requests and acknowledgements wait; no message does
    link, until_ns = links.setdefault(node, LinkFate()), float(1 << 60) if until_ns is None else until_ns
    if fault.kind == "partition":
        link.holds.append((at_ns, until_ns))
    else:
        link.slower.append((at_ns, until_ns, float(fault.settings["latency_ns"]), float(fault.settings["jitter_ns"])))


def _apart(stretches: Stretches) -> Stretches:
    """The same, without overlaps: of two that hold at once the slower one counts."""
    edges = sorted({edge for start, until, _ in stretches for edge in (start, until)})
    found: Stretches = []
    for start, until in pairwise(edges):
        speeds = [speed for begin, end, speed in stretches if begin <= start and until <= end]
        if speeds:
            found.append((start, until, min(speeds)))
    return found


def _stamp(fate: Fate, fault: PlannedFault, at_ns: float, until_ns: float | None, healed_ns: float | None) -> None:
    """A simulated fault bites at once: there is no probe that would have to see it."""
    fate.stamps += [Stamp(at_ns, fault.id, "requested"), Stamp(at_ns, fault.id, "confirmed")]
    if until_ns is not None and healed_ns is not None:
        fate.stamps += [Stamp(until_ns, fault.id, "heal_requested"), Stamp(healed_ns, fault.id, "heal_confirmed")]
