"""What a million deliveries cost, from a price table that the user gives. Pure."""

from dataclasses import dataclass

_PER_HOUR_S = 3600
_MILLION = 1e6
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices in `currency`, a text that is shown as it is."""

    currency: str
    node_per_hour: float = 0.0
    redis_per_hour: float = 0.0
    egress_per_gb: float = 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a million deliveries, by what it is for."""

    nodes: float
    redis: float
    egress: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.nodes + self.redis + self.egress


def per_million(prices: Prices, *, nodes: int, deliveries_per_s: float, bytes_per_delivery: float) -> Cost:
    """At a steady load: what runs all the hour, shared by what is delivered in it, and the bytes of a million."""
    millions_per_hour = deliveries_per_s * _PER_HOUR_S / _MILLION
    return Cost(
        nodes=nodes * prices.node_per_hour / millions_per_hour,
        redis=prices.redis_per_hour / millions_per_hour,
        egress=bytes_per_delivery * _MILLION / _GB * prices.egress_per_gb,
    )
