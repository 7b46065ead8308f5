"""Reading a run directory's evidence: events, messages, node journals, fault stamps. Deliveries are only streamed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanlab.errors import MeasurementError
from fanlab.ledger.damage import DAMAGE_DTYPE, damage_row, damage_table
from fanlab.ledger.events import NO_ANSWER
from fanlab.ledger.health import HealthEvent, health_event
from fanlab.ledger.histogram import Ints
from fanlab.ledger.lines import json_objects
from fanlab.ledger.nodejournal import NodeJournal, read_node_journal
from fanlab.ledger.probes import ProbeEvent, probe_event
from fanlab.ledger.records import (
    DELIVERY_DTYPE,
    INTENT_DTYPE,
    NO_NODE,
    OUTCOME_DTYPE,
    READ_DTYPE,
)
from fanlab.ledger.redisjournal import RedisJournal, read_redis_journal
from fanlab.ledger.stripe import Kind, StripeReader, heartbeat_ns, json_lines
from fanlab.ledger.windows import EVENT_DTYPE, NAMES, NEVER, NO_CHANNEL
from fanlab.ledger.witness import Witness, read_witness
from fanlab.rundir import RunDir
from fanlab.scenario.plan import Plan

CHUNK_RECORDS: Final = 1 << 19
ABNORMAL: Final = 1006  # the code of a connection that ended without a close frame (RFC 6455, 7.1.5)
_AT: Final = {name: at for at, name in enumerate(NAMES)}


class Ending(NamedTuple):
    """How a client's connection ended at `t` (ns)."""

    t: int
    client: int
    code: int  # of the node's close frame; 1006 without one
    silent: bool  # the engine itself ended it: it had no answer to its ping


class Unread(NamedTuple):
    """Corrupt frames between two heartbeats, and what they can have held. Times in ns.

    A heartbeat says that all before it is there, and not that nothing after it is: what stands before it came before
    the one after it.
    """

    from_ns: int  # the heartbeat before them
    to_ns: int  # the second one after them; NEVER: there was none
    deliveries: int | None  # that they held; None: nobody can tell


@dataclass(slots=True)
class StripeInfo:
    """One stripe, less its records."""

    path: Path
    header: dict[str, Any] = field(default_factory=dict)
    torn: int = 0
    corrupt: int = 0
    closed: bool = False
    heartbeat_ns: int = 0  # the last one; 0: none
    health: list[HealthEvent] = field(default_factory=list)
    probes: list[ProbeEvent] = field(default_factory=list)
    clients: set[int] = field(default_factory=set)
    damage: list[tuple[Any, ...]] = field(default_factory=list)  # see damage.damage_row
    foreign: int = 0  # frames with a token of another run; of a stripe without an orderly end, also damaged ones
    unread: list[Unread] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)


@dataclass(slots=True)
class Journals:
    """The evidence in memory: all but the deliveries."""

    events: NDArray[Any]  # windows.EVENT_DTYPE
    intents: NDArray[Any]
    outcomes: NDArray[Any]
    stripes: list[StripeInfo]
    nodes: dict[int, NodeJournal]  # by node index
    stamps: list[dict[str, Any]]
    torn_stamps: int
    witness: Witness | None = None  # None: there was none
    redis: RedisJournal | None = None  # None: nobody watched Redis
    reads: NDArray[Any] = field(default_factory=lambda: np.zeros(0, READ_DTYPE))  # of nodes' caches

    @property
    def foreign(self) -> int:
        """Frames that clients received with a token of another run."""
        return sum(stripe.foreign for stripe in self.stripes)

    @property
    def damaged(self) -> NDArray[Any]:
        """Messages that came with other bytes than those published: damage.DAMAGE_DTYPE."""
        tables = [damage_table(stripe.damage, number) for number, stripe in enumerate(self.stripes)]
        return np.concatenate([np.zeros(0, DAMAGE_DTYPE), *tables])

    @property
    def corrupt(self) -> bool:
        """Whether frames are missing in the middle of a stripe."""
        return any(stripe.corrupt for stripe in self.stripes)

    def horizon_ns(self, clients: int) -> Ints:
        """By client, until when its stripe surely holds all: NEVER where the stripe was closed in order."""
        horizon = np.full(clients, NEVER)
        for stripe in self.stripes:
            if not stripe.closed:
                of = [client for client in stripe.clients if client < clients]
                horizon[of] = np.minimum(horizon[of], stripe.heartbeat_ns)
        return horizon

    @property
    def last_ns(self) -> int:
        """The latest time that any of it names; 0 where it names none."""
        times = [stripe.heartbeat_ns for stripe in self.stripes]
        times += [int(part.max(initial=0)) for part in (self.events["t"], self.outcomes["done_ns"])]
        return max(times, default=0)


