"""What a warden would have done at its end, done by the harness because somebody has killed the warden.

The kernel has ended its children by then (PR_SET_PDEATHSIG). What these had started, and what had left them, bears the
run's mark or is in the warden's session; that number stays the session's own until the warden has been waited for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fanlab.topology import marked, warden


@dataclass(slots=True)
class Aftermath:
    """What the warden of one run was told to do at its end, in the order in which it was told."""

    run_id: str
    log: Path
    commands: list[tuple[list[str], dict[str, str]]] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    def will_run(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """A command for then."""
        self.commands.append((list(argv), dict(env)))

    def end_processes(self, session: int | None) -> list[int]:
        """End all that is left of the run, in the session of the dead warden too; returns who does not end. Blocks."""
        return [process.pid for process in marked.end(lambda: marked.find(self.run_id, session=session))]

    def clear_up(self) -> None:
        """Once the processes have ended: run the commands, remove the folders. Blocks."""
        with self.log.open("a", encoding="utf-8") as log:
            warden.run_at_end(self.commands, log)
        warden.remove_folders(self.folders)
