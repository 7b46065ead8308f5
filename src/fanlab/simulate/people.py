"""Who listens where: clients in parties that share their fate, and who of them is at which node. No events, no time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fanlab.scenario.plan import GroupSpec, Plan

Ints = NDArray[np.int64]


@dataclass(slots=True, eq=False)
class Party:
    """Clients of one group that began on one node. `clients` are their numbers; a big party's are not told apart."""

    group: int
    cohort: int  # the place of (group, first node) in People.cohorts
    count: int
    node: int  # that it is on, or was on last
    clients: Ints | None = None
    at_home: bool = False  # subscribed at `node`
    part: int = 0  # of those into which a big party was divided
    entitled: bool = False  # subscribed once: owed from then on

    def parts(self, most: int) -> "list[Party]":
        """The same clients in so many parties at most, of about one size; each alone where they are told apart."""
        if self.count == 1:
            return [self]
        if self.clients is not None:
            alone = (self.clients[at : at + 1] for at in range(self.count))
            return [Party(self.group, self.cohort, 1, self.node, one, entitled=self.entitled) for one in alone]
        edges = np.linspace(0, self.count, min(most, self.count) + 1).astype(np.int64)
        sizes = np.diff(edges).tolist()
        return [
            Party(self.group, self.cohort, size, self.node, part=part, entitled=self.entitled)
            for part, size in enumerate(sizes)
        ]

    @property
    def name(self) -> tuple[str, int, int]:
        """What its randomness is named after: that of a client alone is the one that it has in a real run."""
        return ("cohort", self.cohort, self.part) if self.clients is None else ("client", int(self.clients[0]), 0)


@dataclass(frozen=True, slots=True)
class Cohort:
    """The clients of a group that begin on one node: what the account of a big system is kept for."""

    group: int
    node: int
    count: int


@dataclass(slots=True)
class People:
    """All parties, by where they are."""

    plan: Plan
    cohorts: list[Cohort] = field(default_factory=list)
    entitled: list[int] = field(default_factory=list)  # clients of each cohort that were subscribed once
    at: list[list[Party]] = field(default_factory=list)  # by node
    listeners: Ints = field(init=False)  # channels × nodes
    version: int = 0  # of who is where
    _channels: list[tuple[int, ...]] = field(init=False)  # by group
    _members: dict[tuple[int, int], Ints] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = {name: index for index, name in enumerate(self.plan.channels)}
        self._channels = [tuple(numbers[name] for name in group.channels) for group in self.plan.groups]
        self.listeners = np.zeros((len(self.plan.channels), len(self.plan.nodes)), np.int64)
        self.at = [[] for _ in self.plan.nodes]

    def newcomers(self, group: GroupSpec, *, told_apart: bool) -> Iterator[Party]:
        """The group's parties, one for each node that it begins on, and their cohorts. They are nowhere yet."""
        for turn, node in enumerate(group.nodes):
            count = len(range(turn, group.count, len(group.nodes)))
            if count:
                numbers = np.arange(turn, group.count, len(group.nodes)) + group.first_client if told_apart else None
                self.cohorts.append(Cohort(group.index, node, count))
                self.entitled.append(0)
                yield Party(group.index, len(self.cohorts) - 1, count, node, numbers)

    def channels(self, party: Party) -> tuple[int, ...]:
        """The numbers of the channels that it asks for."""
        return self._channels[party.group]

    def settle(self, party: Party, node: int) -> list[int]:
        """It is subscribed there from now on; the channels of which it is the first at that node."""
        party.node, party.at_home = node, True
        if not party.entitled:
            party.entitled = True
            self.entitled[party.cohort] += party.count
        self.at[node].append(party)
        first = [channel for channel in self.channels(party) if not self.listeners[channel, node]]
        self._count(party, party.count)
        return first

    def leave(self, parties: Sequence[Party], node: int) -> list[int]:
        """They are there no more; the channels that nobody at that node listens to any longer."""
        for party in parties:
            party.at_home = False
            self._count(party, -party.count)
        self.at[node] = [party for party in self.at[node] if party.at_home]
        of_them = {channel for party in parties for channel in self.channels(party)}
        return sorted(channel for channel in of_them if not self.listeners[channel, node])

    def members(self, channel: int, node: int) -> Ints:
        """The numbers of the clients at a node that listen to a channel, where they are told apart."""
        found = self._members.get((channel, node))
        if found is None:
            clients = [p.clients for p in self.at[node] if p.clients is not None and channel in self.channels(p)]
            found = np.sort(np.concatenate([np.zeros(0, np.int64), *clients]))
            self._members[channel, node] = found
        return found

    def _count(self, party: Party, more: int) -> None:
        self.version += 1
        for channel in self.channels(party):
            self.listeners[channel, party.node] += more
            self._members.pop((channel, party.node), None)
