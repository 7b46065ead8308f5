"""bandwidth: so many bytes a second, of each connection. Late when little is sent; where more is, queues grow."""

from collections.abc import Sequence
from dataclasses import dataclass

from fanlab.faults.link_toxic import LinkToxic, OneToxic


@dataclass(slots=True)
class Bandwidth(LinkToxic):
    """Narrow a node's link."""

    def toxics(self) -> Sequence[OneToxic]:
        """`bandwidth`, on the way that is named."""
        how = {"rate_bytes_per_s": self.target.settings["bytes_per_s"]}
        return [OneToxic("bandwidth", self.stream(), how)]
