"""What runs tell of the cost of each hop: plain arrays from a run directory, where nothing was broken."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanlab.analysis.verdict import INVALIDATING, judge
from fanlab.clock import NS_PER_S
from fanlab.errors import MeasurementError
from fanlab.ledger.account import account
from fanlab.ledger.faultlog import AFTERMATH_NS, REDIS, fault_accounts
from fanlab.ledger.journals import Journals, read_deliveries, read_journals
from fanlab.ledger.messages import Messages, collect_messages
from fanlab.ledger.records import DELIVERY_DTYPE, Status
from fanlab.ledger.result import FaultAccount
from fanlab.ledger.windows import NAMES
from fanlab.rundir import RunDir
from fanlab.scenario.plan import Plan, plan_from_json

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_AT: Final = {name: at for at, name in enumerate(NAMES)}
_FORGOTTEN_NS: Final = NS_PER_S  # by then a client knows that its node is gone, or it is another end
_MENDED_NS: Final = 10 * NS_PER_S  # by then a subscription is back, or it is another gap
_SOME: Final = 50  # values in a row, to see how alike neighbours are
_NOTHING: Final = 0.05  # less alike than that is not alike
_ALL: Final = 0.995
NO_FLOATS: Final = np.zeros(0)


class Usage(NamedTuple):
    """What a unit did and used over one sample's time."""

    messages_per_s: float  # of Redis: published; of a node: received
    writes_per_s: float  # to subscribers; to clients
    cpu: float  # share of a core


@dataclass(frozen=True, slots=True)
class Observed:
    """One run. Times ns; of messages, those of its calm: no fault was under way, and none had just ended."""

    about: Mapping[str, Any]  # scenario, its sha256, when, on what, of which nodes; why it is invalid, if it is
    nodes: int
    clients: Ints  # by node, at the start
    payload_bytes: int
    publishes_per_s: float
    deliveries_per_s: float  # of the busiest node
    schedule_ns: Floats  # by message
    reply_ns: Floats
    receivers: Floats
    redis_ns: Floats  # by message and node
    hop_ns: Floats  # ... from received to handed out
    fanout: Floats  # ... to so many clients
    client_ns: Floats  # by delivery, from its turn in the fan-out
    redis: tuple[Usage, ...]  # by sample
    node: tuple[Usage, ...]
    rss_bytes: tuple[tuple[int, float], ...]  # of each node: clients, memory
    receive_ns: Floats  # CPU of the generator for each delivery, one figure for each of its engines
    memory_ns: Mapping[str, Floats]  # of the waits schedule, redis and client, by line: see simulate.model.Delay
    connect_ns: Floats
    subscribe_ns: Floats
    resubscribe_ns: Floats
    rejoin_ns: Floats
    node_start_ns: Floats
    notice_ns: Floats


def observe(rundir: RunDir, *, even_simulated: bool = False) -> Observed:
    """What a run directory tells. Raises MeasurementError for one that is none, is partial, or was simulated itself."""
    manifest = rundir.read_manifest()
    simulated = manifest.get("backend") == "simulate" and not even_simulated
    if manifest.get("status") != "complete" or simulated:
        raise MeasurementError(
            f"{rundir.path} is not a whole run of a real system", hint="a model is measured from runs that ended well"
        )
    plan = plan_from_json(manifest["plan"])
    journals = read_journals(rundir, plan, manifest.get("run_tag"))
    if not journals.nodes:
        raise MeasurementError(
            f"no node of {rundir.path} kept a journal, so its hops cannot be told apart",
            hint="run it with nodes that journal",
        )
    messages = collect_messages(journals.intents, journals.outcomes, len(plan.streams))
    deliveries = [np.zeros(0, DELIVERY_DTYPE)]
    deliveries += [part for _, part in read_deliveries([stripe.path for stripe in journals.stripes])]
    faults = fault_accounts(manifest, journals.stamps)
    return _Reader(manifest, plan, journals, messages, np.concatenate(deliveries), faults).observed(rundir)


def memory_of(at_ns: Ints, values: Ints) -> Floats:
    """After how long a value resembles another by 1/e, in ns, from each value and the next; none from too few.

    Ranks are taken for those of a normal variable, so that a few long waits do not decide.
    """
    if len(values) < _SOME:
        return NO_FLOATS
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = (np.arange(len(values)) + 0.5) / len(values)
    normal = np.array([NormalDist().inv_cdf(rank) for rank in ranks.tolist()])
    alike = float(np.mean(normal[1:] * normal[:-1]) / np.mean(normal**2))
    gap_ns = float(np.median(np.diff(at_ns)))
    if alike < _NOTHING or gap_ns <= 0:
        return np.zeros(1)
    return np.array([-gap_ns / np.log(min(alike, _ALL))])


