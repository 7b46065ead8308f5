"""Little run directories, written by hand: what happened, in ms after time 0, becomes journals and a manifest.

    history = History(clients=2, nodes=3)
    history.subscribe(0, node=0).subscribe(1, node=1)
    history.publish(1, at=10).deliver(0, 1, at=12).deliver(1, 1, at=13)
    account(history.write(tmp_path))

Times are ms from time 0 (floats allowed); `ns` turns them into the clock's.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from fanlab.ledger.records import (
    DELIVERY,
    INTENT,
    MARK_LENGTH,
    OUTCOME,
    READ,
    WITNESS,
    ReadStatus,
    Status,
    Token,
    encode_token,
)
from fanlab.ledger.stripe import Kind, StripeWriter
from fanlab.rundir import RunDir, write_json
from fanlab.scenario.plan import GroupSpec, NodeSpec, Plan, StreamSpec

ZERO_NS = 1_000_000_000_000
MS = 1_000_000
RUN_TAG = 0xBEEF
HOME_BOOT = "by-hand"

Row = TypeVar("Row")
Delivery = tuple[int, int, int, int, int, int]  # recv_ns, intended_ns, seq, client, stream, node


def ns(ms: float) -> int:
    """A time of the run's clock, from ms after time 0."""
    return ZERO_NS + round(ms * MS)


