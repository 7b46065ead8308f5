"""The arrays behind the charts, from an account and the samples. Pure.

Counts stay counts per bin; a chart that shows rates divides them by `bin_s` of the notes (all bins are equal). Offered
and lost messages stand at their intended time, delivered ones at their receive time, latencies at the intended time.
"""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fanlab.analysis.latency import ecdf_ms, over_time_ms, spectrum_ms
from fanlab.analysis.names import Names, names_of
from fanlab.analysis.recovery import bite_ns, recoveries
from fanlab.analysis.series import CacheLine, FaultWindow, Floats, HopLoss, Series
from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.ledger.causes import Cause, Hop
from fanlab.ledger.records import NO_NODE
from fanlab.ledger.result import Account, Outage
from fanlab.scenario.strikes import deed

MAX_ROWS = 400  # of the heatmap: more would be finer than a pixel


class Sample(NamedTuple):
    """One line of samples.csv."""

    t_s: float
    metric: str
    unit: str
    value: float


def parse_samples(lines: Iterable[str]) -> list[Sample]:
    """The lines of samples.csv, header and line ends included.

    A last line without its end was cut short when the writer died; it is left out, as its number may be too.
    Raises ValueError for any other line that is not a sample.
    """
    rows = csv.reader(line for line in lines if line.endswith("\n"))
    header = next(rows, list(Sample._fields))
    if header != list(Sample._fields):
        raise ValueError(f"the samples begin with {','.join(header)}, not with {','.join(Sample._fields)}")
    found = [Sample(float(t_s), metric, unit, float(value)) for t_s, metric, unit, value in rows]
    return [sample for sample in found if math.isfinite(sample.t_s) and math.isfinite(sample.value)]


def build_series(account: Account, manifest: Mapping[str, Any], samples: Iterable[Sample] = ()) -> Series:
    """Everything that the charts draw.

    `notes` holds `partial`, `bin_s` (width of a bin in seconds), `clients`, `clients_hit` (how many lost something),
    `clients_per_row` (how many a row of the heatmap stands for; the last row of a node may stand for fewer) and `clock`
    (`basis` and `bound_ms`, as in summary.json: how exact a time between two processes is).
    """
    names = names_of(manifest)
    edges_ns = account.start_ns - account.zero_ns + account.bin_ns * np.arange(len(account.offered) + 1)
    heatmap, rows, clients_per_row = loss_heatmap(account, names)
    latency = account.latency
    by_node = dict(sorted(latency.by_node.items(), key=lambda item: _node_order(names, item[0])))
    return Series(
        edges_s=edges_ns / NS_PER_S,
        offered=account.offered.astype(np.float64),
        delivered=account.delivered.astype(np.float64),
        lost=account.lost.astype(np.float64),
        latency_ms=over_time_ms(latency.over_time, account.clock),
        latency_n=np.array([one.n for one in latency.over_time], dtype=np.float64),
        spectrum=spectrum_ms(latency.overall, account.clock),
        spectrum_n=latency.overall.n,
        heatmap=heatmap,
        heatmap_rows=rows,
        ecdf_ms={node: ecdf_ms(histogram, account.clock) for node, histogram in by_node.items()},
        ecdf_n={node: histogram.n for node, histogram in by_node.items()},
        faults=fault_windows(account),
        recoveries=recoveries(account, names),
        hop_losses=hop_losses(account, names),
        caches=cache_lines(account),
        samples=sample_lines(samples),
        notes={
            "partial": account.partial,
            "bin_s": account.bin_ns / NS_PER_S,
            "clients_per_row": clients_per_row,
            "clients": names.clients(),
            "clients_hit": len(np.unique(account.losses["client"])),
            "clock": {
                "basis": account.clock.basis,
                "bound_ms": None if account.clock.span is None else account.clock.span.bound_ns / NS_PER_MS,
            },
        },
    )


