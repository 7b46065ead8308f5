"""slicer: bytes come in small pieces with pauses between them, so that a message is seldom read in one go."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from fanlab.link.items import Item
from fanlab.link.toxics.checks import not_negative, positive, whole
from fanlab.link.toxics.queued import Queued

_NS_PER_US = 1000


@dataclass(frozen=True, slots=True)
class Slicer:
    """Pieces of `average_size_bytes`, give or take up to `size_variation_bytes` (uniform), `delay_us` apart.

    The link's clock ticks in milliseconds: shorter pauses are kept on average, by several pieces a tick.
    """

    average_size_bytes: int
    size_variation_bytes: int = 0
    delay_us: float = 0.0

    def __post_init__(self) -> None:
        whole(self, "average_size_bytes", "size_variation_bytes")
        positive(self, "average_size_bytes")
        not_negative(self, "size_variation_bytes", "delay_us")
        if self.size_variation_bytes >= self.average_size_bytes:
            raise ValueError("size_variation_bytes must be less than average_size_bytes: a piece has a byte at least")

    def stage(self, _name: str, _now_ns: int, random: Random) -> "SlicerStage":
        """One direction's."""
        return SlicerStage(self, random)


class SlicerStage(Queued):
    """Cuts what comes, chunk by chunk."""

    def __init__(self, slicer: Slicer, random: Random) -> None:
        super().__init__()
        self._smallest = slicer.average_size_bytes - slicer.size_variation_bytes
        self._largest = slicer.average_size_bytes + slicer.size_variation_bytes
        self._delay_ns = round(slicer.delay_us * _NS_PER_US)
        self._random = random
        self._next_ns = 0

    def schedule(self, item: Item, now_ns: int) -> Iterator[tuple[int, Item]]:
        """Piece after piece; the end comes with the last one."""
        if not isinstance(item, bytes):
            yield max(now_ns, self._next_ns - self._delay_ns), item
            return
        at = 0
        while at < len(item):
            size = self._random.randint(self._smallest, self._largest)
            due_ns = max(now_ns, self._next_ns)
            self._next_ns = due_ns + self._delay_ns
            yield due_ns, item[at : at + size]
            at += size
