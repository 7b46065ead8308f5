"""An account and its manifest made by hand: a node crash, small enough to count on one's fingers, and valid.

Two nodes, four clients (0 and 2 start on node-1, 1 and 3 on node-2), one publisher at 100/s on `news`. Warm-up 1 s,
measured 10 s: 1000 messages, 4000 pairs owed. node-2 is killed at 2 s; client 1 is away for 0.5 s and loses 50, client
3 for 0.4 s and loses 40. Times in ns from an arbitrary clock on which time 0 is ZERO_NS.
"""

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.ledger.cached import (
    MISS_DTYPE,
    STALE_DTYPE,
    WRONG_DTYPE,
    CacheAccount,
    CacheTally,
    MissCause,
    MissHop,
    NodeCache,
    Staleness,
)
from fanlab.ledger.causes import Cause
from fanlab.ledger.clocks import ClockAccount, Span
from fanlab.ledger.histogram import COARSE_BITS, Histogram
from fanlab.ledger.latency import LatencyTable
from fanlab.ledger.probes import ProbeDelays
from fanlab.ledger.result import LOSS_DTYPE, Account, Evidence, FaultAccount, Outage, Tally
from fanlab.ledger.windows import NEVER
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import make_plan

ZERO_NS = 1_000 * NS_PER_S
BOOT = "0d6c2f1e-aaaa-bbbb-cccc-1234567890ab"


def at(seconds: float) -> int:
    """Seconds from time 0 as ns of the run's clock."""
    return ZERO_NS + round(seconds * NS_PER_S)


def make_scenario(**changes: Any) -> Scenario:
    """The scenario, with top-level keys replaced."""
    return Scenario.model_validate(
        {
            "name": "by-hand",
            "question": "What do the clients of a killed node lose?",
            "seed": 5,
            "topology": {"nodes": {"kind": "websockets", "count": 2}},
            "channels": ["news"],
            "clients": [{"group": "readers", "count": 4, "channels": ["news"]}],
            "publishers": [{"name": "ticker", "channel": "news", "rate": "100/s"}],
            "phases": {"warm_up": "1s", "measure": "10s"},
            "faults": [{"kind": "crash", "target": "node-2", "at": "2s", "for": "2s"}],
            "gates": ["loss.unexplained == 0", "ledger.duplicated == 0"],
            **changes,
        }
    )


def make_manifest(scenario: Scenario | None = None, **changes: Any) -> dict[str, Any]:
    """The manifest of a complete run of `scenario`, with top-level keys replaced."""
    scenario = scenario or make_scenario()
    return {
        "schema_version": 1,
        "status": "complete",
        "scenario": scenario.model_dump(mode="json"),
        "seed": scenario.seed,
        "backend": "process",
        "workers": 1,
        "plan": asdict(make_plan(scenario)),
        "predictions": [{"fault": 0, "predicted": 100.0, "basis": "100/s × 0.5 s × 2 clients"}],
        "faults": [
            {"id": 0, "kind": "crash", "target": "node-2", "at_ns": 2 * NS_PER_S, "for_ns": 2 * NS_PER_S},
        ],
        "fault_failures": [],
        "phases": {
            "publish_start_ns": at(-1),
            "zero_ns": at(0),
            "measure_end_ns": at(10),
            "drain_end_ns": at(11.25),
            "drain_ended_by": "quiet",
        },
        "clock": {"name": "CLOCK_MONOTONIC", "boot_id": BOOT},
        **changes,
    }


def crash(**changes: Any) -> FaultAccount:
    """The fault, with fields replaced."""
    fault = FaultAccount(
        id=0,
        kind="crash",
        target="node-2",
        requested_ns=at(2.0),
        confirmed_ns=at(2.01),
        heal_requested_ns=at(4.0),
        heal_confirmed_ns=at(4.3),
        predicted=100.0,
        measured=90,
    )
    return replace(fault, **changes)


