"""partition: nothing gets through. Held: all of it comes late. Dropped: gone, and the connection with it."""

from collections.abc import Sequence
from dataclasses import dataclass

from fanlab.errors import EnvironmentFailure
from fanlab.faults.link_toxic import BOTH, LinkToxic, OneToxic
from fanlab.link.state import ProxyState


@dataclass(slots=True)
class Partition(LinkToxic):
    """Cut a node off from its clients, or from Redis, one way or both."""

    at_bite: ProxyState | None = None

    def toxics(self) -> Sequence[OneToxic]:
        """`hold` or `drop`, on the way that is named."""
        return [OneToxic(str(self.target.settings["mode"]), self.stream(), {})]

    async def has_bitten(self) -> bool:
        """It has hold of connections; how much had come through by then is noted."""
        self.at_bite = await self.state()
        return bool(await self._all_hold())

    def lacks(self) -> str:
        """Why it has not bitten."""
        return f"there was no connection on {self.proxy} to cut"

    async def heal(self) -> None:
        """Take it off. Raises EnvironmentFailure if something has come through meanwhile: it was no partition then."""
        now = await self.state()
        await LinkToxic.heal(self)
        if self.at_bite is not None and self.target.settings["share"] == 1:
            up, down = now.up.passed - self.at_bite.up.passed, now.down.passed - self.at_bite.down.passed
            came = {"upstream": up, "downstream": down, BOTH: up + down}[self.stream()]
            if came:
                raise EnvironmentFailure(f"{came} bytes came through the partition")