def read_journals(rundir: RunDir, plan: Plan, run_tag: int | None) -> Journals:
    """Read everything but deliveries. Torn and corrupt parts are counted, never fatal."""
    channels = {name: index for index, name in enumerate(plan.channels)}
    stripes: list[StripeInfo] = []
    events: list[NDArray[Any]] = []
    intents: list[NDArray[Any]] = []
    outcomes: list[NDArray[Any]] = []
    reads: list[NDArray[Any]] = []
    for path in stripe_paths(rundir):
        info = StripeInfo(path)
        reader = StripeReader(path)
        for frame in reader:
            match frame.kind:
                case Kind.START:
                    info.header = json.loads(frame.payload)
                case Kind.END:
                    info.foreign = int(json.loads(frame.payload).get("foreign", 0))
                case Kind.HEARTBEAT:
                    _heartbeat(info, heartbeat_ns(frame), reader)
                case Kind.EVENTS:
                    events.append(_events(json_lines(frame), channels, info))
                case Kind.INTENTS:
                    intents.append(_records(frame.payload, INTENT_DTYPE))
                case Kind.OUTCOMES:
                    outcomes.append(_records(frame.payload, OUTCOME_DTYPE))
                case Kind.READS:
                    reads.append(_records(frame.payload, READ_DTYPE))
        if reader.corrupt > info.corrupt:
            info.unread.append(Unread(info.heartbeat_ns, NEVER, None))
        info.torn, info.corrupt, info.closed = reader.torn, reader.corrupt, reader.closed
        stripes.append(info)
    stamps, torn = json_objects(rundir.faults)
    nodes = {
        node.index: read_node_journal(rundir.journal / f"{node.id}.jsonl", run_tag)
        for node in plan.nodes
        if (rundir.journal / f"{node.id}.jsonl").is_file()
    }
    return Journals(
        events=np.concatenate([np.zeros(0, EVENT_DTYPE), *events]),
        intents=np.concatenate([np.zeros(0, INTENT_DTYPE), *intents]),
        outcomes=np.concatenate([np.zeros(0, OUTCOME_DTYPE), *outcomes]),
        reads=np.concatenate([np.zeros(0, READ_DTYPE), *reads]),
        stripes=stripes,
        nodes=nodes,
        stamps=list(stamps),
        torn_stamps=torn,
        witness=read_witness(rundir.witness),
        redis=read_redis_journal(rundir.redis_journal, {node.id: node.index for node in plan.nodes}),
    )


def stripe_paths(rundir: RunDir) -> list[Path]:
    """The stripes of a run's load engines, by name: their wholeness is the run's, the witness's is not."""
    return sorted(path for path in rundir.journal.glob("*.stripe") if path != rundir.witness)


def read_deliveries(paths: Sequence[Path], chunk_records: int = CHUNK_RECORDS) -> Iterator[tuple[int, NDArray[Any]]]:
    """Stream the deliveries of stripes as (number of the stripe, records), in chunks of about `chunk_records`."""
    for number, path in enumerate(paths):
        pending: list[bytes] = []
        size = 0
        for frame in StripeReader(path):
            if frame.kind is Kind.DELIVERIES:
                pending.append(frame.payload)
                size += len(frame.payload)
            if size >= chunk_records * DELIVERY_DTYPE.itemsize:
                yield number, _records(b"".join(pending), DELIVERY_DTYPE)
                pending, size = [], 0
        if pending:
            yield number, _records(b"".join(pending), DELIVERY_DTYPE)


def _heartbeat(info: StripeInfo, t_ns: int, reader: StripeReader) -> None:
    before_ns, info.heartbeat_ns = info.heartbeat_ns, max(info.heartbeat_ns, t_ns)
    if info.unread and info.unread[-1].to_ns == NEVER:
        info.unread[-1] = info.unread[-1]._replace(to_ns=info.heartbeat_ns)
    if reader.corrupt > info.corrupt:
        held = sum(size for kind, size in reader.skipped[info.corrupt :] if kind is Kind.DELIVERIES)
        info.unread.append(Unread(before_ns, NEVER, held // DELIVERY_DTYPE.itemsize))
        info.corrupt = reader.corrupt


def _events(lines: Sequence[Mapping[str, Any]], channels: Mapping[str, int], info: StripeInfo) -> NDArray[Any]:
    rows: list[tuple[int, int, int, int, int, bool]] = []
    for line in lines:
        try:
            name = line["ev"]
            if name == "health":
                info.health.append(health_event(line))
                info.foreign = int(line.get("missed", 0))
            elif name == "probe":
                info.probes.append(probe_event(line))
            elif name == "damaged":
                info.damage.append(damage_row(line))
            elif name in _AT:
                channel = channels.get(line.get("channel", ""), NO_CHANNEL)
                client, node = int(line["client"]), int(line.get("node", NO_NODE))
                rows.append((int(line["t"]), client, _AT[name], node, channel, bool(line.get("own"))))
                info.clients.add(client)
                if name == "closed":
                    info.endings.append(_ending(line))
        except (KeyError, TypeError, ValueError) as error:
            raise MeasurementError(
                f"{info.path.name} holds an event that is none: {line} ({type(error).__name__}: {error})",
                hint="it was written by another version of fanlab; report it with the version in manifest.json",
            ) from None
    return np.array(rows, EVENT_DTYPE)


def _ending(line: Mapping[str, Any]) -> Ending:
    code = int(line.get("code", ABNORMAL))
    silent = code == ABNORMAL and str(line.get("reason", "")).startswith(NO_ANSWER)
    return Ending(int(line["t"]), int(line["client"]), code, silent)


def _records(payload: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Whole records; a rest that is none is left out."""
    return np.frombuffer(payload, dtype, len(payload) // dtype.itemsize)