def outages() -> list[Outage]:
    """Both clients' way from node-2 to node-1; client 1 notices 5 ms before the probe confirms the crash."""
    return [
        Outage(
            client=1,
            node=1,
            start_ns=at(2.005),
            reopened_ns=at(2.495),
            resubscribed_ns=at(2.505),
            first_message_ns=at(2.515),
            next_node=0,
            fault=0,
        ),
        Outage(
            client=3,
            node=1,
            start_ns=at(2.015),
            reopened_ns=at(2.405),
            resubscribed_ns=at(2.415),
            first_message_ns=at(2.425),
            next_node=0,
            fault=0,
        ),
    ]


def losses() -> np.ndarray:
    """Client 1 loses messages 201 to 250 of the measure phase, client 3 loses 202 to 241."""
    rows = [(1, seq) for seq in range(201, 251)] + [(3, seq) for seq in range(202, 242)]
    lost = np.zeros(len(rows), LOSS_DTYPE)
    lost["client"], lost["seq"] = np.array(rows).T
    lost["intended_ns"] = at(0) + (lost["seq"].astype(np.int64) - 1) * (10 * NS_PER_MS)
    lost["node"], lost["cause"], lost["fault"] = 1, Cause.CLIENT_RECONNECTING, 0
    return np.sort(lost, order=["intended_ns", "client"])


def caches() -> CacheAccount:
    """Both nodes' caches: node-2 missed 3 of 40 updates while it was down, and 2 of its entries stayed wrong."""
    misses = np.zeros(3, MISS_DTYPE)
    misses["intended_ns"], misses["seq"] = [at(2.25), at(2.5), at(2.75)], [10, 11, 12]
    misses["object"], misses["node"], misses["fault"] = [1, 2, 3], 1, 0
    misses["cause"], misses["hop"] = MissCause.NODE_DOWN, MissHop.REDIS_NODE
    misses["mended_ns"] = [at(5), NEVER, NEVER]
    stale = np.zeros(25, STALE_DTYPE)
    stale["asked_ns"], stale["age_ns"] = at(5) + np.arange(25) * NS_PER_MS, np.arange(1, 26) * NS_PER_MS
    stale["node"], stale["object"], stale["held"], stale["newest"] = 1, 2, 2, 11
    stale["why"] = [Staleness.LATE] + [Staleness.LOST] * 24
    wrong = np.zeros(2, WRONG_DTYPE)
    wrong["object"], wrong["held"], wrong["newest"], wrong["node"], wrong["swept"] = [2, 3], [2, 3], [11, 12], 1, True
    over_time = [Histogram.of([NS_PER_MS] * 2, COARSE_BITS) for _ in range(25)]
    calm, wrong_then = np.zeros(25), np.where(np.arange(25) > 6, 2.0, 0.0)
    one = CacheTally(owed=40, refreshed=40, reads=100, reads_missing=2)
    two = CacheTally(
        owed=40,
        refreshed=37,
        missed=3,
        wrong_for_good=2,
        reads=100,
        reads_failed=10,
        stale_reads=25,
        stale_reads_lost=24,
    )
    return CacheAccount(
        updates=40,
        nodes={
            "node-1": NodeCache(one, Histogram.of([NS_PER_MS] * 40), over_time, calm, journalled=True),
            "node-2": NodeCache(
                two,
                Histogram.of([2 * NS_PER_MS] * 37),
                over_time,
                wrong_then,
                journalled=True,
            ),
        },
        misses=misses,
        stale=stale,
        wrong=wrong,
    )


