"""pause: SIGSTOP. The kernel goes on acknowledging, so TCP notices nothing: latency first, loss perhaps later."""

from dataclasses import dataclass

from fanlab.faults.fault import Target
from fanlab.topology.backend import UnitState


@dataclass(slots=True)
class Pause:
    """Freeze a node; let it run on to heal."""

    target: Target

    async def inject(self) -> None:
        """SIGSTOP to the unit's process group, or its cgroup's freezer."""
        await self.target.backend.freeze(self.target.unit)

    async def has_bitten(self) -> bool:
        """The operating system shows it stopped."""
        return self.target.backend.state(self.target.unit) is UnitState.PAUSED

    async def heal(self) -> None:
        """Let it go on."""
        await self.target.backend.thaw(self.target.unit)

    async def has_healed(self) -> bool:
        """It runs, and answers its readiness probe."""
        running = self.target.backend.state(self.target.unit) is UnitState.RUNNING
        return running and await self.target.backend.probe(self.target.unit)
