"""How often a process was held back by its CPU limit, from /proc and control groups as the kernel writes them."""

from pathlib import Path

import pytest

from fanlab.throttling import Throttled, throttled
from fanlab.topology.cgroups import Hierarchy

V1 = "4:memory:/elsewhere\n2:cpuacct:/box\n1:cpu:/docker/abc\n0::/\n"
V1_TOGETHER = "3:cpu,cpuacct:/docker/abc\n0::/\n"
V2 = "0::/docker/abc\n"
STAT = "usage_usec 5\nnr_periods 40\nnr_throttled 38\nthrottled_time 3\n"


@pytest.mark.parametrize("groups", [V1, V1_TOGETHER, V2])
def test_the_counts_of_its_control_group(groups: str, tmp_path: Path) -> None:
    assert looked_up(tmp_path, groups, STAT) == Throttled(40, 38)


@pytest.mark.parametrize("stat", ["nr_periods 0\nnr_throttled 0\n", "nonsense\n", "nr_periods 3\n", None])
def test_no_limit_or_nothing_that_tells(stat: str | None, tmp_path: Path) -> None:
    assert looked_up(tmp_path, V2, stat) is None


def test_a_process_that_is_gone(tmp_path: Path) -> None:
    assert throttled(7, proc=tmp_path, found=Hierarchy(tmp_path, unified=True)) is None


def looked_up(folder: Path, groups: str, stat: str | None) -> Throttled | None:
    (folder / "proc" / "7").mkdir(parents=True)
    (folder / "proc" / "7" / "cgroup").write_text(groups)
    (folder / "cg" / "docker" / "abc").mkdir(parents=True)
    if stat is not None:
        (folder / "cg" / "docker" / "abc" / "cpu.stat").write_text(stat)
    return throttled(7, proc=folder / "proc", found=Hierarchy(folder / "cg", unified=True))
