"""The parent's handle on the load: start it, give it the epoch, watch it, drain it, end it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoadSnapshot:
    """Totals so far over all workers."""

    clients: int  # spawned
    connected: int  # open and subscribed to all they asked for
    reconnecting: int
    deliveries: int
    sent: int
    unsent: int
    failed: int
    owed: int  # sent × clients subscribed at the time: what should have arrived by now, give or take what is in flight
    last_delivery_ns: int | None
    latency_p50_ms: float | None  # of the last second, as Locust's stats have it
    latency_p99_ms: float | None
