"""How clients talk to a node. A protocol says how to subscribe and what a confirmation looks like, nothing else.

Data frames are no protocol's business: they are known by the token in them, whatever envelope a server puts round it.
A new protocol is a module with a class, and a line in `protocol`.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from fanlab.errors import EnvironmentFailure


class ClientProtocol(Protocol):
    """One kind of server, as a client sees it. Stateless: one instance serves all clients."""

    def subscribe(self, channels: Sequence[str]) -> Sequence[bytes]:
        """The text frames that ask for these channels."""

    def confirmed(self, frame: bytes) -> Iterable[str]:
        """The channels that this frame confirms; none if it says something else or cannot be read."""

    def refusal(self, frame: bytes) -> str | None:
        """Why the server did not do what it was asked to, in its own words; None if the frame says something else."""

    def answers(self, frame: bytes) -> bool:
        """Whether this frame is the server's own, a confirmation or anything else, and no message."""


def protocol(name: str) -> ClientProtocol:
    """The protocol of that name, as node.yaml gives it. EnvironmentFailure for one that fanlab does not speak."""
    from fanlab.load.protocols.json import JsonProtocol

    known = {"json": JsonProtocol}
    if name not in known:
        raise EnvironmentFailure(
            f"a node asks for the client protocol {name!r}, which fanlab does not speak",
            hint=f"set `protocol` in its node.yaml to one of: {', '.join(known)}",
        )
    return known[name]()
