"""crash: SIGKILL. The kernel closes the node's sockets, so its clients see 1006 at once. Heals by a restart."""

import signal
from dataclasses import dataclass

from fanlab.faults.fault import Target
from fanlab.topology.backend import UnitState


@dataclass(slots=True)
class Crash:
    """Kill a node, or Redis, without warning; start it again to heal."""

    target: Target

    async def inject(self) -> None:
        """SIGKILL to the unit's main process."""
        await self.target.backend.signal(self.target.unit, signal.SIGKILL)

    async def has_bitten(self) -> bool:
        """Its process is gone and nobody answers at its address."""
        gone = self.target.backend.state(self.target.unit) is UnitState.GONE
        return gone and not await self.target.backend.probe(self.target.unit)

    async def heal(self) -> None:
        """Start it again at its old address."""
        await self.target.backend.restart(self.target.unit)

    async def has_healed(self) -> bool:
        """It answers its readiness probe."""
        return await self.target.backend.probe(self.target.unit)
