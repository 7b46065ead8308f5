"""Simulated run directories: what comes after a run works on them unchanged, and the same seed gives the same bytes."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fanlab.agreement import compare, second_opinion
from fanlab.cli import cli
from fanlab.errors import EnvironmentFailure, ScenarioError
from fanlab.exits import Exit
from fanlab.ledger.account import account
from fanlab.report.summary import SIMULATED, make_summary
from fanlab.rundir import RunDir
from fanlab.simulate.model import to_json
from support.simulated import DELAYS_NS, loaded_from, made_model, scenario_text, simulated

FAULTS = {
    "crash": "[{kind: crash, target: node-2, at: 1s, for: 1s}]",
    "crash for good": "[{kind: crash, target: node-2, at: 1s}]",
    "stop": "[{kind: stop, target: node-1, at: 1s, for: 1s}]",
    "restart": "[{kind: restart, target: all, at: 1s, stagger: 500ms}]",
    "pause": "[{kind: pause, target: node-3, at: 1s, for: 1s}]",
    "throttle": "[{kind: cpu-throttle, target: node-3, at: 1s, for: 1s, cores: 0.1}]",
    "reset": "[{kind: connection-reset, target: node-1, at: 1s}]",
    "reset of Redis": "[{kind: connection-reset, target: node-1, at: 1s, link: redis}]",
    "storm": "[{kind: reconnect-storm, at: 1s, share: 0.5}]",
    "partition": "[{kind: partition, target: node-1, at: 1s, for: 1s}]",
    "partition of Redis": "[{kind: partition, target: node-1, at: 1s, for: 1s, link: redis}]",
    "latency": "[{kind: latency, target: node-1, at: 1s, for: 1s, latency: 50ms, jitter: 5ms}]",
    "redis-restart": "[{kind: redis-restart, at: 1s, for: 500ms}]",
    "redis-pause": "[{kind: redis-pause, at: 1s, for: 500ms}]",
    "redis-client-pause": "[{kind: redis-client-pause, at: 1s, for: 500ms}]",
    "redis-kill-pubsub": "[{kind: redis-kill-pubsub, at: 1s}]",
    "two": "[{kind: crash, target: node-2, at: 1s, for: 1s}, {kind: redis-restart, at: 1200ms, for: 300ms}]",
}
LOSES = FAULTS.keys() - {
    "pause",
    "throttle",
    "partition",
    "partition of Redis",
    "latency",
    "redis-pause",
    "redis-client-pause",
}


def summary_of(rundir: RunDir) -> dict[str, Any]:
    return dict(make_summary(account(rundir), rundir.read_manifest()))


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_accounted_for_like_a_real_one(tmp_path: Path, name: str) -> None:
    """Nothing unexplained, nothing put down to nobody, and the second checker counts the same."""
    rundir = simulated(tmp_path, loaded_from(tmp_path, scenario_text(faults=FAULTS[name])), made_model())
    summary = summary_of(rundir)
    assert summary["verdict"] == "pass", summary["reasons"]
    assert summary["loss"]["unexplained"] == summary["loss"]["outside_faults"] == 0
    assert (summary["ledger"]["lost"] > 0) == (name in LOSES)
    with second_opinion(rundir) as second:
        assert compare(account(rundir), second).agrees


def test_the_loss_of_a_crash_is_what_was_foretold(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path, scenario_text(clients=90, rate="200/s", faults=FAULTS["crash"]))
    (of_fault,) = summary_of(simulated(tmp_path, loaded, made_model()))["loss"]["by_fault"]
    coming_back_ns = DELAYS_NS["notice"] + DELAYS_NS["connect"] + DELAYS_NS["subscribe"] / 2
    more = 30 * 200 * coming_back_ns / 1e9  # what a prediction takes no time for
    assert of_fault["measured"] == pytest.approx(of_fault["predicted"] + more, rel=0.05)


def test_a_pause_makes_late_and_loses_nothing(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path, scenario_text(faults=FAULTS["pause"]))
    summary = summary_of(simulated(tmp_path, loaded, made_model()))
    assert summary["ledger"]["lost"] == 0
    assert 900 < summary["latency_ms"]["max"] < 1100


def test_the_hops_are_those_of_the_model(tmp_path: Path) -> None:
    summary = summary_of(simulated(tmp_path, loaded_from(tmp_path, scenario_text()), made_model()))
    hops = summary["hops_ms"]
    assert hops["schedule"]["p50"] == pytest.approx(0.1, rel=0.01)
    assert hops["redis"]["p50"] == pytest.approx(0.020 + 2 * 0.008 + 0.3, rel=0.01)  # of the second of 3 nodes
    assert hops["node"]["p50"] == pytest.approx(4 * 0.01, rel=0.01)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    text = scenario_text(rate="{kind: poisson, rate: 50/s}", faults=FAULTS["two"])
    runs = [simulated(tmp_path, loaded_from(tmp_path, text), made_model(), name) for name in ("one", "other")]
    files = [{path.relative_to(run.path): path.read_bytes() for path in run.path.rglob("*.*")} for run in runs]
    manifests = [json.loads(held.pop(Path("manifest.json"))) for held in files]
    for manifest in manifests:
        manifest.pop("started_utc")  # names the run, and nothing depends on it
    assert files[0] == files[1]
    assert len(files[0]) == 7  # two stripes, three nodes' journals, faults, samples
    assert manifests[0] == manifests[1]
    assert summary_of(runs[0]) == summary_of(runs[1])


def test_another_seed_gives_others(tmp_path: Path) -> None:
    one, other = (
        simulated(tmp_path, loaded_from(tmp_path, scenario_text(faults=FAULTS["crash"], seed=seed)), made_model(), name)
        for seed, name in ((3, "one"), (4, "other"))
    )
    assert (one.journal / "clients-1.stripe").read_bytes() != (other.journal / "clients-1.stripe").read_bytes()


def test_it_says_that_it_is_simulated_and_what_was_not_asked(tmp_path: Path) -> None:
    rundir = simulated(tmp_path, loaded_from(tmp_path, scenario_text()), made_model())
    summary, manifest = summary_of(rundir), rundir.read_manifest()
    assert summary["backend"] == "simulate"
    assert SIMULATED in summary["evidence"]["coarse"]
    assert manifest["clock"] == {"name": "simulated", "boot_id": "simulated"}
    assert manifest["backend_facts"]["model"]["costs"]["node_delivery_ns"]["value"] == 10_000
    assert [summary["generator"][name] for name in ("cpu", "loop_lag_p99_ms", "bias_ms")] == [None, None, None]


def test_a_real_run_without_these_figures_stays_invalid(tmp_path: Path) -> None:
    """The checks are waived for what says that it is simulated, and for nothing else."""
    rundir = simulated(tmp_path, loaded_from(tmp_path, scenario_text()), made_model())
    summary = make_summary(account(rundir), {**rundir.read_manifest(), "backend": "process"})
    assert summary["verdict"] == "invalid"
    assert any("CPU was not measured" in reason for reason in summary["reasons"])


@pytest.mark.parametrize(
    ("faults", "what"),
    [
        ("[{kind: memory-limit, target: node-1, at: 1s, limit: 50MB}]", "memory-limit"),
        ("[{kind: pause, target: node-1, at: 1s}]", "it lasts to the end"),
        ("[{kind: redis-pause, at: 1s, for: 6s}]", "somebody gives the connection up"),
        ("[{kind: partition, target: node-1, at: 1s, for: 1s, mode: drop}]", "mode drop"),
        ("[{kind: latency, target: node-1, at: 1s, for: 1s, latency: 5ms, share: 0.5}]", "a share of the connections"),
    ],
)
def test_what_is_not_modelled_is_refused(tmp_path: Path, faults: str, what: str) -> None:
    with pytest.raises(ScenarioError, match=what):
        simulated(tmp_path, loaded_from(tmp_path, scenario_text(faults=faults, measure="8s")), made_model())


def test_what_is_too_big_for_journals_is_refused(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path, scenario_text(clients=50_000, rate="100/s"))
    with pytest.raises(EnvironmentFailure, match="fanlab simulate"):
        simulated(tmp_path, loaded, made_model())


def test_from_the_command_line(tmp_path: Path) -> None:
    """run, report, crosscheck and a gate that is not met, as they exit."""
    model = tmp_path / "model.json"
    model.write_text(json.dumps(to_json(made_model())), encoding="utf-8")
    file = tmp_path / "made.yaml"
    file.write_text(scenario_text(faults=FAULTS["crash"]), encoding="utf-8")
    out = tmp_path / "run"
    how = ["run", str(file), "--backend", "simulate", "--no-progress"]
    runner = CliRunner()
    done = runner.invoke(cli, [*how, "--model", str(model), "--out", str(out)])
    assert done.exit_code == Exit.OK, done.output
    assert (out / "report.html").exists()
    assert runner.invoke(cli, ["report", str(out)]).exit_code == Exit.OK
    assert runner.invoke(cli, ["crosscheck", str(out)]).exit_code == Exit.OK
    file.write_text(scenario_text(faults=FAULTS["crash"]) + "gates: [ledger.lost == 0]\n", encoding="utf-8")
    failed = runner.invoke(cli, [*how, "--model", str(model), "--out", str(tmp_path / "other")])
    assert failed.exit_code == Exit.GATE_FAILED
    assert runner.invoke(cli, [*how, "--redis-url", "redis://127.0.0.1:1"]).exit_code == Exit.SCENARIO
    assert runner.invoke(cli, ["run", str(file), "--model", str(model)]).exit_code == Exit.SCENARIO
