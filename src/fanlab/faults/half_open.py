"""half-open: one side has gone and the other is not told. It waits, unless it asks whether anybody is there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fanlab.faults.link_toxic import LinkToxic, OneToxic

_GONE: Final = {  # which side of the proxy: clients are downstream of their node, and a node is downstream of Redis
    ("clients", "peer"): "downstream",
    ("clients", "node"): "upstream",
    ("redis", "peer"): "upstream",
    ("redis", "node"): "downstream",
}


@dataclass(slots=True)
class HalfOpen(LinkToxic):
    """Let one side of the connections there are vanish. Later ones are good: who notices can come back."""

    def toxics(self) -> Sequence[OneToxic]:
        """`half_open`, of the side that is gone."""
        return [OneToxic("half_open", _GONE[self.link, self.target.settings["gone"]], {})]

    async def has_bitten(self) -> bool:
        """One side of a connection at least has been closed."""
        return bool(await self._all_hold())

    def lacks(self) -> str:
        """Why it has not bitten."""
        return f"there was no connection on {self.proxy} to halve"

    async def has_healed(self) -> bool:
        """None of them is left, and the node answers. What the void took is not coming."""
        free = not self._held(await self.state())
        return free and await self.target.backend.probe(self.target.unit)
