"""connection-reset and reconnect-storm: RST to both sides of connections, once. All of them come back at once."""

from dataclasses import dataclass

from fanlab.errors import EnvironmentFailure
from fanlab.faults.link_toxic import LinkToxic


@dataclass(slots=True)
class ConnectionReset(LinkToxic):
    """Reset a share of a node's connections. It heals by itself, when there are as many again."""

    had: int = 0
    reset: int = 0

    async def inject(self) -> None:
        """Reset them. Raises EnvironmentFailure where there is none."""
        self.had = (await self.state()).open
        self.reset = await self.control().reset(self.proxy, float(self.target.settings["share"]))
        if not self.reset:
            raise EnvironmentFailure(f"there is no connection on {self.proxy} to reset")

    async def has_bitten(self) -> bool:
        """The link has seen them end."""
        return self.reset > 0

    async def heal(self) -> None:
        """Nothing to undo."""

    async def has_healed(self) -> bool:
        """There are as many connections as before."""
        return (await self.state()).open >= self.had
