"""Systems of any size, by cohorts: the same as by clients where both can be had, and at sizes where only one can."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fanlab.cli import cli
from fanlab.exits import Exit
from fanlab.ledger.account import account
from fanlab.report.summary import make_summary
from fanlab.simulate.model import to_json
from fanlab.simulate.scaled import scaled, shares, simulate_cohorts
from fanlab.simulate.tables import figures_text
from support.simulated import loaded_from, made_model, scenario_text, simulated

CRASH = "[{kind: crash, target: node-2, at: 1s, for: 1s}]"


@pytest.mark.parametrize(
    "faults",
    [
        "[]",
        CRASH,
        "[{kind: pause, target: node-1, at: 1s, for: 500ms}]",
        "[{kind: redis-restart, at: 1s, for: 500ms}]",
        "[{kind: partition, target: node-1, at: 1s, for: 1s}]",
        "[{kind: restart, target: all, at: 1s, stagger: 1s}]",
        "[{kind: cpu-throttle, target: node-3, at: 1s, for: 1s, cores: 0.02}]",
    ],
)
def test_cohorts_come_to_the_same_as_clients(tmp_path: Path, faults: str) -> None:
    """Counts but for what is on its way when a node dies; latency but for the points that stand for a fan-out."""
    loaded = loaded_from(tmp_path, scenario_text(clients=300, rate="{kind: poisson, rate: 100/s}", faults=faults))
    rundir = simulated(tmp_path, loaded, made_model())
    single = make_summary(account(rundir), rundir.read_manifest())
    many = simulate_cohorts(loaded.scenario, made_model())
    assert many.published == single["ledger"]["published"]
    assert many.owed == single["ledger"]["owed"]
    assert many.lost == pytest.approx(single["ledger"]["lost"], rel=0.02)
    assert many.owed == many.delivered + many.lost
    for name in ("p50", "p90", "p99", "max"):
        assert many.latency_ms[name] == pytest.approx(single["latency_ms"][name], rel=0.03), name  # type: ignore[literal-required]


def test_a_thousand_nodes_and_ten_million_clients(tmp_path: Path) -> None:
    """Each node has 10 000 clients, as one that is simulated alone with them: what they share is Redis."""
    loaded = loaded_from(tmp_path, scenario_text(rate="2/s", faults=CRASH))
    big = simulate_cohorts(scaled(loaded.scenario, nodes=1000, clients=10_000_000), made_model())
    assert (big.nodes, big.clients, big.published) == (1000, 10_000_000, 8)
    assert big.owed == 80_000_000
    assert {one.node for one in big.cohorts if one.lost} == {"node-2"}
    assert big.lost == sum(one.lost for one in big.cohorts) <= 8 * 10_000
    assert big.redis_busy == pytest.approx(2 * (20e-6 + 1000 * 8e-6), rel=0.05)
    alone = 2 * (50e-6 + 10_000 * 10e-6)
    assert alone * 1.2 < big.node_busy < alone * 2  # the node that those of node-2 went to
    whole = loaded_from(tmp_path, scenario_text(rate="2/s")).scenario
    calm = simulate_cohorts(scaled(whole, nodes=1000, clients=10_000_000), made_model())
    assert calm.node_busy == pytest.approx(alone, rel=0.05)


def test_the_same_seed_gives_the_same_figures(tmp_path: Path) -> None:
    scenario = loaded_from(tmp_path, scenario_text(clients=3000, faults=CRASH)).scenario
    assert simulate_cohorts(scenario, made_model()) == simulate_cohorts(scenario, made_model())


def test_a_party_that_comes_back_in_parts_is_whole_again(tmp_path: Path) -> None:
    """A thousand clients in 64 parts: each lost what came while it was away, and all are served afterwards."""
    scenario = loaded_from(tmp_path, scenario_text(clients=3000, faults=CRASH)).scenario
    figures = simulate_cohorts(scenario, made_model())
    (hit,) = (one for one in figures.cohorts if one.lost)
    assert hit.lost == pytest.approx(1000 * 50 * 0.2035, rel=0.15)  # the back-off, and what coming back takes
    assert figures.node_memory_bytes == 30_000_000 + 15_000 * 2000


def test_a_link_that_is_too_slow_shows(tmp_path: Path) -> None:
    scenario = loaded_from(tmp_path, scenario_text(clients=300)).scenario
    free = simulate_cohorts(scenario, made_model())
    tight = simulate_cohorts(scenario, made_model(), egress_bytes_per_s=1_000_000)  # of 640 000 needed
    assert free.latency_ms["max"] is not None
    assert tight.latency_ms["max"] is not None
    assert tight.latency_ms["max"] > free.latency_ms["max"] + 100 * 128 / 1e6 * 1e3 / 2


def test_what_does_not_keep_up_is_said(tmp_path: Path) -> None:
    scenario = loaded_from(tmp_path, scenario_text(clients=30_000, measure="1s")).scenario
    figures = simulate_cohorts(scenario, made_model())
    assert figures.node_busy > 1
    assert "nodes do not keep up" in figures_text(figures)


@pytest.mark.parametrize(("parts", "total", "found"), [([3], 7, [7]), ([1, 1], 5, [3, 2]), ([99, 1], 10, [9, 1])])
def test_groups_keep_their_proportions(parts: list[int], total: int, found: list[int]) -> None:
    assert shares(parts, total) == found


def test_from_the_command_line(tmp_path: Path) -> None:
    file, model = tmp_path / "made.yaml", tmp_path / "model.json"
    file.write_text(scenario_text(rate="2/s"), encoding="utf-8")
    model.write_text(json.dumps(to_json(made_model())), encoding="utf-8")
    how = ["simulate", str(file), "--nodes", "100", "--clients", "1M", "--model", str(model)]
    done = CliRunner().invoke(cli, [*how, "--json"])
    assert done.exit_code == Exit.OK, done.output
    told = json.loads(done.stdout)
    assert (told["nodes"], told["clients"], told["lost"], told["backend"]) == (100, 1_000_000, 0, "simulate")
    assert "simulated" in CliRunner().invoke(cli, how).stdout
    for wrong in (["--clients", "many"], ["--clients", "0"], ["--egress", "fast"]):
        assert CliRunner().invoke(cli, ["simulate", str(file), *wrong]).exit_code == Exit.SCENARIO
