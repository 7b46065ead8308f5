"""What became of the nodes' caches, from what was published, what nodes say that they took, and what reads got. Pure.

An update's key is (stream, object number), and its version is its seq: a publisher updates its objects in turn, and
Redis keeps the order, so a greater seq is a newer value. Per node:

    takes      the `cache` lines of its journal; for a node that has none, the first read that saw each version
    states     of each update: taken is refreshed; else missed, or indeterminate where nobody can know
    reads      stale where the version is older than the newest one that was certainly published before the read
    the end    what each entry holds: by the final sweep, where that failed by the journal

Memory grows with updates × nodes and with reads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.cached import (
    MISS_DTYPE,
    STALE_DTYPE,
    WRONG_DTYPE,
    CacheAccount,
    CacheTally,
    NodeCache,
    Staleness,
)
from fanlab.ledger.entries import Takes, held_at_the_end, wrong_over_time
from fanlab.ledger.fold import Grid
from fanlab.ledger.histogram import COARSE_BITS, Histogram, Ints
from fanlab.ledger.journals import Journals
from fanlab.ledger.lookups import last_of_each, latest
from fanlab.ledger.lost import Losses, World
from fanlab.ledger.messages import Messages
from fanlab.ledger.misses import explain_misses
from fanlab.ledger.nodejournal import NodeJournal
from fanlab.ledger.received import Bools
from fanlab.ledger.records import ReadStatus
from fanlab.ledger.updates import SEQ_MASK, Updates, updates_of, version
from fanlab.ledger.windows import NEVER
from fanlab.scenario.plan import Plan

UNKNOWN = -1  # what an entry holds, where nobody knows


@dataclass(frozen=True, slots=True)
class CacheWorld:
    """What is known beside the updates."""

    plan: Plan
    journals: Journals
    known: World  # what losses are held against
    grid: Grid
    zero_ns: int
    cut: bool  # the run was not drained to its end: what came last may have been on its way


@dataclass(frozen=True, slots=True)
class _Node:
    """One node while its account is made. The arrays are by update."""

    index: int
    id: str
    takes: Takes
    taken_ns: Ints  # when its cache took each update, or was first seen to hold it; NEVER: it was not
    exact: Bools  # the journal says when
    reads: NDArray[Any]  # READ_DTYPE; what read an unknown message is FAILED
    held: Ints  # by key, the version at the end; 0: none, UNKNOWN
    swept: Bools  # by key: the final sweep says so
    gone: bool
    forgot: bool  # it died at least once, and with it what its cache held


def cache_account(manifest: Mapping[str, Any], messages: Messages, world: CacheWorld) -> CacheAccount | None:
    """The account of all caches; None where no publisher has `objects`, or no node has a cache."""
    updates = updates_of(manifest, world.plan, messages, world.zero_ns)
    caching = [node for node in world.plan.nodes if node.id in (manifest.get("caching_nodes") or ())]
    if updates is None or not caching:
        return None
    nodes: dict[str, NodeCache] = {}
    misses: list[NDArray[Any]] = []
    stale: list[NDArray[Any]] = []
    wrong: list[NDArray[Any]] = []
    for spec in caching:
        node = _node(spec.index, spec.id, updates, world)
        made, *rows = _settled(node, updates, world)
        nodes[spec.id] = made
        for table, part in zip((misses, stale, wrong), rows, strict=True):
            table.append(part)
    return CacheAccount(
        updates=int(np.count_nonzero(updates.measure)),
        nodes=nodes,
        misses=np.sort(np.concatenate(misses), order=["intended_ns", "node"]),
        stale=np.sort(np.concatenate(stale), order=["asked_ns", "node"]),
        wrong=np.concatenate(wrong),
    )


def _node(index: int, name: str, updates: Updates, world: CacheWorld) -> _Node:
    journal = world.journals.nodes.get(index) or NodeJournal()
    reads = world.journals.reads[world.journals.reads["node"] == index].copy()
    seen = updates.find(reads["stream"].astype(np.int64), reads["seq"].astype(np.int64))
    ok = (reads["status"] == ReadStatus.OK) & (seen >= 0)
    reads["status"][(reads["status"] == ReadStatus.OK) & ~ok] = ReadStatus.FAILED
    taken = np.full(len(updates.key), NEVER)
    np.minimum.at(taken, seen[ok], reads["answered_ns"][ok].astype(np.int64))
    sightings = np.flatnonzero(taken < NEVER)
    of_row = updates.find(journal.taken[:, 0], journal.taken[:, 1])
    rows, of_row = journal.taken[of_row >= 0], of_row[of_row >= 0]
    exact = np.zeros(len(taken), np.bool_)
    if len(rows):
        taken[of_row], exact[of_row] = NEVER, True
        np.minimum.at(taken, of_row, rows[:, 2])
    deaths = [
        fault.confirmed_ns
        for fault in world.known.faults
        if fault.target == name and fault.kind in ("crash", "stop") and fault.confirmed_ns is not None
    ]
    resets = np.array(sorted([*deaths, *journal.starts]), np.int64)
    forgot = bool(deaths) or len(journal.starts) > 1
    which = of_row if len(rows) else sightings
    takes = Takes(
        key=updates.key[which],
        seq=updates.seq[which],
        t_ns=rows[:, 2] if len(rows) else taken[sightings],
        resets_ns=resets,
        journalled=bool(len(rows)),
    )
    held, swept = _at_the_end(takes, reads, updates, cut=world.cut)
    gone = not swept.any() and any(
        fault.target == name and fault.kind in ("crash", "stop") and fault.heal_confirmed_ns is None
        for fault in world.known.faults
        if fault.confirmed_ns is not None
    )
    return _Node(index, name, takes, taken, exact, reads, held, swept, gone, forgot)


def _at_the_end(takes: Takes, reads: NDArray[Any], updates: Updates, *, cut: bool) -> tuple[Ints, Bools]:
    """By key, the version that the entry has when all is over, and whether the sweep says so."""
    known = takes.journalled and not cut
    held = held_at_the_end(takes, updates.keys) if known else np.full(updates.keys, UNKNOWN)
    sweep = reads[(reads["sweep"] == 1) & (reads["status"] != ReadStatus.FAILED)]
    key = updates.key_of(sweep["stream"].astype(np.int64), sweep["object"].astype(np.int64))
    last = last_of_each(key)
    held[key[last]] = sweep["seq"][last]
    swept = np.zeros(updates.keys, np.bool_)
    swept[key] = True
    return held, swept


def _settled(
    node: _Node, updates: Updates, world: CacheWorld
) -> tuple[NodeCache, NDArray[Any], NDArray[Any], NDArray[Any]]:
    """One node's account, and its rows of MISS_DTYPE, STALE_DTYPE and WRONG_DTYPE."""
    taken = node.taken_ns < NEVER
    missed = ~taken & _surely_missed(node, updates, cut=world.cut)
    measure = updates.measure
    reads = node.reads[(node.reads["sweep"] == 0) & (node.reads["asked_ns"] >= world.zero_ns)]
    stale = _stale(node, reads, missed, updates)
    wrong, empty = _wrong(node, updates)
    tally = CacheTally(
        owed=int(np.count_nonzero(measure)),
        refreshed=int(np.count_nonzero(measure & taken)),
        missed=int(np.count_nonzero(measure & missed)),
        indeterminate=int(np.count_nonzero(measure & ~taken & ~missed)),
        wrong_for_good=len(wrong),
        empty_at_end=empty,
        reads=len(reads),
        reads_failed=int(np.count_nonzero(reads["status"] == ReadStatus.FAILED)),
        reads_missing=int(np.count_nonzero(reads["status"] == ReadStatus.MISSING)),
        stale_reads=len(stale),
        stale_reads_lost=int(np.count_nonzero(stale["why"] == Staleness.LOST)),
        stale_reads_withheld=int(np.count_nonzero(stale["why"] == Staleness.WITHHELD)),
    )
    timed = measure & taken & node.exact
    latency = node.taken_ns[timed] - updates.intended_ns[timed]
    at = world.grid.bin_of(updates.intended_ns[timed])
    order = np.argsort(at, kind="stable")
    parts = np.split(latency[order], np.searchsorted(at[order], np.arange(1, world.grid.bins)))
    cache = NodeCache(
        tally=tally,
        refresh=Histogram.of(latency),
        refresh_over_time=[Histogram.of(part, COARSE_BITS) for part in parts],
        wrong_over_time=wrong_over_time(updates, node.takes, world.grid),
        journalled=node.takes.journalled,
    )
    return cache, _miss_rows(node, measure & missed, updates, world), stale, wrong


