"""The scenario as frozen, validated values. Names in YAML are the aliases; names in Python carry their units.

Only shapes and single values are checked here; what refers to something else (a channel, a node) is checked in
`fanlab.scenario.check`, so that a file's errors all come at once and each with its place.
"""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from fanlab import units
from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.scenario.faults import AnyFault
from fanlab.scenario.values import Count, DurationNs, KindName, Name, Part, RatePerS, SizeBytes


def _as_text(value: Any) -> Any:
    """Settings are texts to whoever reads them; a number or truth value need not be quoted for that."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


Setting = Annotated[
    str, BeforeValidator(_as_text), WithJsonSchema({"type": ["string", "number", "boolean"]}), Field(max_length=4096)
]


LEAST_MEMORY_BYTES = 8_000_000


def _enough(size_bytes: int) -> int:
    if size_bytes < LEAST_MEMORY_BYTES:
        raise ValueError(f"must be at least {units.format_bytes(LEAST_MEMORY_BYTES)}: below that no process starts")
    return size_bytes


Cpus = Annotated[float, Field(ge=0.01, le=1024)]
MemoryBytes = Annotated[SizeBytes, AfterValidator(_enough)]


class NodeGroup(Part):
    """`count` nodes of one kind, a folder under `nodes/` with a node.yaml."""

    kind: KindName = Field("websockets", description="The kind: a folder under `nodes/`, by its path there.")
    count: Annotated[int, Field(strict=True, ge=1, le=1000, description="How many of them.")] = 1
    env: dict[str, Setting] = Field(default_factory=dict, description="Settings handed to the node as environment.")
    journal: bool = Field(
        default=True,
        strict=True,
        description="Whether a node that can keep a journal is told to; without one it is a black box.",
    )
    cpus: Cpus | None = Field(
        None, description="Cores that each may use at most, as 0.5 (--backend docker); by default all."
    )
    memory_bytes: MemoryBytes | None = Field(
        None, alias="memory", description="Memory that each may use at most (--backend docker); by default all."
    )


class Redis(Part):
    """The Redis that all nodes share; `config` becomes `--key value` of redis-server."""

    config: dict[str, Setting] = Field(default_factory=dict, description="Settings of redis-server by their names.")
    cpus: Cpus | None = Field(
        None, description="Cores that it may use at most, as 0.5 (--backend docker); by default all."
    )
    memory_bytes: MemoryBytes | None = Field(
        None, alias="memory", description="Memory that it may use at most (--backend docker); by default all."
    )


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class Topology(Part):
    """What is started. Nodes are named node-1 … node-N in the order written."""

    nodes: Annotated[list[NodeGroup], BeforeValidator(_as_list)] = Field(
        min_length=1, description="Groups of nodes; one group need not be a list."
    )
    redis: Redis = Field(Redis(), description="The Redis that they share.")


class Reconnect(Part):
    """Back-off before attempt k (from 0): min(max, initial × factor^k), then spread by ± jitter (a share of it)."""

    initial_ns: DurationNs = Field(500 * NS_PER_MS, alias="initial", description="Before the first attempt.")
    factor: float = Field(
        2.0, strict=True, ge=1, le=10, description="Each further attempt waits this many times longer."
    )
    max_ns: DurationNs = Field(10 * NS_PER_S, alias="max", description="Never longer than this.")
    jitter: float = Field(
        0.2, strict=True, ge=0, le=1, description="Spread, as a share of the back-off: 0.2 is ± 20 %."
    )


class ClientGroup(Part):
    """WebSocket clients that behave alike. Each is a Locust user; client k of the group starts on node k mod N.

    `failover` says where a client goes when its node dies: the next node in turn, the same one until it returns, or
    the one with the fewest connections that its load worker knows of.
    """

    group: Name = Field(description="The group's name.")
    count: Count = Field(description="How many clients.")
    spawn_rate_per_s: RatePerS = Field(100.0, alias="spawn_rate", description="How fast they begin to connect.")
    channels: list[Name] = Field(min_length=1, description="What each of them subscribes to.")
    nodes: list[Name] | None = Field(None, description="The nodes that they use (node-1 …); by default all.")
    failover: Literal["round-robin", "sticky", "least-connections"] = Field(
        "round-robin", description="Where a client goes when its node dies."
    )
    reconnect: Reconnect = Field(Reconnect(), description="How long it waits before it does.")
    join_ns: DurationNs | None = Field(
        None,
        alias="join",
        description="When they begin to connect, from time 0; by default all are subscribed before publishing begins.",
    )
    ping_interval_ns: DurationNs = Field(20 * NS_PER_S, alias="ping_interval", description="Between two pings.")
    ping_timeout_ns: DurationNs = Field(
        20 * NS_PER_S, alias="ping_timeout", description="No pong for so long, and the connection counts as dead."
    )


class ConstantRate(Part):
    """One message every 1/rate seconds."""

    kind: Literal["constant"] = "constant"
    rate_per_s: RatePerS = Field(alias="rate", description="Messages per second.")


class PoissonRate(Part):
    """Independent arrivals: exponential gaps with mean 1/rate, from the run's seed."""

    kind: Literal["poisson"]
    rate_per_s: RatePerS = Field(alias="rate", description="Messages per second, on average.")


