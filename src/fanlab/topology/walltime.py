"""A wall clock of a unit's own, which can be stepped without touching the machine's: libfaketime, preloaded.

The offset stands in a file that the library reads at every call. Monotonic clocks are left alone: they are what
journals and timeouts go by, and no step of a real clock moves them either.
"""

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from fanlab.clock import NS_PER_S

LIBRARY: Final = "/usr/$LIB/faketime/libfaketime.so.1"  # the loader knows what $LIB is; see ld.so(8)
PACKAGE: Final = "libfaketime"  # Debian's
_FILE: Final = "clock"


def installed(root: Path = Path("/")) -> bool:
    """Whether this machine has the library, where Debian puts it."""
    return platform.system() == "Linux" and any((root / "usr/lib").glob("*/faketime/libfaketime.so.1"))


@dataclass(frozen=True, slots=True)
class WallTime:
    """One unit's."""

    folder: Path

    @classmethod
    def new(cls, folder: Path) -> Self:
        """In a private folder. The clock is right to begin with."""
        made = cls(folder)
        made.step(0)
        return made

    @property
    def environment(self) -> dict[str, str]:
        """What the unit is started with."""
        return {
            "LD_PRELOAD": LIBRARY,
            "FAKETIME_TIMESTAMP_FILE": str(self.folder / _FILE),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # what releases before 0.9.9 call it
        }

    def step(self, offset_ns: int) -> None:
        """From now on the clock is so much off the machine's. In one step: nobody reads half an offset."""
        file = self.folder / f".{_FILE}"
        file.write_text(f"{offset_ns / NS_PER_S:+.6f}\n", encoding="ascii")
        file.replace(self.folder / _FILE)
