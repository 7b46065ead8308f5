"""memory-limit: so much memory and no more. A node that needs another page is killed; a roomy limit does nothing."""

from dataclasses import dataclass

from fanlab.faults.fault import Target, refuse_gone
from fanlab.topology.backend import UnitState


@dataclass(slots=True)
class MemoryLimit:
    """Give a node `limit_bytes` of memory, at most; to heal, lift the limit and start it again if it was killed.

    A node that ends meanwhile for another reason is not this fault's doing: it stays gone.
    """

    target: Target
    had: int | None = None
    kills: int = 0  # before

    async def inject(self) -> None:
        """Note the limit it has, and set another. Raises EnvironmentFailure for a node that has ended already."""
        refuse_gone(self.target)
        self.kills = await self.target.backend.memory_kills(self.target.unit)
        self.had = await self.target.backend.memory_limit(self.target.unit)
        await self.target.backend.limit_memory(self.target.unit, int(self.target.settings["limit_bytes"]))

    async def has_bitten(self) -> bool:
        """The kernel holds a limit that it did not hold before, or has killed the node for it already."""
        if self.target.backend.state(self.target.unit) is UnitState.GONE:
            return await self._was_killed()
        now = await self.target.backend.memory_limit(self.target.unit)
        return now is not None and now != self.had

    async def heal(self) -> None:
        """Lift it; a node that the kernel has killed is started again."""
        await self.target.backend.limit_memory(self.target.unit, None)
        if self.target.backend.state(self.target.unit) is UnitState.GONE and await self._was_killed():
            await self.target.backend.restart(self.target.unit)

    async def has_healed(self) -> bool:
        """The limit is as it was, and it answers."""
        back = await self.target.backend.memory_limit(self.target.unit) == self.had
        return back and await self.target.backend.probe(self.target.unit)

    async def _was_killed(self) -> bool:
        return await self.target.backend.memory_kills(self.target.unit) > self.kills
