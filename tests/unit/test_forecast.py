"""Forecasts: the least that meets the SLO, an interval from the model's, no number far from what was measured."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from fanlab.capacity.slo import parse_slo
from fanlab.cli import cli
from fanlab.errors import MeasurementError, ScenarioError
from fanlab.exits import Exit
from fanlab.scenario.gates import Gate
from fanlab.simulate.forecast import Wanted, forecast, refuse_untold
from fanlab.simulate.model import Estimate, Model, to_json
from fanlab.simulate.tables import forecast_text
from support.simulated import made_model


def slo(text: str) -> tuple[Gate, ...]:
    return tuple(parse_slo(text))


SLO = slo("latency.p99 < 20ms")


def wide(**of: int) -> Model:
    """Measured up to sizes at which nothing here is far, and with costs known to a quarter."""
    model = made_model(**of)
    costs = {
        name: Estimate(value["value"], 0.75 * value["value"], 1.25 * value["value"], 10)
        for name, value in to_json(model)["costs"].items()
    }
    measured = replace(model.range, nodes=1000, clients_per_node=10**5, publishes_per_s=10**5, deliveries_per_s=10**7)
    return replace(model, costs=replace(model.costs, **costs), range=measured)


def test_it_is_the_least_that_keeps_a_core_as_free_as_asked() -> None:
    """50/s × 10 000 clients × 10 µs is 5 cores' work; at 70 % of each, and 50 × 50 µs beside, that takes 8 nodes."""
    found = forecast(Wanted(10_000, 50.0, slo("latency.p99 < 1s")), wide())
    assert found.size.nodes == 8
    assert found.size.node_busy == pytest.approx(50 * (50e-6 + 1250 * 10e-6), rel=0.25)
    assert found.size.memory_bytes == 8 * 30_000_000 + 10_000 * 15_000
    assert found.egress_bytes_per_s == 500_000 * (128 + 4 + 66)


def test_an_slo_on_latency_takes_more_nodes_than_the_load_does() -> None:
    """A fan-out to 10 000 clients takes 100 ms; for the last to have it within 20 ms there have to be five nodes."""
    found = forecast(Wanted(10_000, 1.0, SLO), wide())
    assert found.size.nodes >= 5
    assert found.size.latency_ms["p99"] is not None
    assert found.size.latency_ms["p99"] < 20
    assert forecast(Wanted(10_000, 1.0, slo("latency.p99 < 1s")), wide()).size.nodes == 1


def test_the_interval_is_that_of_the_costs() -> None:
    found = forecast(Wanted(10_000, 50.0, slo("latency.p99 < 1s")), wide())
    assert (found.low.nodes, found.size.nodes, found.high.nodes) == (6, 8, 9)
    exact = forecast(Wanted(10_000, 50.0, SLO), replace(wide(), costs=made_model().costs))
    assert exact.low == exact.size == exact.high


def test_shards_follow_from_what_redis_works() -> None:
    one = Wanted(1000, 100.0, slo("latency.p99 < 1s"), channels=1)
    assert forecast(one, wide()).size.shards == 1
    many = Wanted(1000, 100.0, slo("latency.p99 < 1s"), channels=50, busy=0.5)
    found = forecast(many, wide(redis_send_ns=200_000)).size
    assert found.shards > 1
    assert found.redis_busy < 0.5 * 1.2


def test_past_twice_the_measured_range_it_refuses_unless_forced() -> None:
    wanted, model = Wanted(100_000, 50.0, SLO), made_model()
    with pytest.raises(MeasurementError, match=r"past 2 times what the model was measured at.*nodes, measured up to 4"):
        forecast(wanted, model)
    guess = forecast(wanted, model, force=True)
    assert guess.size.nodes > 8
    assert any("nodes, measured up to 4" in where for where in guess.far)


def test_no_node_is_planned_larger_than_what_is_known() -> None:
    """600 clients would fit one node; measured with a hundred, it is told for three, and forced for one."""
    wanted, model = Wanted(600, 1.0, slo("latency.p99 < 1s")), made_model()
    assert forecast(wanted, model).size.nodes == 3
    assert forecast(wanted, model, force=True).size.nodes == 1


def test_what_waits_too_long_is_told_before_what_is_far() -> None:
    """No climb through thousands of nodes, to fail at what they do to Redis: it is the waits, also where forced."""
    slow, wanted = made_model(client=200_000_000), Wanted(200_000, 50.0, slo("latency.p99 < 100ms"))
    for force in (False, True):
        with pytest.raises(MeasurementError, match=r"waits alone, .* are too long: `latency.p99 < 100ms` is 20\d"):
            forecast(wanted, slow, force=force)


