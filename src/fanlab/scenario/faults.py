"""What a scenario can break, as frozen, validated values: one class for each set of faults that are written alike.

A fault may come again (`repeat`) and go from one of its targets to the next (`stagger`). What it holds while it lasts
(`holds`) no other fault may hold at the same time on the same target: two crashes would be one, and of two settings of
Redis the first to heal would undo the other.
"""

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.scenario.values import DurationNs, Name, Part, RatePerS, SizeBytes

LIFE = "life"  # whether the unit runs at all
LINKS = ("clients", "redis")
SETTINGS = "settings"  # what Redis was told with CONFIG SET, which a restart undoes


class Repeat(Part):
    """The same fault again: `every` from one beginning to the next, on average if `random`."""

    every_ns: DurationNs = Field(alias="every", description="From one beginning to the next.")
    times: Annotated[int, Field(strict=True, ge=2, le=200)] | None = Field(
        None, description="How often in all; by default as often as fits into the measure phase."
    )
    random: bool = Field(
        default=False,
        strict=True,
        description="Draw the time between an end and the next beginning from an exponential distribution, seeded.",
    )


class FaultPart(Part):
    """What all faults have. `for_ns` is how long it lasts; None: to the end; no such field: it mends by itself.

    No two of a kind lie over each other on one target, and none over another that holds one of the same things.
    """

    holds: ClassVar[frozenset[str]] = frozenset()

    at_ns: DurationNs = Field(alias="at", description="From time 0.")
    repeat: Repeat | None = Field(None, description="Whether and when it comes again.")

    @property
    def held(self) -> frozenset[str]:
        """What no other fault may hold at the same time on the same target."""
        ends = {f"{LIFE} {link}" for link in LINKS} if LIFE in self.holds else set()
        return self.holds | ends | {f"{getattr(self, 'kind', '')} {getattr(self, 'link', '')}"}

    @property
    def lasts_ns(self) -> int | None:
        """How long it is kept up; None: to the end; 0: there is nothing to undo, the system is to mend it."""
        return getattr(self, "for_ns", 0)


class OnNodes(FaultPart):
    """A fault of nodes, each on its own."""

    target: Name | list[Name] = Field(description="A node, a list of nodes, or `one`, `minority`, `all`.")
    stagger_ns: DurationNs = Field(
        0, alias="stagger", description="From one of its nodes to the next; by default all at once."
    )


class NodeFault(OnNodes):
    """Something that happens to nodes: a name, a list of names, or a seeded choice (one, minority, all).

    crash is SIGKILL, stop is SIGTERM, pause is SIGSTOP. After `for` it is healed (started again, or SIGCONT);
    without `for` it stays so until the run ends.
    """

    holds: ClassVar[frozenset[str]] = frozenset({LIFE})

    kind: Literal["crash", "stop", "pause"]
    for_ns: DurationNs | None = Field(None, alias="for", description="When it is healed; by default not at all.")


class NodeRestart(OnNodes):
    """SIGTERM, and started again at once, as a deployment does it; with `stagger` a rolling one."""

    holds: ClassVar[frozenset[str]] = frozenset({LIFE})

    kind: Literal["restart"]
    for_ns: DurationNs = Field(
        100 * NS_PER_MS, alias="for", description="How long it is given to end before it is started again."
    )


class CpuThrottle(OnNodes):
    """A node gets only so much CPU, less than its own `cpus`: a cgroup's quota, which takes root or containers."""

    holds: ClassVar[frozenset[str]] = frozenset({"cpu"})

    kind: Literal["cpu-throttle"]
    cores: float = Field(
        strict=True,
        ge=0.01,  # a kernel's quotas begin there
        le=64,
        description="As many cores' worth of time, at most: 0.2 is a fifth.",
    )
    for_ns: DurationNs | None = Field(None, alias="for", description="When it is lifted; by default not at all.")


class MemoryLimit(OnNodes):
    """A node gets only so much memory, less than its own `memory`, past which the kernel kills it: a cgroup's limit.

    When it heals the limit is lifted, and a node that was killed is started again.
    """

    holds: ClassVar[frozenset[str]] = frozenset({LIFE})

    kind: Literal["memory-limit"]
    limit_bytes: SizeBytes = Field(alias="limit", description="As much memory, at most.")
    for_ns: DurationNs | None = Field(None, alias="for", description="When it is lifted; by default not at all.")


