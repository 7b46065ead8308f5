"""limit_data: after so many bytes the connection is closed, on both sides."""

from dataclasses import dataclass
from random import Random

from fanlab.link.items import End, Item, Kind
from fanlab.link.toxics.checks import not_negative, whole
from fanlab.link.toxics.queued import size_of


@dataclass(frozen=True, slots=True)
class LimitData:
    """`bytes` from when the toxic was added; what comes beyond is lost."""

    bytes: int

    def __post_init__(self) -> None:
        whole(self, "bytes")
        not_negative(self, "bytes")

    def stage(self, name: str, _now_ns: int, _random: Random) -> "LimitDataStage":
        """One direction's."""
        return LimitDataStage(name, self.bytes)


class LimitDataStage:
    """Counts down."""

    spare = held = 0

    def __init__(self, name: str, limit_bytes: int) -> None:
        self._name = name
        self._left_bytes = limit_bytes
        self._passing: list[Item] = []
        self._closed = False
        self.discarded = 0

    @property
    def touched(self) -> int:
        """What was too much."""
        return self.discarded

    def feed(self, item: Item, _now_ns: int) -> None:
        """Let it pass as far as the limit allows."""
        if self._closed:
            self.discarded += size_of(item)
            return
        if not isinstance(item, bytes):
            self._passing.append(item)
            return
        passing = item[: self._left_bytes]
        self._left_bytes -= len(passing)
        self.discarded += len(item) - len(passing)
        if passing:
            self._passing.append(passing)
        if len(item) > len(passing) or not self._left_bytes:
            self._passing.append(End(Kind.CLOSE, self._name))
            self._closed = True

    def take(self, _now_ns: int) -> list[Item]:
        """What passed."""
        passing, self._passing = self._passing, []
        return passing

    def due_ns(self) -> None:
        """Bytes count here, not time."""

    def release(self) -> list[Item]:
        """Nothing is ever kept."""
        return self._passing