def make_account(**changes: Any) -> Account:
    """The account, with fields replaced. Bins of 0.5 s from −1 s to 11.5 s."""
    bins, bin_ns = 25, NS_PER_S // 2
    lost = losses()
    at_bin = (lost["intended_ns"].astype(np.int64) - at(-1)) // bin_ns
    lost_per_bin = np.bincount(at_bin, minlength=bins)
    offered = np.where((np.arange(bins) >= 0) & (np.arange(bins) < 22), 200, 0)
    latency = LatencyTable(
        overall=Histogram.of((np.linspace(1, 20, 3910) * NS_PER_MS).astype(np.int64)),
        by_node={"node-1": Histogram.of([NS_PER_MS] * 2410), "node-2": Histogram.of([2 * NS_PER_MS] * 1500)},
        over_time=[Histogram.of([NS_PER_MS] * int(n), COARSE_BITS) for n in offered - lost_per_bin],
        by_channel={"news": Histogram.of((np.linspace(1, 20, 3910) * NS_PER_MS).astype(np.int64))},
        by_group={"readers": Histogram.of((np.linspace(1, 20, 3910) * NS_PER_MS).astype(np.int64))},
    )
    hop = Histogram.of([NS_PER_MS // 5] * 1000)
    fields: dict[str, Any] = {
        "measure": Tally(published=1000, owed=4000, delivered=3910, lost=90),
        "warm_up": Tally(published=100, owed=400, delivered=400),
        "losses": lost,
        "by_client": {
            "owed": np.full(4, 1000),
            "delivered": np.array([1000, 950, 1000, 960]),
            "lost": np.array([0, 50, 0, 40]),
        },
        "by_stream": {"published": np.array([1000]), "owed": np.array([4000])},
        "publishers": {"planned": 1100, "sent": 1100, "unsent": 0, "failed": 0, "timed_out": 0, "unheard": 0},
        "clients": {"count": 4, "connected": 4, "reconnects": 2, "never_returned": 0},
        "faults": [crash()],
        "outages": outages(),
        "evidence": Evidence(
            stripes=2,
            complete_until_ns=at(11.25),
            node_journals=["node-1", "node-2"],
            publisher_journal=True,
            boot_ids=[BOOT],
        ),
        "latency": latency,
        "hops": {"schedule": hop, "redis": hop, "node": hop, "client": Histogram.of([NS_PER_MS] * 50)},
        "start_ns": at(-1),
        "zero_ns": at(0),
        "end_ns": at(11.5),
        "bin_ns": bin_ns,
        "offered": offered.astype(np.int64),
        "delivered": (offered - lost_per_bin).astype(np.int64),
        "lost": lost_per_bin.astype(np.int64),
        "schedule_lag_p99_ms": 0.4,
        "loop_lag_p99_ms": 2.5,
        "generator_cpu": 0.31,
        "partial": False,
        "probes": ProbeDelays(
            bias=[Histogram.of((np.linspace(0.02, 0.4, 500) * NS_PER_MS).astype(np.int64))],
            waits=[Histogram.of((np.linspace(0.1, 2.0, 500) * NS_PER_MS).astype(np.int64))],
            inferred=12,
        ),
        "cpu_wait": 0.02,
        "gc_max_ms": 1.5,
        "steal": 0.001,
        "clock": ClockAccount("one-boot", Span(0, 0), exchanges=6),
        "caches": caches(),
        **changes,
    }
    return Account(**fields)


def empty_account() -> Account:
    """What a run leaves that ended before anything happened."""
    none = np.zeros(4, np.int64)
    return make_account(
        measure=Tally(),
        warm_up=Tally(),
        losses=np.zeros(0, LOSS_DTYPE),
        by_client={"owed": none, "delivered": none, "lost": none},
        by_stream={"published": np.zeros(1, np.int64), "owed": np.zeros(1, np.int64)},
        publishers={"planned": 0, "sent": 0, "unsent": 0, "failed": 0, "timed_out": 0, "unheard": 0},
        clients={"count": 0, "connected": 0, "reconnects": 0, "never_returned": 0},
        faults=[],
        outages=[],
        evidence=Evidence(),
        latency=LatencyTable.empty(0),
        hops={name: Histogram() for name in ("schedule", "redis", "node", "client")},
        offered=np.zeros(0, np.int64),
        delivered=np.zeros(0, np.int64),
        lost=np.zeros(0, np.int64),
        schedule_lag_p99_ms=None,
        loop_lag_p99_ms=None,
        generator_cpu=None,
        partial=True,
        probes=ProbeDelays(),
        cpu_wait=None,
        gc_max_ms=None,
        steal=None,
        clock=ClockAccount(),
        caches=None,
    )
