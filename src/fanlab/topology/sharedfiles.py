"""Which files of this machine containers see, and whose those are.

A node sees its own journal, fanlab's own processes see all journals and the folders that they are told things in,
under the names that they have here. Containers are never root: where fanlab is, it gives away what they write to.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fanlab.rundir import RunDir
from fanlab.topology.containerspec import Mount

OTHER_USER: Final = 65532  # for containers of a fanlab that is root
NODE_JOURNALS: Final = "/journal"


class SharedFiles:
    """Of one run. `user` is the uid and gid that containers run as, as they are called outside."""

    def __init__(self, rundir: RunDir) -> None:
        self._rundir = rundir
        self._owned: list[Path] = []
        self.user = (os.getuid(), os.getgid()) if os.getuid() else (OTHER_USER, OTHER_USER)

    def add(self, folder: Path) -> None:
        """A private folder that helpers started from now on see."""
        self._owned.append(folder)

    def journal_of(self, node: str) -> Mount:
        """The node's journal, empty if it is new."""
        file = (self._rundir.journal / f"{node}.jsonl").absolute()
        file.touch()
        self.hand_over([file])
        return Mount(file, f"{NODE_JOURNALS}/{node}.jsonl")

    def at_its_own_path(self, folder: Path) -> Mount:
        """A folder of ours that one container is to read."""
        self.hand_over([folder, *folder.iterdir()])
        return Mount(folder.resolve(), str(folder))

    def for_helpers(self) -> tuple[Mount, ...]:
        """Under each name that a folder may be told by: with its links followed, or not."""
        folders = [self._rundir.journal, self._rundir.locust, *(folder for folder in self._owned if folder.is_dir())]
        for folder in folders:
            self.hand_over([folder, *folder.iterdir()])
        names = {str(name): folder.resolve() for folder in folders for name in (folder.resolve(), folder.absolute())}
        return tuple(Mount(source, target) for target, source in names.items())

    def hand_over(self, paths: Iterable[Path]) -> None:
        """Make these the containers' user's, where that is not us."""
        if os.getuid() == 0:
            for path in paths:
                os.chown(path, *self.user, follow_symlinks=False)
