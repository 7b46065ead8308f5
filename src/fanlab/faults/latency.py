"""latency: what is sent takes longer. Jitter spreads it; the order stays, as TCP keeps it."""

from collections.abc import Sequence
from dataclasses import dataclass

from fanlab.clock import NS_PER_MS
from fanlab.faults.link_toxic import LinkToxic, OneToxic


@dataclass(slots=True)
class Latency(LinkToxic):
    """Delay a node's link."""

    def toxics(self) -> Sequence[OneToxic]:
        """`latency`, on the way that is named."""
        settings = self.target.settings
        how = {"latency_ms": settings["latency_ns"] / NS_PER_MS, "jitter_ms": settings["jitter_ns"] / NS_PER_MS}
        return [OneToxic("latency", self.stream(), how)]