@dataclass(slots=True)
class History:
    """A run of `clients` clients in one group, on `nodes` nodes; every stream is a publisher of its own."""

    clients: int = 1
    nodes: int = 3
    channels: Sequence[str] = ("news",)
    streams: Sequence[str] = ("news",)  # the channel of each stream
    asked: Sequence[str] | None = None  # the clients' channels; None: all
    failover: str = "round-robin"
    warm_up_ms: float = 1000
    measure_ms: float = 1000
    drain_ms: float | None = 500
    drain_ended_by: str | None = "quiet"
    quiet_ms: float = 100
    status: str = "complete"
    epoch: bool = True  # False: the run ended before its phases were known
    close_stripes: bool = True
    heartbeat_ms: float | None = None
    faults: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    intents: list[tuple[int, int, int]] = field(default_factory=list)  # intended_ns, seq, stream
    outcomes: list[tuple[int, int, int, int, int, int]] = field(
        default_factory=list
    )  # … seq, stream, status, receivers
    node_lines: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    stamps: list[dict[str, Any]] = field(default_factory=list)
    witness: list[tuple[int, int, int, int]] | None = None  # recv_ns, intended_ns, seq, stream; None: there was none
    witness_up_ms: tuple[float, float] = (-2000, 5000)
    redis_lines: list[dict[str, Any]] | None = None  # journal/redis.jsonl; None: nobody watched Redis
    exits: list[dict[str, Any]] = field(default_factory=list)  # unplanned ones
    expected_exits: list[dict[str, Any]] = field(default_factory=list)
    unreadable: list[tuple[float, float]] = field(default_factory=list)  # whose deliveries, in ms, are in a bad frame
    ping_timeout_ms: float = 20_000
    evidence: dict[str, Any] = field(default_factory=dict)  # the scenario's
    objects: int | None = None  # of every stream's publisher
    caching: Sequence[int] = ()  # the nodes that have a cache
    reads: list[bytes] = field(default_factory=list)  # records.READ
    boot_id: str | None = HOME_BOOT  # the harness', and the clients' where any is told
    publishers_boot: str | None = None  # not the clients' and the harness'; None: no boot is told
    exchanges: list[dict[str, Any]] = field(default_factory=list)  # the manifest's, of clocks

    # Clients

    def event(self, at: float, name: str, client: int | None = None, **more: Any) -> Self:
        """Any client event."""
        of = {} if client is None else {"client": client}
        self.events.append({"t": ns(at), "ev": name, **of, **more})
        return self

    def subscribe(self, client: int, node: int = 0, at: float = -1500, took: float = 1, lag: float = 1) -> Self:
        """Connect at `at`; open `took` later, all channels asked for at once, confirmed after `lag` more."""
        self.event(at, "connecting", client, node=node, attempt=0)
        self.event(at + took, "open", client, node=node)
        for channel in self.asked or self.channels:
            self.event(at + took, "subscribing", client, node=node, channel=channel)
        for channel in self.asked or self.channels:
            self.event(at + took + lag, "subscribed", client, node=node, channel=channel)
        return self

    def close(
        self, client: int, at: float, node: int = 0, *, own: bool = False, code: int = 1006, reason: str = ""
    ) -> Self:
        """The connection ends."""
        return self.event(at, "closed", client, node=node, code=code, reason=reason, own=own)

    def leave(self, client: int, at: float) -> Self:
        """The client goes of its own will."""
        return self.event(at, "left", client)

    def health(self, at: float, cpu_s: float, lag_ms: float) -> Self:
        """The engine speaks of itself."""
        return self.event(at, "health", None, cpu_s=cpu_s, lags_ms=[lag_ms], missed=0)

    # Messages

    def publish(
        self, seq: int, at: float, *, stream: int = 0, status: Status | None = Status.OK, lag: float = 0.1,
        took: float = 0.2, receivers: int = 1,
    ) -> Self:  # fmt: skip
        """Intended at `at`, sent `lag` later, answered after `took` more. Status None: the publisher died over it."""
        self.intents.append((ns(at), seq, stream))
        if status is not None:
            replied = receivers if status is Status.OK else -1
            self.outcomes.append((ns(at + lag), ns(at + lag + took), seq, stream, int(status), replied))
        return self

    def intended_ns(self, seq: int, stream: int) -> int:
        """When the publisher meant to send a message; time 0 for one that none did."""
        return next((at for at, of, where in self.intents if (of, where) == (seq, stream)), ZERO_NS)

    def deliver(self, client: int, seq: int, at: float, *, stream: int = 0, node: int = 0) -> Self:
        """The client receives a message, which must have been published before this call."""
        self.deliveries.append((ns(at), self.intended_ns(seq, stream), seq, client, stream, node))
        return self

    def witnessed(self, seq: int, at: float, *, stream: int = 0) -> Self:
        """The witness receives a copy from Redis; the order of calls is Redis' order."""
        self.witness = self.witness or []
        self.witness.append((ns(at), self.intended_ns(seq, stream), seq, stream))
        return self

    def watched(self, at: float, until: float, *, log: bool = True) -> Self:
        """Redis' subscribers are listed from `at` to `until`, and its log is followed."""
        self.redis_line(at, "watch", state="up", log=log)
        return self.redis_line(until, "watch", state="down", before=ns(until))

    def redis_line(self, at: float, event: str, **more: Any) -> Self:
        """What Redis said of its subscribers."""
        self.redis_lines = self.redis_lines or []
        self.redis_lines.append({"t": ns(at), "ev": event, **more})
        return self

    def listed(
        self, node: int, id_: int, at: float, gone: float | None = None, *, poll: float = 1, sub: int = 1
    ) -> Self:
        """Redis lists a connection of a node from `at` to `gone`, as polls show that are `poll` ms apart."""
        name = f"node-{node + 1}"
        who = {"id": id_, "node": name}
        self.redis_line(
            at, "subscriber", before=ns(at - poll), name=name, addr=f"127.0.0.1:{id_}", sub=sub, psub=0, **who
        )
        return self if gone is None else self.redis_line(gone, "gone", before=ns(gone - poll), **who)

    def buffer_kill(self, node: int, id_: int, at: float) -> Self:
        """Redis logs that it closed a node's connection for its output buffer."""
        more = {"name": f"node-{node + 1}", "addr": f"127.0.0.1:{id_}", "node": f"node-{node + 1}"}
        return self.redis_line(at, "buffer_kill", id=id_, omem=9_000_000, **more)

    def token(self, seq: int, stream: int = 0) -> bytes:
        """The token in a message."""
        return encode_token(Token(RUN_TAG, stream, seq, self.intended_ns(seq, stream), 0))

    def damaged(self, client: int, at: float, kept: bytes, *, node: int = 0) -> Self:
        """The client receives a frame whose token does not check, and keeps these bytes."""
        return self.event(at, "damaged", client, node=node, bytes=kept.hex())

    def spoiled(self, client: int, seq: int, at: float, *, stream: int = 0, node: int = 0) -> Self:
        """The client receives a message whose token is good, and the rest not."""
        self.event(at, "damaged", client, node=node, stream=stream, seq=seq)
        return self.deliver(client, seq, at, stream=stream, node=node)

    # Nodes and faults

    def node_line(self, node: int, at: float, name: str, **more: Any) -> Self:
        """A line in a node's journal."""
        self.node_lines.setdefault(node, []).append({"t": ns(at), "ev": name, **more})
        return self

    def fan_out(self, node: int, seq: int, at: float, *, took: float = 0.5, stream: int = 0, n: int = 1) -> Self:
        """The node journals a message."""
        channel = self.streams[stream]
        return self.node_line(node, at, "msg", ch=channel, mark=mark(seq, stream), n=n, done=ns(at + took))

    def take(self, node: int, seq: int, at: float, *, stream: int = 0) -> Self:
        """The node journals a message, and that its cache took it, 0.1 ms later each."""
        self.fan_out(node, seq, at - 0.2, took=0.1, stream=stream, n=0)
        number = (seq - 1) % (self.objects or 1)
        key, channel = f"publisher-{stream + 1}-{number}", self.streams[stream]
        return self.node_line(node, at, "cache", ch=channel, key=key, mark=mark(seq, stream))

    def read(
        self, node: int, number: int, at: float, seq: int = 0, *, status: ReadStatus = ReadStatus.OK,
        took: float = 1, stream: int = 0, sweep: bool = False,
    ) -> Self:  # fmt: skip
        """A reader asks for an object at `at` and gets version `seq`."""
        times = ns(at), ns(at), ns(at + took)
        self.reads.append(READ.pack(*times, seq, number, stream, node, status, sweep, 0))
        return self

    def drop(self, node: int, seq: int, at: float, why: str, *, n: int = 1, who: Sequence[int] | None = None) -> Self:
        """The node journals that it did not hand a message to some clients."""
        more = {} if who is None else {"who": list(who)}
        return self.node_line(node, at, "drop", ch=self.streams[0], mark=mark(seq), n=n, why=why, **more)

    def died(self, node: int, at: float, status: int = -9) -> Self:
        """A node ends though no fault ended it."""
        self.exits.append({"unit": f"node-{node + 1}", "t_s": at / 1000, "status": status})
        return self

    def ended(self, node: int, at: float, fault: int, status: int = -9) -> Self:
        """A node is seen to have ended by a fault."""
        self.expected_exits.append({"unit": f"node-{node + 1}", "t_s": at / 1000, "status": status, "fault": fault})
        return self

    def gap(self, node: int, start: float, end: float, channel: str | None = None) -> Self:
        """The node journals a gap of its subscription."""
        return self.node_line(node, end, "gap", ch=channel or self.channels[0], **{"from": ns(start), "to": ns(end)})

    def fault(
        self, kind: str, target: str, at: float, until: float | None = None, predicted: float | None = None,
        **settings: Any,
    ) -> Self:  # fmt: skip
        """An injected fault that bit 1 ms after its request, and healed 1 ms after that was asked for."""
        number = len(self.faults)
        for_ns = None if until is None else round((until - at) * MS)
        planned = {"id": number, "kind": kind, "target": target, "at_ns": round(at * MS), "for_ns": for_ns}
        self.faults.append(planned | {"settings": settings})
        self.predictions.append({"fault": number, "predicted": predicted, "basis": "by hand"})
        times = [("requested", at), ("confirmed", at + 1)]
        times += [] if until is None else [("heal_requested", until), ("heal_confirmed", until + 1)]
        self.stamps += [
            {"id": number, "kind": kind, "target": target, "stamp": stamp, "t": ns(when)} for stamp, when in times
        ]
        return self

    # Writing

    def plan(self) -> Plan:
        """The plan that the manifest holds."""
        nodes = tuple(NodeSpec(index, f"node-{index + 1}", "websockets", {}) for index in range(self.nodes))
        streams = tuple(StreamSpec(k, f"publisher-{k + 1}", channel, 0) for k, channel in enumerate(self.streams))
        asked = tuple(self.asked or self.channels)
        groups = (GroupSpec(0, "readers", self.clients, 0, asked, tuple(range(self.nodes))),)
        return Plan(nodes, streams, groups, tuple(self.channels))

    def manifest(self) -> dict[str, Any]:
        """What run.py would have written."""
        end_ms = self.measure_ms + (self.drain_ms or 0)
        return {
            "schema_version": 1,
            "status": self.status,
            "seed": 1,
            "run_tag": RUN_TAG,
            "plan": asdict(self.plan()),
            "scenario": {
                "name": "by-hand",
                "clients": [
                    {"group": "readers", "failover": self.failover, "ping_timeout_ns": round(self.ping_timeout_ms * MS)}
                ],
                "publishers": [{"name": "publisher", "objects": self.objects}],
                "evidence": self.evidence,
                "phases": {
                    "warm_up_ns": round(self.warm_up_ms * MS),
                    "measure_ns": round(self.measure_ms * MS),
                    "drain": {"quiet_ns": round(self.quiet_ms * MS), "deadline_ns": 10_000 * MS},
                },
            },
            "clock": self._clock(),
            "caching_nodes": [f"node-{node + 1}" for node in self.caching],
            "unplanned_exits": self.exits,
            "expected_exits": self.expected_exits,
            "predictions": self.predictions,
            "faults": self.faults,
            "phases": {
                "publish_start_ns": ns(-self.warm_up_ms) if self.epoch else None,
                "zero_ns": ZERO_NS if self.epoch else None,
                "measure_end_ns": ns(self.measure_ms) if self.epoch else None,
                "drain_end_ns": ns(end_ms) if self.epoch and self.drain_ms is not None else None,
                "drain_ended_by": self.drain_ended_by if self.epoch else None,
            },
        }

    def _clock(self) -> dict[str, Any]:
        return {"boot_id": self.boot_id, **({"exchanges": self.exchanges} if self.exchanges else {})}

    def compared(self, low_ms: float, high_ms: float, moment: str = "before") -> Self:
        """The publishers run on another host; their clock is ahead by something between the two, as was found."""
        self.publishers_boot = "away"
        stamps = {"t0": ns(0), "t1": ns(high_ms), "t2": ns(high_ms), "t3": ns(high_ms - low_ms)}
        self.exchanges.append({"moment": moment, "unit": "load-0/publishers", "rounds": 8, **stamps})
        return self

    def ahead(self, by_ms: float) -> Self:
        """The publishers' clock is ahead: all that they wrote so far is later, in journals and in messages."""
        by_ns = round(by_ms * MS)
        self.intents = [(at + by_ns, *rest) for at, *rest in self.intents]  # type: ignore[misc]
        self.outcomes = [(sent + by_ns, done + by_ns, *rest) for sent, done, *rest in self.outcomes]  # type: ignore[misc]
        self.deliveries = [(recv, meant + by_ns, *rest) for recv, meant, *rest in self.deliveries]  # type: ignore[misc]
        return self

    def write(self, path: Path, *, frame_records: int = 1000, client_stripes: int = 1) -> RunDir:
        """Write it all; client c's journal is stripe c mod `client_stripes`. `path` must not hold a run."""
        return write_run(self, path, frame_records=frame_records, client_stripes=client_stripes)


