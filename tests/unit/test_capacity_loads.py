"""Scenarios with another load: through the loader, so that what they come to is checked as any file is."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fanlab.capacity.loads import least_load, load_of, refuse_axis, scaled, settings, with_load
from fanlab.capacity.search import Axis, End
from fanlab.capacity.session import Ended, Job
from fanlab.cli import cli
from fanlab.errors import ScenarioError
from fanlab.scenario.loader import Loaded, load
from fanlab.scenario.model import BurstRate, ConstantRate, PoissonRate, RampRate, StepRate

TEXT = """
name: mixed
question: How much?
topology: {nodes: {count: 3}}
channels: [news, jobs]
clients:
  - {group: readers, count: 30, spawn_rate: 60/s, channels: [news]}
  - {group: workers, count: 3, channels: [jobs]}
publishers:
  - {name: ticker, channel: news, rate: 50/s, count: 2}
  - {name: board, channel: jobs, rate: {kind: poisson, rate: 40/s}}
  - {name: gusts, channel: jobs, rate: {kind: burst, size: 10, every: 500ms}}
phases: {warm_up: 1s, measure: 4s}
"""


def written(folder: Path, text: str = TEXT) -> tuple[Path, Loaded]:
    path = folder / "mixed.yaml"
    path.write_text(text, encoding="utf-8")
    return path, load(path)[0]


@pytest.mark.parametrize(("axis", "now", "least"), [("rate", 160, 0.16), ("clients", 33, 2), ("nodes", 3, 1)])
def test_the_load_of_a_file(axis: Axis, now: float, least: float, tmp_path: Path) -> None:
    _, base = written(tmp_path)
    assert load_of(base.scenario, axis) == pytest.approx(now)
    assert least_load(base.scenario, axis) == pytest.approx(least)


@pytest.mark.parametrize("wanted", [1.0, 80, 160, 1234.5])
def test_all_publishers_change_by_one_factor(wanted: float, tmp_path: Path) -> None:
    path, base = written(tmp_path)
    scenario = with_load(path, base, "rate", wanted).scenario
    assert load_of(scenario, "rate") == pytest.approx(wanted)
    ticker, board, gusts = (each.rate for each in scenario.publishers)
    assert isinstance(ticker, ConstantRate)
    assert isinstance(board, PoissonRate)
    assert isinstance(gusts, BurstRate)
    assert ticker.rate_per_s == pytest.approx(50 * wanted / 160)
    assert board.rate_per_s == pytest.approx(40 * wanted / 160)
    assert gusts.size == 10
    assert scenario.clients == base.scenario.clients


@pytest.mark.parametrize("wanted", [2, 3, 10, 33, 34, 100, 997])
def test_clients_sum_to_what_is_wanted(wanted: int, tmp_path: Path) -> None:
    path, base = written(tmp_path)
    scenario = with_load(path, base, "clients", wanted).scenario
    assert [load_of(scenario, "clients"), len(scenario.clients)] == [wanted, 2]
    assert scenario.clients[1].count == pytest.approx(wanted / 11, abs=1)
    assert scenario.publishers == base.scenario.publishers


def test_more_clients_come_as_soon_as_the_few_did(tmp_path: Path) -> None:
    path, base = written(tmp_path)
    many = with_load(path, base, "clients", 330).scenario.clients[0]
    assert many.count / many.spawn_rate_per_s == pytest.approx(0.5)
    assert with_load(path, base, "clients", 3).scenario.clients[0].spawn_rate_per_s == 60


def test_nodes(tmp_path: Path) -> None:
    path, base = written(tmp_path)
    loaded = with_load(path, base, "nodes", 7, overrides=["phases.measure=9s"], seed=11)
    assert (load_of(loaded.scenario, "nodes"), loaded.scenario.seed) == (7, 11)
    assert loaded.scenario.phases.measure_ns == 9 * 10**9
    assert loaded.source == base.source


@pytest.mark.parametrize(
    ("axis", "wanted", "words"),
    [
        ("clients", 10**6, "100,000"),
        ("nodes", 1, "node-3"),
        ("rate", 1e8, "messages"),
    ],
)
def test_what_cannot_be_run_is_refused_as_the_loader_does(
    axis: Axis, wanted: float, words: str, tmp_path: Path
) -> None:
    path, base = written(tmp_path, TEXT + "faults: [{kind: crash, target: node-3, at: 1s}]\n")
    with pytest.raises(ScenarioError, match=words):
        with_load(path, base, axis, wanted)


@pytest.mark.parametrize("axis", ["rate", "clients", "nodes"])
def test_gates_stay_but_end_no_run(axis: Axis, tmp_path: Path) -> None:
    path, base = written(tmp_path, TEXT + "gates: [lost == 0, latency.p50 < 1ms else abort after 2s]\n")
    assert with_load(path, base, axis, 4).scenario.gates == ["lost == 0", "latency.p50 < 1ms"]
    _, calm = written(tmp_path, TEXT + "gates: [lost == 0]\n")
    assert "gates" not in dict(settings(calm.scenario, axis, 4))


def test_an_axis_needs_something_to_change(tmp_path: Path) -> None:
    groups = TEXT.replace("nodes: {count: 3}", "nodes: [{count: 1}, {count: 2}]")
    _, base = written(tmp_path, groups)
    refuse_axis(base.scenario, "rate", base.source)
    with pytest.raises(ScenarioError, match="2 groups of nodes"):
        refuse_axis(base.scenario, "nodes", base.source)
    early = "{kind: step, steps: [{at: 0s, rate: 9/s}, {at: 500ms, rate: 0/s}]}"
    silent = TEXT.split("publishers:", maxsplit=1)[0] + f"publishers: [{{name: early, channel: news, rate: {early}}}]\n"
    _, quiet = written(tmp_path, silent)
    with pytest.raises(ScenarioError, match="nothing"):
        refuse_axis(quiet.scenario, "rate", quiet.source)


def test_an_objective_about_nothing_is_refused_before_the_first_run(tmp_path: Path) -> None:
    path, _ = written(tmp_path)
    argv = ["capacity", str(path), "--axis", "rate", "--slo", "latency.p99(channel=nwes) < 100ms"]
    done = CliRunner().invoke(cli, [*argv, "--out", str(tmp_path / "search"), "--max-runs", "1"])
    assert isinstance(done.exception, ScenarioError)
    assert "'nwes'" in str(done.exception)
    assert not (tmp_path / "search").exists()


@pytest.mark.parametrize(
    ("more", "slo", "least"),
    [
        ("", "ledger.lost == 0", 1),
        ("", "lost(node=node-2) == 0", 2),
        ("faults: [{kind: crash, target: node-2, at: 1s}]\n", "ledger.lost == 0", 2),
        ("faults: [{kind: crash, target: node-3, at: 1s}]\n", "lost(node=node-1) == 0", 3),
    ],
)
def test_no_fewer_nodes_than_are_named(
    more: str, slo: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told before the first run, and not by the loader amid the search."""
    path, _ = written(tmp_path, TEXT + more)
    asked: list[Job] = []

    def search(job: Job, *_: object, **__: object) -> tuple[Ended, dict[str, Any]]:
        asked.append(job)
        return Ended(End("none", "nothing is run")), {"headline": "", "saturation": None}

    monkeypatch.setattr("fanlab.capacity.command.search", search)
    argv = ["capacity", str(path), "--axis", "nodes", "--slo", slo, "--out", str(tmp_path / "search")]
    done = CliRunner().invoke(cli, argv)
    assert [(one.wanted.least, one.wanted.start, one.wanted.most) for one in asked] == [(least, 3, 64)], done.output
    if least > 1:
        early = CliRunner().invoke(cli, [*argv, "--from", "1"])
        assert f"it is to begin at 1, which is not in {least} to 64" in early.output


def test_rates_of_every_kind() -> None:
    ramp = RampRate.model_validate({"kind": "ramp", "from": "0/s", "to": "10/s", "over": "2s"})
    step = StepRate.model_validate(
        {"kind": "step", "steps": [{"at": "0s", "rate": "3/s"}, {"at": "1s", "rate": "6/s"}]}
    )
    assert scaled(ramp, 3) == {"kind": "ramp", "from": "0/s", "to": "30/s", "over": "2000000000ns"}
    assert scaled(step, 0.5)["steps"] == [{"at": "0ns", "rate": "1.5/s"}, {"at": "1000000000ns", "rate": "3/s"}]
    for rate in (ramp, step):
        assert type(rate).model_validate(scaled(rate, 2))
