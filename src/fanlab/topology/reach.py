"""Whom a run may load: this machine by its loopback addresses, and what --allow-remote lists, address by address.

A name is looked up once. Every address that it stands for must be allowed, and it is these that are connected to later:
a name that is given other addresses meanwhile changes nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from fanlab.errors import EnvironmentFailure

LOOKUP_S: Final = 10.0

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads. `addresses` are all that its host stands for, in the resolver's order."""

    url: str
    host: str
    port: int
    addresses: tuple[str, ...]

    @property
    def elsewhere(self) -> bool:
        """Whether that is another machine."""
        return not all(map(is_loopback, self.addresses))

    @property
    def netloc(self) -> str:
        """Host and port as the URL has them, without a user's name: what a Host header says."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    def pinned(self, address: str) -> str:
        """The URL with that address in place of the name."""
        parts = urlsplit(self.url)
        user, at, server = parts.netloc.rpartition("@")
        port = f":{self.port}" if parts.port is not None else ""
        literal = f"[{address}]" if ":" in address else address
        same = server.removesuffix(port).strip("[]") == address
        return self.url if same else urlunsplit(parts._replace(netloc=f"{user}{at}{literal}{port}"))


class Reach:
    """What may be reached. Looks each host up once."""

    def __init__(self, allow: Sequence[str] = ()) -> None:
        """`allow` has the values of --allow-remote: hosts by name or address."""
        self._allow = tuple(allow)
        self._allowed: frozenset[Address] | None = None
        self._found: dict[str, tuple[str, ...]] = {}

    async def place(self, url: str, option: str, schemes: Sequence[str], default_port: int) -> Place:
        """Where `url` leads. `option` is where it was given: `--redis-url`.

        Raises EnvironmentFailure for what is no URL of these schemes, is not known, or is not allowed.
        """
        parts, port = _parsed(url, option, schemes)
        port = port or default_port
        host = parts.hostname or ""
        addresses = await self._resolved(host, option)
        allowed = await self._listed()
        for address in addresses:
            if not is_loopback(address) and bare(address) not in allowed:
                raise EnvironmentFailure(
                    f"{option}: {host} is {address}, which is another machine; fanlab loads this one, and what it is"
                    " told that it may load",
                    hint=f"if you may load it, say so with --allow-remote {address}",
                )
        return Place(url, host, port, addresses)

    async def _listed(self) -> frozenset[Address]:
        if self._allowed is None:
            found = [bare(address) for host in self._allow for address in await self._allowed_by(host)]
            self._allowed = frozenset(found)
        return self._allowed

    async def _allowed_by(self, host: str) -> tuple[str, ...]:
        option = f"--allow-remote {host}"
        if not host or any(sign in host for sign in "/@*?#") or _is_with_port(host):
            raise EnvironmentFailure(
                f"{option} is no host", hint="give a name or an address, and nothing else: --allow-remote 192.0.2.7"
            )
        addresses = await self._resolved(host.strip("[]"), option)
        for address in addresses:
            if bare(address).is_unspecified or bare(address).is_multicast:
                raise EnvironmentFailure(f"{option}: {address} is no machine's address")
        return addresses

    async def _resolved(self, host: str, option: str) -> tuple[str, ...]:
        if host not in self._found:
            self._found[host] = await _look_up(host, option)
        return self._found[host]


def bare(address: str) -> Address:
    """The address less its zone; one of IPv4 in IPv6's clothes as what it is."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def is_loopback(address: str) -> bool:
    """Whether the address is this machine's own, and can be no other's."""
    return bare(address).is_loopback


def is_ipv4(text: str) -> bool:
    """Whether it is one machine's address of IPv4, in its usual form."""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return not (address.is_unspecified or address.is_multicast)


def is_ours(address: str) -> bool:
    """Whether one of this machine's interfaces has the address: then whoever listens there runs here."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return not bare(address).is_unspecified


async def _look_up(host: str, option: str) -> tuple[str, ...]:
    try:
        async with asyncio.timeout(LOOKUP_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise EnvironmentFailure(f"{option}: {host} could not be looked up within {LOOKUP_S:g} s") from None
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise EnvironmentFailure(f"{option}: {host} does not resolve: {why}") from error
    addresses = [f"{place[0]}%{place[3]}" if len(place) > 3 and place[3] else str(place[0]) for *_, place in found]  # noqa: PLR2004 - IPv6 has a scope
    return tuple(dict.fromkeys(addresses))


def _parsed(url: str, option: str, schemes: Sequence[str]) -> tuple[SplitResult, int | None]:
    hint = " or ".join(f"{scheme}://host:port" for scheme in schemes)
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname
    except ValueError as error:
        raise EnvironmentFailure(  # what the error says may quote a part of a password
            f"{option} {_shown(url)} is no URL",
            hint=f"as {hint}; percent-encode what is special in its name and password",
        ) from error
    if parts.scheme not in schemes or not host:
        raise EnvironmentFailure(
            f"{option} {_shown(url)} is no {' or '.join(f'{scheme}://' for scheme in schemes)} URL", hint=f"as {hint}"
        )
    return parts, port


def _shown(url: str) -> str:
    """What can be quoted of what is no URL of ours: nothing before an @, nor after a question mark."""
    return url.rpartition("@")[2].partition("?")[0]


def _is_with_port(host: str) -> bool:
    """`name:80`, and not an address of IPv6."""
    try:
        ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return ":" in host
    return False
