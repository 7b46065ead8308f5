"""What every load process is told before it starts: one JSON file, made by the parent, the same for all of them."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:  # all load processes start with this module; what makes the configuration is the parent's alone
    from fanlab.scenario.model import AnyRate, Scenario
    from fanlab.scenario.plan import Plan
    from fanlab.topology.backend import NodeEndpoint


@dataclass(frozen=True, slots=True)
class NodeTarget:
    """Where clients connect, and in which protocol they talk there."""

    url: str
    protocol: str
    cache_url: str | None = None  # with {key} in it
    server: str | None = None  # the Host that is asked for, and that a certificate must name; None: as in the URL
    cache_server: str | None = None  # likewise
    shown: str | None = None  # the URL as it may be written down; None: as it is

    @property
    def name(self) -> str:
        """What to call it in what people read."""
        return self.shown or self.url


@dataclass(frozen=True, slots=True)
class Backoff:
    """Back-off before attempt k (from 0): min(max, initial × factor^k), then spread by ± jitter (a share of it)."""

    initial_ns: int
    factor: float
    max_ns: int
    jitter: float


@dataclass(frozen=True, slots=True)
class ClientsConfig:
    """One group of clients that behave alike, numbered first_client … first_client + count - 1."""

    name: str
    count: int
    first_client: int
    spawn_rate_per_s: float
    channels: tuple[str, ...]
    nodes: tuple[int, ...]
    failover: str
    backoff: Backoff
    ping_interval_ns: int
    ping_timeout_ns: int
    join_ns: int | None  # from time 0; None: before publishing begins


@dataclass(frozen=True, slots=True)
class PublishersConfig:
    """Publishers with one rate; publisher k of `count` writes stream first_stream + k."""

    name: str
    count: int
    first_stream: int
    channel: str
    rate: "AnyRate"
    payload_bytes: int
    timeout_ns: int
    objects: int | None = None  # JSON objects, so many in turn; None: plain payloads

    def stream_name(self, k: int) -> str:
        """What the plan calls stream first_stream + k."""
        return self.name if self.count == 1 else f"{self.name}-{k + 1}"


@dataclass(frozen=True, slots=True)
class ReadersConfig:
    """One reader of the nodes' caches."""

    name: str
    channel: str
    rate_per_s: float
    nodes: tuple[int, ...]
    timeout_ns: int


@dataclass(frozen=True, slots=True)
class LoadConfig:
    """All of it. Indexes are those of the run's plan."""

    seed: int
    run_tag: int
    redis_url: str
    journal: str  # the folder for stripes; "": keep none
    stats: str  # Locust's CSV files begin with this path
    nodes: tuple[NodeTarget, ...]
    channels: tuple[str, ...]
    clients: tuple[ClientsConfig, ...]
    publishers: tuple[PublishersConfig, ...]
    readers: tuple[ReadersConfig, ...] = ()
    probes: int = 0  # in each clients engine
    secrets: tuple[str, ...] = ()  # what no journal may hold, should a node say it

    @property
    def client_count(self) -> int:
        """Clients in all groups."""
        return sum(group.count for group in self.clients)

    @property
    def stream_count(self) -> int:
        """Publishers in all."""
        return sum(publishers.count for publishers in self.publishers)

    def stream_channels(self) -> tuple[int, ...]:
        """The channel's index of each stream."""
        index = {channel: number for number, channel in enumerate(self.channels)}
        return tuple(index[p.channel] for p in self.publishers for _ in range(p.count))

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        data = dataclasses.asdict(self)
        for entry, publishers in zip(data["publishers"], self.publishers, strict=True):
            entry["rate"] = _rate_to_json(publishers.rate)
        return data

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(self.to_json()), encoding="utf-8")


def read_config(path: Path) -> LoadConfig:
    """The configuration that `LoadConfig.write` wrote."""
    return config_from_json(json.loads(path.read_text(encoding="utf-8")))


