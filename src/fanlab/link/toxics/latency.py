"""latency: everything, the end included, comes later; in order, and as much of it as before."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from fanlab.clock import NS_PER_MS
from fanlab.link.items import Item
from fanlab.link.toxics.checks import not_negative
from fanlab.link.toxics.queued import Queued

IN_FLIGHT_BYTES = 1 << 20  # what may be on its way, as a TCP window: a direction carries at most this per latency


@dataclass(frozen=True, slots=True)
class Latency:
    """Each read is delayed by `latency_ms`, more or less by up to `jitter_ms` (uniform, never below 0)."""

    latency_ms: float
    jitter_ms: float = 0.0

    def __post_init__(self) -> None:
        not_negative(self, "latency_ms", "jitter_ms")

    def stage(self, _name: str, _now_ns: int, random: Random) -> "LatencyStage":
        """One direction's."""
        return LatencyStage(round(self.latency_ms * NS_PER_MS), round(self.jitter_ms * NS_PER_MS), random)


class LatencyStage(Queued):
    """No chunk overtakes another: one that is drawn a short delay waits for those before it."""

    spare = IN_FLIGHT_BYTES

    def __init__(self, latency_ns: int, jitter_ns: int, random: Random) -> None:
        super().__init__()
        self._latency_ns = latency_ns
        self._jitter_ns = jitter_ns
        self._random = random
        self._last_ns = 0

    def schedule(self, item: Item, now_ns: int) -> Iterable[tuple[int, Item]]:
        """Now and the delay."""
        jitter_ns = self._random.randint(-self._jitter_ns, self._jitter_ns) if self._jitter_ns else 0
        self._last_ns = max(self._last_ns, now_ns + max(0, self._latency_ns + jitter_ns))
        return ((self._last_ns, item),)
