"""The scenario as frozen, validated values. Names in YAML are the aliases; names in Python carry their units.

Only shapes and single values are checked here; what refers to something else (a channel, a node) is checked in
`fanlab.scenario.check`, so that a file's errors all come at once and each with its place.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from fanlab import units
from fanlab.clock import NS_PER_MS, NS_PER_S

DurationNs = Annotated[
    int,
    BeforeValidator(units.parse_duration_ns),
    WithJsonSchema({"type": "string", "examples": ["250ms", "1.5s", "2m"], "description": "A duration with its unit."}),
]
RatePerS = Annotated[
    float,
    BeforeValidator(units.parse_rate_per_s),
    WithJsonSchema({"type": "string", "examples": ["50/s", "2k/s"], "description": "A rate with its unit."}),
]
SizeBytes = Annotated[
    int,
    BeforeValidator(units.parse_size_bytes),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["128B", "64kB"], "description": "A size."}),
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$", max_length=64)]
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class Part(BaseModel):
    """Base of all parts: frozen, unknown keys refused, YAML names as aliases."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeGroup(Part):
    """`count` nodes of one kind, a folder under `nodes/` with a node.yaml."""

    kind: Name = "websockets"
    count: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1
    env: dict[str, str] = Field(default_factory=dict, description="Settings handed to the node as environment.")


class Redis(Part):
    """The Redis that all nodes share; `config` becomes `--key value` of redis-server."""

    config: dict[str, str] = Field(default_factory=dict)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class Topology(Part):
    """What is started. Nodes are named node-1 … node-N in the order written."""

    nodes: Annotated[list[NodeGroup], BeforeValidator(_as_list)] = Field(min_length=1)
    redis: Redis = Redis()


class Reconnect(Part):
    """Back-off before attempt k (from 0): min(max, initial × factor^k), then spread by ± jitter (a share of it)."""

    initial_ns: DurationNs = Field(500 * NS_PER_MS, alias="initial")
    factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    max_ns: DurationNs = Field(10 * NS_PER_S, alias="max")
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.2


class ClientGroup(Part):
    """WebSocket clients that behave alike. Each is a Locust user; client k of the group starts on node k mod N.

    `failover` says where a client goes when its node dies: the next node in turn, the same one until it returns, or
    the one with the fewest connections that its load worker knows of.
    """

    group: Name
    count: Count
    spawn_rate_per_s: RatePerS = Field(100.0, alias="spawn_rate")
    channels: list[Name] = Field(min_length=1)
    nodes: list[Name] | None = None  # None: all of them
    failover: Literal["round-robin", "sticky", "least-connections"] = "round-robin"
    reconnect: Reconnect = Reconnect()
    ping_interval_ns: DurationNs = Field(20 * NS_PER_S, alias="ping_interval")
    ping_timeout_ns: DurationNs = Field(20 * NS_PER_S, alias="ping_timeout")


class ConstantRate(Part):
    """One message every 1/rate seconds."""

    kind: Literal["constant"] = "constant"
    rate_per_s: RatePerS = Field(alias="rate")


class PoissonRate(Part):
    """Independent arrivals: exponential gaps with mean 1/rate, from the run's seed."""

    kind: Literal["poisson"]
    rate_per_s: RatePerS = Field(alias="rate")


class RampRate(Part):
    """From one rate to another in a straight line over a time, then steady."""

    kind: Literal["ramp"]
    from_per_s: RatePerS = Field(alias="from")
    to_per_s: RatePerS = Field(alias="to")
    over_ns: DurationNs = Field(alias="over")


class Step(Part):
    """The rate that holds from `at` (since publishing began) on."""

    at_ns: DurationNs = Field(alias="at")
    rate_per_s: RatePerS = Field(alias="rate")


class StepRate(Part):
    """Rates that change at stated times; the first step must start at 0s."""

    kind: Literal["step"]
    steps: list[Step] = Field(min_length=1)


class BurstRate(Part):
    """`size` messages at once, every `every`."""

    kind: Literal["burst"]
    size: Count
    every_ns: DurationNs = Field(alias="every")


def _as_rate(value: Any) -> Any:
    if isinstance(value, str):
        return {"kind": "constant", "rate": value}
    if isinstance(value, dict) and "kind" not in value:
        return {"kind": "constant", **value}
    return value


Rate = Annotated[
    Annotated[ConstantRate | PoissonRate | RampRate | StepRate | BurstRate, Field(discriminator="kind")],
    BeforeValidator(_as_rate),
]


class Publisher(Part):
    """`count` publishers, each with this rate, straight at Redis, open loop. Its schedule never waits for a reply."""

    name: Name
    channel: Name
    count: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1
    rate: Rate
    payload_bytes: SizeBytes = Field(128, alias="payload")
    timeout_ns: DurationNs = Field(5 * NS_PER_S, alias="timeout")


class Drain(Part):
    """After the last publish: wait until nothing has come for `quiet`, at most `deadline`."""

    quiet_ns: DurationNs = Field(1 * NS_PER_S, alias="quiet")
    deadline_ns: DurationNs = Field(30 * NS_PER_S, alias="deadline")


class Phases(Part):
    """Time 0 of a run is the start of `measure`; warm-up lies before it and is accounted apart."""

    warm_up_ns: DurationNs = Field(1 * NS_PER_S, alias="warm_up")
    measure_ns: DurationNs = Field(10 * NS_PER_S, alias="measure")
    drain: Drain = Drain()


class NodeFault(Part):
    """Something that happens to nodes: a name, a list of names, or a seeded choice (one, minority, all).

    crash is SIGKILL, stop is SIGTERM, pause is SIGSTOP. After `for` it is healed (started again, or SIGCONT);
    without `for` it stays so until the run ends.
    """

    kind: Literal["crash", "stop", "pause"]
    at_ns: DurationNs = Field(alias="at")
    target: Name | list[Name]
    for_ns: DurationNs | None = Field(None, alias="for")


class RedisRestart(Part):
    """Redis is killed (SIGKILL) and started again `for` later, empty: Pub/Sub has nothing to restore."""

    kind: Literal["redis-restart"]
    at_ns: DurationNs = Field(alias="at")
    for_ns: DurationNs = Field(1 * NS_PER_S, alias="for")


class RedisKillPubsub(Part):
    """CLIENT KILL TYPE pubsub: every node loses its subscription at once, Redis stays."""

    kind: Literal["redis-kill-pubsub"]
    at_ns: DurationNs = Field(alias="at")


Fault = Annotated[NodeFault | RedisRestart | RedisKillPubsub, Field(discriminator="kind")]


class Limits(Part):
    """Past these the generator, not the system, made the figures: the run is invalid."""

    schedule_lag_p99_ns: DurationNs = Field(50 * NS_PER_MS, alias="schedule_lag_p99")
    loop_lag_p99_ns: DurationNs = Field(100 * NS_PER_MS, alias="loop_lag_p99")
    cpu: Annotated[float, Field(gt=0, le=1, description="Share of one core, of any generator process.")] = 0.9


class Scenario(Part):
    """One question, put to a system of N nodes."""

    name: Name
    question: str = Field(min_length=1, max_length=500)
    expect: str = Field("", max_length=2000)
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 1
    topology: Topology
    channels: list[Name] = Field(min_length=1)
    clients: list[ClientGroup] = Field(default_factory=list)
    publishers: list[Publisher] = Field(min_length=1)
    phases: Phases = Phases()
    faults: list[Fault] = Field(default_factory=list)
    gates: list[str] = Field(default_factory=list)
    limits: Limits = Limits()
