"""What a scenario's faults hit, and when, and what each of these strikes is called. Pure and seeded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fanlab.scenario.faults import Fault, OnNodes
from fanlab.scenario.model import Scenario
from fanlab.scenario.occurrences import occurrences_ns
from fanlab.seed import rng
from fanlab.units import format_duration

REDIS: Final = "redis"  # the target of what befalls Redis


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault at one of its times on one of its targets; `at_ns` from time 0."""

    at_ns: int
    fault: Fault
    target: str


def strikes(scenario: Scenario, nodes: Sequence[str]) -> list[Strike]:
    """Every fault, at each of its times, on each target, in order of time (ties as written); the place is the id."""
    found: list[Strike] = []
    for number, fault in enumerate(scenario.faults):
        times_ns = occurrences_ns(fault, number, seed=scenario.seed, end_ns=scenario.phases.measure_ns)
        for turn, at_ns in enumerate(times_ns):
            if isinstance(fault, OnNodes):
                targets = _targets(fault, (number, turn) if turn else (number,), scenario.seed, nodes)
                found.extend(
                    Strike(at_ns + place * fault.stagger_ns, fault, target) for place, target in enumerate(targets)
                )
            else:
                found.append(Strike(at_ns, fault, REDIS))
    found.sort(key=lambda strike: strike.at_ns)
    return found


def deed(kind: str, target: str) -> str:
    """`crash node-2`; a fault of Redis is named by its kind alone."""
    return kind if target == REDIS else f"{kind} {target}"


def names_of_strikes(struck: Iterable[tuple[int, str, str, int]]) -> dict[int, str]:
    """`crash node-2 @2s` by id, from (id, kind, target, at_ns); no two share a name: the later ones have their id."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for number, kind, target, at_ns in struck:
        name = f"{deed(kind, target)} @{format_duration(at_ns)}"
        names[number] = f"{name} #{number}" if name in taken else name
        taken.add(names[number])
    return names


def _targets(fault: OnNodes, draw: tuple[int, ...], seed: int, nodes: Sequence[str]) -> Sequence[str]:
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
