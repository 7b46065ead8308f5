"""fanlab ended from outside, at any instant: nothing is left running, and its directory can be read."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanlab.seed import rng
from support.processes import family, left_after

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

# The whole series takes minutes, so that the suite does a few of it: FANLAB_KILLS=20 does all.
KILLS = int(os.environ.get("FANLAB_KILLS", "4"))
RUN_S = 9.0  # about the length of the run below, from the first import to the last line


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for TMPDIR; its path is short, because a Unix socket's must be."""
    with tempfile.TemporaryDirectory(prefix="fl-test-") as folder:
        yield Path(folder)


def started(out: Path, log: Path, **env: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "fanlab", "run", "quickstart", "--out", str(out), "--set", "phases.measure=4s"]
    with log.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, "CI": "1", **env})


@contextlib.contextmanager
def in_mid_run(out: Path, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """A fanlab that publishes by now, and that is gone after the block whatever happens in it."""
    harness = started(out, log)
    try:
        end = time.monotonic() + 30
        while not _running(out):
            assert time.monotonic() < end, "the run never began"
            time.sleep(0.05)
        yield harness
    finally:
        harness.kill()
        harness.wait()


def report(out: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "fanlab", "report", str(out), "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("number", range(KILLS))
def test_sigkill_at_a_random_instant_leaves_no_process_and_a_readable_directory(
    number: int, tmp_path: Path, temporary: Path
) -> None:
    # One instant in each of KILLS equal slices of the run, so that a few tests still cover all phases.
    after_s = RUN_S * (number + rng(1, "kill", number).random()) / KILLS
    out = tmp_path / "run"
    harness = started(out, tmp_path / "log", TMPDIR=str(temporary))
    try:
        time.sleep(after_s)
        processes = family(harness.pid)
        harness.kill()
        harness.wait()
        assert left_after(5.0, processes, out) == [], f"killed after {after_s:.2f} s"
    finally:
        harness.kill()
        harness.wait()
    assert list(temporary.iterdir()) == []
    assert not (out / "redis").exists()
    if not (out / "manifest.json").exists():
        return  # killed before there was anything to report on
    done = report(out)
    assert done.returncode in (0, 1, 3), done.stderr
    summary = json.loads(done.stdout)
    status = json.loads((out / "manifest.json").read_text())["status"]
    if status != "complete":
        assert summary["verdict"] == "invalid"
        assert any("partial" in reason or "before" in reason for reason in summary["reasons"]), summary["reasons"]
        assert "partial" in (out / "report.html").read_text().lower()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_in_mid_run_it_cleans_up_and_reports_what_there_is(signum: int, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with in_mid_run(out, tmp_path / "log") as harness:
        time.sleep(1.5)
        processes = family(harness.pid)
        harness.send_signal(signum)
        harness.wait(timeout=40)
    output = (tmp_path / "log").read_text()
    assert harness.returncode == 130, output
    assert "Traceback" not in output
    assert left_after(5.0, processes, out) == []
    assert json.loads((out / "manifest.json").read_text())["status"] == "aborted"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["verdict"] == "invalid"
    assert summary["ledger"]["delivered"] > 0


@pytest.mark.parametrize(("unit", "program"), [("node-3", "server.py"), ("redis", "redis-server")])
def test_what_ends_by_itself_in_mid_run_is_told_and_recorded(unit: str, program: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with in_mid_run(out, tmp_path / "log") as harness:
        suspects = [process for process in family(harness.pid) if program in " ".join(process.cmdline())]
        (victim,) = [one for one in suspects if unit in ("redis", one.environ().get("FANLAB_NODE_ID"))]
        victim.kill()
        harness.wait(timeout=60)
    manifest = json.loads((out / "manifest.json").read_text())
    # The scenario's own crash of node-2 is not among them.
    assert [(death["unit"], death["status"]) for death in manifest["unplanned_exits"]] == [(unit, -signal.SIGKILL)]
    assert f"{unit} has ended by itself" in (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("role", ["clients", "publishers"])
def test_a_generator_that_dies_in_mid_run_makes_the_run_invalid_at_once(role: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with in_mid_run(out, tmp_path / "log") as harness:
        (engine,) = [process for process in family(harness.pid) if role in process.cmdline()]
        engine.kill()
        harness.wait(timeout=40)
    output = (tmp_path / "log").read_text()
    assert harness.returncode == 3, output
    assert "Traceback" not in output
    assert json.loads((out / "manifest.json").read_text())["status"] == "failed"
    assert json.loads((out / "summary.json").read_text())["verdict"] == "invalid"


def _running(out: Path) -> bool:
    try:
        return json.loads((out / "manifest.json").read_text())["status"] == "running"
    except FileNotFoundError:
        return False