def config_from_json(data: dict[str, Any]) -> LoadConfig:
    """The configuration that `to_json` gave."""
    return LoadConfig(
        **{
            **data,
            "nodes": tuple(NodeTarget(**node) for node in data["nodes"]),
            "channels": tuple(data["channels"]),
            "secrets": tuple(data.get("secrets", ())),
            "clients": tuple(
                ClientsConfig(
                    **{
                        **group,
                        "channels": tuple(group["channels"]),
                        "nodes": tuple(group["nodes"]),
                        "backoff": Backoff(**group["backoff"]),
                    }
                )
                for group in data["clients"]
            ),
            "publishers": tuple(
                PublishersConfig(**{**publishers, "rate": _rate_from_json(publishers["rate"])})
                for publishers in data["publishers"]
            ),
            "readers": tuple(
                ReadersConfig(**{**reader, "nodes": tuple(reader["nodes"])}) for reader in data.get("readers", ())
            ),
        }
    )


def make_config(
    scenario: "Scenario",
    plan: "Plan",
    *,
    nodes: "Sequence[NodeEndpoint]",
    redis_url: str,
    run_tag: int,
    journal: Path,
    stats: Path,
    secrets: Sequence[str] = (),
) -> LoadConfig:
    """What the load processes need to know of a scenario."""
    from fanlab.topology.redis import redact  # late: engines import this module, and need no Redis client

    clients = tuple(
        ClientsConfig(
            name=spec.name,
            count=spec.count,
            first_client=spec.first_client,
            spawn_rate_per_s=group.spawn_rate_per_s,
            channels=spec.channels,
            nodes=spec.nodes,
            failover=group.failover,
            backoff=Backoff(**group.reconnect.model_dump()),
            ping_interval_ns=group.ping_interval_ns,
            ping_timeout_ns=group.ping_timeout_ns,
            join_ns=group.join_ns,
        )
        for spec, group in zip(plan.groups, scenario.clients, strict=True)
    )
    first_stream = {stream.config: stream.index for stream in reversed(plan.streams)}
    publishers = tuple(
        PublishersConfig(
            name=entry.name,
            count=entry.count,
            first_stream=first_stream[config],
            channel=entry.channel,
            rate=entry.rate,
            payload_bytes=entry.payload_bytes,
            timeout_ns=entry.timeout_ns,
            objects=entry.objects,
        )
        for config, entry in enumerate(scenario.publishers)
    )
    node_index = {node.id: node.index for node in plan.nodes}
    readers = tuple(
        ReadersConfig(
            name=entry.name,
            channel=entry.channel,
            rate_per_s=entry.rate_per_s,
            nodes=tuple(node_index[name] for name in entry.nodes or node_index),
            timeout_ns=entry.timeout_ns,
        )
        for entry in scenario.readers
    )
    by_index = sorted(nodes, key=lambda node: node.index)
    return LoadConfig(
        seed=scenario.seed,
        run_tag=run_tag,
        redis_url=redis_url,
        journal=str(journal),
        stats=str(stats),
        nodes=tuple(
            NodeTarget(
                node.ws_url, node.protocol, node.cache_url, node.ws_server, node.cache_server, redact(node.ws_url)
            )
            for node in by_index
        ),
        channels=plan.channels,
        clients=clients,
        publishers=publishers,
        readers=readers,
        probes=scenario.evidence.probes,
        secrets=tuple(secrets),
    )


def _rate_to_json(rate: "AnyRate") -> dict[str, Any]:
    fields = dict(vars(rate))
    if "steps" in fields:
        fields["steps"] = [dict(vars(step)) for step in fields["steps"]]
    return fields


def _rate_from_json(data: dict[str, Any]) -> "AnyRate":
    """What the pacer reads of a rate. It was checked in its scenario; its values have no units any more."""
    fields = dict(data)
    if "steps" in fields:
        fields["steps"] = [SimpleNamespace(**step) for step in fields["steps"]]
    return cast("AnyRate", SimpleNamespace(**fields))
