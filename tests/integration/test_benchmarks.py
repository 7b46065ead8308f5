"""The commands that print the docs' figures run; the figures themselves are not tested."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "account.py": ["--clients", "10", "--messages", "50", "--lost", "0.1"],
    "bias.py": ["--clients", "5", "--rate", "50", "--seconds", "3", "--rounds", "1"],
    "capacity_twice.py": ["--pairs", "1", "--set", "phases.measure=1s", "--max-runs", "1"],
    "compare_aa.py": ["--runs", "2", "--slow-pairs", "1", "--losing", "1", "--comparisons", "5", "--seconds", "2"],
    "growth.py": [
        *("--axes", "clients", "--points", "1", "--rounds", "1", "--seconds", "1", "--out", "{folder}/growth.json"),
    ],
    "link.py": ["--connections", "1", "5", "--rate", "200", "--seconds", "0.5", "--rounds", "1"],
    "many_clients.py": ["--clients", "30", "--workers", "1", "--seconds", "2"],
    "measure_model.py": ["--cells", "1", "--seconds", "3"],
    "receivers.py": ["--clients", "5", "--rate", "20", "--seconds", "1", "--rounds", "1"],
    "scaling.py": [
        *("--measured", "1", "3", "--truths", "4", "--set", "phases.measure=1s", "--precision", "1", "--repeats", "1"),
    ],
    "start.py": ["--rounds", "1"],
    "simulated_against_real.py": ["--rounds", "1"],
    "simulator.py": ["--messages", "2000", "--nodes", "10", "--clients", "1k", "--seconds", "2"],
}
COMMANDS = [path for path in sorted((ROOT / "benchmarks").glob("*.py")) if "__main__" in path.read_text()]


@pytest.mark.system
@pytest.mark.timeout(260)
@pytest.mark.parametrize("name", [path.name for path in COMMANDS])
def test_benchmark(name: str, tmp_path: Path) -> None:
    words = [word.format(folder=tmp_path) for word in TINY[name]]
    command = [sys.executable, str(ROOT / "benchmarks" / name), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "| ---" in done.stdout


@pytest.mark.system
@pytest.mark.timeout(260)
def test_the_bench_against_the_peers_that_need_no_network(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "bench" / "bench.py"), "--out", str(tmp_path / "bench.json")]
    command += ["--tools", str(tmp_path / "tools"), "--peers", "locust", *(["floor"] if shutil.which("cc") else [])]
    command += ["--rounds", "1", "--seconds", "2", "--clients", "10", "20", "--per-second", "400", "1000"]
    command += ["--ladder", "400", "--bias-at", "400"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| fanlab |") == 5  # four shapes and the ladder
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["generator_cpu_ratio_locust"] > 0
    assert -1 < found["p50_bias"] < 10
    assert set(found["truthful_per_s"].values()) <= {0, 400}
    assert "<svg" in (tmp_path / "bench.svg").read_text(encoding="utf-8")
    assert {(one["clients"], one["per_s"]) for one in found["medians"]} == {
        (clients, per_s) for clients in (10, 20) for per_s in (400.0, 1000.0)
    }
    for one in found["medians"]:
        assert one["deliveries"] == one["per_s"] * 2
        assert one["p50_ms"] > 0


@pytest.mark.system
@pytest.mark.skipif(
    shutil.which("cc") is None, reason="its clients are compiled, and there is no C compiler: install gcc"
)
def test_the_cost_of_our_nodes_is_measured(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "bench" / "nodecost.py"),
        "--out",
        str(tmp_path / "bench.json"),
    ]
    command += ["--tools", str(tmp_path / "tools"), "--nodes", "websockets", "picows", "--rounds", "1"]
    command += ["--clients", "20", "--rate", "20", "--seconds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert "| picows |" in done.stdout


@pytest.mark.parametrize(
    ("found", "broken"),
    [
        ({"generator_cpu_ratio_k6": 0.4, "p50_bias": -0.05}, None),
        ({"generator_cpu_ratio_k6": 0.41}, "generator_cpu_ratio_k6"),
        ({"p50_bias": -0.051, "p99_bias": 0.1}, "p50_bias"),
        ({"p99_bias": float("nan")}, "p99_bias"),
        ({}, None),
    ],
)
def test_promises_of_the_bench_are_judged(found: dict[str, float], broken: str | None, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(found))
    command = [sys.executable, str(ROOT / "benchmarks" / "bench" / "promises.py"), str(tmp_path / "bench.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == (broken is not None)
    assert done.stderr == (f"not kept: {broken}\n" if broken else "")
    assert done.stdout.count("not measured") == 7 - len(found)


@pytest.mark.parametrize(
    ("percentile", "field", "value", "said"),
    [
        ("p50", "share", 0.05, []),
        ("p50", "share", 0.051, ["p50: share is +5.1% of what is reported, at most 5% is good"]),
        ("p99", "share", 0.2, ["p99: share is +20.0% of what is reported, at most 10% is good"]),
        ("p50", "apart", -0.2, ["p50: apart is -20.0% of what is reported, at most 10% is good"]),
        ("p99", "apart", float("nan"), ["p99: apart is +nan% of what is reported, at most 15% is good"]),
    ],
)
def test_the_bias_is_judged(percentile: str, field: str, value: float, said: list[str]) -> None:
    medians = {name: {"share": 0.0, "apart": 0.0} for name in ("p50", "p99")}
    medians[percentile][field] = value
    assert benchmark("bias").amiss(medians) == said


def test_growth_is_judged_by_its_last_step() -> None:
    growth = benchmark("growth")

    def points(*costs: float) -> list[Any]:
        return [growth.Point(size, cost) for size, cost in zip((1, 10, 100), costs, strict=False)]

    assert growth.exponent(points(5, 5, 50)) == pytest.approx(1)
    assert growth.exponent(points(5, 50, 5000)) == pytest.approx(2)
    found = {
        "account": {"good": points(1, 10, 100), "quadratic": points(1, 1, 100), "alone": points(1)},
        "generator": {"good": points(9, 9, 9), "linear": points(9, 9, 90)},
    }
    assert growth.too_fast(found) == ["account, quadratic", "generator, linear"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"exact": False}, ["the account is not exact"]),
        ({"per_s": 1999.0}, ["1999 clients came per second"]),
        ({"peak_bytes": 2.6e9}, ["2.60 GB were held"]),
    ],
)
def test_many_clients_are_judged(changes: dict[str, Any], said: list[str]) -> None:
    good = {"exact": True, "per_s": 2000.0, "peak_bytes": 2.5e9}
    assert benchmark("many_clients").shortcomings(**{**good, **changes}) == said


def test_what_a_report_costs_is_judged() -> None:
    account = benchmark("account")
    assert not account.too_dear(10.0, 500.0)
    assert account.too_dear(10.1, 100.0)
    assert account.too_dear(1.0, 501.0)


def test_what_users_wait_for_is_judged() -> None:
    start = benchmark("start")
    assert not list(start.too_late({"help": 0.25, "first message": 3.0}))
    assert list(start.too_late({"help": 0.26, "first message": 3.0})) == ["help"]
    assert list(start.too_late({"help": 0.1, "first message": float("nan")})) == ["first message"]


@pytest.mark.parametrize(
    ("same", "slower", "broken"),
    [
        ({"worse": 3, "no worse": 297}, {"worse": 285, "inconclusive": 15}, []),
        ({"worse": 4, "no worse": 296}, {"worse": 300}, ["at most 1 % false alarms"]),
        ({"inconclusive": 300}, {"worse": 284, "inconclusive": 16}, ["at least 95 % found"]),
        ({"inconclusive": 300}, {"worse": 299, "no worse": 1}, ["never called good"]),
    ],
)
def test_false_alarms_are_judged(same: dict[str, int], slower: dict[str, int], broken: list[str]) -> None:
    kept = benchmark("compare_aa").promises([Counter(same), Counter(worse=300), Counter(slower)], 300)
    assert [promise for promise, held in kept.items() if not held] == broken


def test_no_run_calibrates_what_it_is_judged_by() -> None:
    aa = benchmark("compare_aa")
    calibrating, judged = aa.split(list(range(aa.ENOUGH)))
    assert (len(calibrating), len(judged)) == (32, 60)
    assert not set(calibrating) & set(judged)
    few = list(range(aa.ENOUGH - 1))
    assert aa.split(few) == (few, few)


def test_a_system_that_became_slower_while_it_was_judged_raises_an_alarm() -> None:
    """What calibrated is not what is judged: a change between the two is no noise."""
    aa, random = benchmark("compare_aa"), np.random.default_rng(5)

    def run(slower: float) -> Any:
        p50 = slower * float(random.normal(1.0, 0.02))
        return SimpleNamespace(latency_ms={"p50": p50, "p99": 3 * p50})

    calibrating = [run(1.0) for _ in range(32)]
    many = aa.pairs_for(calibrating, 0.2)
    assert many == 12
    noise = aa.effects_of(calibrating, many)
    same = [(run(1.0), run(1.0)) for _ in range(30)]
    apart = [(run(1.0), run(1.3)) for _ in range(30)]
    assert aa.resampled(same, noise, many, 100, swap=True)["worse"] <= 1
    assert aa.resampled(apart, noise, many, 100)["worse"] >= 95
    assert aa.resampled(same, noise, many, 100, swap=True, times=1.2)["worse"] >= 95


def benchmark(name: str) -> Any:
    """The module of a benchmark."""
    name_there = f"benchmark_{name}"
    spec = importlib.util.spec_from_file_location(name_there, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name_there] = module = importlib.util.module_from_spec(spec)  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_the_scenario_of_a_thousand_clients_is_valid() -> None:
    from fanlab.scenario.loader import load

    (loaded,) = load(ROOT / "benchmarks" / "thousand-clients.yaml")
    assert loaded.scenario.clients[0].count == 1000


def test_a_bench_that_is_told_to_end_ends_what_it_started() -> None:
    code = (
        "import system, time\nsystem.end_in_order()\n"
        "try:\n    print('up', flush=True)\n    time.sleep(600)\nfinally:\n    print('ended', flush=True)"
    )
    command = [sys.executable, "-c", code]
    bench = subprocess.Popen(command, cwd=ROOT / "benchmarks" / "bench", stdout=subprocess.PIPE, text=True)
    try:
        assert bench.stdout is not None
        assert bench.stdout.readline() == "up\n"
        bench.terminate()
        assert bench.communicate(timeout=60)[0] == "ended\n"
        assert bench.returncode == 143
    finally:
        bench.kill()