def write_run(history: History, path: Path, *, frame_records: int = 1000, client_stripes: int = 1) -> RunDir:
    """Turn a history into a run directory; see `History.write`."""
    rundir = RunDir(path)
    rundir.create()
    write_json(rundir.manifest, history.manifest())
    for number in range(client_stripes):
        write_client_stripe(history, rundir, number, client_stripes, frame_records)
    publishers = {"role": "publishers", "worker": 0, "pid": 1, "boot_id": history.publishers_boot}
    with StripeWriter(rundir.journal / "publishers-0.stripe", publishers) as stripe:
        for part in _parts([INTENT.pack(*intent, 0) for intent in history.intents], frame_records):
            stripe.write(Kind.INTENTS, b"".join(part))
        rows = [OUTCOME.pack(*outcome[:5], 0, outcome[5], 0) for outcome in history.outcomes]
        for part in _parts(rows, frame_records):
            stripe.write(Kind.OUTCOMES, b"".join(part))
    if history.witness is not None:
        write_witness(history, rundir)
    if history.reads:
        with StripeWriter(rundir.journal / "readers.stripe", {"role": "readers", "worker": 0, "pid": 1}) as stripe:
            for part in _parts(history.reads, frame_records):
                stripe.write(Kind.READS, b"".join(part))
    if history.redis_lines is not None:
        write_lines(rundir.redis_journal, sorted(history.redis_lines, key=lambda line: line["t"]))
    for node, lines in history.node_lines.items():
        write_lines(rundir.journal / f"node-{node + 1}.jsonl", lines)
    write_lines(rundir.faults, history.stamps)
    return rundir


