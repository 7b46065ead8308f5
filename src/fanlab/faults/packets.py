"""Faults of packets: what the kernel does, in the network namespace of a node's container, to one of its links.

Nothing is changed outside of that namespace, which dies with its container, whatever becomes of fanlab.
docs/adr/0022-faults-of-packets.md says why it is so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlsplit

from fanlab.errors import EnvironmentFailure, HarnessError
from fanlab.faults.fault import Target
from fanlab.topology.backend import REDIS
from fanlab.topology.netns import Namespace
from fanlab.topology.packetfilter import Direction
from fanlab.topology.tcptable import Connection, Wire, connections, way_out

EASY_S: Final = 0.02  # between two looks of a probe: each reads tables, or asks a program
_TABLES: Final = ("tcp", "tcp6")


def by_packets(settings: Mapping[str, Any]) -> bool:
    """Whether a fault with these settings is one of packets."""
    return settings.get("by") == "packets"


@dataclass(slots=True)
class PacketFault:
    """What they have in common. All of it blocks, for some ms: it is for a thread of its own."""

    target: Target
    entered: Namespace | None = None

    @property
    def link(self) -> str:
        """Which of the node's links: `clients` or `redis`."""
        return str(self.target.settings["link"])

    @property
    def other(self) -> str:
        """Who is at the link's other side, for people."""
        return "Redis" if self.link == REDIS else "its clients"

    @property
    def direction(self) -> Direction:
        """Which way it holds."""
        return cast("Direction", self.target.settings["direction"])

    @property
    def space(self) -> Namespace:
        """The node's, since the fault was injected. Raises EnvironmentFailure if it has gone, and the fault with it."""
        if self.entered is None:
            raise HarnessError("a fault is injected before anything else")
        if not self.entered.lasts:
            raise EnvironmentFailure(
                f"{self.target.unit} has ended: its network has gone, and with it what was done to its packets"
            )
        return self.entered

    def enter(self) -> Namespace:
        """Find it. Raises EnvironmentFailure where there is none that is the node's alone."""
        unit = self.target.unit
        pid = self.target.backend.pid(unit)
        if pid is None:
            raise EnvironmentFailure(f"{unit} does not run: it has no network to change")
        self.entered = Namespace.of(pid)
        if self.target.backend.pid(unit) != pid:
            raise EnvironmentFailure(f"{unit} has just ended, and its network with it")
        return self.entered

    def device(self) -> str:
        """By which the node reaches all others."""
        return way_out(self.space.read("route"))[0]

    def wire(self) -> Wire:
        """The link's connections. Those between the machine itself and a node's port are fanlab's own questions."""
        backend, unit = self.target.backend, self.target.unit
        if self.link == REDIS:
            return Wire(backend.host_of(unit), peer=backend.host_of(REDIS))
        port = urlsplit(self.target.means.nodes[unit].http_url).port
        if port is None:
            raise HarnessError(f"{unit} has no port: {self.target.means.nodes[unit].http_url}")
        return Wire(backend.host_of(unit), port=port, spared=way_out(self.space.read("route"))[1])

    def peers(self) -> Iterator[Namespace]:
        """Those of the other side, as far as they are there."""
        backend = self.target.backend
        pids = [backend.pid(REDIS)] if self.link == REDIS else backend.helpers().values()
        for pid in pids:
            try:
                if pid is not None:
                    yield Namespace.of(pid)
            except EnvironmentFailure:  # it has ended meanwhile
                continue

    def resent(self) -> bool:
        """Whether either side of a connection of the link sends again what has not been answered."""
        wire = self.wire()
        return any(one.resent and wire.has(one) for space in (self.space, *self.peers()) for one in seen_from(space))


def seen_from(space: Namespace) -> Iterator[Connection]:
    """All TCP connections of a namespace; of one that has gone meanwhile, none."""
    for table in _TABLES:
        try:
            text = space.read(table)
        except EnvironmentFailure:
            return
        yield from connections(text)
