"""The timeline: a scenario's faults with their targets chosen. Pure and seeded: the same file breaks the same nodes."""

from dataclasses import dataclass

from fanlab.scenario.model import NodeFault, Scenario
from fanlab.scenario.plan import Plan
from fanlab.seed import rng
from fanlab.topology.backend import REDIS

CHOICES = ("one", "minority", "all")


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault on one target. A scenario's fault on three nodes is three of these. Times from time 0."""

    id: int
    kind: str
    target: str
    at_ns: int
    for_ns: int | None  # None: it stays broken; 0: there is nothing to undo, the system itself is to mend it

    @property
    def name(self) -> str:
        """As reports name it: `crash node-2`."""
        return self.kind if self.target == REDIS else f"{self.kind} {self.target}"


def resolve(scenario: Scenario, plan: Plan) -> tuple[PlannedFault, ...]:
    """Every fault on every target, in order of time (ties as written), numbered from 0."""
    found: list[tuple[int, str, str, int | None]] = []
    for number, fault in enumerate(scenario.faults):
        if isinstance(fault, NodeFault):
            targets = _targets(fault, number, scenario.seed, [node.id for node in plan.nodes])
            found.extend((fault.at_ns, fault.kind, target, fault.for_ns) for target in targets)
        else:
            heals_after_ns = getattr(fault, "for_ns", 0)  # what heals by itself is given no time to stay broken
            found.append((fault.at_ns, fault.kind, REDIS, heals_after_ns))
    found.sort(key=lambda entry: entry[0])
    return tuple(
        PlannedFault(id=number, kind=kind, target=target, at_ns=at_ns, for_ns=for_ns)
        for number, (at_ns, kind, target, for_ns) in enumerate(found)
    )


def _targets(fault: NodeFault, number: int, seed: int, nodes: list[str]) -> list[str]:
    """The nodes that a fault hits, in node order. A minority is fewer than half, yet at least one."""
    if isinstance(fault.target, list):
        wanted = set(fault.target)
        return [node for node in nodes if node in wanted]
    if fault.target == "all":
        return nodes
    if fault.target in ("one", "minority"):
        size = 1 if fault.target == "one" else max(1, (len(nodes) - 1) // 2)
        chosen = rng(seed, "fault", number).sample(nodes, size)
        return [node for node in nodes if node in chosen]
    return [fault.target]