def write_client_stripe(history: History, rundir: RunDir, number: int, of: int, frame_records: int) -> None:
    """One engine's stripe: the events and deliveries of its clients, in the order given."""
    path = rundir.journal / f"clients-{number}.stripe"
    boot = None if history.publishers_boot is None else history.boot_id
    stripe = StripeWriter(path, {"role": "clients", "worker": number, "pid": 1, "boot_id": boot})
    for events in _parts([event for event in history.events if event.get("client", 0) % of == number], 1000):
        stripe.events(events)
    mine = [delivery for delivery in history.deliveries if delivery[3] % of == number]
    for start, end in sorted(history.unreadable):
        before, mine = [one for one in mine if one[0] <= ns(start)], [one for one in mine if one[0] > ns(start)]
        held, mine = [one for one in mine if one[0] <= ns(end)], [one for one in mine if one[0] > ns(end)]
        write_deliveries(stripe, before, frame_records)
        stripe.heartbeat(ns(start))
        spoil(path, stripe, held)
        stripe.heartbeat(ns(end))
        stripe.heartbeat(ns(end))  # the one after it: what stands before the first came before this
    write_deliveries(stripe, mine, frame_records)
    if history.heartbeat_ms is not None:
        stripe.heartbeat(ns(history.heartbeat_ms))
    if history.close_stripes:
        stripe.close()
    else:
        abandon(stripe)


