"""The timeline: a scenario's faults with their targets chosen. Pure and seeded: the same file breaks the same nodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fanlab.scenario.faults import Fault, OnNodes
from fanlab.scenario.model import Scenario
from fanlab.scenario.occurrences import occurrences_ns
from fanlab.scenario.plan import Plan
from fanlab.seed import rng
from fanlab.topology.backend import REDIS

CHOICES = ("one", "minority", "all")
_TIMING = {"kind", "at_ns", "for_ns", "target", "repeat", "stagger_ns"}


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault on one target. A scenario's fault on three nodes is three of these. Times from time 0."""

    id: int
    kind: str
    target: str
    at_ns: int
    for_ns: int | None  # None: it stays broken; 0: there is nothing to undo, the system itself is to mend it
    settings: Mapping[str, Any] = field(default_factory=dict)  # what else the scenario says of it, as plain data

    @property
    def name(self) -> str:
        """As reports name it: `crash node-2`."""
        return self.kind if self.target == REDIS else f"{self.kind} {self.target}"


def resolve(scenario: Scenario, plan: Plan) -> tuple[PlannedFault, ...]:
    """Every fault, at each of its times, on each target, in order of time (ties as written), numbered from 0."""
    found: list[tuple[int, Fault, str]] = []
    nodes = [node.id for node in plan.nodes]
    for number, fault in enumerate(scenario.faults):
        times_ns = occurrences_ns(fault, number, seed=scenario.seed, end_ns=scenario.phases.measure_ns)
        for turn, at_ns in enumerate(times_ns):
            if isinstance(fault, OnNodes):
                targets = _targets(fault, (number, turn) if turn else (number,), scenario.seed, nodes)
                found.extend((at_ns + place * fault.stagger_ns, fault, target) for place, target in enumerate(targets))
            else:
                found.append((at_ns, fault, REDIS))
    found.sort(key=lambda entry: entry[0])
    return tuple(
        PlannedFault(number, fault.kind, target, at_ns, fault.lasts_ns, fault.model_dump(mode="json", exclude=_TIMING))
        for number, (at_ns, fault, target) in enumerate(found)
    )


def _targets(fault: OnNodes, draw: tuple[int, ...], seed: int, nodes: list[str]) -> list[str]:
    """The nodes that a fault hits, in node order. A minority is fewer than half, yet at least one."""
    if isinstance(fault.target, list):
        wanted = set(fault.target)
        return [node for node in nodes if node in wanted]
    if fault.target == "all":
        return nodes
    if fault.target in ("one", "minority"):
        size = 1 if fault.target == "one" else max(1, (len(nodes) - 1) // 2)
        chosen = rng(seed, "fault", *draw).sample(nodes, size)
        return [node for node in nodes if node in chosen]
    return [fault.target]