class RampRate(Part):
    """From one rate to another in a straight line over a time, then steady."""

    kind: Literal["ramp"]
    from_per_s: RatePerS = Field(alias="from", description="The rate when publishing begins.")
    to_per_s: RatePerS = Field(alias="to", description="The rate at the end of the ramp, and from then on.")
    over_ns: DurationNs = Field(alias="over", description="How long the ramp takes.")


class Step(Part):
    """The rate that holds from `at` (since publishing began) on."""

    at_ns: DurationNs = Field(alias="at", description="Since publishing began.")
    rate_per_s: RatePerS = Field(alias="rate", description="Messages per second from then on.")


class StepRate(Part):
    """Rates that change at stated times; the first step must start at 0s."""

    kind: Literal["step"]
    steps: list[Step] = Field(min_length=1, description="In order of time.")


class BurstRate(Part):
    """`size` messages at once, every `every`."""

    kind: Literal["burst"]
    size: Count = Field(description="Messages in one burst.")
    every_ns: DurationNs = Field(alias="every", description="From one burst to the next.")


def _as_rate(value: Any) -> Any:
    if isinstance(value, str):
        return {"kind": "constant", "rate": value}
    if isinstance(value, dict) and "kind" not in value:
        return {"kind": "constant", **value}
    return value


AnyRate: TypeAlias = ConstantRate | PoissonRate | RampRate | StepRate | BurstRate
Rate = Annotated[
    Annotated[AnyRate, Field(discriminator="kind")],
    BeforeValidator(_as_rate),
]


class Publisher(Part):
    """`count` publishers, each with this rate, straight at Redis, open loop. Its schedule never waits for a reply."""

    name: Name = Field(description="The publisher's name.")
    channel: Name = Field(description="Where it publishes.")
    count: Annotated[int, Field(strict=True, ge=1, le=1000, description="How many of them, evenly staggered.")] = 1
    rate: Rate = Field(description="Of each of them: a plain rate, or a mapping with its kind.")
    payload_bytes: SizeBytes = Field(128, alias="payload", description="Size of a message.")
    timeout_ns: DurationNs = Field(
        5 * NS_PER_S, alias="timeout", description="No reply for so long, and nobody knows whether it was published."
    )
    objects: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = Field(
        None, description="Publish JSON objects that nodes cache, so many in turn; by default plain payloads."
    )