def write_witness(history: History, rundir: RunDir) -> None:
    """The witness's stripe."""
    up_ns, until_ns = map(ns, history.witness_up_ms)
    with StripeWriter(rundir.witness, {"role": "witness", "pid": 1}) as stripe:
        stripe.events([{"t": up_ns, "ev": "witness", "state": "up"}])
        stripe.write(Kind.WITNESS, b"".join(WITNESS.pack(*row, 0) for row in history.witness or ()))
        stripe.heartbeat(until_ns)


def write_deliveries(stripe: StripeWriter, deliveries: Sequence[Delivery], frame_records: int) -> None:
    """In the order given."""
    for part in _parts([DELIVERY.pack(*delivery, 100) for delivery in deliveries], frame_records):
        stripe.write(Kind.DELIVERIES, b"".join(part))


def spoil(path: Path, stripe: StripeWriter, deliveries: Sequence[Delivery]) -> None:
    """One frame of deliveries, with one bit wrong."""
    stripe.write(Kind.DELIVERIES, b"".join(DELIVERY.pack(*delivery, 100) for delivery in deliveries))
    with path.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))


def abandon(stripe: StripeWriter) -> None:
    """End a stripe as SIGKILL would: without an END frame."""
    stripe.write = lambda *_: None  # type: ignore[method-assign]
    stripe.close()


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def mark(seq: int, stream: int = 0, run: int = RUN_TAG) -> str:
    """What a node's journal quotes of a token."""
    return encode_token(Token(run, stream, seq, 0, 0))[:MARK_LENGTH].decode()


def _parts(rows: list[Row], size: int) -> Iterable[list[Row]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
