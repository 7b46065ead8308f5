"""What the engines said last, added up. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from fanlab.load.batch import Batch, batch_from_json, percentile_ms
from fanlab.load.wire import Message


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
    owed: (
        int  # sent × clients entitled to it at the time: what should have arrived by now, give or take the last moment
    )
    last_delivery_ns: int | None
    latency_p50_ms: float | None  # of the last second, as Locust's stats have it
    latency_p99_ms: float | None
    latencies: Mapping[int, int] = field(default_factory=dict, repr=False)  # all so far, by bucket of load.histogram
    as_of_ns: int | None = None  # every clients engine has told what it received until here; None before the first did


@dataclass(slots=True)
class Totals:
    """The latest word of each engine."""

    owed: int = 0
    _clients: dict[int, Message] = field(default_factory=dict)  # by worker
    _publishers: dict[int, Message] = field(default_factory=dict)
    _batches: dict[int, list[Batch]] = field(default_factory=dict)
    _latencies: Counter[int] = field(default_factory=Counter)

    def told(self, message: Message) -> None:
        """Take in a `counts` or `batch` message of an engine."""
        worker = int(message["worker"])
        if message["ev"] == "batch":
            if message["role"] == "clients":
                self._batches[worker] = [batch_from_json(data) for data in message["deliver"].values()]
                for batch in self._batches[worker]:
                    self._latencies.update(batch.buckets)
        elif message["role"] == "clients":
            self._clients[worker] = message
        else:
            before = self._publishers.get(worker, {}).get("tried", {})
            self._publishers[worker] = message
            entitled = self._entitled()
            for channel, tried in message["tried"].items():
                self.owed += (tried - before.get(channel, 0)) * entitled[channel]

    def snapshot(self) -> LoadSnapshot:
        """The sum."""
        clients, publishers = list(self._clients.values()), list(self._publishers.values())
        recent = [batch for batches in self._batches.values() for batch in batches]
        return LoadSnapshot(
            clients=_sum(clients, "clients"),
            connected=_sum(clients, "connected"),
            reconnecting=_sum(clients, "reconnecting"),
            deliveries=_sum(clients, "deliveries"),
            sent=_sum(publishers, "sent"),
            unsent=_sum(publishers, "unsent"),
            failed=_sum(publishers, "failed"),
            owed=self.owed,
            last_delivery_ns=max((m["last_delivery_ns"] for m in clients if m["last_delivery_ns"]), default=None),
            latency_p50_ms=percentile_ms(recent, 0.5),
            latency_p99_ms=percentile_ms(recent, 0.99),
            latencies=dict(self._latencies),
            as_of_ns=min((m["t"] for m in clients), default=None),
        )

    def publishers_up(self) -> int:
        """Publishers whose engine is connected to Redis."""
        return sum(int(message["publishers"]) for message in self._publishers.values() if message["up"])

    def redis_error(self) -> str | None:
        """Why a publishers engine is not connected, if one is not."""
        return next((str(m["error"]) for m in self._publishers.values() if not m["up"]), None)

    def connect_error(self) -> str | None:
        """Why a client could not connect the last time that one could not."""
        return next((str(message["error"]) for message in self._clients.values() if message.get("error")), None)

    def _entitled(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for message in self._clients.values():
            total.update(message["entitled"])
        return total


def _sum(messages: list[Message], key: str) -> int:
    return sum(int(message[key]) for message in messages)
