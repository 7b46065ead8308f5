"""A toxic as it is ordered: which effect, on which direction, for which share of a proxy's connections."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from fanlab.link.toxics.bandwidth import Bandwidth
from fanlab.link.toxics.down import Down
from fanlab.link.toxics.drop import Drop
from fanlab.link.toxics.half_open import HalfOpen
from fanlab.link.toxics.hold import Hold
from fanlab.link.toxics.latency import Latency
from fanlab.link.toxics.limit_data import LimitData
from fanlab.link.toxics.reset_peer import ResetPeer
from fanlab.link.toxics.slicer import Slicer
from fanlab.link.toxics.slow_close import SlowClose

StreamEffect = Latency | Bandwidth | Slicer | Hold | Drop | ResetPeer | SlowClose | LimitData
Effect = StreamEffect | HalfOpen | Down
Stream = Literal["upstream", "downstream", "both"]

EFFECTS: Final[dict[str, type[Effect]]] = {
    "latency": Latency,
    "bandwidth": Bandwidth,
    "slicer": Slicer,
    "hold": Hold,
    "drop": Drop,
    "half_open": HalfOpen,
    "reset_peer": ResetPeer,
    "slow_close": SlowClose,
    "limit_data": LimitData,
    "down": Down,
}


@dataclass(frozen=True, slots=True)
class Toxic:
    """`upstream` is from who connects to who listens, `downstream` the way back.

    `toxicity` is the probability with which a connection is hit, drawn once for each, also for those already open.
    """

    name: str
    type: str
    stream: Stream
    toxicity: float
    effect: Effect

    @property
    def blocks_opening(self) -> bool:
        """Whether a new connection cannot be made: a handshake needs both directions."""
        return isinstance(self.effect, Hold | Drop)


def parse_toxic(
    name: str,
    type_: str,
    stream: str = "downstream",
    toxicity: float = 1.0,
    attributes: Mapping[str, Any] | None = None,
) -> Toxic:
    """The toxic so ordered. Raises ValueError, with what would be right, if there is no such one."""
    if type_ not in EFFECTS:
        raise ValueError(f"there is no toxic of type {type_!r}; there are {', '.join(EFFECTS)}")
    if stream not in get_args(Stream):
        raise ValueError(f"stream must be upstream, downstream or both, not {stream!r}")
    if isinstance(toxicity, bool) or not isinstance(toxicity, int | float) or not 0 <= toxicity <= 1:
        raise ValueError(f"toxicity must be a number from 0 to 1, not {toxicity!r}")
    effect = _effect(type_, attributes or {})
    if isinstance(effect, HalfOpen) and stream == "both":
        raise ValueError("half_open closes one side: stream must be upstream or downstream")
    if isinstance(effect, Down) and toxicity != 1:
        raise ValueError("down is for all connections: toxicity must be 1")
    return Toxic(name, type_, stream, toxicity, effect)  # type: ignore[arg-type] # checked above


def _effect(type_: str, attributes: Mapping[str, Any]) -> Effect:
    made = EFFECTS[type_]
    fields = {field.name: field for field in dataclasses.fields(made)}
    known = ", ".join(fields) or "none"
    if unknown := [name for name in attributes if name not in fields]:
        raise ValueError(f"{type_} has no attribute {unknown[0]!r}; it has {known}")
    needed = [name for name, field in fields.items() if field.default is dataclasses.MISSING]
    if missing := [name for name in needed if name not in attributes]:
        raise ValueError(f"{type_} needs the attribute {missing[0]}")
    try:
        return made(**attributes)
    except ValueError as error:
        raise ValueError(f"{type_}: {error}") from error
