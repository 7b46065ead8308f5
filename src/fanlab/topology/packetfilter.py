"""Rules of iptables that drop a link's packets, in a chain of their own in a container's network namespace.

What goes in and what comes out is pure; `refusal` tries it. `iptables-restore` commits all of a text at once, so that
both directions begin, and end, at the same instant.
"""

from collections.abc import Iterator
from functools import cache
from typing import Final, Literal

from fanlab.errors import EnvironmentFailure
from fanlab.topology.netns import require, throwaway
from fanlab.topology.tcptable import Wire

Direction = Literal["both", "to-node", "from-node"]
HOOKS: Final = ("INPUT", "OUTPUT")
RESTORE: Final = ("iptables-restore", "--noflush", "-w", "5")  # waits for whoever else changes rules, 5 s at most
SHOW: Final = ("iptables", "-w", "5", "-S")
PASSED: Final = ("ss", "-H", "-t", "-n", "-i", "-O")  # what has passed on each connection, one a line
_TRIED: Final = Wire("192.0.2.1", "192.0.2.2")  # addresses for documentation: nobody has them


def chain_of(fault: int) -> str:
    """What the chain of a fault is called."""
    return f"fanlab-{fault}"


def laid(chain: str, wire: Wire, direction: Direction) -> str:
    """For RESTORE: from here on the wire's packets of this direction are dropped."""
    rules = [f"-A {chain} -p tcp {match} -j DROP" for match in _matches(wire, direction)]
    return _committed([f":{chain} - [0:0]", *rules, *(f"-I {hook} -j {chain}" for hook in HOOKS)])


def lifted(chain: str) -> str:
    """For RESTORE: as it was before."""
    return _committed([*(f"-D {hook} -j {chain}" for hook in HOOKS), f"-F {chain}", f"-X {chain}"])


def counters(chain: str) -> list[str]:
    """The command that tells how many packets each rule has met."""
    return ["iptables", "-w", "5", "-n", "-v", "-x", "-L", chain]


def dropped(listing: str) -> int:
    """How many packets that were, of all rules that drop."""
    rows = (line.split() for line in listing.splitlines())
    return sum(int(row[0]) for row in rows if row[2:3] == ["DROP"])


def is_laid(chain: str, shown: str) -> bool:
    """Whether anything of the chain is there, in what SHOW says."""
    return any(chain in line.split() for line in shown.splitlines())


@cache
def refusal() -> str | None:
    """Why packets cannot be dropped here; None: rules have been made, and removed, in a namespace made for that."""
    chain = chain_of(0)
    try:
        require("iptables", "iptables-restore", "ss")
        with throwaway() as space:
            space.run(RESTORE, laid(chain, _TRIED, "both"))
            dropped(space.run(counters(chain)))
            space.run(RESTORE, lifted(chain))
            space.run(PASSED)
            if is_laid(chain, space.run(SHOW)):
                return "iptables does not remove its rules; use `by: link`"
    except EnvironmentFailure as error:
        return f"{error.message}; use `by: link`"
    return None


def _matches(wire: Wire, direction: Direction) -> Iterator[str]:
    for way, here, there, port in (("to-node", "-d", "-s", "--dport"), ("from-node", "-s", "-d", "--sport")):
        if direction in ("both", way):
            words = [f"{here} {wire.node}"]
            if wire.peer is not None:
                words.append(f"{there} {wire.peer}")
            if wire.spared is not None:
                words.append(f"! {there} {wire.spared}")
            if wire.port is not None:
                words.append(f"{port} {wire.port}")
            yield " ".join(words)


def _committed(lines: list[str]) -> str:
    return "\n".join(["*filter", *lines, "COMMIT", ""])