class Reader(Part):
    """Reads the nodes' caches over HTTP, open loop: at each tick one object's entry, at one node after the other.

    The objects are those of all publishers with `objects` on its channel; which one is read is a seeded choice. When
    all has come, each entry is read once more at each node, to see what stays wrong.
    """

    name: Name = Field(description="The reader's name.")
    channel: Name = Field(description="Whose publishers' objects it reads.")
    rate_per_s: RatePerS = Field(alias="rate", description="Reads per second, over all its nodes.")
    nodes: list[Name] | None = Field(None, description="The nodes that it reads from (node-1 …); by default all.")
    timeout_ns: DurationNs = Field(2 * NS_PER_S, alias="timeout", description="No answer for so long: the read failed.")


class Drain(Part):
    """After the last publish: wait until nothing has come for `quiet`, at most `deadline`."""

    quiet_ns: DurationNs = Field(1 * NS_PER_S, alias="quiet", description="Nothing has come for so long.")
    deadline_ns: DurationNs = Field(30 * NS_PER_S, alias="deadline", description="At most so long in all.")


class Phases(Part):
    """Time 0 of a run is the start of `measure`; warm-up lies before it and is accounted apart."""

    warm_up_ns: DurationNs = Field(1 * NS_PER_S, alias="warm_up", description="Published, but accounted apart.")
    measure_ns: DurationNs = Field(10 * NS_PER_S, alias="measure", description="What the result is about.")
    drain: Drain = Field(Drain(), description="When to stop waiting for what is still under way.")


class Limits(Part):
    """Past these the generator, not the system, made the figures: the run is invalid."""

    schedule_lag_p99_ns: DurationNs = Field(
        50 * NS_PER_MS, alias="schedule_lag_p99", description="A message left this much late."
    )
    loop_lag_p99_ns: DurationNs = Field(
        100 * NS_PER_MS, alias="loop_lag_p99", description="An event loop stood still for so long."
    )
    cpu: float = Field(0.9, strict=True, gt=0, le=1, description="Share of one core, of any generator process.")
    bias_p99_ns: DurationNs = Field(
        10 * NS_PER_MS, alias="bias_p99", description="A message is told to have come so much later than it did."
    )
    steal: float = Field(
        0.1, strict=True, gt=0, le=1, description="Share of the machine's CPU time that other virtual machines took."
    )


class Evidence(Part):
    """What a run gathers beside the journals of clients, publishers and nodes, to tell where a loss was made.

    Without a part of it nothing is lost but sharpness: attributions say that they are coarser.
    """

    witness: bool = Field(
        default=True,
        strict=True,
        description="A subscriber of fanlab's own, straight at Redis, that journals what Redis sent.",
    )
    redis_watch: bool = Field(
        default=True,
        strict=True,
        description="Watch Redis' list of subscribers, and its log for those cut off.",
    )
    probes: Annotated[
        int,
        Field(
            strict=True,
            ge=0,
            le=16,
            description="Connections in each clients engine that the kernel stamps on receive: they bound its bias.",
        ),
    ] = 4


class Scenario(Part):
    """One question, put to a system of N nodes."""

    name: Name = Field(description="Names the run directory.")
    question: str = Field(min_length=1, max_length=500, description="What the run is to answer.")
    expect: str = Field("", max_length=2000, description="The answer expected, and from what it follows.")
    seed: int = Field(1, strict=True, ge=0, lt=2**63, description="From which all randomness follows.")
    topology: Topology = Field(description="What is started.")
    channels: list[Name] = Field(min_length=1, description="Every channel that is used.")
    clients: list[ClientGroup] = Field(default_factory=list, description="Who listens.")
    publishers: list[Publisher] = Field(min_length=1, description="Who speaks.")
    readers: list[Reader] = Field(default_factory=list, description="Who reads the nodes' caches.")
    phases: Phases = Field(Phases(), description="How long.")
    faults: list[AnyFault] = Field(default_factory=list, description="What breaks, and when.")
    gates: list[str] = Field(default_factory=list, description="What must hold, over the fields of summary.json.")
    evidence: Evidence = Field(Evidence(), description="What is gathered to tell where and why a message was lost.")
    limits: Limits = Field(Limits(), description="Past these the run is invalid.")