Link: TypeAlias = Literal["clients", "redis"]


class OnLinks(OnNodes):
    """A fault of the network between a node and its clients, or between a node and Redis.

    The traffic of such a link runs through a TCP proxy of fanlab's from the start; see docs/adr/0015. Some can be done
    to packets instead; see docs/adr/0022.
    """

    share: float = Field(
        1.0, strict=True, gt=0, le=1, description="The share of the link's connections that it hits, seeded."
    )


class Lasting(OnLinks):
    """One that lasts, and holds one way or both."""

    link: Link = Field("clients", description="Which of the node's links: to its clients, or to Redis.")
    direction: Literal["both", "to-node", "from-node"] = Field("both", description="Which way it holds.")
    for_ns: DurationNs | None = Field(None, alias="for", description="When it is lifted; by default not at all.")


class OnPackets(Lasting):
    """One that can be done to a link's bytes, in the proxy, or to its packets, in the node's own network namespace."""

    by: Literal["link", "packets"] = Field(
        "link",
        description="Done to bytes, by the proxy; or to packets, by the kernel, which takes containers and root.",
    )

    @property
    def held(self) -> frozenset[str]:
        """What is done to packets would go with the node's container."""
        return super().held | ({f"{LIFE} {self.link}"} if self.by == "packets" else set())


class Partition(OnPackets):
    """Nothing gets through. What was sent comes late when it heals (`hold`), or is gone with its connection (`drop`).

    A real partition is the first as long as TCP goes on resending, and ends as the second where somebody gives up.
    """

    kind: Literal["partition"]
    mode: Literal["hold", "drop"] = Field("hold", description="What becomes of what is sent meanwhile.")


class Latency(OnPackets):
    """What is sent takes longer, in order, at an undiminished rate."""

    kind: Literal["latency"]
    latency_ns: DurationNs = Field(alias="latency", gt=0, description="So much longer, each way that it holds.")
    jitter_ns: DurationNs = Field(0, alias="jitter", description="More or less by so much, evenly spread.")

    @property
    def held(self) -> frozenset[str]:
        """A namespace has one place for what delays its packets, whichever link they are of."""
        return super().held | ({"delay of packets"} if self.by == "packets" else set())


class Bandwidth(Lasting):
    """Each connection gets only so many bytes through."""

    kind: Literal["bandwidth"]
    bytes_per_s: SizeBytes = Field(alias="per_second", gt=0, description="Bytes in a second, of each connection.")


class Slicing(Lasting):
    """What is sent arrives in small pieces, as from a stack with a tiny MTU."""

    kind: Literal["slicing"]
    size_bytes: SizeBytes = Field(64, alias="size", gt=0, description="A piece, on average; it varies by half of that.")
    delay_ns: DurationNs = Field(0, alias="delay", description="Between two pieces.")


class HalfOpen(OnLinks):
    """One side of a connection is gone and the other is not told: no FIN, no RST, no data, until healing resets it."""

    kind: Literal["half-open"]
    link: Link = Field("redis", description="Which of the node's links: to its clients, or to Redis.")
    gone: Literal["node", "peer"] = Field(
        "peer", description="Who has gone: the peer, and the node talks into the void; or the node, and its peer does."
    )
    for_ns: DurationNs | None = Field(None, alias="for", description="When it is lifted; by default not at all.")


class SlowClients(OnLinks):
    """Clients that read slowly: the node's buffers for them fill, and its policy for slow clients shows."""

    kind: Literal["slow-clients"]
    bytes_per_s: SizeBytes = Field(1000, alias="per_second", gt=0, description="As many bytes a second does each take.")
    for_ns: DurationNs | None = Field(None, alias="for", description="When it is lifted; by default not at all.")


class ConnectionReset(OnLinks):
    """Connections are reset (RST), once. Clients and nodes come back as they can."""

    kind: Literal["connection-reset"]
    link: Link = Field("clients", description="Which of the node's links: to its clients, or to Redis.")


class ReconnectStorm(OnLinks):
    """Clients of nodes, by default of all, lose their connections at the same moment, and all come back at once."""

    kind: Literal["reconnect-storm"]
    target: Name | list[Name] = Field("all", description="A node, a list of nodes, or `one`, `minority`, `all`.")


