"""stop: SIGTERM, as a deployment does it. A node done right says 1001 to its clients first. Heals by a restart."""

import signal
from dataclasses import dataclass

from fanlab.faults.crash import Crash


@dataclass(slots=True)
class Stop(Crash):
    """Ask a node to end; its effect and its healing show as a crash's do."""

    async def inject(self) -> None:
        """SIGTERM to the unit's main process."""
        await self.target.backend.signal(self.target.unit, signal.SIGTERM)