@dataclass(slots=True)
class _Reader:
    manifest: Mapping[str, Any]
    plan: Plan
    journals: Journals
    messages: Messages
    deliveries: NDArray[Any]
    faults: Sequence[FaultAccount]

    def observed(self, rundir: RunDir) -> Observed:
        messages, scenario = self.messages, self.manifest["scenario"]
        sent_ns = messages.sent_ns.astype(np.float64)
        calm = self._calm(messages.intended_ns) & (messages.status == Status.OK)
        redis_ns, hop_ns, fanout, client_ns, rows = self._hops(calm)
        seconds = scenario["phases"]["measure_ns"] / NS_PER_S
        from_zero = self.deliveries[self.deliveries["intended_ns"] >= self.manifest["phases"]["zero_ns"]]
        by_node = np.bincount(from_zero["node"], minlength=len(self.plan.nodes))[: len(self.plan.nodes)]
        published = int(np.count_nonzero(messages.intended_ns >= self.manifest["phases"]["zero_ns"]))
        redis, node, rss = self._usage(rundir, rows)
        connect_ns, subscribe_ns = self._joining()
        resubscribe_ns, rejoin_ns, node_start_ns, notice_ns = self._recovering()
        named = {name: self.manifest.get(name) for name in ("scenario_sha256", "started_utc", "backend", "seed")}
        named["kinds"] = sorted({group["kind"] for group in scenario["topology"]["nodes"]})
        named["invalid"] = [*judge(account(rundir), self.manifest, (), invalidating=INVALIDATING, failing=()).reasons]
        return Observed(
            about={"scenario": scenario["name"], **named, "host": self.manifest["host"]},
            nodes=len(self.plan.nodes),
            clients=self._clients(),
            payload_bytes=max(one["payload_bytes"] for one in scenario["publishers"]),
            publishes_per_s=published / seconds,
            deliveries_per_s=float(by_node.max(initial=0)) / seconds,
            schedule_ns=(sent_ns - messages.intended_ns)[calm],
            reply_ns=(messages.done_ns - sent_ns)[calm],
            receivers=messages.receivers[calm].astype(np.float64),
            redis_ns=redis_ns,
            hop_ns=hop_ns,
            fanout=fanout,
            client_ns=client_ns,
            redis=redis,
            node=node,
            rss_bytes=rss,
            receive_ns=self._receiving(),
            memory_ns=self._memories(calm),
            connect_ns=connect_ns,
            subscribe_ns=subscribe_ns,
            resubscribe_ns=resubscribe_ns,
            rejoin_ns=rejoin_ns,
            node_start_ns=node_start_ns,
            notice_ns=notice_ns,
        )

    def _calm(self, at_ns: Ints) -> NDArray[np.bool_]:
        """Of the measure phase, and no fault was under way nor had just ended."""
        phases = self.manifest["phases"]
        calm: NDArray[np.bool_] = (at_ns >= phases["zero_ns"]) & (at_ns < phases["measure_end_ns"])
        for fault in self.faults:
            if fault.requested_ns is not None:
                healed_ns = fault.heal_confirmed_ns or fault.confirmed_ns
                until_ns = phases["measure_end_ns"] if healed_ns is None else healed_ns + AFTERMATH_NS
                calm &= (at_ns < fault.requested_ns) | (at_ns > (until_ns if fault.heals else phases["measure_end_ns"]))
        return calm

    def _clients(self) -> Ints:
        counts = np.zeros(len(self.plan.nodes), np.int64)
        for group in self.plan.groups:
            on = np.resize(np.array(group.nodes), group.count)
            counts += np.bincount(on, minlength=len(self.plan.nodes))
        return counts

    def _hops(self, calm: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats, Floats, dict[int, tuple[Ints, Ints]]]:
        """By message and node: Redis' hop, the node's, and its clients; by delivery the last one; and by node when."""
        messages = self.messages
        parts: list[tuple[Floats, Floats, Floats, Floats]] = []
        rows: dict[int, tuple[Ints, Ints]] = {}
        found = messages.find(self.deliveries["stream"].astype(np.int64), self.deliveries["seq"].astype(np.int64))
        for node, journal in self.journals.nodes.items():
            at = messages.find(journal.messages[:, 0], journal.messages[:, 1])
            own = journal.messages[(at >= 0) & calm[np.maximum(at, 0)]]
            at = at[(at >= 0) & calm[np.maximum(at, 0)]]
            mine = (self.deliveries["node"] == node) & (found >= 0)
            order = np.lexsort((self.deliveries["recv_ns"][mine], found[mine]))
            message, recv_ns = found[mine][order], self.deliveries["recv_ns"][mine][order].astype(np.int64)
            count = np.bincount(message, minlength=len(messages.status))
            first = np.concatenate(([0], np.cumsum(count)))
            rank = np.arange(len(message)) - first[message] + 1
            received, done = np.zeros(len(count), np.int64), np.zeros(len(count), np.int64)
            received[at], done[at] = own[:, 2], own[:, 3]
            heard = received[message] > 0
            turn_ns = received[message] + (done - received)[message] * rank / np.maximum(count[message], 1)
            served = count[at] > 0
            hop = (own[:, 3] - own[:, 2])[served].astype(np.float64)
            away = (own[:, 2] - messages.sent_ns[at])[served].astype(np.float64)
            parts.append((away, hop, count[at][served].astype(np.float64), (recv_ns - turn_ns)[heard]))
            rows[node] = (received[at], count[at])
        columns = [np.concatenate([NO_FLOATS, *column]) for column in zip(*parts, strict=True)]
        return (columns[0], columns[1], columns[2], columns[3], rows)

    def _memories(self, calm: NDArray[np.bool_]) -> dict[str, Floats]:
        """Of each stream's lags, of each node's ways from Redis, and of each node's ways to its clients."""
        messages, found = self.messages, {"schedule": NO_FLOATS, "redis": NO_FLOATS, "client": NO_FLOATS}
        lags_ns = messages.sent_ns - messages.intended_ns
        for first, last in pairwise(messages.base.tolist()):
            own = np.flatnonzero(calm[first:last]) + first
            found["schedule"] = np.append(found["schedule"], memory_of(messages.intended_ns[own], lags_ns[own]))
        at_of = messages.find(self.deliveries["stream"].astype(np.int64), self.deliveries["seq"].astype(np.int64))
        for node, journal in self.journals.nodes.items():
            at = messages.find(journal.messages[:, 0], journal.messages[:, 1])
            rows, at = journal.messages[at >= 0], at[at >= 0]
            rows, at = rows[calm[at]], at[calm[at]]
            order = np.argsort(messages.sent_ns[at], kind="stable")
            sent_ns, away_ns = messages.sent_ns[at][order], (rows[:, 2] - messages.sent_ns[at])[order]
            found["redis"] = np.append(found["redis"], memory_of(sent_ns, away_ns))
            last_ns = np.zeros(len(messages.status), np.int64)
            mine = (self.deliveries["node"] == node) & (at_of >= 0)
            np.maximum.at(last_ns, at_of[mine], self.deliveries["recv_ns"][mine].astype(np.int64))
            got = last_ns[at][order] > 0
            late_ns = (last_ns[at] - rows[:, 3])[order][got]
            found["client"] = np.append(found["client"], memory_of(sent_ns[got], late_ns))
        return found

    def _usage(
        self, rundir: RunDir, rows: Mapping[int, tuple[Ints, Ints]]
    ) -> tuple[tuple[Usage, ...], tuple[Usage, ...], tuple[tuple[int, float], ...]]:
        """What Redis and the nodes did between two samples in the calm, and what that cost them."""
        zero_ns, messages, clients = self.manifest["phases"]["zero_ns"], self.messages, self._clients()
        cpu: dict[str, list[tuple[float, float]]] = {}
        rss: dict[str, float] = {}
        with rundir.samples.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                t_ns = zero_ns + float(row["t_s"]) * NS_PER_S
                if row["metric"] == "cpu":
                    cpu.setdefault(row["unit"], []).append((t_ns, float(row["value"])))
                elif row["metric"] == "rss_mb" and row["unit"] not in rss and float(row["t_s"]) > 0:
                    rss[row["unit"]] = float(row["value"]) * 1e6
        ok = messages.status == Status.OK
        sent_ns, receivers = messages.sent_ns[ok], np.maximum(messages.receivers[ok], 0)
        redis = tuple(self._spans(cpu.get(REDIS, ()), sent_ns, receivers))
        node = tuple(
            usage
            for index, (received_ns, count) in rows.items()
            for usage in self._spans(cpu.get(self.plan.nodes[index].id, ()), received_ns, count)
        )
        memory = tuple((int(clients[one.index]), rss[one.id]) for one in self.plan.nodes if one.id in rss)
        return redis, node, memory

    def _spans(self, shares: Sequence[tuple[float, float]], at_ns: Ints, writes: Ints) -> list[Usage]:
        order = np.argsort(at_ns)
        at_ns, total = at_ns[order], np.concatenate(([0], np.cumsum(writes[order])))
        found = []
        for (from_ns, _), (until_ns, share) in pairwise(shares):
            if self._calm(np.array([from_ns, until_ns])).all():
                low, high = np.searchsorted(at_ns, (from_ns, until_ns)).tolist()
                seconds = (until_ns - from_ns) / NS_PER_S
                found.append(Usage((high - low) / seconds, float(total[high] - total[low]) / seconds, share))
        return found

    def _receiving(self) -> Floats:
        """CPU of each clients engine over its deliveries, whatever else it does."""
        found = []
        for number, stripe in enumerate(self.journals.stripes):
            if stripe.header.get("role") == "clients" and len(stripe.health) > 1:
                first, last = stripe.health[0], stripe.health[-1]
                parts = [part for _, part in read_deliveries([self.journals.stripes[number].path])]
                count = sum(
                    int(np.count_nonzero((part["recv_ns"] >= first.t) & (part["recv_ns"] <= last.t))) for part in parts
                )
                found += [(last.cpu_s - first.cpu_s) * NS_PER_S / count] if count else []
        return np.array(found, np.float64)

    def _joining(self) -> tuple[Floats, Floats]:
        """How long opening a connection takes, and a confirmation."""
        events = self.journals.events
        events = events[np.lexsort((events["t"], events["client"]))]
        one, other = events[:-1], events[1:]
        same = one["client"] == other["client"]
        opened = same & (one["at"] == _AT["connecting"]) & (other["at"] == _AT["open"])
        confirmed = same & (one["at"] == _AT["subscribing"]) & (other["at"] == _AT["subscribed"])
        took = (other["t"] - one["t"]).astype(np.float64)
        return took[opened], took[confirmed]

    def _recovering(self) -> tuple[Floats, Floats, Floats, Floats]:
        """What faults cost until things are as before: by gap, by gap, by restart, by client."""
        found: dict[str, list[float]] = {"cut": [], "rejoin": [], "start": [], "notice": []}
        gaps = [until for journal in self.journals.nodes.values() for _, _, until in journal.gaps]
        numbers = {node.id: node.index for node in self.plan.nodes}
        events = self.journals.events
        closed = events[(events["at"] == _AT["closed"]) & ~events["own"]]
        begun_ns = sorted(fault.requested_ns for fault in self.faults if fault.requested_ns is not None)
        for fault in self.faults:
            if fault.requested_ns is None:
                continue
            if fault.kind == f"{REDIS}-kill-pubsub":
                next_ns = next((t for t in begun_ns if t > fault.requested_ns), fault.requested_ns + _MENDED_NS)
                found["cut"] += self._after(gaps, fault.requested_ns, within_ns=next_ns - fault.requested_ns)
            elif fault.kind == f"{REDIS}-restart" and fault.heal_requested_ns is not None:
                found["rejoin"] += self._after(gaps, fault.heal_requested_ns)
            elif fault.kind in ("crash", "stop", "restart"):
                if fault.heal_confirmed_ns is not None and fault.heal_requested_ns is not None:
                    found["start"].append(fault.heal_confirmed_ns - fault.heal_requested_ns)
                t = closed["t"][closed["node"] == numbers.get(fault.target)]
                found["notice"] += self._after(t.tolist(), fault.requested_ns, within_ns=_FORGOTTEN_NS)
        cut, rejoin, start, notice = (np.array(values, np.float64) for values in found.values())
        return cut, rejoin, start, notice

    @staticmethod
    def _after(times_ns: Sequence[int], at_ns: int, *, within_ns: int = _MENDED_NS) -> list[float]:
        return [float(t - at_ns) for t in times_ns if 0 <= t - at_ns <= within_ns]