class ClockStep(OnNodes):
    """A node's wall clock jumps. Its monotonic clock does not: no real step moves that."""

    holds: ClassVar[frozenset[str]] = frozenset({"clock"})

    kind: Literal["clock-step"]
    step_ns: DurationNs = Field(
        alias="step", ge=5 * NS_PER_S, description="By how much, 5s at least: HTTP tells whole seconds."
    )
    backwards: bool = Field(default=False, strict=True, description="Into the past.")
    for_ns: DurationNs | None = Field(None, alias="for", description="When it is right again; by default not at all.")


class SubscriberChurn(OnNodes):
    """Other clients come and go at a node: connect, subscribe, and leave, half of them without a goodbye.

    They are no part of the account. What they may do to those that are is what this fault asks.
    """

    kind: Literal["subscriber-churn"]
    rate_per_s: RatePerS = Field(50.0, alias="rate", description="How many come in a second, at each node.")
    stay_ns: DurationNs = Field(200 * NS_PER_MS, alias="stay", description="How long each stays, on average.")
    for_ns: DurationNs | None = Field(None, alias="for", description="When it stops; by default not at all.")


class RedisRestart(FaultPart):
    """Redis is killed (SIGKILL) and started again `for` later, empty: Pub/Sub has nothing to restore."""

    holds: ClassVar[frozenset[str]] = frozenset({LIFE, SETTINGS})

    kind: Literal["redis-restart"]
    for_ns: DurationNs = Field(1 * NS_PER_S, alias="for", description="How long Redis is away.")


class RedisPause(FaultPart):
    """Redis is frozen (SIGSTOP): the kernel goes on accepting connections and taking in commands for it."""

    holds: ClassVar[frozenset[str]] = frozenset({LIFE})

    kind: Literal["redis-pause"]
    for_ns: DurationNs = Field(1 * NS_PER_S, alias="for", description="How long it is frozen.")


class RedisKillPubsub(FaultPart):
    """CLIENT KILL TYPE pubsub: every node loses its subscription at once, Redis stays."""

    holds: ClassVar[frozenset[str]] = frozenset({LIFE})

    kind: Literal["redis-kill-pubsub"]


class RedisClientPause(FaultPart):
    """CLIENT PAUSE: Redis lives, and answers no command (`all`), or none that writes or publishes (`write`)."""

    holds: ClassVar[frozenset[str]] = frozenset({LIFE})

    kind: Literal["redis-client-pause"]
    mode: Literal["write", "all"] = Field("write", description="Which commands wait; a publish always does.")
    for_ns: DurationNs = Field(1 * NS_PER_S, alias="for", description="How long they wait.")


class RedisOutputBuffer(FaultPart):
    """CONFIG SET client-output-buffer-limit: Redis cuts off a subscriber as soon as so much waits for it."""

    holds: ClassVar[frozenset[str]] = frozenset({SETTINGS})

    kind: Literal["redis-output-buffer"]
    limit_bytes: SizeBytes = Field(alias="limit", description="As much may wait, at most.")
    for_ns: DurationNs = Field(alias="for", description="When the old limit holds again.")


class RedisMaxClients(FaultPart):
    """CONFIG SET maxclients: who is connected stays, and nobody else gets in."""

    holds: ClassVar[frozenset[str]] = frozenset({SETTINGS})

    kind: Literal["redis-maxclients"]
    for_ns: DurationNs = Field(alias="for", description="When the old limit holds again.")


class RedisDiskFull(FaultPart):
    """Redis' append-only file meets a full disk: it refuses writes, and PING with them, which health checks live by."""

    holds: ClassVar[frozenset[str]] = frozenset({SETTINGS})

    kind: Literal["redis-disk-full"]
    for_ns: DurationNs = Field(alias="for", description="When there is room again.")


RedisFault: TypeAlias = (
    RedisRestart | RedisPause | RedisKillPubsub | RedisClientPause | RedisOutputBuffer | RedisMaxClients | RedisDiskFull
)
NodesFault: TypeAlias = NodeFault | NodeRestart | CpuThrottle | MemoryLimit | ClockStep | SubscriberChurn
LinksFault: TypeAlias = (
    Partition | Latency | Bandwidth | Slicing | HalfOpen | SlowClients | ConnectionReset | ReconnectStorm
)
Fault: TypeAlias = NodesFault | LinksFault | RedisFault
AnyFault = Annotated[Fault, Field(discriminator="kind")]
