"""A wall clock that can be stepped: the file, and what a process reads of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fanlab.clock import NS_PER_S
from fanlab.topology import walltime
from fanlab.topology.walltime import WallTime

CODE = """
import json, sys, time
for line in sys.stdin:
    print(json.dumps([time.time(), time.monotonic()]), flush=True)
"""


def test_the_library_is_looked_for_where_debian_puts_it(tmp_path: Path) -> None:
    assert not walltime.installed(tmp_path)
    place = tmp_path / "usr" / "lib" / "some-machine" / "faketime"
    place.mkdir(parents=True)
    (place / "libfaketime.so.1").touch()
    assert walltime.installed(tmp_path)


def test_the_file_holds_the_offset_in_seconds(tmp_path: Path) -> None:
    clock = WallTime.new(tmp_path)
    file = clock.folder / "clock"
    assert file.read_text() == "+0.000000\n"
    clock.step(-90 * NS_PER_S - 5 * 10**8)
    assert file.read_text() == "-90.500000\n"
    assert [path.name for path in clock.folder.iterdir()] == ["clock"]
    assert clock.environment["FAKETIME_TIMESTAMP_FILE"] == str(file)


@pytest.mark.skipif(not walltime.installed(), reason="no libfaketime here: apt-get install libfaketime")
def test_a_process_sees_its_wall_clock_step_and_its_monotonic_one_go_on(tmp_path: Path) -> None:
    clock = WallTime.new(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", CODE],
        env=clock.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def times() -> tuple[float, float]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("?\n")
        process.stdin.flush()
        wall, monotonic = json.loads(process.stdout.readline())
        return wall, monotonic

    try:
        before = times()
        clock.step(-3600 * NS_PER_S)
        after = times()
        assert -3600.5 < after[0] - before[0] - (after[1] - before[1]) < -3599.5
        assert after[1] >= before[1]
        clock.step(0)
        healed = times()
        assert abs(healed[0] - before[0] - (healed[1] - before[1])) < 0.5
    finally:
        process.communicate(timeout=30)
