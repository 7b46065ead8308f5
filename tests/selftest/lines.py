"""What the self-test is made of: batches, each one run of a system, and their lines, one per planted case."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Line:
    """One planted case and how it went; `told` says what was seen, in figures."""

    name: str
    ok: bool
    told: str
    crosscheck: bool | None = None  # whether the SQL checker agreed on the run behind it; None: the run left none
    share: tuple[int, int] | None = None  # so many of so many: counts towards a share that is asked of all such lines


class Batch(Protocol):
    """One run of a system with one or more planted cases in it. Frozen and picklable: it is run by another process."""

    @property
    def name(self) -> str:
        """Names the batch in `--only` and in failures."""

    @property
    def alone(self) -> bool:
        """Whether it measures times, so that nothing else may run beside it."""

    def run(self, out: Path) -> Sequence[Line]:
        """Do it, in a folder of its own. What it raises fails the whole batch, with the reason."""


def same_ids(found: set[tuple[int, ...]], planted: set[tuple[int, ...]]) -> str | None:
    """None where both sets are equal; else what differs, with an example of each side."""
    if found == planted:
        return None
    missed, invented = planted - found, found - planted
    parts = []
    if missed:
        parts.append(f"{len(missed)} planted and not found, such as {min(missed)}")
    if invented:
        parts.append(f"{len(invented)} found and not planted, such as {min(invented)}")
    return "; ".join(parts)
