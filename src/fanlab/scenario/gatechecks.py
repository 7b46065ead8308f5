"""Whether a gate is about something that the scenario has: a node, a channel, a group, a fault. Pure."""

from collections.abc import Iterator
from typing import Final

from fanlab.scenario.findings import MAX_NODES, Finding, Keys, World, nearest, no_channel, no_node
from fanlab.scenario.gatefields import subject_of
from fanlab.scenario.gates import NOWHERE, Gate
from fanlab.scenario.strikes import names_of_strikes, strikes

_SHOWN: Final = 3


def no_subject(keys: Keys, gate: Gate, world: World) -> Iterator[Finding]:
    """A finding if the gate is about a node, channel, group or fault that the scenario does not have."""
    match subject_of(gate.field):
        case ("node", name):
            if not (name == NOWHERE and gate.field.startswith(("loss.by_node.", "by_node."))):
                yield from no_node(keys, name, world)
        case ("channel", name):
            yield from no_channel(keys, name, world)
        case ("group", name):
            groups = [group.group for group in world.scenario.clients]
            if name not in groups:
                yield Finding(keys, f"there is no group of clients {name!r}", nearest(name, groups))
        case ("fault", name):
            yield from _no_fault(keys, name, world)


def _no_fault(keys: Keys, name: str, world: World) -> Iterator[Finding]:
    if world.nodes > MAX_NODES:
        return  # which is refused itself, and would be much to work out
    nodes = [f"node-{number + 1}" for number in range(world.nodes)]
    struck = strikes(world.scenario, nodes)
    names = list(
        names_of_strikes((at, one.fault.kind, one.target, one.at_ns) for at, one in enumerate(struck)).values()
    )
    if name in names:
        return
    if not names:
        yield Finding(keys, f"there is no fault {name!r}: the scenario has none")
        return
    shown = ", ".join(repr(each) for each in names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
    yield Finding(keys, f"there is no fault {name!r}; this scenario's are {shown}", nearest(name, names))
