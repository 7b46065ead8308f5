"""bandwidth: so many bytes a second and no more. No burst: a byte comes when it would have come off such a wire."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from fanlab.clock import NS_PER_S
from fanlab.link.items import Item
from fanlab.link.toxics.checks import positive
from fanlab.link.toxics.queued import Queued

_PIECES_PER_S = 100


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """`rate_bytes_per_s`, per connection and direction."""

    rate_bytes_per_s: float

    def __post_init__(self) -> None:
        positive(self, "rate_bytes_per_s")

    def stage(self, _name: str, _now_ns: int, _random: Random) -> "BandwidthStage":
        """One direction's."""
        return BandwidthStage(self.rate_bytes_per_s)


class BandwidthStage(Queued):
    """Pieces of some 10 ms, each out when its last byte has been sent."""

    def __init__(self, rate_bytes_per_s: float) -> None:
        super().__init__()
        self._rate_bytes_per_s = rate_bytes_per_s
        self._piece_bytes = max(1, int(rate_bytes_per_s / _PIECES_PER_S))
        self._idle_ns = 0  # when the wire has sent all

    def schedule(self, item: Item, now_ns: int) -> Iterator[tuple[int, Item]]:
        """Piece after piece."""
        self._idle_ns = max(self._idle_ns, now_ns)
        if not isinstance(item, bytes):
            yield self._idle_ns, item
            return
        for at in range(0, len(item), self._piece_bytes):
            piece = item[at : at + self._piece_bytes]
            self._idle_ns += int(len(piece) * NS_PER_S / self._rate_bytes_per_s) + 1
            yield self._idle_ns, piece
