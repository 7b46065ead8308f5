"""slow_close: bytes pass at once, but the end of the connection is told late."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from fanlab.clock import NS_PER_MS
from fanlab.link.items import Item
from fanlab.link.toxics.checks import not_negative
from fanlab.link.toxics.queued import Queued


@dataclass(frozen=True, slots=True)
class SlowClose:
    """FIN and RST come `delay_ms` later."""

    delay_ms: float

    def __post_init__(self) -> None:
        not_negative(self, "delay_ms")

    def stage(self, _name: str, _now_ns: int, _random: Random) -> "SlowCloseStage":
        """One direction's."""
        return SlowCloseStage(round(self.delay_ms * NS_PER_MS))


class SlowCloseStage(Queued):
    """A RST behind a FIN waits for it."""

    def __init__(self, delay_ns: int) -> None:
        super().__init__()
        self._delay_ns = delay_ns

    def schedule(self, item: Item, now_ns: int) -> Iterable[tuple[int, Item]]:
        """Bytes now, ends later."""
        return ((now_ns if isinstance(item, bytes) else now_ns + self._delay_ns, item),)
