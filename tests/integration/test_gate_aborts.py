"""A gate that says `else abort` ends a real run, which reports what it has and fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.running_system import patient

pytestmark = pytest.mark.system

SCENARIO = """
name: slow
question: Does a gate end the run?
topology: {nodes: {count: 2}}
channels: [news]
clients:
  - {group: readers, count: 20, spawn_rate: 100/s, channels: [news]}
publishers:
  - {name: ticker, channel: news, rate: 50/s}
phases: {warm_up: 500ms, measure: MEASURE, drain: {quiet: 500ms, deadline: 5s}}
"""


def run(tmp_path: Path, more: str, measure: str = "30s") -> tuple[int, dict, dict, str]:
    (tmp_path / "slow.yaml").write_text(SCENARIO.replace("MEASURE", measure) + more)
    words = ["run", "slow.yaml", "--out", "run", "--no-progress", *patient()]
    done = subprocess.run(
        [sys.executable, "-m", "fanlab", *words],
        capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path, env=dict(os.environ),
    )  # fmt: skip
    summary, manifest = (
        json.loads((tmp_path / "run" / f"{name}.json").read_text()) for name in ("summary", "manifest")
    )
    return done.returncode, summary, manifest, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ("slow from the start", ""),
        ("with a fault that is not healed yet", "faults: [{kind: pause, target: node-2, at: 1s, for: 20s}]\n"),
    ],
)
def test_a_gate_ends_the_run(tmp_path: Path, what: str, fault: str) -> None:
    code, summary, manifest, said = run(tmp_path, fault + "gates: ['latency.p99 < 1us else abort']\n")
    assert code == 1, (what, said)
    assert manifest["status"] == "stopped"
    assert manifest["stopped"]["t_s"] < 25, "it ended before its time"
    assert summary["verdict"] == "fail"
    assert summary["partial"] is True
    assert summary["reasons"][0].startswith("stopped at ")
    assert summary["ledger"]["delivered"] > 0
    assert "stopped at" in said


def test_a_gate_that_holds_does_not(tmp_path: Path) -> None:
    gates = "gates: ['latency.p50 < 10s else abort', 'publishers.failed == 0 else abort after 1s']\n"
    code, summary, manifest, said = run(tmp_path, gates, "4s")
    assert (code, summary["verdict"]) == (0, "pass"), said
    assert manifest["status"] == "complete"
    assert "stopped" not in manifest
