"""The ledger and the SQL checker agree on what became of the nodes' caches, whatever happened to them."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanlab.agreement import Compared, compare
from fanlab.crosscheck.answers import CACHE_TERMS, Crosscheck
from fanlab.ledger.account import account
from fanlab.ledger.records import ReadStatus, Status
from fanlab.rundir import RunDir
from support.examples import examples
from support.histories import History, ns

UPDATES = 9


def cache_history(random: Random) -> History:
    """Up to three nodes with caches, up to two publishers with objects, and all that can happen to them."""
    grid = random.choice((1, 1, 20, 50))  # ms: on a coarse one, things happen at one instant that never do otherwise
    history = History(
        clients=3,
        nodes=3,
        objects=random.choice((1, 2, 3, None)),
        caching=random.choice(((0, 1, 2), (0, 1, 2), (1,), ())),
        streams=("news",) * random.randint(1, 2),
        status=random.choice(("complete", "complete", "complete", "aborted")),
        drain_ended_by=random.choice(("quiet", "quiet", "quiet", "deadline")),
        close_stripes=random.random() < 0.8,
    )
    for client in range(history.clients):
        history.subscribe(client, node=client)
    for stream in range(len(history.streams)):
        for seq in range(1, random.randint(2, UPDATES + 1)):
            status = random.choice((Status.OK,) * 8 + (*Status, None))
            at = on(grid, 100 * seq - 150) + random.choice((0, 0, stream))
            took = on(grid, random.choice((0, 1, 30)))
            history.publish(seq, at, stream=stream, status=status, lag=0, took=took)
    for node in range(history.nodes):
        ends(history, node, random, grid)
        if random.random() < 0.7:
            takes(history, node, random, grid)
        reads(history, node, random, grid)
    for lines in history.node_lines.values():
        if random.random() < 0.3:
            random.shuffle(lines)
    return history


def on(grid: int, at: float) -> int:
    """The nearest time of a grid."""
    return round(at / grid) * grid


def ends(history: History, node: int, random: Random, grid: int) -> None:
    """A node dies by a fault or by itself, is seen back or is not, and says of itself that it began, or does not."""
    name = f"node-{node + 1}"
    if random.random() < 0.3:
        at = on(grid, random.randint(-200, 900))
        history.fault(random.choice(("crash", "stop", "pause")), name, at, random.choice((None, at + 100)))
    if random.random() < 0.15:
        history.died(node, at := on(grid, random.randint(-200, 900)))
        if random.random() < 0.5:
            history.close(node, at).subscribe(node, node=random.choice((node, node, 2)), at=at + 60)
    for _ in range(random.choice((0, 0, 1, 2))):
        history.node_line(node, on(grid, random.randint(-900, 900)), "start", pid=1)


def takes(history: History, node: int, random: Random, grid: int) -> None:
    """Its cache takes most updates, in any order; some twice, some of nobody, and some lines are none."""
    for stream in range(len(history.streams)):
        for seq in range(1, UPDATES + 2):
            for _ in range(random.choice((0, 1, 1, 1, 1, 2))):
                history.take(node, seq, on(grid, 100 * seq - 149 + random.choice((0, 0, 30, 200))), stream=stream)
    if random.random() < 0.2:
        history.node_line(node, 1, "cache", ch="news", key="x", mark="fl1zzzz000000000001")
        history.node_line(node, 1, "cache", ch="news", key="x")
        history.node_lines[node].append({"ev": "start"})


def reads(history: History, node: int, random: Random, grid: int) -> None:
    """Readers get any version, the newest more often than others, or none; and in the end most entries are swept."""
    objects = history.objects or 1
    for _ in range(random.choice((0, 3, 9))):
        at = on(grid, random.randint(-300, 1200))
        read(history, node, random.randrange(objects), at, random, sweep=False)
    for number in range(objects):
        for _ in range(random.choice((0, 1, 1, 1, 2))):
            read(history, node, number, 1400 + random.randint(0, 9), random, sweep=True)


def read(history: History, node: int, number: int, at: float, random: Random, *, sweep: bool) -> None:
    objects, stream = history.objects or 1, random.randrange(len(history.streams))
    seq = number + 1 + objects * random.choice((0, 0, 1, 2, 2, 8))
    status = random.choice((ReadStatus.OK,) * 6 + tuple(ReadStatus))
    history.read(
        node, number, at, seq if status is ReadStatus.OK else 0, status=status, stream=stream, sweep=sweep,
        took=random.choice((0, 1, 20)),
    )  # fmt: skip


@contextmanager
def written(seed: int) -> Iterator[RunDir]:
    folder = Path(tempfile.mkdtemp(prefix="fanlab-test-"))
    try:
        yield cache_history(Random(seed)).write(folder / "run")  # noqa: S311 - reproducible on purpose
    finally:
        shutil.rmtree(folder)


def compared(rundir: RunDir) -> tuple[Compared, ...]:
    with Crosscheck(rundir.path) as second:
        return compare(account(rundir), second).counts


@settings(max_examples=examples(250), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32))
def test_they_agree_on_any_caches(seed: int) -> None:
    with written(seed) as rundir:
        assert [one for one in compared(rundir) if not one.agrees] == []


def test_the_histories_have_everything_in_them() -> None:
    there: set[str] = set()
    for seed in range(60):
        with written(seed) as rundir:
            there |= {one.term for one in compared(rundir) if one.cache is not None and one.sql}
    assert there == set(CACHE_TERMS)


def test_a_take_that_only_one_of_them_was_shown_is_found() -> None:
    history = History(nodes=1, objects=1, caching=[0]).subscribe(0)
    for seq in (1, 2, 3):
        history.publish(seq, 100 * seq).take(0, seq, 100 * seq + 1)
    folder = Path(tempfile.mkdtemp(prefix="fanlab-test-"))
    try:
        rundir = history.write(folder / "run")
        before = account(rundir)
        journal = rundir.journal / "node-1.jsonl"
        journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))
        with Crosscheck(rundir.path) as second:
            found = compare(before, second)
    finally:
        shutil.rmtree(folder)
    assert not found.agrees
    assert [(one.cache, one.term, one.ledger, one.sql) for one in found.counts if not one.agrees] == [
        ("node-1", "refreshed", 3, 2),
        ("node-1", "missed", 0, 1),
        ("node-1", "wrong_for_good", 0, 1),
    ]
    assert ns(0) == before.zero_ns
