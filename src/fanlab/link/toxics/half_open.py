"""half_open: one side is closed and the other is never told, as when a machine vanishes or a gateway forgets."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """The side named by `stream` is closed. The other gets nothing, and no end, until the toxic is removed: a reset.

    It hits connections that are open when it is added. Those opened later pass: a peer that notices can come back.
    """
