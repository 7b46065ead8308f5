"""What the charts draw: plain arrays, so that a golden file can hold them and no chart needs the journals."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FaultWindow:
    """A fault as the charts shade it; seconds from time 0. `end_s` is None where it never healed."""

    name: str  # "crash node-2"
    start_s: float
    end_s: float | None


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long one fault cost the clients it hit, in ms after its confirmation. None: it never came to that."""

    fault: str
    clients: int
    detected_ms: float | None  # median client saw its connection end
    reconnected_ms: float | None  # median client's WebSocket was open again
    first_message_ms: float | None  # median client got a message again
    all_back_ms: float | None  # the last client was subscribed again


@dataclass(frozen=True, slots=True)
class HopLoss:
    """What was lost at one hop, from one cause, and goes back to one fault."""

    hop: str  # as in loss.by_hop
    cause: str  # as in loss.by_cause
    fault: str  # "crash node-2 @2s"; empty: to no fault of the scenario
    lost: int


@dataclass(frozen=True, slots=True)
class CacheLine:
    """One node's cache over the bins. NaN where a bin has too few refreshes for the figure."""

    node: str
    wrong: Floats  # entries that were wrong, on average over each bin
    refresh_n: Floats  # refreshes of which somebody knows how long they took, by intended send
    refresh_p50_ms: Floats
    refresh_max_ms: Floats
    refreshed: int
    missed: int
    wrong_for_good: int


@dataclass(slots=True)
class Series:
    """All figures over time share `edges_s` (n + 1 bin edges, seconds from time 0)."""

    edges_s: Floats
    offered: Floats  # owed pairs per bin
    delivered: Floats
    lost: Floats
    latency_ms: dict[str, Floats]  # "p50", "p95", "p99", "max" per bin; NaN where a bin has too few samples
    latency_n: Floats  # samples per bin
    spectrum: tuple[Floats, Floats]  # percentile (0..100), latency in ms
    spectrum_n: int
    heatmap: Floats  # clients × bins: messages lost; rows grouped by node
    heatmap_rows: list[str]  # the node of each row, e.g. "node-2"
    ecdf_ms: dict[str, tuple[Floats, Floats]]  # node -> (latency in ms, share of its deliveries at or below)
    ecdf_n: dict[str, int]
    faults: list[FaultWindow]
    recoveries: list[Recovery]
    hop_losses: list[HopLoss] = field(default_factory=list)  # in the order of the hops, the most first
    caches: list[CacheLine] = field(default_factory=list)  # in the plan's order; empty: none was measured
    samples: dict[str, dict[str, tuple[Floats, Floats]]] = field(default_factory=dict)
    # metric ("cpu", "rss_mb", "redis_buffer_kb", "numsub") -> unit or channel -> (seconds, value)
    notes: dict[str, Any] = field(default_factory=dict)
