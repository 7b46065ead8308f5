"""What a scenario comes to: named nodes, numbered streams and client groups. Pure.

The numbers (node, stream and group indexes) are what journals carry; the manifest's copy of this plan names them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # load processes import this module, and start sooner without pydantic
    from fanlab.scenario.model import Scenario


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node to start."""

    index: int
    id: str
    kind: str
    env: dict[str, str]
    journal: bool = True  # False: it is not told where to keep one
    cpus: float | None = None  # at most so many cores, and
    memory_bytes: int | None = None  # so much memory; None: all there is


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One publisher's messages on one channel, seq 1, 2, 3 …: the (publisher, channel) of a ledger key."""

    index: int
    publisher: str
    channel: str
    config: int  # index into scenario.publishers


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """One client group. Its clients are numbered first_client + k; k is the client's ordinal in the group."""

    index: int
    name: str
    count: int
    first_client: int
    channels: tuple[str, ...]
    nodes: tuple[int, ...]  # node indexes on which its clients start, client k on nodes[k % len(nodes)]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything with a name or a number in a run."""

    nodes: tuple[NodeSpec, ...]
    streams: tuple[StreamSpec, ...]
    groups: tuple[GroupSpec, ...]
    channels: tuple[str, ...]


def make_plan(scenario: "Scenario") -> Plan:
    """Number and name everything that `scenario` starts."""
    nodes: list[NodeSpec] = []
    for group in scenario.topology.nodes:
        for _ in range(group.count):
            name = f"node-{len(nodes) + 1}"
            limits = (group.cpus, group.memory_bytes)
            nodes.append(NodeSpec(len(nodes), name, group.kind, dict(group.env), group.journal, *limits))
    by_id = {node.id: node.index for node in nodes}
    groups: list[GroupSpec] = []
    first = 0
    for clients in scenario.clients:
        on = tuple(by_id[name] for name in clients.nodes) if clients.nodes else tuple(by_id.values())
        groups.append(GroupSpec(len(groups), clients.group, clients.count, first, tuple(clients.channels), on))
        first += clients.count
    return Plan(tuple(nodes), make_streams(scenario), tuple(groups), tuple(scenario.channels))


def make_streams(scenario: "Scenario") -> tuple[StreamSpec, ...]:
    """Number and name every publisher's messages on its channel."""
    streams: list[StreamSpec] = []
    for config, publisher in enumerate(scenario.publishers):
        for k in range(publisher.count):
            name = publisher.name if publisher.count == 1 else f"{publisher.name}-{k + 1}"
            streams.append(StreamSpec(len(streams), name, publisher.channel, config))
    return tuple(streams)


def object_key(publisher: str, seq: int, objects: int) -> str:
    """The id of the object that a publisher with `objects` writes with message `seq` (from 1): all in turn."""
    return f"{publisher}-{(seq - 1) % objects}"


def plan_from_json(data: dict[str, Any]) -> Plan:
    """The plan that `dataclasses.asdict` wrote into a manifest."""
    return Plan(
        nodes=tuple(NodeSpec(**node) for node in data["nodes"]),
        streams=tuple(StreamSpec(**stream) for stream in data["streams"]),
        groups=tuple(
            GroupSpec(**{**group, "channels": tuple(group["channels"]), "nodes": tuple(group["nodes"])})
            for group in data["groups"]
        ),
        channels=tuple(data["channels"]),
    )
