"""Private folders: nobody else's to look into, signed with their run's marks, and gone with it, however it ends."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from fanlab.topology.labels import Marks
from fanlab.topology.sharedfiles import OTHER_USER

PREFIX: Final = "fanlab-"


class Owning(Protocol):
    """As much of a backend as it takes."""

    @property
    def marks(self) -> Marks:
        """Those of the run."""

    async def own(self, folder: Path) -> None:
        """See to it that the folder goes in the end."""


async def private_folder(backend: Owning) -> Path:
    """Make one, for a run's sockets and the like."""
    folder = _new_name()
    await backend.own(folder)  # before it is there: at no instant is it there and nobody knows of it
    _make(folder, backend.marks)
    return folder


def own_private_folder(marks: Marks) -> Path:
    """Make one that the caller removes; `marks` name the caller as its owner."""
    folder = _new_name()
    _make(folder, marks)
    return folder


@dataclass(frozen=True, slots=True)
class SignedFolder:
    """One that is there, and whose it is."""

    path: Path
    marks: Marks

    @property
    def title(self) -> str:
        """As it is told."""
        return f"folder {self.path} of run {self.marks.short}"


def signed_folders() -> Iterator[SignedFolder]:
    """Those of this user's where temporary folders are; whatever else is called so there is nobody's business."""
    users = {os.getuid()} | ({OTHER_USER} if os.getuid() == 0 else set())  # root's containers are given theirs
    for path in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        try:
            if path.is_symlink() or not path.is_dir() or path.lstat().st_uid not in users:
                continue
        except OSError:  # gone just now
            continue
        if (marks := Marks.of_folder(path)) is not None:
            yield SignedFolder(path, marks)


def _new_name() -> Path:
    return Path(tempfile.gettempdir()).absolute() / f"{PREFIX}{secrets.token_hex(6)}"


def _make(folder: Path, marks: Marks) -> None:
    folder.mkdir(mode=0o700)
    marks.sign(folder)
