"""Limits of processes hold for all that a unit starts, from its first instruction on."""

import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fanlab.errors import EnvironmentFailure
from fanlab.faults.catalogue import FAULTS, NEEDS
from fanlab.faults.fault import Fault, Means, Target
from fanlab.rundir import RunDir
from fanlab.topology import cgroups
from fanlab.topology.backend import Need, UnitState
from fanlab.topology.processes import ProcessBackend
from support.leftovers import eventually

pytestmark = pytest.mark.system

WHERE = ["/bin/sh", "-c", "cat /proc/self/cgroup; echo told; sleep 600 & wait"]  # of a child of the unit's


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[ProcessBackend]:
    for need in (Need.CPU_LIMIT, Need.MEMORY_LIMIT):
        if (why := cgroups.refusal(need)) is not None:
            pytest.skip(why)
    rundir = RunDir(tmp_path / "run")
    rundir.create()
    backend = ProcessBackend(rundir)
    await backend.open()
    yield backend
    await backend.close()


async def test_what_a_launcher_starts_at_once_is_limited_with_it(backend: ProcessBackend, tmp_path: Path) -> None:
    for need in (Need.CPU_LIMIT, Need.MEMORY_LIMIT):
        await backend.prepare("unit", need)
    log = tmp_path / "unit.log"
    await backend.start_helper("unit", WHERE, {}, log)
    eventually(lambda: "told" in log.read_text().splitlines(), 20, "the unit's word")
    name = cgroups.group_name(backend.marks, "unit")
    controllers = [line.split(":")[1] for line in log.read_text().splitlines() if line.endswith(f"/{name}")]
    assert controllers == [""] or {"cpu", "memory"} <= {one for each in controllers for one in each.split(",")}


async def test_who_cannot_enter_its_group_is_not_started(backend: ProcessBackend, tmp_path: Path) -> None:
    log = tmp_path / "unit.log"
    await backend.prepare("unit", Need.CPU_LIMIT)
    backend._groups["unit", Need.CPU_LIMIT].remove()
    with pytest.raises(EnvironmentFailure, match=r"unit .* cannot enter its cgroup .*: No such file or directory"):
        await backend.start_helper("unit", WHERE, {}, log)
    await backend.start_helper("other", [sys.executable, "-c", "print('lives')"], {}, log)
    assert await backend.exited("other") == 0
    assert "lives" in log.read_text().splitlines()


async def test_and_so_is_whom_the_kernel_does_not_let_in(backend: ProcessBackend, tmp_path: Path) -> None:
    await backend.prepare("unit", Need.CPU_LIMIT)
    group = backend._groups["unit", Need.CPU_LIMIT]
    group.path = tmp_path / "none"
    group.path.mkdir()
    (group.path / "cgroup.procs").symlink_to("/dev/full")
    with pytest.raises(EnvironmentFailure, match=r"unit .* cannot enter its cgroup .*none: Exception occurred"):
        await backend.start_helper("unit", WHERE, {}, tmp_path / "unit.log")
    await backend.start_helper("other", [sys.executable, "-c", ""], {}, tmp_path / "other.log")
    assert await backend.exited("other") == 0


STARTS = {"memory-limit": {"limit_bytes": 64 << 20}, "cpu-throttle": {"cores": 0.5}}


def fault(backend: ProcessBackend, kind: str) -> Fault:
    return FAULTS[kind](Target(Means(backend, "redis://127.0.0.1"), "unit", settings=STARTS[kind]))


@pytest.mark.parametrize("kind", STARTS)
async def test_what_has_ended_already_is_limited_no_more(backend: ProcessBackend, tmp_path: Path, kind: str) -> None:
    await backend.prepare("unit", NEEDS[kind])
    await backend.start_helper("unit", ["/bin/false"], {}, tmp_path / "unit.log")
    await backend.exited("unit")
    with pytest.raises(EnvironmentFailure, match="unit has ended already: there is nothing to limit"):
        await fault(backend, kind).inject()


async def test_a_unit_that_ends_by_itself_was_not_killed_by_its_limit(backend: ProcessBackend, tmp_path: Path) -> None:
    await backend.prepare("unit", Need.MEMORY_LIMIT)
    argv = [sys.executable, "-c", "import time; time.sleep(1); raise SystemExit(3)"]
    await backend.start_helper("unit", argv, {}, tmp_path / "unit.log")
    limit = fault(backend, "memory-limit")
    await limit.inject()
    assert await backend.exited("unit") == 3
    assert not await limit.has_bitten()
    await limit.heal()
    assert backend.state("unit") is UnitState.GONE
    assert not await limit.has_healed()


async def test_one_that_needs_more_than_it_may_have_was(backend: ProcessBackend, tmp_path: Path) -> None:
    await backend.prepare("unit", Need.MEMORY_LIMIT)
    argv = [sys.executable, "-c", "import time; time.sleep(1); b'x' * (256 << 20); time.sleep(600)"]
    await backend.start_helper("unit", argv, {}, tmp_path / "unit.log")
    limit = fault(backend, "memory-limit")
    await limit.inject()
    assert await limit.has_bitten()
    assert await backend.exited("unit") == -signal.SIGKILL
    assert await limit.has_bitten()
    await limit.heal()
    assert backend.state("unit") is UnitState.RUNNING
