"""`fanlab capacity` on real systems whose capacity is known by construction: a node that takes its time per message."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

SLOW_LANE = """
name: slow-lane
question: How much does a node carry that takes 20 ms for each message?
topology: {nodes: {kind: saboteurs/head-of-line, count: 1, env: {SLOW_SEND_MS: 20}}}
channels: [news]
clients: [{group: readers, count: 2, channels: [news]}]
publishers: [{name: ticker, channel: news, rate: 20/s}]
phases: {warm_up: 200ms, measure: 2s, drain: {quiet: 300ms, deadline: 20s}}
evidence: {probes: 0}
limits: {schedule_lag_p99: 10s, loop_lag_p99: 10s, bias_p99: 10s, cpu: 1.0, steal: 1.0}
"""
CARRIED_AT_MOST = 50.0  # messages a second: one in 20 ms
SLO = "latency.p50 < 300ms and ledger.lost == 0"


def command(folder: Path, text: str, *words: str) -> list[str]:
    path = folder / "scenario.yaml"
    path.write_text(text, encoding="utf-8")
    argv = [sys.executable, "-m", "fanlab", "capacity", str(path), "--out", str(folder / "search")]
    return [*argv, *(() if "--slo" in words else ("--slo", SLO)), *words]


def capacity(folder: Path, text: str, *words: str) -> "subprocess.CompletedProcess[str]":
    argv = command(folder, text, *words)
    return subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False, cwd=folder)


def events(folder: Path) -> list[dict[str, Any]]:
    path = folder / "search" / "probes.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_knee_of_a_node_that_takes_its_time(tmp_path: Path) -> None:
    """The interval lies where it must, nothing was busy, and a second time there is nothing to run."""
    words = ("--axis", "rate", "--repeats", "1", "--precision", "0.5", "--json")
    done = capacity(tmp_path, SLOW_LANE, *words)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["status"] == "answer"
    assert found["carried"] <= CARRIED_AT_MOST
    assert found["low"] <= CARRIED_AT_MOST
    assert found["saturation"]["slowest_hop"] == "node"
    assert [part for part in found["saturation"]["parts"] if part["kind"] == "node" and part["use"] > 0.85] == []
    for name in ("capacity.html", "capacity.md", "charts/p99.svg", "runs/001/summary.json", "runs/001/manifest.json"):
        assert (tmp_path / "search" / name).exists(), name
    before = events(tmp_path)
    again = capacity(tmp_path, SLOW_LANE, *words)
    assert (again.returncode, json.loads(again.stdout)) == (0, found)
    assert events(tmp_path) == before
    other = capacity(tmp_path, SLOW_LANE, "--axis", "clients", "--repeats", "1", "--precision", "0.5")
    assert other.returncode == 2
    assert "holds another search: axis was 'rate' and is 'clients'" in other.stderr


def test_an_overload_is_unsteady_though_the_objective_holds(tmp_path: Path) -> None:
    """Every second message comes too late to keep up, and no gate says so: the state is not steady."""
    words = ("--axis", "rate", "--from", "100", "--max-runs", "1", "--slo", "ledger.lost == 0", "--json")
    done = capacity(tmp_path, SLOW_LANE, *words)
    assert done.returncode == 3, done.stderr
    (probe,) = json.loads(done.stdout)["probes"]
    assert probe["outcome"] == "unsteady"
    assert "falls behind" in probe["why"]
    assert probe["steady"]["backlog_growth"] > 0


LANES = """
name: lanes
question: How much do nodes carry that take 4 ms for each client?
topology: {nodes: {kind: saboteurs/head-of-line, count: 2, env: {SLOW_CLIENT_MS: 4}}}
channels: [news]
clients: [{group: readers, count: 12, channels: [news]}]
publishers: [{name: ticker, channel: news, rate: 30/s}]
phases: {warm_up: 200ms, measure: 2s, drain: {quiet: 300ms, deadline: 20s}}
evidence: {probes: 0}
limits: {schedule_lag_p99: 10s, loop_lag_p99: 10s, bias_p99: 10s, cpu: 1.0, steal: 1.0}
"""


def test_a_law_over_nodes(tmp_path: Path) -> None:
    """A message takes 4 ms for each of a node's share of 12 clients: 20.8 a second with one node, and so on."""
    words = ("--axis", "rate", "--repeats", "1", "--precision", "0.5", "--over-nodes", "1,3", "--json")
    done = capacity(tmp_path, LANES, *words, "--foretell", "4,7")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    model, (told, refused) = found["model"], found["forecast"]["rows"]
    assert [each["nodes"] for each in model["points"]] == [1, 2, 3]
    for each in model["points"]:
        assert each["low"] <= each["nodes"] * 1000 / (4 * 12)
        assert (tmp_path / "search" / each["search"] / "capacity.html").exists()
    assert told["low"] <= told["value"] <= told["high"]
    assert "past 2 times the 3 nodes that were measured" in refused["refused"]
    assert "foretold of 4 nodes" in done.stderr
    for name in ("capacity.html", "capacity.md", "charts/scaling.svg"):
        assert (tmp_path / "search" / name).exists(), name
    assert "Scaling over nodes" in (tmp_path / "search" / "capacity.md").read_text(encoding="utf-8")
    again = capacity(tmp_path, LANES, *words, "--foretell", "6")  # nothing is run anew, and another number is foretold
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["model"]["points"] == model["points"]
    assert [each["nodes"] for each in json.loads(again.stdout)["forecast"]["rows"]] == [6]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--axis", "rate", "--foretell", "8"), "--foretell and --force go with --over-nodes"),
        (("--axis", "nodes", "--over-nodes", "1,2,4"), "give --axis rate or clients"),
        (("--axis", "rate", "--over-nodes", "2,4"), "the law takes 3 numbers of nodes or more"),
        (("--axis", "rate", "--over-nodes", "1,two"), "'1,two' is no list of numbers of nodes, as 1,2,4"),
    ],
)
def test_no_law_without_what_it_takes(tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    done = capacity(tmp_path, LANES, *words)
    assert done.returncode == 2
    assert why in " ".join(done.stderr.split())
    assert not (tmp_path / "search").exists()


def test_a_search_that_is_interrupted_goes_on(tmp_path: Path) -> None:
    words = ("--axis", "rate", "--repeats", "1", "--precision", "1", "--no-progress")
    search = subprocess.Popen(
        command(tmp_path, SLOW_LANE, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    try:
        end = time.monotonic() + 120
        while not (tmp_path / "search" / "runs" / "002" / "samples.csv").exists():
            assert time.monotonic() < end, "the second run never began"
            assert search.poll() is None, search.communicate()
            time.sleep(0.02)
        search.send_signal(signal.SIGINT)
        out, err = search.communicate(timeout=60)
    finally:
        search.kill()
        search.wait()
    assert search.returncode == 130, err
    assert "it was interrupted" in out
    assert [event["ev"] for event in events(tmp_path)] == ["begin", "end", "begin"]
    assert json.loads((tmp_path / "search" / "runs" / "002" / "manifest.json").read_text())["status"] == "aborted"
    done = capacity(tmp_path, SLOW_LANE, *words)
    assert done.returncode == 0, done.stderr
    assert "1 run was made before, and counts" in done.stdout
    assert events(tmp_path)[3]["number"] == 3


def test_a_saturated_generator_is_no_answer(tmp_path: Path) -> None:
    """A limit that no process keeps stands for a generator that cannot keep up."""
    text = SLOW_LANE.replace("cpu: 1.0", "cpu: 0.0001").replace("count: 2", "count: 1")
    done = capacity(tmp_path, text, "--axis", "clients")
    assert done.returncode == 3, done.stderr
    assert "the load generator is saturated even at the least load" in done.stdout
    assert {event["outcome"] for event in events(tmp_path) if event["ev"] == "end"} == {"generator"}


def test_a_bound_is_no_answer(tmp_path: Path) -> None:
    done = capacity(tmp_path, SLOW_LANE, "--axis", "rate", "--max", "20")
    assert done.returncode == 3, done.stderr
    assert "at least 20 msg/s" in done.stdout


def test_no_time_is_no_answer(tmp_path: Path) -> None:
    done = capacity(tmp_path, SLOW_LANE, "--axis", "rate", "--budget", "0s")
    assert done.returncode == 3, done.stderr
    assert "No answer: the time given is over." in done.stdout
    assert events(tmp_path) == []


def test_one_node_that_is_enough(tmp_path: Path) -> None:
    done = capacity(tmp_path, SLOW_LANE, "--axis", "nodes")
    assert done.returncode == 0, done.stderr
    assert "1 node carries the load" in done.stdout


def test_a_node_that_never_gets_ready_is_the_environments_fault(tmp_path: Path) -> None:
    text = SLOW_LANE.replace("SLOW_SEND_MS: 20", "SLOW_SEND_MS: soon")
    done = capacity(tmp_path, text, "--axis", "rate")
    assert done.returncode == 4, done.stdout
    assert "no valid run at 20 msg/s" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--axis", "rate", "--slo", "latency.p98 < 1s"), "--slo:1:1: "),
        (("--axis", "speed"), "Invalid value for '--axis'"),
        (("--axis", "clients", "--max", "1000000"), "clients"),
        (("--axis", "nodes", "--from", "1.5"), "--from takes a whole number"),
        (("--axis", "rate", "--budget", "10"), "--budget: "),
        (("--axis", "rate", "--prices", "absent.yaml"), "cannot be read"),
        (("--axis", "rate", "--from", "100", "--max", "50"), "--from and --max"),
        (("--axis", "rate", "--set", "topology.nodes.cont=2"), "did you mean"),
    ],
)
def test_usage_and_scenario_errors(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = capacity(tmp_path, SLOW_LANE, *words)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert not (tmp_path / "search").exists()
