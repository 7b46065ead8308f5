"""Which of its own addresses a client connects from. A port of one address serves one connection to a node. Pure."""

import ipaddress
import sys
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

CLIENTS_PER_SOURCE: Final = 20_000  # Linux gives an address 28 232 ports of its own choice, and others want some


def source_of(url: str, client: int) -> str | None:
    """The source address of that client, on a node of this machine: 127.0.0.2 for the second 20 000, and so on.

    None where the system may choose: for the first ones, for another machine, for a name or for IPv6, and for all where
    loopback is 127.0.0.1 alone, as it is on anything but Linux.
    """
    number = client // CLIENTS_PER_SOURCE
    if not number or sys.platform != "linux" or not _is_loopback(url):
        return None
    return str(ipaddress.IPv4Address("127.0.0.1") + number)


@lru_cache  # a run's nodes are few, its clients many
def _is_loopback(url: str) -> bool:
    try:
        return ipaddress.IPv4Address(urlsplit(url).hostname or "").is_loopback
    except ValueError:
        return False
