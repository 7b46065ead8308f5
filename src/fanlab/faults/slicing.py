"""slicing: what is sent arrives in small pieces. Harmless to who reads a stream; it finds who reads messages."""

from collections.abc import Sequence
from dataclasses import dataclass

from fanlab.clock import NS_PER_US
from fanlab.faults.link_toxic import LinkToxic, OneToxic


@dataclass(slots=True)
class Slicing(LinkToxic):
    """Cut up what runs over a node's link."""

    def toxics(self) -> Sequence[OneToxic]:
        """`slicer`, on the way that is named."""
        settings = self.target.settings
        how = {
            "average_size_bytes": settings["size_bytes"],
            "size_variation_bytes": (settings["size_bytes"] - 1) // 2,
            "delay_us": settings["delay_ns"] / NS_PER_US,
        }
        return [OneToxic("slicer", self.stream(), how)]
