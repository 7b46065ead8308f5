"""What the kernel tells of TCP connections and routes in a network namespace. Pure: from the texts to values."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from fanlab.errors import EnvironmentFailure

_NONE: Final = "00000000"
_LISTENING: Final = "0A"
_ROUTE_COLUMNS: Final = 3
_COUNTED: Final = re.compile(r"\b(bytes_acked|bytes_received):(\d+)")


@dataclass(frozen=True, slots=True)
class Connection:
    """One side of a connection, as (address, port), IPv4 also where the socket is of IPv6."""

    local: tuple[str, int]
    remote: tuple[str, int]
    resent: int = 0  # how often it was tried in vain to get its oldest bytes across
    acked: int = 0  # bytes of it that the other side has
    received: int = 0


@dataclass(frozen=True, slots=True)
class Wire:
    """The connections of one of a node's links, told by the node's address and either a peer's or a port of the node's.

    `spared`: an address that is not part of it all the same.
    """

    node: str
    peer: str | None = None
    port: int | None = None
    spared: str | None = None

    def has(self, one: Connection) -> bool:
        """Whether this is one of its connections, seen from either side."""
        for (near, port), (far, _) in ((one.local, one.remote), (one.remote, one.local)):
            if near == self.node and far != self.spared:
                return (self.peer in (None, far)) and self.port in (None, port)
        return False


def connections(table: str) -> Iterator[Connection]:
    """Those of /proc/net/tcp or tcp6."""
    for line in table.splitlines()[1:]:
        words = line.split()
        if words[3] != _LISTENING:
            # What was dropped on its way out was never sent, to TCP: it counts as a probe, and not as sent again
            yield Connection(_place(words[1]), _place(words[2]), int(words[6], 16) + int(words[8]))


def established(said: str) -> Iterator[Connection]:
    """Those of `ss -H -t -n -i -O`, with what has passed on them."""
    for line in said.splitlines():
        words = line.split()
        counted = {name: int(value) for name, value in _COUNTED.findall(line)}
        yield Connection(
            _written(words[3]),
            _written(words[4]),
            acked=counted.get("bytes_acked", 0),
            received=counted.get("bytes_received", 0),
        )


def way_out(routes: str) -> tuple[str, str]:
    """(device, gateway) of the default route in /proc/net/route. Raises EnvironmentFailure if there is none."""
    for line in routes.splitlines()[1:]:
        words = line.split()
        if len(words) > _ROUTE_COLUMNS and words[1] == _NONE and words[2] != _NONE:
            return words[0], str(IPv4Address(bytes.fromhex(words[2])[::-1]))
    raise EnvironmentFailure("the container's network has no way out: nothing tells its device and gateway")


def _place(text: str) -> tuple[str, int]:
    """Of `0100007F:1F90`: words of the address in the machine's own order."""
    address, _, port = text.partition(":")
    raw = bytes.fromhex(address)
    turned = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return _plain(IPv4Address(turned) if len(turned) == 4 else IPv6Address(turned)), int(port, 16)  # noqa: PLR2004


def _written(text: str) -> tuple[str, int]:
    """Of `10.0.0.2:8765` or `[::ffff:10.0.0.2]:8765`, perhaps with a device: `10.0.0.2%eth0:8765`."""
    address, _, port = text.rpartition(":")
    address = address.strip("[]").partition("%")[0]
    return _plain(IPv6Address(address) if ":" in address else IPv4Address(address)), int(port)


def _plain(address: IPv4Address | IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
