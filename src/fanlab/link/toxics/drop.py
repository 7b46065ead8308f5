"""drop: a partition that outlasts TCP's patience. What is sent meanwhile is lost, and in the end so is the stream."""

from dataclasses import dataclass, field
from random import Random

from fanlab.link.items import End, Item, Kind
from fanlab.link.toxics.queued import size_of


@dataclass(frozen=True, slots=True)
class Drop:
    """Bytes are read and thrown away. A connection that lost any, or its end, is reset when the toxic is removed."""

    def stage(self, name: str, _now_ns: int, _random: Random) -> "DropStage":
        """One direction's."""
        return DropStage(name)


@dataclass(slots=True)
class DropStage:
    """A byte stream with a hole in it cannot go on: hence the reset."""

    name: str
    held: int = field(default=0, init=False)
    discarded: int = field(default=0, init=False)
    lost: bool = field(default=False, init=False)
    spare: int = field(default=0, init=False)

    @property
    def touched(self) -> int:
        """All that came."""
        return self.discarded

    def feed(self, item: Item, _now_ns: int) -> None:
        """Lose it."""
        self.lost = True
        self.discarded += size_of(item)

    def take(self, _now_ns: int) -> list[Item]:
        """Nothing."""
        return []

    def due_ns(self) -> None:
        """Never."""

    def release(self) -> list[Item]:
        """A reset, if anything was lost."""
        return [End(Kind.RESET, self.name)] if self.lost else []
