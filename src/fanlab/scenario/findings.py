"""What a cross-check finds, and the questions that several of them ask: is there such a channel, such a node? Pure."""

import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fanlab.scenario.model import Scenario

MIN_PAYLOAD_BYTES: Final = 47  # the marker, ledger.records.TOKEN_LENGTH
MAX_NODES: Final = 1000
CHOICES: Final = ("one", "minority", "all")  # fault targets that are no node's name

Keys = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong, and at which keys (as YAML has them; list entries by index)."""

    keys: Keys
    what: str
    suggestion: str | None = None


@dataclass(frozen=True, slots=True)
class World:
    """A scenario with what its parts may name, made once."""

    scenario: Scenario
    nodes: int
    channels: frozenset[str]


def world_of(scenario: Scenario) -> World:
    """That of a scenario."""
    return World(scenario, sum(group.count for group in scenario.topology.nodes), frozenset(scenario.channels))


def nearest(name: str, names: Collection[str], likeness: float = 0.6) -> str | None:
    """The one of `names` that was probably meant; `likeness`, a difflib ratio, is how much it takes."""
    close = difflib.get_close_matches(name[:64], list(names)[:200], n=1, cutoff=likeness)
    return close[0] if close else None


def named_twice(keys: Keys, names: Sequence[str], what: str, key: str | None = None) -> Iterator[Finding]:
    """A finding for each name that is there already; `key`, if entries are mappings, is the one that holds it."""
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if first.setdefault(name, index) != index:
            at = (*keys, index, key) if key else (*keys, index)
            yield Finding(at, f"{what} {name!r} is there already")


def no_channel(keys: Keys, name: str, world: World) -> Iterator[Finding]:
    """A finding if the scenario has no such channel."""
    if name not in world.channels:
        what = f"no channel {name!r} is listed under `channels`"
        yield Finding(keys, what, nearest(name, world.scenario.channels))


def is_node(name: str, world: World) -> bool:
    """Whether it is one of node-1 … node-N."""
    match = re.fullmatch("node-([1-9][0-9]{0,5})", name)
    return match is not None and int(match[1]) <= world.nodes


def no_node(keys: Keys, name: str, world: World, others: Sequence[str] = ()) -> Iterator[Finding]:
    """A finding if it is neither a node's name nor one of `others`."""
    if name in others or is_node(name, world):
        return
    are = "node-1 is the only one" if world.nodes == 1 else f"there are node-1 … node-{world.nodes}"
    meant = "node-" + "".join(re.findall("[0-9]", name)).lstrip("0")
    yield Finding(keys, f"there is no node {name!r}; {are}", meant if is_node(meant, world) else nearest(name, others))
