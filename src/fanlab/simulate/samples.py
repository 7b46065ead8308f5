"""samples.csv of a simulated run: how busy its servers were, and what they held, in the form of fanlab.sampler."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from fanlab.ledger.records import Status
from fanlab.simulate.journals import Journal
from fanlab.simulate.parts import Floats
from fanlab.topology.backend import REDIS

EVERY_NS: Final = 500_000_000
Row = tuple[float, str, str, float]


def write_samples(path: Path, journal: Journal, *, zero_ns: int, end_ns: float) -> None:
    """From the first publish on, a row for each unit and half second. Times are ns since publishing began."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("t_s", "metric", "unit", "value"))
        for t_s, metric, unit, value in sorted(_rows(journal, zero_ns, end_ns)):
            writer.writerow((f"{t_s:.3f}", metric, unit, f"{value:.6g}"))


def _rows(journal: Journal, zero_ns: int, end_ns: float) -> Iterator[Row]:
    world = journal.world
    if world is None:
        return
    costs, bins = world.model.costs, max(1, int(end_ns // EVERY_NS))
    t_s = ((np.arange(bins) + 1) * EVERY_NS - zero_ns) / 1e9
    for node in world.plan.nodes:
        own = [fanout for fanout in journal.fanouts if fanout.node == node.index]
        at = np.array([fanout.received_ns for fanout in own])
        work = np.array([fanout.done_ns - fanout.received_ns + costs.node_message_ns.value for fanout in own])
        yield from _shares(t_s, "cpu", node.id, at, work)
        clients = sum(party.count for party in world.people.at[node.index])
        held = costs.node_base_bytes.value + costs.connection_bytes.value * clients
        yield t_s[-1], "rss_mb", node.id, held / 1e6
    ended = [one for one in journal.endings.values() if one.status is Status.OK]
    receivers = np.array([max(0, one.receivers) for one in ended])
    work = costs.redis_publish_ns.value + costs.redis_send_ns.value * receivers
    yield from _shares(t_s, "cpu", REDIS, np.array([one.done_ns for one in ended]), work)


def _shares(t_s: Floats, metric: str, unit: str, at_ns: Floats, work_ns: Floats) -> Iterator[Row]:
    """The share of each half second for which a unit works, its work put where it begins."""
    place = np.minimum(at_ns // EVERY_NS, len(t_s) - 1).astype(np.int64)
    busy = np.bincount(place, weights=work_ns, minlength=len(t_s)) if len(at_ns) else np.zeros(len(t_s))
    yield from ((float(at), metric, unit, float(share)) for at, share in zip(t_s, busy / EVERY_NS, strict=True))
