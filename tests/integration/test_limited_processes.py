"""Limits of processes hold for all that a unit starts, from its first instruction on."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fanlab.errors import EnvironmentFailure
from fanlab.rundir import RunDir
from fanlab.topology import cgroups
from fanlab.topology.backend import Need
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
