"""Whose an engine's objects are: the labels and names that everything of a run bears from the call that makes it.

`fanlab.run` is the run's id, `fanlab.owner` the process that answers for it (its warden), by which a later process can
tell an orphan from what is in use, and `fanlab.unit` the unit. Pure but for looking at processes.
"""

import secrets
from dataclasses import dataclass
from typing import Final, Self

from fanlab import clock
from fanlab.topology.warden import read_stat

RUN: Final = "fanlab.run"
OWNER: Final = "fanlab.owner"
UNIT: Final = "fanlab.unit"
_SHORT: Final = 8


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told apart from every other one of any boot."""

    pid: int
    start_ticks: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> Self:
        """A process that runs now; one that does not owns nothing, and is never alive."""
        stat = read_stat(pid)
        return cls(pid, 0 if stat is None else stat.start_ticks, clock.boot_id() or "")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `<pid>:<start ticks>:<boot id>`. Raises ValueError for anything else."""
        pid, ticks, boot_id = text.split(":", 2)
        return cls(int(pid), int(ticks), boot_id)

    def __str__(self) -> str:
        return f"{self.pid}:{self.start_ticks}:{self.boot_id}"

    def alive(self) -> bool:
        """Whether it is this boot's, and runs."""
        stat = read_stat(self.pid)
        running = stat is not None and stat.state not in "ZX" and stat.start_ticks == self.start_ticks
        return running and self.boot_id == clock.boot_id()


@dataclass(frozen=True, slots=True)
class Marks:
    """What one run's objects are called and labelled with."""

    run_id: str
    owner: Owner

    @classmethod
    def new(cls, owner: Owner) -> Self:
        """Of a run with an id of its own."""
        return cls(secrets.token_hex(8), owner)

    def name(self, unit: str) -> str:
        """`fanlab-1f2e3d4c-node-1`."""
        return f"fanlab-{self.run_id[:_SHORT]}-{unit}"

    def labels(self, unit: str) -> dict[str, str]:
        """Those of one object."""
        return {RUN: self.run_id, OWNER: str(self.owner), UNIT: unit}
