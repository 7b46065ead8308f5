"""Whose something is: the marks that everything of a run bears from the call that makes it.

Processes have them in their environment, an engine's objects as labels, private folders in a file, cgroups in their
name. They say the run's id, and the process that answers for it (its warden), by which a later process can tell what
was left behind from what is in use. Pure but for looking at processes, and for that file.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from fanlab.topology.warden import OWNER_VARIABLE, RUN_VARIABLE, identity, read_stat

RUN: Final = "fanlab.run"
OWNER: Final = "fanlab.owner"
USER: Final = "fanlab.user"
UNIT: Final = "fanlab.unit"
OWNER_FILE: Final = "owner"  # in a private folder
_SHORT: Final = 8
_MAX_FILE_BYTES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told apart from every other one of any boot and machine."""

    pid: int
    start_ticks: int
    boot_id: str
    namespace: str
    host: str

    @classmethod
    def of(cls, pid: int) -> Self:
        """A process that runs now; one that does not owns nothing, and is never alive."""
        return cls.parse(identity(pid))

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `<pid>:<start ticks>:<boot id>:<pid namespace>@<host>`. Raises ValueError for anything else."""
        pid, ticks, boot_id, place = text.split(":", 3)
        namespace, at, host = place.partition("@")
        if not at:
            raise ValueError(f"{text!r} does not say where")
        return cls(int(pid), int(ticks), boot_id, namespace, host)

    def __str__(self) -> str:
        return f"{self.pid}:{self.start_ticks}:{self.boot_id}:{self.namespace}@{self.host}"

    def alive(self) -> bool:
        """Whether it is this boot's, and runs."""
        stat = read_stat(self.pid)
        running = stat is not None and stat.state not in "ZX" and stat.start_ticks == self.start_ticks
        return running and self._is_of(Owner.of(os.getpid()))

    def gone(self) -> bool:
        """Whether it has surely ended: nobody here can tell that of another machine's processes, or a container's."""
        here = Owner.of(os.getpid())
        if not self.start_ticks or not here.boot_id or self.host != here.host:
            return False
        return self.boot_id != here.boot_id or (self._is_of(here) and not self.alive())

    def _is_of(self, here: Self) -> bool:
        return (self.boot_id, self.namespace) == (here.boot_id, here.namespace)


@dataclass(frozen=True, slots=True)
class Marks:
    """What one run's objects are called and labelled with. `directory`: where it keeps its evidence."""

    run_id: str
    owner: Owner
    directory: str = ""

    @classmethod
    def new(cls, owner: Owner) -> Self:
        """Of a run with an id of its own."""
        return cls(new_run_id(), owner)

    @property
    def short(self) -> str:
        """The beginning of the run's id, which is enough for people."""
        return self.run_id[:_SHORT]

    def name(self, unit: str) -> str:
        """`fanlab-1f2e3d4c-node-1`."""
        return f"fanlab-{self.short}-{unit}"

    def labels(self, unit: str) -> dict[str, str]:
        """Those of one object of an engine."""
        return {RUN: self.run_id, OWNER: str(self.owner), USER: str(os.getuid()), UNIT: unit}

    def env(self) -> dict[str, str]:
        """Those of a process."""
        return {RUN_VARIABLE: self.run_id, OWNER_VARIABLE: str(self.owner)}

    def sign(self, folder: Path) -> None:
        """Put them into a folder, before anything else is."""
        told = {"run": self.run_id, "owner": str(self.owner), "directory": self.directory}
        (folder / OWNER_FILE).write_text(json.dumps(told) + "\n", encoding="utf-8")

    @classmethod
    def of_folder(cls, folder: Path) -> Self | None:
        """Those that a folder was signed with; None: it was not, or not so that it can be read."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            with (folder / OWNER_FILE).open("rb") as file:
                told = json.loads(file.read(_MAX_FILE_BYTES))
            return cls(str(told["run"]), Owner.parse(told["owner"]), str(told["directory"]))
        return None

    @classmethod
    def of_env(cls, env: Mapping[str, str]) -> Self | None:
        """Those in an environment; None: there are none, or they cannot be read."""
        with contextlib.suppress(ValueError, KeyError):
            return cls(env[RUN_VARIABLE], Owner.parse(env[OWNER_VARIABLE]))
        return None


def new_run_id() -> str:
    """Sixteen hex digits that no other run has."""
    return secrets.token_hex(8)
