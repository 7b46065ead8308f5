"""The sampler writes what it can see, leaves gaps for the rest, and stops when it is told to."""

import asyncio
import contextlib
import csv
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import psutil
import pytest

from fanlab import clock, sampler
from fanlab.sampler import Row, Sampler

NOBODY = "redis://127.0.0.1:1/0"


def made(path: Path) -> Sampler:
    return Sampler(path, zero_ns=clock.now_ns(), redis_url=NOBODY, channels=["news"], pids=lambda: {"me": os.getpid()})


async def rows_of(path: Path, count: int) -> list[dict[str, str]]:
    async with asyncio.timeout(20):
        while True:
            if path.exists():
                with path.open(newline="") as file:
                    rows = list(csv.DictReader(file))
                if len(rows) >= count:
                    return rows
            await asyncio.sleep(0.02)


async def test_a_redis_that_is_down_leaves_a_gap_and_processes_are_still_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "EVERY_S", 0.02)
    async with made(tmp_path / "samples.csv"):
        rows = await rows_of(tmp_path / "samples.csv", 5)
    assert {row["metric"] for row in rows if row["unit"] == "me"} == {"cpu", "rss_mb"}
    assert not [row for row in rows if row["metric"].startswith(("redis", "numsub", "channels"))]
    assert [float(row["t_s"]) for row in rows] == sorted(float(row["t_s"]) for row in rows)


def test_steal_and_busy_are_shares_of_all_cpu_time_since_the_sample_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = namedtuple("times", "user idle steal guest guest_nice")  # noqa: PYI024 - as psutil's
    told = iter([times(100, 100, 5, 50, 0), times(106, 102, 7, 56, 0), times(106, 102, 7, 56, 0)])
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(told))
    watching = made(tmp_path / "samples.csv")
    assert list(watching._machine_rows()) == [], "one look tells nothing"
    rows = list(watching._machine_rows())
    assert rows == [("steal", "machine", 2 / (6 + 2 + 2)), ("busy", "machine", 0.8)], "guests are among the users"
    assert list(watching._machine_rows()) == [], "no time has passed"


async def test_a_zombie_child_hides_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "EVERY_S", 0.02)
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    try:
        async with asyncio.timeout(20):
            while psutil.Process(zombie.pid).status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0.02)
        async with made(tmp_path / "samples.csv"):
            rows = await rows_of(tmp_path / "samples.csv", 5)
    finally:
        zombie.wait()
    assert {row["metric"] for row in rows if row["unit"] == "me"} == {"cpu", "rss_mb"}


async def test_it_stops_even_if_a_library_swallows_cancellations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # asyncio.wait_for of Python 3.11 does so, and redis-py uses it: a run once drained for ever because of it.
    monkeypatch.setattr(sampler, "EVERY_S", 0.01)

    async def swallows(_: Sampler) -> list[Row]:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)
        return []

    monkeypatch.setattr(Sampler, "_redis_rows", swallows)
    async with asyncio.timeout(20):
        async with made(tmp_path / "samples.csv"):
            await rows_of(tmp_path / "samples.csv", 1)


def test_families_are_told_of_each_process_that_is_asked_for_and_of_no_other() -> None:
    ours = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        found = sampler.families_of([os.getpid(), ours.pid, 1 << 30])
        assert {os.getpid(), ours.pid} <= {one.pid for one in found[os.getpid()]}
        assert [one.pid for one in found[ours.pid]] == [ours.pid]
        assert found[1 << 30] == [], "nobody is there"
        assert set(found) == {os.getpid(), ours.pid, 1 << 30}
    finally:
        ours.communicate()


def test_a_new_main_process_is_seen_at_once_and_a_new_child_after_some_samples(tmp_path: Path) -> None:
    pids = {"me": os.getpid()}
    watching = Sampler(
        tmp_path / "samples.csv", zero_ns=0, redis_url=NOBODY, channels=["news"], pids=lambda: dict(pids)
    )

    def units() -> set[str]:
        return {unit for _, unit, _ in watching._process_rows()}

    assert units() == {"me"}
    child = subprocess.Popen([sys.executable, "-c", "input()", "--role", "clients"], stdin=subprocess.PIPE)
    try:
        later = [units() for _ in range(sampler.LOOK_EVERY)]
        assert later == [{"me"}] * (sampler.LOOK_EVERY - 1) + [{"me", "me/clients"}]
        pids["it"] = child.pid
        assert units() == {"me", "me/clients", "it"}
    finally:
        child.communicate(b"\n")
    assert units() == {"me"}, "who has ended leaves a gap"
