"""partition: nothing gets through. Held: all of it comes late. Dropped: gone, and the connection with it."""

from collections.abc import Sequence
from dataclasses import dataclass

from fanlab.errors import EnvironmentFailure
from fanlab.faults.link_toxic import LinkToxic, OneToxic
from fanlab.link.state import ProxyState


@dataclass(slots=True)
class Partition(LinkToxic):
    """Cut a node off from its clients, or from Redis, one way or both."""

    at_bite: ProxyState | None = None

    def toxics(self) -> Sequence[OneToxic]:
        """`hold` or `drop`, on each way."""
        return [OneToxic(str(self.target.settings["mode"]), stream, {}) for stream in self.streams()]

    async def has_bitten(self) -> bool:
        """It has hold of connections; how much had come through by then is noted."""
        self.at_bite = await self.state()
        return await LinkToxic.has_bitten(self)

    async def heal(self) -> None:
        """Take it off. Raises EnvironmentFailure if something has come through meanwhile: it was no partition then."""
        now = await self.state()
        if self.at_bite is not None and self.target.settings["share"] == 1:
            for stream in self.streams():
                before = self.at_bite.up if stream == "upstream" else self.at_bite.down
                after = now.up if stream == "upstream" else now.down
                if after.passed != before.passed:
                    raise EnvironmentFailure(
                        f"{after.passed - before.passed} bytes went {stream} through the partition"
                    )
        await LinkToxic.heal(self)