def loss_heatmap(account: Account, names: Names, max_rows: int = MAX_ROWS) -> tuple[Floats, list[str], int]:
    """Losses by client and bin: the array, the node of each row, and how many clients a row stands for.

    A client has a row with the node that it started on, and one more with every other node on which it lost something:
    a loss is shown where `loss.by_node` counts it. Where there are more clients than rows, neighbours on the same node
    share one: never clients of different nodes.
    """
    homes = np.asarray(names.homes(), dtype=np.int64)
    clients = len(homes)
    lost_by = account.losses["client"].astype(np.int64)
    lost_on = account.losses["node"].astype(np.int64)
    lost_on = np.where(lost_on == NO_NODE, homes[lost_by], lost_on)
    # A (node, client) pair as one number, so that pairs sort by node, then by client.
    lost_at = lost_on * clients + lost_by
    pairs = np.unique(np.concatenate((homes * clients + np.arange(clients), lost_at)))
    nodes, sizes = np.unique(pairs // clients, return_counts=True) if clients else (pairs, pairs)
    per_row = _clients_per_row([int(size) for size in sizes], max_rows)
    row_of_pair = np.zeros(len(pairs), dtype=np.int64)
    rows: list[str] = []
    first = 0
    for node, size in zip(nodes, sizes, strict=True):
        row_of_pair[first : first + size] = len(rows) + np.arange(size) // per_row
        rows += [names.node(int(node))] * -(-int(size) // per_row)
        first += size
    bins = len(account.offered)
    heatmap = np.zeros((len(rows), bins))
    if bins:
        since_ns = account.losses["intended_ns"].astype(np.int64) - account.start_ns
        at = np.clip(since_ns // account.bin_ns, 0, bins - 1)
        np.add.at(heatmap, (row_of_pair[np.searchsorted(pairs, lost_at)], at), 1.0)
    return heatmap, rows, per_row


def hop_losses(account: Account, names: Names) -> list[HopLoss]:
    """The losses by hop, cause and fault: along the way of a message, what cannot be placed last, the most first."""
    hop, cause, fault = (account.losses[name].astype(np.int64) for name in ("hop", "cause", "fault"))
    kinds, counts = np.unique((hop << 32) | (cause << 16) | (fault + 1), return_counts=True)
    found = [
        HopLoss(
            hop=Hop(kind >> 32).label,
            cause=Cause((kind >> 16) & 0xFFFF).label,
            fault=names.fault(account.faults[at - 1]) if (at := kind & 0xFFFF) else "",
            lost=count,
        )
        for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True)
    ]
    way = [hop.label for hop in sorted(Hop, key=lambda hop: (hop is Hop.UNKNOWN, hop))]
    return sorted(found, key=lambda one: (way.index(one.hop), -one.lost, one.cause, one.fault))


def cache_lines(account: Account) -> list[CacheLine]:
    """Each node's cache over the account's bins."""
    if account.caches is None:
        return []
    lines = []
    for name, node in account.caches.nodes.items():
        refresh = over_time_ms(node.refresh_over_time)
        lines.append(
            CacheLine(
                node=name,
                wrong=node.wrong_over_time,
                refresh_n=np.array([one.n for one in node.refresh_over_time], dtype=np.float64),
                refresh_p50_ms=refresh["p50"],
                refresh_max_ms=refresh["max"],
                refreshed=node.tally.refreshed,
                missed=node.tally.missed,
                wrong_for_good=node.tally.wrong_for_good,
            )
        )
    return lines


def fault_windows(account: Account) -> list[FaultWindow]:
    """Each fault that took hold, from its bite (see `recovery.bite_ns`) to the confirmation of its healing."""
    of_fault: dict[int, list[Outage]] = {}
    for outage in account.outages:
        if outage.fault is not None:
            of_fault.setdefault(outage.fault, []).append(outage)

    def seconds(t_ns: int) -> float:
        return (t_ns - account.zero_ns) / NS_PER_S

    return [
        FaultWindow(
            name=deed(fault.kind, fault.target),
            start_s=seconds(bitten_ns),
            end_s=None if fault.heal_confirmed_ns is None else seconds(fault.heal_confirmed_ns),
        )
        for index, fault in enumerate(account.faults)
        if (bitten_ns := bite_ns(fault, of_fault.get(index, []))) is not None
    ]


def sample_lines(samples: Iterable[Sample]) -> dict[str, dict[str, tuple[Floats, Floats]]]:
    """Metric -> unit -> (seconds, value): units in the order in which they were first sampled, values by time."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for sample in samples:
        found.setdefault(sample.metric, {}).setdefault(sample.unit, []).append((sample.t_s, sample.value))
    lines: dict[str, dict[str, tuple[Floats, Floats]]] = {}
    for metric, units in found.items():
        for unit, points in units.items():
            points.sort()
            times, values = zip(*points, strict=True)
            lines.setdefault(metric, {})[unit] = (np.array(times), np.array(values))
    return lines


def _clients_per_row(residents: Sequence[int], max_rows: int) -> int:
    """The least number of clients to a row with which all nodes' rows are at most `max_rows`, or one row per node."""
    per_row = 1
    while sum(-(-count // per_row) for count in residents) > max_rows and per_row < max(residents):
        per_row += 1
    return per_row


def _node_order(names: Names, node: str) -> tuple[int, str]:
    """Nodes in the plan's order (node-10 after node-9), strangers last."""
    ids = [spec.id for spec in names.plan.nodes]
    return (ids.index(node) if node in ids else len(ids), node)
