"""cpu-throttle: so much CPU time and no more, by the kernel's own quota. Latency first; loss where buffers overflow."""

from dataclasses import dataclass

from fanlab.faults.fault import Target, refuse_gone


@dataclass(slots=True)
class CpuThrottle:
    """Give a node `cores` of CPU, at most; as many as it had to heal."""

    target: Target
    had: float | None = None

    async def inject(self) -> None:
        """Note the limit it has, and set another. Raises EnvironmentFailure for a node that has ended already."""
        refuse_gone(self.target)
        self.had = await self.target.backend.cpu_limit(self.target.unit)
        await self.target.backend.limit_cpu(self.target.unit, float(self.target.settings["cores"]))

    async def has_bitten(self) -> bool:
        """The kernel holds this limit for it, to the thousandth of a core."""
        now = await self.target.backend.cpu_limit(self.target.unit)
        return now is not None and round(now, 3) == round(self.target.settings["cores"], 3)

    async def heal(self) -> None:
        """As it was."""
        await self.target.backend.limit_cpu(self.target.unit, None)

    async def has_healed(self) -> bool:
        """The kernel holds the limit that it had, and it answers."""
        back = await self.target.backend.cpu_limit(self.target.unit) == self.had
        return back and await self.target.backend.probe(self.target.unit)
