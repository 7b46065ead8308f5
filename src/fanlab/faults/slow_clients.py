"""slow-clients: they take in so little that the node has to keep the rest. What it does then is its policy to show."""

from collections.abc import Sequence
from dataclasses import dataclass

from fanlab.faults.link_toxic import LinkToxic, OneToxic


@dataclass(slots=True)
class SlowClients(LinkToxic):
    """Let a share of a node's clients read slowly."""

    def toxics(self) -> Sequence[OneToxic]:
        """`bandwidth`, on the way to the clients."""
        return [OneToxic("bandwidth", "downstream", {"rate_bytes_per_s": self.target.settings["bytes_per_s"]})]
