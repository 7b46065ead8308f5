"""The model: what each hop costs, as measured from runs, each figure with its interval, and where it was measured.

A figure that the runs do not tell apart from another, or do not tell at all, is named in `notes`. Nothing here has a
value of its own: the default is `model.json` beside this file, which `benchmarks/measure_model.py` made.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fanlab.errors import MeasurementError
from fanlab.rundir import read_json

Floats = NDArray[np.float64]

DEFAULT: Final = Path(__file__).with_name("model.json")
SCHEMA: Final = 1
_EDGE = 1e-4  # the ends of the distribution, where a normal variable has none
PROBABILITIES: Final = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
_NORMAL: Final = tuple(NormalDist().inv_cdf(min(1 - _EDGE, max(_EDGE, one))) for one in PROBABILITIES)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; `n` is how many samples (messages, or runs) it rests on."""

    value: float
    low: float
    high: float
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.value <= self.high < float("inf"):
            raise ValueError(f"an estimate of {self.value:g} is not within its interval {self.low:g} to {self.high:g}")


@dataclass(frozen=True, slots=True)
class Delay:
    """How long a wait is that keeps no server busy: quantiles in ns at PROBABILITIES, and for how long it is alike.

    What waits in line waits in the shadow of what is before it, and the quantiles have that in them. Drawn anew for
    each message and then put in line, waits would have it twice. `memory_ns` is after how long a wait resembles the one
    before it by 1/e (of its rank, as a normal variable); 0: each is drawn by itself.
    """

    quantiles_ns: tuple[float, ...]
    memory_ns: float = 0.0

    def __post_init__(self) -> None:
        ordered = all(one <= other for one, other in zip(self.quantiles_ns, self.quantiles_ns[1:], strict=False))
        sound = ordered and len(self.quantiles_ns) == len(PROBABILITIES) and self.quantiles_ns[0] >= 0
        if not sound or not 0 <= self.memory_ns < float("inf"):
            raise ValueError(f"a delay has {len(PROBABILITIES)} quantiles, in order and none below 0")

    @classmethod
    def of(cls, values_ns: Floats, memory_ns: float = 0.0) -> "Delay":
        """That of some samples; negative ones count as 0. No samples: no delay."""
        if not len(values_ns):
            return cls((0.0,) * len(PROBABILITIES))
        quantiles_ns = np.quantile(np.maximum(values_ns, 0.0), PROBABILITIES).round(1).tolist()
        return cls(tuple(quantiles_ns), round(memory_ns, 1))

    def draw(self, random: np.random.Generator, count: int) -> Floats:
        """So many waits in ns, each between the quantiles on either side of its draw."""
        return np.interp(random.random(count), PROBABILITIES, self.quantiles_ns)

    def of_normal(self, normal: Floats) -> Floats:
        """The waits in ns that stand where those standard normal values do in their distribution."""
        return np.interp(normal, _NORMAL, self.quantiles_ns)

    @property
    def median_ns(self) -> float:
        """The middle one."""
        return self.quantiles_ns[PROBABILITIES.index(0.5)]


@dataclass(frozen=True, slots=True)
class Costs:
    """What keeps a server busy, in ns, and what it holds, in bytes."""

    redis_publish_ns: Estimate  # of Redis, for each PUBLISH
    redis_send_ns: Estimate  # ... and for each subscriber that it is written to
    node_message_ns: Estimate  # of a node, for each message, beside what its clients cost
    node_delivery_ns: Estimate  # ... and for each client that it is written to
    receive_ns: Estimate  # of a client, for each delivery
    node_base_bytes: Estimate  # of a node without clients
    connection_bytes: Estimate  # more, for each client


@dataclass(frozen=True, slots=True)
class Delays:
    """What a message waits for beside the servers' work, and what comes back takes to do so."""

    schedule: Delay  # intended send -> handed to the socket
    redis: Delay  # handed to the socket -> read by the node, less what Redis works meanwhile
    reply: Delay  # handed to the socket -> Redis' reply, less its work
    stall: Delay  # of a node in the middle of a fan-out: what it took longer than its deliveries cost
    client: Delay  # written to the client -> received
    connect: Delay  # a client begins to connect -> open
    subscribe: Delay  # it asks for its channels -> confirmed
    resubscribe: Delay  # Redis cuts a node's subscription -> it has it again
    rejoin: Delay  # Redis is started again -> a node is subscribed again
    node_start: Delay  # a node is started again -> it serves
    notice: Delay  # a node dies -> its clients know


@dataclass(frozen=True, slots=True)
class Range:
    """Up to where it was measured: past it a figure is an extrapolation, past twice that a guess."""

    nodes: int
    clients_per_node: int
    publishes_per_s: float
    deliveries_per_s: float  # of one node
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class Model:
    """All of it."""

    costs: Costs
    delays: Delays
    range: Range
    notes: tuple[str, ...]  # what the runs did not tell
    measured: tuple[Mapping[str, Any], ...]  # the runs: scenario, its sha256, when, on what


def to_json(model: Model) -> dict[str, Any]:
    """As a model file has it."""
    return {"schema": SCHEMA, **asdict(model)}


def from_json(data: Mapping[str, Any], where: str) -> Model:
    """From a model file's content; MeasurementError where it is none."""
    hint = "make one with `fanlab model RUN… -o FILE`"
    if data.get("schema") != SCHEMA:
        told = f"its schema is {data.get('schema')!r}, and this version reads {SCHEMA}"
        raise MeasurementError(f"{where} is no model: {told}", hint=hint)
    try:
        costs = {one.name: Estimate(**data["costs"][one.name]) for one in fields(Costs)}
        waits = {one.name: data["delays"][one.name] for one in fields(Delays)}
        delays = {name: Delay(tuple(one["quantiles_ns"]), one["memory_ns"]) for name, one in waits.items()}
        return Model(
            Costs(**costs), Delays(**delays), Range(**data["range"]), tuple(data["notes"]), tuple(data["measured"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MeasurementError(f"{where} is no model: {type(error).__name__}: {error}", hint=hint) from None


def read_model(path: Path | None = None) -> Model:
    """The model in a file, or the default one. Raises MeasurementError."""
    path = path or DEFAULT
    return from_json(read_json(path, hint="make one with `fanlab model RUN… -o FILE`"), str(path))
