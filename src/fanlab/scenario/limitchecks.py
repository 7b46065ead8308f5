"""What a fault's limit must be to the limit that its node has from the start: below it, or it limits nothing. Pure."""

from collections.abc import Iterator

from fanlab.scenario.faults import CpuThrottle, MemoryLimit
from fanlab.scenario.findings import CHOICES, Finding, World
from fanlab.scenario.model import NodeGroup
from fanlab.units import format_bytes


def check_limits(world: World) -> Iterator[Finding]:
    """Faults that would give a node as much as it has, or more."""
    groups = {f"node-{number}": group for number, group in enumerate(_each(world), start=1)}
    for index, fault in enumerate(world.scenario.faults):
        if not isinstance(fault, CpuThrottle | MemoryLimit):
            continue
        named = fault.target if isinstance(fault.target, list) else [fault.target]
        hit = [name for name in groups if name in named or any(choice in CHOICES for choice in named)]
        for name in hit:
            what = _not_below(fault, name, groups[name])
            if what is not None:
                key = "cores" if isinstance(fault, CpuThrottle) else "limit"
                yield Finding(("faults", index, key), what)
                break


def _each(world: World) -> Iterator[NodeGroup]:
    for group in world.scenario.topology.nodes:
        yield from [group] * min(group.count, world.nodes)


def _not_below(fault: CpuThrottle | MemoryLimit, name: str, group: NodeGroup) -> str | None:
    if isinstance(fault, CpuThrottle):
        if group.cpus is None or fault.cores < group.cpus:
            return None
        return f"must be below the cores that {name} may use from the start, which is {group.cpus:g}"
    if group.memory_bytes is None or fault.limit_bytes < group.memory_bytes:
        return None
    return f"must be below the memory that {name} may use from the start, which is {format_bytes(group.memory_bytes)}"
