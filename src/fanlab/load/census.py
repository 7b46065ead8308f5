"""How many clients of an engine are where, kept up as each moves: nobody walks over all of them to tell. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from fanlab.load.config import ClientsConfig
from fanlab.load.subscriber import Outcome, State, Subscriber


class Standing(StrEnum):
    """What a client counts as."""

    GONE = "gone"  # or going, of its own will; or not here yet
    JOINING = "joining"  # its first connection is under way
    CONNECTED = "connected"  # open, and subscribed to all it asked for
    RECONNECTING = "reconnecting"


@dataclass(slots=True)
class Census:
    """Show it each client after whatever happened to it."""

    group: ClientsConfig | None = None  # whose connected clients are counted by node
    entitled: Counter[str] = field(default_factory=Counter)  # clients by channel: confirmed once, and not gone
    _by_node: Counter[int] = field(default_factory=Counter)
    _standings: Counter[Standing] = field(default_factory=Counter)
    _seen: dict[int, tuple[Standing, int]] = field(default_factory=dict)  # by client: and the node

    def see(self, subscriber: Subscriber, outcome: Outcome) -> None:
        """What became of one client, and how it stands now."""
        for channel in outcome.owed:
            self.entitled[channel] += 1
        for channel in outcome.released:
            self.entitled[channel] -= 1
        now = standing(subscriber), subscriber.node
        before = self._seen.get(subscriber.client, (Standing.GONE, -1))
        if now == before:
            return
        self._seen[subscriber.client] = now
        self._standings[before[0]] -= 1
        self._standings[now[0]] += 1
        if subscriber.group is self.group:
            self._by_node[before[1]] -= before[0] is Standing.CONNECTED
            self._by_node[now[1]] += now[0] is Standing.CONNECTED

    @property
    def clients(self) -> int:
        """All that are here and do not leave."""
        return self.connected + self.reconnecting + self._standings[Standing.JOINING]

    @property
    def connected(self) -> int:
        """Those that are subscribed."""
        return self._standings[Standing.CONNECTED]

    @property
    def reconnecting(self) -> int:
        """Those that are not, and were or have failed to be."""
        return self._standings[Standing.RECONNECTING]

    @property
    def served(self) -> frozenset[int]:
        """The nodes at which clients of the group are connected."""
        return frozenset(node for node, count in self._by_node.items() if count)


def standing(subscriber: Subscriber) -> Standing:
    """What it counts as now."""
    state = subscriber.state
    if state in (State.NEW, State.CLOSING, State.LEFT):
        return Standing.GONE
    if state is State.SUBSCRIBED:
        return Standing.CONNECTED
    return Standing.RECONNECTING if subscriber.ever_subscribed or subscriber.attempt else Standing.JOINING