def test_it_climbs_no_further_than_twice_the_measured_nodes() -> None:
    """A fan-out of 100 takes 1 ms. With two nodes measured it looks at four, though ten would do."""
    few = replace(wide(), range=replace(wide().range, nodes=2))
    wanted = Wanted(100, 1.0, slo("latency.p99 < 700us"))
    with pytest.raises(MeasurementError, match="no number of nodes up to 4 meets"):
        forecast(wanted, few)
    assert forecast(wanted, few, force=True).size.nodes > 4


def test_the_example_of_the_docs_is_answered_by_the_default_model() -> None:
    text = (Path(__file__).parents[2] / "docs" / "simulate.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("fanlab forecast ")]
    done = CliRunner().invoke(cli, shlex.split(line)[1:])
    assert done.exit_code == Exit.OK, done.output
    assert "GUESS" not in done.output


def test_an_upper_end_that_is_no_answer_is_told_as_none() -> None:
    """Eight nodes, and nine at the upper end of the costs; four were measured, so that nine would be too far."""
    model = replace(wide(), range=replace(wide().range, nodes=4))
    wanted = Wanted(10_000, 50.0, slo("latency.p99 < 1s"))
    found = forecast(wanted, model)
    assert (found.size.nodes, found.high, found.far) == (8, None, ())
    assert "9 nodes, measured up to 4" in found.no_high
    text = forecast_text(found)
    assert "| nodes | 8 | 6 | none |" in text
    assert "It has no upper end" in text
    guess = forecast(wanted, model, force=True)
    assert guess.high is not None
    assert guess.far == ("9 nodes, measured up to 4",)


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (
            Wanted(100, 50.0, slo("latency.p99 < 100us")),
            "waits alone, of servers without work, are too long: `latency.p99 < 100us` is",
        ),
        (Wanted(100, 50.0, slo("latency.p99 < 470us")), "no number of nodes up to 100 meets"),
        (Wanted(100, 50_000.0, SLO), "no number of nodes is enough"),
        (Wanted(100_000, 3000.0, SLO), "a channel cannot be spread over shards"),
    ],
)
def test_what_cannot_be_is_said(wanted: Wanted, why: str) -> None:
    with pytest.raises(MeasurementError) as told:
        forecast(wanted, wide(), force=True)
    assert why in str(told.value)


def test_the_same_question_gets_the_same_answer() -> None:
    assert forecast(Wanted(10_000, 50.0, SLO), wide()) == forecast(Wanted(10_000, 50.0, SLO), wide())


def test_an_slo_is_gates_that_a_simulation_can_tell() -> None:
    refuse_untold(slo("latency.p99 < 100ms and loss.ratio == 0 and ledger.lost == 0"))
    with pytest.raises(ValueError, match=r"generator\.cpu and recovery_ms\.max are nothing that a forecast tells"):
        refuse_untold(slo("generator.cpu < 0.5 and latency.p99 < 1ms and recovery < 1s"))


def test_from_the_command_line(tmp_path: Path) -> None:
    model = tmp_path / "model.json"
    model.write_text(json.dumps(to_json(wide())), encoding="utf-8")
    how = ["forecast", "--clients", "10k", "--rate", "50/s", "--slo", "latency.p99 < 1s", "--model", str(model)]
    done = CliRunner().invoke(cli, how)
    assert done.exit_code == Exit.OK, done.output
    assert "| nodes | 8 | 6 | 9 |" in done.stdout
    assert "It assumes:" in done.stdout
    told = json.loads(CliRunner().invoke(cli, [*how, "--json"]).stdout)
    assert told["size"]["nodes"] == 8
    model.write_text(json.dumps(to_json(made_model())), encoding="utf-8")
    far = ["forecast", "--clients", "1M", "--rate", "50/s", "--slo", "latency.p99 < 1s", "--model", str(model)]
    refused = CliRunner().invoke(cli, far)
    assert isinstance(refused.exception, MeasurementError)
    assert "A GUESS" in CliRunner().invoke(cli, [*far, "--force"]).stdout
    for wrong in (["--clients", "none"], ["--rate", "50"], ["--slo", "generator.cpu < 0.5"]):
        assert CliRunner().invoke(cli, [*how, *wrong]).exit_code == Exit.SCENARIO


def test_an_slo_is_read_as_that_of_a_search() -> None:
    """Both problems at once, each at its column; `AND` joins as `and` does; nothing can be aborted."""
    how = ["forecast", "--clients", "10k", "--rate", "50/s"]
    refused = CliRunner().invoke(cli, [*how, "--slo", "latency.p98 < 1ms AND los.ratio == 0"]).exception
    assert isinstance(refused, ScenarioError)
    assert [(one.file, one.column) for one in refused.problems] == [("--slo", 1), ("--slo", 23)]
    refused = CliRunner().invoke(cli, [*how, "--slo", "latency.p50 < 1ms else abort"]).exception
    assert isinstance(refused, ScenarioError)
    assert "leave out `else abort`" in str(refused)
