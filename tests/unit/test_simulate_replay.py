"""A model is held against the runs that it was measured from: what it does not give back is named."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fanlab.scenario.loader import load
from fanlab.scenario.model import Scenario
from fanlab.simulate.model import Delay, read_model
from fanlab.simulate.observed import Observed, observe
from fanlab.simulate.replay import model_of, replayed, with_units
from support.simulated import loaded_from, made_model, scenario_text, simulated

TEXT = scenario_text(rate="{kind: poisson, rate: 100/s}")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Observed]:
    folder = tmp_path_factory.mktemp("measured")
    rundir = simulated(folder, loaded_from(folder, TEXT), made_model())
    return dict(rundir.read_manifest()), observe(rundir, even_simulated=True)


def test_a_model_that_gives_its_run_back_has_no_note(measured: tuple[dict[str, Any], Observed]) -> None:
    assert replayed([measured], made_model()) == ()


@pytest.mark.parametrize(
    ("planted", "hop"),
    [
        ({"redis": 500_000}, "redis"),
        ({"schedule": 200_000}, "schedule"),
        ({"client": 150_000}, "client"),
        ({"stall": 90_000}, "node"),
    ],
)
def test_a_hop_that_is_off_is_named(
    planted: dict[str, int], hop: str, measured: tuple[dict[str, Any], Observed]
) -> None:
    (note,) = replayed([measured], made_model(**planted))
    assert note.startswith(f"{hop}: simulated again, its p50 is off by more than 15% in 1 of 1 runs; made: ")


def test_waits_that_are_put_in_line_twice_are_told(tmp_path: Path) -> None:
    """Measured waits have the line in them; a model that draws them and lets them wait in line again says so.

    They are as those of a machine where others have the CPU.
    """
    usual = read_model()
    slow = Delay(tuple(10 * quantile_ns for quantile_ns in usual.delays.redis.quantiles_ns))
    model = replace(usual, delays=replace(usual.delays, redis=slow))
    text = scenario_text(rate="{kind: poisson, rate: 130/s}", measure="12s")
    rundir = simulated(tmp_path, loaded_from(tmp_path, text), model)
    notes = model_of([rundir], base=model, even_simulated=True).notes
    assert any(note.startswith("redis: simulated again") for note in notes), notes


def test_what_cannot_be_simulated_again_is_told(measured: tuple[dict[str, Any], Observed]) -> None:
    manifest, run = measured
    strange = {**manifest, "scenario": {**manifest["scenario"], "weather": "fair"}}
    (note,) = replayed([(strange, run)], made_model())
    assert note.startswith("made: not simulated again: ")


def test_a_manifest_says_enough_to_make_its_scenario_of() -> None:
    for path in sorted((Path(__file__).parents[2] / "scenarios").glob("*.yaml")):
        for cell in load(path):
            said = {**cell.scenario.model_dump(mode="json"), "faults": []}
            bare = cell.scenario.model_copy(update={"faults": []})
            assert Scenario.model_validate(with_units(said), by_name=True) == bare, path.name
