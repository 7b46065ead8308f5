"""restart: SIGTERM, and started again as soon as it has ended, as a deployment does it."""

from dataclasses import dataclass

from fanlab.faults.stop import Stop
from fanlab.topology.backend import UnitState


@dataclass(slots=True)
class Restart(Stop):
    """Ask a node to end and start it again; `for` is the least time between the two."""

    async def has_bitten(self) -> bool:
        """Its process is gone."""
        return self.target.backend.state(self.target.unit) is UnitState.GONE
