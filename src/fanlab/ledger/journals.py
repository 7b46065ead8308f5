"""Reading a run directory's evidence: events, messages, node journals, fault stamps. Deliveries are only streamed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fanlab.errors import MeasurementError
from fanlab.ledger.causes import DROPS
from fanlab.ledger.health import HealthEvent, health_event
from fanlab.ledger.histogram import Ints
from fanlab.ledger.probes import ProbeEvent, probe_event
from fanlab.ledger.records import (
    DELIVERY_DTYPE,
    INTENT_DTYPE,
    MARK_LENGTH,
    NO_NODE,
    OUTCOME_DTYPE,
    TOKEN_PREFIX,
)
from fanlab.ledger.stripe import Kind, StripeReader, heartbeat_ns, json_lines
from fanlab.ledger.windows import EVENT_DTYPE, NAMES, NEVER, NO_CHANNEL
from fanlab.rundir import RunDir
from fanlab.scenario.plan import Plan

CHUNK_RECORDS: Final = 1 << 19
_AT: Final = {name: at for at, name in enumerate(NAMES)}


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


@dataclass(slots=True)
class NodeJournal:
    """What one node says of itself. All times ns."""

    messages: NDArray[np.int64]  # rows (stream, seq, received, done)
    drops: NDArray[np.int64]  # rows (stream, seq, t, place of the reason in causes.DROPS)
    gaps: list[tuple[str, int, int]]  # (channel, from, to)
    torn: int


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
    for path in stripe_paths(rundir):
        info = StripeInfo(path)
        reader = StripeReader(path)
        for frame in reader:
            match frame.kind:
                case Kind.START:
                    info.header = json.loads(frame.payload)
                case Kind.HEARTBEAT:
                    info.heartbeat_ns = max(info.heartbeat_ns, heartbeat_ns(frame))
                case Kind.EVENTS:
                    events.append(_events(json_lines(frame), channels, info))
                case Kind.INTENTS:
                    intents.append(_records(frame.payload, INTENT_DTYPE))
                case Kind.OUTCOMES:
                    outcomes.append(_records(frame.payload, OUTCOME_DTYPE))
        info.torn, info.corrupt, info.closed = reader.torn, reader.corrupt, reader.closed
        stripes.append(info)
    stamps, torn = _lines(rundir.faults)
    nodes = {
        node.index: read_node_journal(rundir.journal / f"{node.id}.jsonl", run_tag)
        for node in plan.nodes
        if (rundir.journal / f"{node.id}.jsonl").is_file()
    }
    return Journals(
        events=np.concatenate([np.zeros(0, EVENT_DTYPE), *events]),
        intents=np.concatenate([np.zeros(0, INTENT_DTYPE), *intents]),
        outcomes=np.concatenate([np.zeros(0, OUTCOME_DTYPE), *outcomes]),
        stripes=stripes,
        nodes=nodes,
        stamps=list(stamps),
        torn_stamps=torn,
    )


def stripe_paths(rundir: RunDir) -> list[Path]:
    """All stripes of a run, by name."""
    return sorted(rundir.journal.glob("*.stripe"))


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


def read_node_journal(path: Path, run_tag: int | None) -> NodeJournal:
    """A node's journal. Lines cut short by its death are counted; messages of other runs are left out."""
    messages: list[tuple[int, int, int, int]] = []
    drops: list[tuple[int, int, int, int]] = []
    gaps: list[tuple[str, int, int]] = []
    lines, torn = _lines(path)
    for line in lines:
        event = line.get("ev")
        try:
            if event == "gap":
                gaps.append((line["ch"], int(line["from"]), int(line["to"])))
            elif event in ("msg", "drop") and (mark := _mark(line.get("mark"), run_tag)):
                if event == "msg":
                    messages.append((*mark, int(line["t"]), int(line["done"])))
                elif line["why"] in DROPS:
                    drops.append((*mark, int(line["t"]), DROPS.index(line["why"])))
        except (KeyError, TypeError, ValueError):
            torn += 1
    return NodeJournal(
        np.array(messages, np.int64).reshape(-1, 4), np.array(drops, np.int64).reshape(-1, 4), gaps, torn
    )


def _mark(text: object, run_tag: int | None) -> tuple[int, int] | None:
    """(stream, seq) of a token's leading part; None where it is no mark, or another run's."""
    if not isinstance(text, str) or len(text) < MARK_LENGTH or not text.startswith(TOKEN_PREFIX.decode()):
        return None
    run, stream, seq = int(text[3:7], 16), int(text[7:11], 16), int(text[11:19], 16)
    return (stream, seq) if run_tag in (None, run) else None


def _events(lines: Sequence[Mapping[str, Any]], channels: Mapping[str, int], info: StripeInfo) -> NDArray[Any]:
    rows: list[tuple[int, int, int, int, int, bool]] = []
    for line in lines:
        try:
            name = line["ev"]
            if name == "health":
                info.health.append(health_event(line))
            elif name == "probe":
                info.probes.append(probe_event(line))
            elif name in _AT:
                channel = channels.get(line.get("channel", ""), NO_CHANNEL)
                client, node = int(line["client"]), int(line.get("node", NO_NODE))
                rows.append((int(line["t"]), client, _AT[name], node, channel, bool(line.get("own"))))
                info.clients.add(client)
        except (KeyError, TypeError, ValueError) as error:
            raise MeasurementError(
                f"{info.path.name} holds an event that is none: {line} ({type(error).__name__}: {error})",
                hint="it was written by another version of fanlab; report it with the version in manifest.json",
            ) from None
    return np.array(rows, EVENT_DTYPE)


def _records(payload: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Whole records; a rest that is none is left out."""
    return np.frombuffer(payload, dtype, len(payload) // dtype.itemsize)


def _lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The JSON objects in a file of lines, and how many lines are none: whoever wrote them died over it."""
    found: list[dict[str, Any]] = []
    torn = 0
    try:
        with path.open("rb") as file:
            for text in file:
                try:
                    line = json.loads(text)
                except ValueError:
                    torn += 1
                    continue
                if isinstance(line, dict):
                    found.append(line)
                else:
                    torn += 1
    except FileNotFoundError:
        return [], 0
    return found, torn
