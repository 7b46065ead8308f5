"""Delaying a link's packets by `tc netem`, in a container's network namespace. Pure but for `refusal`, which tries it.

netem delays all that a device sends. So the wire's packets, and no others, are led through devices made for it (ifb):
one for what comes in and one for what goes out. None of it is the machine's own.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Final

from fanlab.clock import NS_PER_MS, NS_PER_US
from fanlab.errors import EnvironmentFailure
from fanlab.topology.netns import require, throwaway
from fanlab.topology.packetfilter import Direction
from fanlab.topology.tcptable import Wire

DEVICES: Final = {"to-node": "fanlab-in", "from-node": "fanlab-out"}
SHOW: Final = ("tc", "-j", "-s", "qdisc", "show")
_HOOKS: Final = {"to-node": "ingress", "from-node": "egress"}
_PACKETS: Final = "1000000"  # that it holds at most; by default it is 1000, and the rest is dropped
_TRIED: Final = Wire("127.0.0.1", "127.0.0.1", spared="192.0.2.1")  # which nobody has
_TRIED_NS: Final = 50 * NS_PER_MS


def laid(device: str, wire: Wire, direction: Direction, latency_ns: int, jitter_ns: int) -> Iterator[list[str]]:
    """The commands after which the wire's packets of this direction come so much later; `device` is the node's."""
    delay = [f"{max(1, latency_ns // NS_PER_US)}us", f"{jitter_ns // NS_PER_US}us"]
    yield ["tc", "qdisc", "add", "dev", device, "clsact"]
    for way in _ways(direction):
        own, hook = DEVICES[way], _HOOKS[way]
        yield ["ip", "link", "add", own, "type", "ifb"]
        yield ["ip", "link", "set", own, "up"]
        yield ["tc", "qdisc", "add", "dev", own, "root", "netem", "limit", _PACKETS, "delay", *delay]
        adding = ["tc", "filter", "add", "dev", device, hook, "protocol", "ip", "prio"]
        there = "src" if way == "to-node" else "dst"
        if wire.spared is not None:
            yield [*adding, "1", "u32", "match", "ip", there, f"{wire.spared}/32", "flowid", ":1"]
        yield [*adding, "2", "u32", *_match(wire, way), "action", "mirred", "egress", "redirect", "dev", own]


def freed(device: str) -> list[str]:
    """From here on packets go straight; those that are held come as they would have."""
    return ["tc", "qdisc", "del", "dev", device, "clsact"]


def lifted(direction: Direction) -> Iterator[list[str]]:
    """As it was before; what is still held is dropped."""
    for way in _ways(direction):
        yield ["ip", "link", "del", DEVICES[way]]


def delayed(shown: str) -> tuple[int, int]:
    """(packets that have come through, packets that are held) of all netem there is, in what SHOW says."""
    found = [each for each in json.loads(shown) if each.get("kind") == "netem"]
    return sum(each["packets"] for each in found), sum(each["qlen"] for each in found)


def is_laid(shown: str) -> bool:
    """Whether anything of it is there, in what SHOW says."""
    return any(each.get("kind") in ("netem", "clsact") for each in json.loads(shown))


def least_ns(direction: Direction, latency_ns: int, jitter_ns: int) -> int:
    """What one handshake takes at least, there and back."""
    return len(_ways(direction)) * (latency_ns - jitter_ns)


@cache
def refusal() -> str | None:
    """Why packets cannot be delayed here; None: a handshake has been, in a namespace made for that."""
    try:
        require("tc", "ip")
        with throwaway() as space:
            space.run(["ip", "link", "set", "lo", "up"])
            for command in laid("lo", _TRIED, "both", _TRIED_NS, 0):
                space.run(command)
            took_ns = space.handshake_ns("127.0.0.1", 1)
            for command in (freed("lo"), *lifted("both")):
                space.run(command)
    except EnvironmentFailure as error:
        return f"this kernel has no netem that could be used ({error.message}); use `by: link`"
    if took_ns < _TRIED_NS:
        return "netem is here and delays nothing; use `by: link`"
    return None


def _ways(direction: Direction) -> list[str]:
    return [way for way in DEVICES if direction in ("both", way)]


def _match(wire: Wire, way: str) -> list[str]:
    here, there, port = ("dst", "src", "dport") if way == "to-node" else ("src", "dst", "sport")
    words = ["match", "ip", "protocol", "6", "0xff", "match", "ip", here, f"{wire.node}/32"]
    if wire.peer is not None:
        words += ["match", "ip", there, f"{wire.peer}/32"]
    if wire.port is not None:
        words += ["match", "ip", port, str(wire.port), "0xffff"]
    return words
