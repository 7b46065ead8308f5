"""What flows through a link, and what a toxic does with it."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol


class Kind(Enum):
    """How a direction ends."""

    FIN = auto()  # in order: the sender has no more to say
    RESET = auto()  # at once, for both sides: a RST
    CLOSE = auto()  # at once, for both sides: a FIN


@dataclass(frozen=True, slots=True)
class End:
    """The end of a direction; `why` is what the journal tells."""

    kind: Kind
    why: str


Item = bytes | End


class Stage(Protocol):
    """What a toxic does to one direction of one connection. Pure: time comes in by arguments (CLOCK_MONOTONIC, ns).

    Items come out in the order in which they went in, or never.
    """

    spare: int  # bytes that it may hold beyond what a direction holds at most

    @property
    def held(self) -> int:
        """Bytes that came in and have not left."""

    @property
    def discarded(self) -> int:
        """Bytes that came in and never leave."""

    @property
    def touched(self) -> int:
        """Bytes that came in and did not go on at once as they were: to be late, in pieces, or never."""

    def feed(self, item: Item, now_ns: int) -> None:
        """Take an item in."""

    def take(self, now_ns: int) -> list[Item]:
        """What may leave now."""

    def due_ns(self) -> int | None:
        """When `take` has something next if nothing more is fed; None: never."""

    def release(self) -> list[Item]:
        """The toxic is no more: all that is left, for good."""
