"""hold: a partition that heals in time. Nothing passes; afterwards all of it comes, late and in order."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from fanlab.link.items import Item
from fanlab.link.toxics.queued import NEVER, Queued


@dataclass(frozen=True, slots=True)
class Hold:
    """As packets that are sent again and again until they pass. Senders have to wait as soon as buffers are full."""

    def stage(self, _name: str, _now_ns: int, _random: Random) -> "HoldStage":
        """One direction's."""
        return HoldStage()


class HoldStage(Queued):
    """Ends are held, too: neither side learns that the other has gone."""

    def schedule(self, item: Item, _now_ns: int) -> Iterable[tuple[int, Item]]:
        """Not before the toxic is removed."""
        return ((NEVER, item),)
