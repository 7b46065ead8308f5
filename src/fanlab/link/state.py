"""What a link tells of itself: so that a fault's probe sees the effect, and not the order."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class DirectionBytes:
    """Bytes in one direction, of all connections that a proxy has had."""

    passed: int  # the receiver's kernel has taken them
    held: int  # the link has them now
    discarded: int  # they came and will never be passed on


@dataclass(frozen=True, slots=True)
class ToxicState:
    """A toxic that holds."""

    name: str
    type: str
    stream: str
    toxicity: float
    attributes: Mapping[str, Any]
    hit: int  # connections there are now that it hits
    touched: int = 0  # bytes since it was added that came late, in pieces or not at all because of it


@dataclass(frozen=True, slots=True)
class ProxyState:
    """One proxy, now and since it was made."""

    listen: str  # "host:port"
    upstream: str
    listening: bool
    open: int  # connections from end to end
    waiting: int  # accepted, and not connected upstream
    opened: int  # that were ever connected from end to end
    closed: Mapping[str, int]  # by why, as in the journal
    up: DirectionBytes
    down: DirectionBytes
    toxics: tuple[ToxicState, ...]

    def to_json(self) -> dict[str, Any]:
        """As it travels."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        up, down = DirectionBytes(**data["up"]), DirectionBytes(**data["down"])
        toxics = tuple(ToxicState(**toxic) for toxic in data["toxics"])
        return cls(**{**data, "up": up, "down": down, "toxics": toxics})
