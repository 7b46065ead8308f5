"""An overloaded generator makes a run invalid, with the reason and what to do: its figures tell of nothing else."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import REFERENCE_NODE
from fanlab.clock import now_ns

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(180),
    pytest.mark.skipif("sys.platform != 'linux'", reason="other kernels stamp otherwise"),
]

FLOOD = """
name: flood
question: Is it noticed that one engine cannot send so much?
topology: {nodes: {count: 1}}
channels: [news, flood]
clients: [{group: readers, count: 2, channels: [news]}]
publishers:
  - {name: ticker, channel: news, rate: 20/s}
  - {name: flood, channel: flood, count: 10, rate: 30k/s, timeout: 1s}
phases: {warm_up: 0s, measure: 2s, drain: {quiet: 300ms}}
"""
STOPPED = """
name: stopped
question: Is it noticed that the clients' engine does not get to run?
topology: {nodes: {count: 1}}
channels: [news]
clients: [{group: readers, count: 10, channels: [news]}]
publishers: [{name: ticker, channel: news, rate: 50/s}]
phases: {warm_up: 500ms, measure: 4s, drain: {quiet: 300ms}}
"""
CHOOSY = """
name: choosy
question: Is it noticed that the probes are turned away?
topology: {nodes: {kind: choosy, count: 2}}
channels: [news]
clients: [{group: readers, count: 4, channels: [news]}]
publishers: [{name: ticker, channel: news, rate: 50/s}]
phases: {warm_up: 500ms, measure: 5s, drain: {quiet: 300ms}}
"""
CHOOSY_SERVER = """
import sys
sys.path.insert(0, {node!r})
import server
from node import Node

class Choosy(Node):
    async def serve(self, connection):
        if connection.request.headers.get("Fanlab-Client"):
            await super().serve(connection)

