"""down: nobody listens. Connections are refused, and those that were open are reset."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Down:
    """The proxy keeps its port, and listens there again when the toxic is removed."""
