"""What a simulated run leaves: the same journals as a real one, so that everything after the run works on it unchanged.

Small systems only: each delivery is a record. Times are moved by `base_ns`, for a run's clock does not start at 0.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.records import DELIVERY_DTYPE, INTENT, MARK_LENGTH, OUTCOME, Status, Token, encode_token
from fanlab.ledger.stripe import Kind, StripeWriter
from fanlab.rundir import RunDir
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import Plan
from fanlab.simulate.parts import Batch, Draws, Floats, Ints, Message, generator
from fanlab.simulate.people import Party
from fanlab.simulate.world import World

BOOT: Final = "simulated"  # the clock of all journals: no machine's
_RECORDS = 1 << 16  # deliveries to a frame
_GAP_NS: Final = 1.0  # between two messages on one connection, at least


class _Ended(NamedTuple):
    status: Status
    done_ns: float
    receivers: int


class _FanOut(NamedTuple):
    """One message at one node, and who was there to get it."""

    message: Message
    node: int
    handed_ns: float
    received_ns: float  # from here on the node's own time
    first_ns: float
    pace_ns: float
    done_ns: float
    dead_ns: float
    members: Ints


@dataclass(slots=True)
class Journal:
    """A Recorder that keeps everything, and writes it when the world has run."""

    scenario: Scenario
    plan: Plan
    run_tag: int
    base_ns: int
    world: World | None = None  # whose clients and clocks; set before it runs
    meanings: list[Message] = field(default_factory=list)
    endings: dict[tuple[int, int], _Ended] = field(default_factory=dict)
    fanouts: list[_FanOut] = field(default_factory=list)
    lives: list[dict[str, Any]] = field(default_factory=list)
    said: list[list[dict[str, Any]]] = field(init=False)  # by node
    cuts: dict[int, list[tuple[float, Ints]]] = field(default_factory=dict)  # by node
    last_life_ns: float = 0.0

    def __post_init__(self) -> None:
        self.said = [[] for _ in self.plan.nodes]

    def meant(self, message: Message) -> None:
        """A message is sent, or would be if there were a Redis."""
        self.meanings.append(message)

    def ended(self, message: Message, status: Status, done_ns: float, receivers: int) -> None:
        """A publish ended so; one whose reply comes too late has timed out, as its publisher sees it."""
        timeout_ns = self.scenario.publishers[self.plan.streams[message.stream].config].timeout_ns
        ended = _Ended(status, done_ns, receivers)
        if done_ns - message.sent_ns > timeout_ns:
            ended = _Ended(Status.TIMED_OUT, message.sent_ns + timeout_ns, -1)
        self.endings[message.stream, message.seq] = ended

    def batch(self, batch: Batch) -> None:
        """Who is there when Redis writes a message is who gets it."""
        world = self._of_world()
        for at, node in enumerate(batch.node.tolist()):
            members = world.people.members(batch.message.channel, node)
            columns = (batch.received_ns, batch.first_ns, batch.pace_ns, batch.done_ns, batch.dead_ns)
            received_ns, first_ns, pace_ns, done_ns, dead_ns = (float(column[at]) for column in columns)
            fanout = _FanOut(
                batch.message, node, world.env.now, received_ns, first_ns, pace_ns, done_ns, dead_ns, members
            )
            self.fanouts.append(fanout)

    def cut_off(self, at_ns: float, party: Party, node: int) -> None:
        """Those clients have no connection any more."""
        if party.clients is not None:
            self.cuts.setdefault(node, []).append((at_ns, party.clients))

    def life(self, at_ns: float, event: str, party: Party, node: int, **more: Any) -> None:
        """Something happened to clients."""
        self.last_life_ns = max(self.last_life_ns, at_ns)
        for client in [] if party.clients is None else party.clients.tolist():
            self.lives.append({"t": self._t(at_ns), "ev": event, "client": client, "node": node, **more})

    def node_says(self, at_ns: float, node: int, event: str, **more: Any) -> None:
        """A line of a node's journal."""
        times = {name: self._t(value) for name, value in more.items() if name in ("from", "to")}
        self.said[node].append({"t": self._t(at_ns), "ev": event, **more, **times})

    def deliveries(self) -> tuple[NDArray[Any], Ints]:
        """All deliveries, by time of receipt (DELIVERY_DTYPE), and how many clients each fan-out reached."""
        world = self._of_world()
        clients = sum(group.count for group in self.plan.groups)
        last_ns: Floats = np.zeros(clients)
        waits = Draws(world.model.delays.client, self.scenario.seed, "client", len(self.plan.nodes))
        parts, written = [np.zeros(0, DELIVERY_DTYPE)], np.zeros(len(self.fanouts), np.int64)
        for number, fanout in enumerate(self.fanouts):
            own_ns = fanout.first_ns + fanout.pace_ns * np.arange(1, len(fanout.members) + 1, dtype=np.float64)
            left_ns = world.real(fanout.node, own_ns)
            on_its_way = left_ns <= np.minimum(fanout.dead_ns, self._cut_ns(fanout))
            wait_ns = waits.in_line(fanout.handed_ns, np.array([fanout.node]))
            link = world.fate.to_clients.get(fanout.node)
            came_ns = left_ns + wait_ns if link is None else world.slowed(link, left_ns, fanout.node) + wait_ns
            came_ns = np.minimum(came_ns, np.minimum(fanout.dead_ns, self._cut_ns(fanout)))[on_its_way]
            members = fanout.members[on_its_way]
            came_ns = np.maximum(came_ns, last_ns[members] + _GAP_NS)
            last_ns[members] = came_ns
            written[number] = len(members)
            parts.append(self._records(fanout, members, came_ns))
        found = np.concatenate(parts)
        return found[np.argsort(found["recv_ns"], kind="stable")], written

    def write(self, rundir: RunDir, *, end_ns: float, deliveries: NDArray[Any], written: Ints) -> None:
        """All journals of a run that ended then (ns since publishing began); what came later is not in them."""
        self._write_publishers(rundir, end_ns)
        self._write_clients(rundir, end_ns, deliveries)
        for node in self.plan.nodes:
            if node.journal:
                self._write_node(rundir, node.index, end_ns, written)

    def _records(self, fanout: _FanOut, members: Ints, came_ns: Floats) -> NDArray[Any]:
        rows = np.zeros(len(members), DELIVERY_DTYPE)
        message = fanout.message
        rows["recv_ns"] = np.rint(came_ns).astype(np.int64) + self.base_ns
        rows["intended_ns"], rows["seq"] = message.intended_ns + self.base_ns, message.seq
        rows["client"], rows["stream"], rows["node"] = members, message.stream, fanout.node
        rows["sent_lag_us"] = max(0, int(message.sent_ns - message.intended_ns)) // 1000
        return rows

    def _cut_ns(self, fanout: _FanOut) -> Floats:
        """By member, when its connection is cut after the message was handed over."""
        found = np.full(len(fanout.members), np.inf)
        for at_ns, clients in self.cuts.get(fanout.node, ()):
            if at_ns >= fanout.handed_ns:
                found[np.isin(fanout.members, clients)] = np.minimum(found[np.isin(fanout.members, clients)], at_ns)
        return found

    def _write_publishers(self, rundir: RunDir, end_ns: float) -> None:
        with StripeWriter(rundir.journal / "publishers-1.stripe", _header("publishers")) as stripe:
            order = sorted(self.meanings, key=lambda one: (one.intended_ns, one.stream, one.seq))
            intents = (INTENT.pack(one.intended_ns + self.base_ns, one.seq, one.stream, 0) for one in order)
            stripe.write(Kind.INTENTS, b"".join(intents))
            nobody = _Ended(Status.UNKNOWN, end_ns, -1)
            outcomes = [(one, self.endings.get((one.stream, one.seq), nobody)) for one in order]
            stripe.write(Kind.OUTCOMES, b"".join(self._outcome(*one) for one in outcomes))
            stripe.heartbeat(self._t(end_ns))

    def _outcome(self, message: Message, ended: _Ended) -> bytes:
        sent_ns, done_ns = self._t(message.sent_ns), self._t(max(message.sent_ns, ended.done_ns))
        return OUTCOME.pack(sent_ns, done_ns, message.seq, message.stream, ended.status, 0, ended.receivers, 0)

    def _write_clients(self, rundir: RunDir, end_ns: float, deliveries: NDArray[Any]) -> None:
        end = self._t(end_ns)
        kept = deliveries[deliveries["recv_ns"] <= end]
        with StripeWriter(rundir.journal / "clients-1.stripe", _header("clients")) as stripe:
            events = [*self._beginnings(), *(one for one in self.lives if one["t"] <= end)]
            stripe.events(sorted(events, key=lambda one: one["t"]))
            for at in range(0, len(kept), _RECORDS):
                stripe.write(Kind.DELIVERIES, kept[at : at + _RECORDS].tobytes())
            stripe.heartbeat(end)
            clients = range(sum(group.count for group in self.plan.groups))
            stripe.events({"t": end, "ev": "left", "client": client} for client in clients)
            stripe.close({"reason": "finished"})

    def _beginnings(self) -> Iterable[dict[str, Any]]:
        """Of clients that are there from the start: one after the other, all done when publishing begins."""
        delays = self._of_world().model.delays
        opening_ns, asking_ns = round(delays.connect.median_ns), round(delays.subscribe.median_ns)
        for group, config in zip(self.plan.groups, self.scenario.clients, strict=True):
            for turn in range(group.count if config.join_ns is None else 0):
                node = {"client": group.first_client + turn, "node": group.nodes[turn % len(group.nodes)]}
                t = (
                    self.base_ns
                    - 2 * (opening_ns + asking_ns)
                    - round((group.count - turn) * 1e9 / config.spawn_rate_per_s)
                )
                yield {"t": t, "ev": "connecting", **node, "attempt": 0}
                yield {"t": t + opening_ns, "ev": "open", **node}
                for event, at in (("subscribing", t + opening_ns), ("subscribed", t + opening_ns + asking_ns)):
                    yield from ({"t": at, "ev": event, **node, "channel": channel} for channel in group.channels)

    def _write_node(self, rundir: RunDir, node: int, end_ns: float, written: Ints) -> None:
        """What it says; of a message it speaks when it is through with it, and not if it has died before that."""
        world, end = self._of_world(), self._t(end_ns)
        lines: list[dict[str, Any]] = [{"t": 1, "ev": "start", "node": self.plan.nodes[node].id}]
        lines += [{"t": 1, "ev": "redis", "state": "up"}, *self.said[node]]
        for fanout, count in zip(self.fanouts, written.tolist(), strict=True):
            if fanout.node == node:
                received_ns, done_ns = world.real(node, np.array([fanout.received_ns, fanout.done_ns])).tolist()
                if done_ns <= min(fanout.dead_ns, end_ns):
                    lines.append(self._message_line(fanout, received_ns, done_ns, count))
        last = [{"t": end, "ev": "stop"}] if world.alive(node) else []
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in sorted(lines, key=_time) + last)
        (rundir.journal / f"{self.plan.nodes[node].id}.jsonl").write_text(text, encoding="utf-8")

    def _message_line(self, fanout: _FanOut, received_ns: float, done_ns: float, count: int) -> dict[str, Any]:
        message = fanout.message
        token = encode_token(Token(self.run_tag, message.stream, message.seq, 0, 0))
        mark, channel = token[:MARK_LENGTH].decode(), self.plan.channels[message.channel]
        t, done = self._t(received_ns), self._t(done_ns)
        return {"t": t, "ev": "msg", "ch": channel, "mark": mark, "n": count, "done": done}

    def _t(self, at_ns: float) -> int:
        return round(at_ns) + self.base_ns

    def _of_world(self) -> World:
        if self.world is None:
            raise ValueError("a journal is given its world before that runs")
        return self.world


def _time(line: Mapping[str, Any]) -> int:
    return int(line["t"])


def _header(role: str) -> dict[str, Any]:
    return {"role": role, "worker": 1, "pid": 0, "boot_id": BOOT, "started_ns": 0}


def base_ns_of(scenario: Scenario) -> int:
    """When publishing begins on the simulated clock: late enough for all clients to connect before it."""
    spawning_s = [group.count / group.spawn_rate_per_s for group in scenario.clients if group.join_ns is None]
    return 10_000_000_000 + round(max(spawning_s, default=0.0) * 1e9)


def run_tag_of(seed: int) -> int:
    """What messages of the run are marked with."""
    return int(generator(seed, "run tag").integers(1 << 16))
