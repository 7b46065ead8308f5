"""reset_peer: a connection is reset, on both sides, some time after it was opened or the toxic was added."""

from dataclasses import dataclass
from random import Random

from fanlab.clock import NS_PER_MS
from fanlab.link.items import End, Item, Kind
from fanlab.link.toxics.checks import not_negative


@dataclass(frozen=True, slots=True)
class ResetPeer:
    """After `timeout_ms`; until then all passes."""

    timeout_ms: float = 0.0

    def __post_init__(self) -> None:
        not_negative(self, "timeout_ms")

    def stage(self, name: str, now_ns: int, _random: Random) -> "ResetPeerStage":
        """One direction's."""
        return ResetPeerStage(name, now_ns + round(self.timeout_ms * NS_PER_MS))


class ResetPeerStage:
    """Holds nothing, but has a time of its own."""

    spare = held = discarded = touched = 0

    def __init__(self, name: str, reset_ns: int) -> None:
        self._name = name
        self._reset_ns: int | None = reset_ns
        self._passing: list[Item] = []

    def feed(self, item: Item, _now_ns: int) -> None:
        """It passes at once."""
        self._passing.append(item)

    def take(self, now_ns: int) -> list[Item]:
        """What came, and the reset when it is time."""
        passing, self._passing = self._passing, []
        if self._reset_ns is not None and now_ns >= self._reset_ns:
            self._reset_ns = None
            passing.append(End(Kind.RESET, self._name))
        return passing

    def due_ns(self) -> int | None:
        """The time of the reset, until it has come."""
        return self._reset_ns

    def release(self) -> list[Item]:
        """Nothing is ever kept."""
        return self._passing