server.Node = Choosy
sys.exit(server.main())
"""
ALL_OFF = {"schedule_lag_p99": "10s", "loop_lag_p99": "10s", "bias_p99": "10s", "cpu": "1", "steal": "1"}


class Run:
    """A `fanlab run` under way. Every limit is off but those given."""

    def __init__(self, scenario: str, folder: Path, **limits: str) -> None:
        self.out = folder / "run"
        path = folder / "scenario.yaml"
        path.write_text(scenario)
        argv = [sys.executable, "-m", "fanlab", "run", str(path), "--out", str(self.out), "--json", "--no-progress"]
        for name, value in {**ALL_OFF, **limits}.items():
            argv += ["--set", f"limits.{name}={value}"]
        self.process = subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def measured_from_to(self) -> tuple[int, int]:
        """Begin and end of the measure phase, as soon as they are known."""
        give_up_ns = now_ns() + 60 * 10**9
        while now_ns() < give_up_ns and self.process.poll() is None:
            phases = self._manifest().get("phases") or {}
            if phases.get("measure_end_ns"):
                return int(phases["zero_ns"]), int(phases["measure_end_ns"])
            time.sleep(0.02)
        raise AssertionError(self.process.communicate())

    def clients_engine(self) -> psutil.Process:
        for child in psutil.Process(self.process.pid).children(recursive=True):
            argv = child.cmdline()
            if "--role" in argv and argv[argv.index("--role") + 1] == "clients":
                return child
        raise AssertionError("there is no clients engine")

    def ended(self) -> tuple[int, dict[str, Any]]:
        """Exit code and summary."""
        out, err = self.process.communicate(timeout=150)
        assert out, err
        return self.process.returncode, json.loads(out)

    def _manifest(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.out / "manifest.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return found


def stop_and_go(run: Run, stop_s: float, go_s: float) -> None:
    """Have the engine of the clients stand still for `stop_s` of every `stop_s + go_s`, while it is measured."""
    zero_ns, end_ns = run.measured_from_to()
    engine = run.clients_engine()
    time.sleep(max(0, zero_ns - now_ns()) / 1e9)
    while now_ns() < end_ns:
        os.kill(engine.pid, signal.SIGSTOP)
        try:
            time.sleep(stop_s)
        finally:
            os.kill(engine.pid, signal.SIGCONT)
        time.sleep(go_s)


@pytest.mark.parametrize("limit", ["schedule_lag_p99", None])
def test_publishers_asked_for_more_than_an_engine_can_send(tmp_path: Path, limit: str | None) -> None:
    code, summary = Run(FLOOD, tmp_path, **({limit: "50ms"} if limit else {})).ended()
    assert (code, summary["verdict"]) == (3, "invalid")
    reasons = " / ".join(summary["reasons"])
    assert "messages unsent: " in reasons
    assert ("saturated: schedule lag p99" in reasons) == (limit is not None)
    assert summary["publishers"]["unsent"] > 0


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"loop_lag_p99": "100ms"}, "the generator was saturated: event loop lag p99"),
        ({"bias_p99": "100ms"}, "the generator was saturated: messages are told to have come later than"),
    ],
)
def test_an_engine_that_does_not_get_to_run(tmp_path: Path, limits: dict[str, str], why: str) -> None:
    run = Run(STOPPED, tmp_path, **limits)
    stop_and_go(run, stop_s=0.2, go_s=0.8)
    code, summary = run.ended()
    assert (code, summary["verdict"]) == (3, "invalid")
    (reason,) = summary["reasons"]
    assert reason.startswith(why)
    assert summary["ledger"]["lost"] == 0


@pytest.mark.parametrize("probes", [4, 0])
def test_probes_that_are_turned_away_leave_the_bias_unknown(tmp_path: Path, probes: int) -> None:
    """The node, of a kind of the test's own, closes connections that do not name themselves."""
    kind = tmp_path / "nodes" / "choosy"
    kind.mkdir(parents=True)
    manifest = (REFERENCE_NODE / "node.yaml").read_text()
    (kind / "node.yaml").write_text(manifest.replace("kind: websockets", "kind: choosy"))
    (kind / "server.py").write_text(CHOOSY_SERVER.format(node=str(REFERENCE_NODE)))
    code, summary = Run(f"{CHOOSY}evidence: {{probes: {probes}}}\n", tmp_path).ended()
    assert summary["generator"]["bias_n"] == 0
    assert summary["ledger"]["lost"] == 0
    if probes:
        assert (code, summary["verdict"]) == (3, "invalid")
        (reason,) = summary["reasons"]
        assert reason.startswith("no probe measured anything, though clients of group 'readers' got up to 250 messages")
    else:
        assert (code, summary["verdict"]) == (0, "pass")


def test_short_stops_are_not_in_the_latency(tmp_path: Path) -> None:
    """A client that waits 15 ms for its engine is told to have its message when the kernel had it."""
    run = Run(STOPPED, tmp_path)
    stop_and_go(run, stop_s=0.015, go_s=0.06)  # shorter than the 20 ms between two messages of a client
    code, summary = run.ended()
    assert (code, summary["verdict"]) == (0, "pass")
    generator = summary["generator"]
    assert generator["wait_p99_ms"] > 10, "messages did wait"
    assert generator["bias_ms"] < 1
    assert generator["bias_p99_ms"] < generator["wait_p99_ms"]


def test_without_a_stop_the_same_run_passes(tmp_path: Path) -> None:
    code, summary = Run(STOPPED, tmp_path, bias_p99="100ms").ended()
    assert (code, summary["verdict"], summary["reasons"]) == (0, "pass", [])
    assert summary["generator"]["bias_n"] >= 4 * 50 * 4 * 0.9
    assert summary["clock"] | {"exchanges": 0} == {
        "basis": "one-boot",
        "offset_ms": 0,
        "bound_ms": 0,
        "drift_ppm": None,
        "exchanges": 0,
    }
    assert summary["clock"]["exchanges"] == 6, "two engines, before, during and after"
