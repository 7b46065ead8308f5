"""Where cgroups are found, and what limits they hold: real ones, where this machine lets us make any."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanlab.topology import cgroups
from fanlab.topology.backend import Need
from fanlab.topology.cgroups import Group, Hierarchy, hierarchy

V1 = "cgroup {place}/cpu cgroup rw,relatime,cpu,cpuacct 0 0\ncgroup2 {place}/unified cgroup2 rw 0 0\n"
HOLD_BYTES = 96 << 20


def test_a_controller_is_found_in_version_1_by_the_mount_s_options(tmp_path: Path) -> None:
    (tmp_path / "mounts").write_text(V1.format(place=tmp_path))
    assert hierarchy("cpu", tmp_path / "mounts") == Hierarchy(tmp_path / "cpu", unified=False)
    assert hierarchy("memory", tmp_path / "mounts") is None


def test_and_in_version_2_by_the_mount_s_own_list(tmp_path: Path) -> None:
    (tmp_path / "mounts").write_text(V1.format(place=tmp_path))
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified" / "cgroup.controllers").write_text("io memory\n")
    assert hierarchy("memory", tmp_path / "mounts") == Hierarchy(tmp_path / "unified", unified=True)
    assert hierarchy("memory", tmp_path / "none") is None


def test_version_2_is_written_as_its_files_want_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "hierarchy", lambda _: Hierarchy(tmp_path, unified=True))
    (tmp_path / "cgroup.subtree_control").write_text("")
    cpu = Group("cpu", "one")
    cpu.make()
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu"
    (cpu.path / "cpu.max").touch()
    cpu.set_cores(0.25)
    assert (cpu.path / "cpu.max").read_text() == "25000 100000"
    assert cpu.cores() == 0.25
    memory = Group("memory", "two")
    memory.make()
    (memory.path / "memory.max").touch()
    memory.set_memory(None)
    assert memory.memory() is None
    (memory.path / "memory.max").write_text("")
    memory.set_memory(1 << 20)
    assert memory.memory() == 1 << 20
    (memory.path / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n")
    assert memory.kills() == 2


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for a line, then holds some memory, says so, and waits on."""
    code = f"import sys; sys.stdin.readline(); x = bytearray(b'x') * {HOLD_BYTES}; print('held', flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def group_for(need: Need, name: str) -> Group:
    if (why := cgroups.refusal(need)) is not None:
        pytest.skip(why)
    group = Group(cgroups.CONTROLLERS[need], f"fanlab-test-{os.getpid()}-{name}")
    group.make()
    return group


def test_a_cpu_limit_holds_until_it_is_lifted(sleeper: subprocess.Popen[bytes]) -> None:
    group = group_for(Need.CPU_LIMIT, "cpu")
    try:
        (group.path / "cgroup.procs").write_text(str(sleeper.pid))
        assert group.cores() is None
        group.set_cores(0.2)
        assert group.cores() == 0.2
        assert group.path.name in Path(f"/proc/{sleeper.pid}/cgroup").read_text()
        group.set_cores(None)
        assert group.cores() is None
    finally:
        sleeper.kill()
        sleeper.wait(30)
        group.remove()
    assert not group.path.exists()


def test_past_a_memory_limit_the_kernel_kills(sleeper: subprocess.Popen[bytes]) -> None:
    group = group_for(Need.MEMORY_LIMIT, "memory")
    try:
        (group.path / "cgroup.procs").write_text(str(sleeper.pid))
        group.set_memory(HOLD_BYTES // 3)
        assert group.memory() == HOLD_BYTES // 3
        assert sleeper.stdin is not None
        sleeper.stdin.write(b"go\n")
        sleeper.stdin.flush()
        assert sleeper.wait(60) == -9
        assert group.kills() == 1
    finally:
        sleeper.kill()
        sleeper.wait(30)
        group.remove()


def test_a_limit_below_what_is_in_use_kills_at_the_next_page(sleeper: subprocess.Popen[bytes]) -> None:
    group = group_for(Need.MEMORY_LIMIT, "below")
    try:
        (group.path / "cgroup.procs").write_text(str(sleeper.pid))
        assert sleeper.stdin is not None
        assert sleeper.stdout is not None
        sleeper.stdin.write(b"go\n")
        sleeper.stdin.flush()
        assert sleeper.stdout.readline() == b"held\n"
        group.set_memory(1 << 20)  # version 2 kills now; version 1 takes what is in use
        held = group.memory()
        assert held is not None
        assert held < 2 * HOLD_BYTES
    finally:
        sleeper.kill()
        sleeper.wait(30)
        group.remove()


@pytest.mark.parametrize("given", [True, False])
def test_where_version_2_does_not_give_the_controller_it_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, given: bool
) -> None:
    monkeypatch.setattr(cgroups, "hierarchy", lambda _: Hierarchy(tmp_path, unified=True))
    control = tmp_path / "cgroup.subtree_control"
    control.touch() if given else control.mkdir()
    why = cgroups.refusal.__wrapped__(Need.CPU_LIMIT)
    assert (why is None) is given
    assert given or (why is not None and f"under {tmp_path} (Is a directory)" in why)
    assert list(tmp_path.iterdir()) == [control]
