"""The names behind an account's numbers, from the manifest's plan and timeline: nodes, channels, clients, faults."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fanlab.ledger.records import NO_NODE
from fanlab.ledger.result import FaultAccount
from fanlab.scenario.plan import GroupSpec, Plan, plan_from_json
from fanlab.scenario.strikes import deed, names_of_strikes

NOWHERE = "none"  # the node of a client that was never on any


@dataclass(frozen=True, slots=True)
class Names:
    """Looks up what the numbers in an account stand for."""

    plan: Plan
    faults: Mapping[int, str]  # a name by fault id, as in the timeline

    def node(self, index: int) -> str:
        """The id of a node; `none` for NO_NODE, the index itself where the plan has no such node."""
        if index == NO_NODE:
            return NOWHERE
        return self.plan.nodes[index].id if index < len(self.plan.nodes) else f"node #{index}"

    def channel_of(self, stream: int) -> str:
        """The channel of a stream."""
        return self.plan.streams[stream].channel if stream < len(self.plan.streams) else f"stream #{stream}"

    def publisher_of(self, stream: int) -> str:
        """The publisher of a stream."""
        return self.plan.streams[stream].publisher if stream < len(self.plan.streams) else f"stream #{stream}"

    def clients(self) -> int:
        """How many clients the plan has."""
        return sum(group.count for group in self.plan.groups)

    def homes(self) -> list[int]:
        """The node index on which each client starts, by client number."""
        return [group.nodes[k % len(group.nodes)] for group in self.plan.groups for k in range(group.count)]

    def group_of(self, client: int) -> GroupSpec | None:
        """The group of a client; None for a number that the plan does not know."""
        for group in self.plan.groups:
            if group.first_client <= client < group.first_client + group.count:
                return group
        return None

    def fault(self, fault: FaultAccount) -> str:
        """`crash node-2 @2s`: what, to whom, and when it was to happen. No two faults of a timeline share a name."""
        return self.faults.get(fault.id, deed(fault.kind, fault.target))


def names_of(manifest: Mapping[str, Any]) -> Names:
    """The names in a manifest. Raises KeyError or TypeError for a manifest without a plan."""
    planned = manifest.get("faults") or ()
    faults = names_of_strikes((one["id"], one["kind"], one["target"], one["at_ns"]) for one in planned)
    return Names(plan_from_json(manifest["plan"]), faults)