def _surely_missed(node: _Node, updates: Updates, *, cut: bool) -> Bools:
    """Of the updates that a node is not known to have taken, those that it surely did not."""
    if node.takes.journalled:
        last_ns = int(node.takes.t_ns.max())
        unseen = cut & (updates.done_ns >= last_ns)
        missed: Bools = ~updates.uncertain & ~unseen
        return missed
    held = node.held[updates.key]
    # Versions come in order, so what is newer than the one that is held at the end was never taken. A node that died
    # in between forgot what it had: that it holds nothing says little then.
    lasting = (held > 0) | (not node.forgot)
    older: Bools = (held != UNKNOWN) & (updates.seq > held) & lasting & ~updates.uncertain
    return updates.failed | older


def _stale(node: _Node, reads: NDArray[Any], missed: Bools, updates: Updates) -> NDArray[Any]:
    """The stale ones of `reads`, as STALE_DTYPE rows."""
    sure = np.flatnonzero(updates.certain)
    reads = reads[reads["status"] == ReadStatus.OK]
    key = updates.key_of(reads["stream"].astype(np.int64), reads["object"].astype(np.int64))
    held, asked = reads["seq"].astype(np.int64), reads["asked_ns"].astype(np.int64)
    by_time = sure[np.lexsort((updates.done_ns[sure], updates.key[sure]))]
    # The newest of each key up to each time: keys ascend, so a running maximum never carries over
    newest_at = np.maximum.accumulate(version(updates.key[by_time], updates.seq[by_time])) & SEQ_MASK
    before = latest(updates.key[by_time], updates.done_ns[by_time], key, asked - 1)
    newest = (
        np.where(before >= 0, newest_at[np.maximum(before, 0)], 0) if len(by_time) else np.zeros(len(key), np.int64)
    )
    old = held < newest
    reads, key, held, asked, newest = reads[old], key[old], held[old], asked[old], newest[old]
    versions = version(updates.key[sure], updates.seq[sure])
    by_version = np.argsort(versions)
    oldest = sure[by_version[np.searchsorted(versions[by_version], version(key, held), side="right")]]
    rows = np.zeros(len(reads), STALE_DTYPE)
    rows["asked_ns"], rows["held"], rows["newest"] = asked, held, newest
    rows["age_ns"] = np.maximum(asked - updates.done_ns[oldest], 0)
    rows["stream"], rows["object"], rows["node"] = reads["stream"], reads["object"], node.index
    taken_ns = node.taken_ns[oldest]
    rows["why"] = np.select(
        [missed[oldest], taken_ns <= asked, taken_ns < NEVER],
        [Staleness.LOST, Staleness.WITHHELD, Staleness.LATE],
        Staleness.UNKNOWN,
    )
    return rows


