"""The account of caches against a plain model of it, over histories that nobody chose."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanlab.ledger.account import account
from fanlab.ledger.cached import CacheAccount, Staleness
from fanlab.ledger.records import ReadStatus, Status
from support.examples import examples
from support.histories import History, ns

MS = 1_000_000
OBJECTS = 3
STATUSES = [Status.OK] * 6 + [Status.FAILED, Status.TIMED_OUT, Status.UNSENT]


@st.composite
def stories(draw: st.DrawFn) -> dict[str, list]:
    """Up to 12 updates 50 ms apart; when each of two nodes took each (None: never); reads at odd times."""
    count = draw(st.integers(1, 12))
    statuses = draw(st.lists(st.sampled_from(STATUSES), min_size=count, max_size=count))
    late = st.one_of(st.none(), st.sampled_from([1, 1, 1, 20, 120]))
    takes = [draw(st.lists(late, min_size=count, max_size=count)) for _ in (0, 1)]
    reads = draw(
        st.lists(
            st.tuples(st.integers(0, 1), st.integers(0, OBJECTS - 1), st.integers(0, 14), st.integers(0, count)),
            max_size=8,
        )
    )
    return {"statuses": statuses, "takes": takes, "reads": reads}


def taken_at(story: dict[str, list], node: int) -> dict[int, float]:
    """When a node took each version; in order per object, as Redis keeps it."""
    found: dict[int, float] = {}
    last = [0.0] * OBJECTS
    for seq, (status, late) in enumerate(zip(story["statuses"], story["takes"][node], strict=True), start=1):
        if late is None or status in (Status.FAILED, Status.UNSENT):
            continue
        number = (seq - 1) % OBJECTS
        last[number] = found[seq] = max(50 * seq + late, last[number] + 0.5)
    return found


def play(story: dict[str, list]) -> History:
    history = History(nodes=2, objects=OBJECTS, caching=[0, 1]).subscribe(0)
    for seq, status in enumerate(story["statuses"], start=1):
        history.publish(seq, 50 * seq, status=status)
    for node in (0, 1):
        for seq, at in taken_at(story, node).items():
            history.take(node, seq, at)
    for node, number, slot, version in story["reads"]:
        seq = _existing(story, number, version)
        if seq:
            history.read(node, number, 50 * slot + 25, seq)
        else:
            history.read(node, number, 50 * slot + 25, status=ReadStatus.MISSING)
    return history


def _existing(story: dict[str, list], number: int, version: int) -> int:
    """A version of that object that was published, or may have been; 0: none."""
    return version if version and (version - 1) % OBJECTS == number and _may(story["statuses"][version - 1]) else 0


def _may(status: Status) -> bool:
    return status not in (Status.FAILED, Status.UNSENT)


def model(story: dict[str, list]) -> dict[str, int]:
    """The same figures, worked out one by one."""
    statuses = story["statuses"]
    figures = dict.fromkeys(("owed", "refreshed", "missed", "indeterminate", "stale", "lost", "withheld", "wrong"), 0)
    for node in (0, 1):
        took = taken_at(story, node)
        seen = {
            _existing(story, number, version)
            for reader, number, _, version in story["reads"]
            if reader == node and _existing(story, number, version)
        }
        first_seen = {
            seq: min(50 * slot + 26 for r, n, slot, v in story["reads"] if r == node and _existing(story, n, v) == seq)
            for seq in seen
        }
        journals = bool(took)
        known = {**first_seen, **took}
        for seq, status in enumerate(statuses, start=1):
            if status is Status.UNSENT:
                continue
            figures["owed"] += 1
            sure = status is Status.FAILED or (status is Status.OK and journals)
            figures["refreshed" if seq in known else "missed" if sure else "indeterminate"] += 1
        for reader, number, slot, version in story["reads"]:
            held, asked = _existing(story, number, version), 50 * slot + 25
            if reader != node or not held:
                continue
            newer = [
                seq
                for seq in range(held + OBJECTS, len(statuses) + 1, OBJECTS)
                if statuses[seq - 1] is Status.OK and 50 * seq + 0.3 < asked
            ]
            if newer:
                figures["stale"] += 1
                oldest = newer[0]
                figures["withheld"] += oldest in known and known[oldest] <= asked
                figures["lost"] += oldest not in known and journals
        for number in range(OBJECTS):
            mine = [(at, seq) for seq, at in took.items() if (seq - 1) % OBJECTS == number]
            certain = [
                seq for seq, status in enumerate(statuses, 1) if status is Status.OK and (seq - 1) % OBJECTS == number
            ]
            figures["wrong"] += bool(mine and certain and max(mine)[1] < max(certain))
    return figures


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(story=stories())
def test_the_account_is_that_of_the_plain_model(story: dict[str, list]) -> None:
    with TemporaryDirectory() as folder:
        made = account(play(story).write(Path(folder) / "run")).caches
    assert isinstance(made, CacheAccount)
    tally = made.tally
    assert tally.balanced
    assert {
        "owed": tally.owed,
        "refreshed": tally.refreshed,
        "missed": tally.missed,
        "indeterminate": tally.indeterminate,
        "stale": tally.stale_reads,
        "lost": tally.stale_reads_lost,
        "withheld": tally.stale_reads_withheld,
        "wrong": tally.wrong_for_good,
    } == model(story)
    assert (made.stale["why"] == Staleness.LOST).sum() == tally.stale_reads_lost
    assert len(made.misses) == tally.missed


@settings(max_examples=examples(80), deadline=None)
@given(story=stories())
def test_wrong_entries_over_time_are_those_of_a_walk_through_it(story: dict[str, list]) -> None:
    with TemporaryDirectory() as folder:
        whole = account(play(story).write(Path(folder) / "run"))
    assert whole.caches is not None
    end = 50.0 * len(whole.offered)
    for node in (0, 1):
        took, wrong_ms = taken_at(story, node), 0.0
        if not took:
            continue  # nobody knows what it held but at its reads
        for number in range(OBJECTS):
            mine = list(range(number + 1, len(story["statuses"]) + 1, OBJECTS))
            moves = [(took[seq], 0, seq) for seq in mine if seq in took]
            moves += [(50 * seq + 0.3, 1, seq) for seq in mine if story["statuses"][seq - 1] is Status.OK]
            held = newest = 0
            since = None
            for at, published, seq in [*sorted(moves), (end, 2, 0)]:
                if since is not None:
                    wrong_ms += at - since
                newest = max(newest, seq) if published == 1 else newest
                held = seq if published == 0 else held
                since = at if 0 < held < newest else None
        line = whole.caches.nodes[f"node-{node + 1}"].wrong_over_time
        assert line.sum() * whole.bin_ns / MS == pytest.approx(wrong_ms, abs=1e-3)
        assert whole.zero_ns == ns(0)
