"""clock-step: a node's wall clock jumps, as after a bad NTP answer. Who measures time with it goes wrong."""

import time
from dataclasses import dataclass
from typing import Final

from fanlab.clock import NS_PER_S
from fanlab.errors import EnvironmentFailure
from fanlab.faults.fault import Target

_COARSE_S: Final = 2.0  # a Date header has whole seconds, and its answer takes a moment


@dataclass(slots=True)
class ClockStep:
    """Step a node's wall clock by `step_ns`, forwards or backwards; set it right to heal."""

    target: Target

    async def inject(self) -> None:
        """Step it. Raises EnvironmentFailure where nobody could see it: the node tells no date."""
        if await self._off_by_s() is None:
            raise EnvironmentFailure(f"{self.target.unit} sends no Date header: nobody could see its clock step")
        await self.target.backend.step_clock(self.target.unit, self._step_ns)

    async def has_bitten(self) -> bool:
        """Its own HTTP server tells the time that it should be wrong by."""
        off_s = await self._off_by_s()
        return off_s is not None and abs(off_s - self._step_ns / NS_PER_S) < _COARSE_S

    async def heal(self) -> None:
        """Set it right."""
        await self.target.backend.step_clock(self.target.unit, 0)

    async def has_healed(self) -> bool:
        """It tells the right time."""
        off_s = await self._off_by_s()
        return off_s is not None and abs(off_s) < _COARSE_S

    @property
    def _step_ns(self) -> int:
        settings = self.target.settings
        return int(-settings["step_ns"] if settings["backwards"] else settings["step_ns"])

    async def _off_by_s(self) -> float | None:
        told_s = await self.target.backend.wall_clock_s(self.target.unit)
        return None if told_s is None else told_s - time.time()  # noqa: TID251 - a wall clock is what is stepped
