"""connection-reset and reconnect-storm: RST to both sides of connections, once. All of them come back at once."""

from dataclasses import dataclass
from typing import Final

from fanlab.errors import EnvironmentFailure
from fanlab.faults.link_toxic import LinkToxic

RESET: Final = "reset"  # why a connection was closed, in the link's words


@dataclass(slots=True)
class ConnectionReset(LinkToxic):
    """Reset a share of a node's connections. It heals by itself, when there are as many again."""

    had: int = 0
    reset: int = 0
    closed: int = 0  # by a reset, before

    async def inject(self) -> None:
        """Reset them. Raises EnvironmentFailure where there is none."""
        before = await self.state()
        self.had, self.closed = before.open, before.closed.get(RESET, 0)
        self.reset = await self.control().reset(self.proxy, float(self.target.settings["share"]))
        if not self.reset:
            raise EnvironmentFailure(f"there is no connection on {self.proxy} to reset")

    async def has_bitten(self) -> bool:
        """So many connections have ended, both sockets of each, by a reset."""
        return 0 < self.reset <= (await self.state()).closed.get(RESET, 0) - self.closed

    def lacks(self) -> str:
        """Why it has not bitten."""
        return f"not all connections on {self.proxy} that were to be reset have ended"

    async def heal(self) -> None:
        """Nothing to undo."""

    async def has_healed(self) -> bool:
        """There are as many connections as before."""
        return (await self.state()).open >= self.had
