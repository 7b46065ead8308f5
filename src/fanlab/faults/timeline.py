"""The timeline: a scenario's faults with their targets chosen. Pure and seeded: the same file breaks the same nodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import Plan
from fanlab.scenario.strikes import deed, strikes

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
        return deed(self.kind, self.target)


def resolve(scenario: Scenario, plan: Plan) -> tuple[PlannedFault, ...]:
    """Every fault, at each of its times, on each target, in order of time (ties as written), numbered from 0."""
    return tuple(
        PlannedFault(
            number,
            strike.fault.kind,
            strike.target,
            strike.at_ns,
            strike.fault.lasts_ns,
            strike.fault.model_dump(mode="json", exclude=_TIMING),
        )
        for number, strike in enumerate(strikes(scenario, [node.id for node in plan.nodes]))
    )