def _wrong(node: _Node, updates: Updates) -> tuple[NDArray[Any], int]:
    """The entries that are wrong at the end, and how many are empty though something was published."""
    if node.gone:  # it has no entries
        return np.zeros(0, WRONG_DTYPE), 0
    newest = np.zeros(updates.keys, np.int64)
    np.maximum.at(newest, updates.key[updates.certain], updates.seq[updates.certain])
    wrong = np.flatnonzero((node.held > 0) & (node.held < newest))
    rows = np.zeros(len(wrong), WRONG_DTYPE)
    rows["stream"], rows["object"] = updates.stream_of(wrong), updates.object_of(wrong)
    rows["held"], rows["newest"], rows["node"] = node.held[wrong], newest[wrong], node.index
    rows["swept"] = node.swept[wrong]
    return rows, int(np.count_nonzero((node.held == 0) & (newest > 0)))


def _miss_rows(node: _Node, missed: Bools, updates: Updates, world: CacheWorld) -> NDArray[Any]:
    at = np.flatnonzero(missed)
    message = updates.message[at]
    losses = Losses(
        client=np.full(len(at), -1),
        channel=world.known.traffic.channel[message],
        stream=updates.stream[at],
        seq=updates.seq[at],
        message=message,
        sent_ns=updates.sent_ns[at],
        done_ns=updates.done_ns[at],
        status=updates.messages.status[message],
        next_sent_ns=np.full(len(at), NEVER),
    )
    cause, hop, fault = explain_misses(losses, node.index, world.known, world.plan.channels)
    rows = np.zeros(len(at), MISS_DTYPE)
    for name in ("intended_ns", "stream", "seq"):
        rows[name] = getattr(updates, name)[at]
    rows["object"], rows["node"] = updates.object_of(updates.key[at]), node.index
    rows["cause"], rows["hop"], rows["fault"] = cause, hop, fault
    rows["mended_ns"] = node.takes.next_ns(updates.key[at], updates.seq[at])
    return rows
