"""A model is measured from runs: one that is planted in simulated runs has to come back out of them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanlab.errors import MeasurementError
from fanlab.rundir import write_json
from fanlab.simulate.estimate import estimate, least_squares
from fanlab.simulate.model import DEFAULT, Delay, from_json, read_model, to_json
from fanlab.simulate.observed import Observed, memory_of, observe
from fanlab.simulate.parts import Draws
from support.simulated import COSTS_NS, DELAYS_NS, loaded_from, made_model, scenario_text, simulated

CELLS = [(1, 10, 100), (2, 100, 50), (4, 40, 200), (4, 200, 50)]  # nodes, clients, rate


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> list[Observed]:
    runs = []
    for nodes, clients, rate in CELLS:
        folder = tmp_path_factory.mktemp("planted")
        text = scenario_text(nodes=nodes, clients=clients, rate=f"{{kind: poisson, rate: {rate}/s}}")
        runs.append(observe(simulated(folder, loaded_from(folder, text), made_model()), even_simulated=True))
    return runs


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Observed:
    folder = tmp_path_factory.mktemp("broken")
    faults = "[{kind: crash, target: node-2, at: 1s, for: 1s}, {kind: redis-kill-pubsub, at: 5s}"
    faults += ", {kind: redis-restart, at: 8s, for: 500ms}]"
    text = scenario_text(measure="12s", faults=faults)
    return observe(simulated(folder, loaded_from(folder, text), made_model()), even_simulated=True)


@pytest.mark.parametrize("name", COSTS_NS)
def test_a_planted_cost_comes_back(planted: list[Observed], name: str) -> None:
    assert getattr(estimate(planted).costs, name).value == pytest.approx(COSTS_NS[name], rel=0.05)


def test_planted_memory_comes_back(planted: list[Observed]) -> None:
    costs = estimate(planted).costs
    assert costs.node_base_bytes.value == pytest.approx(30e6, rel=0.01)
    assert costs.connection_bytes.value == pytest.approx(15_000, rel=0.01)


@pytest.mark.parametrize("name", ["schedule", "redis", "reply", "client", "connect", "subscribe"])
def test_a_planted_wait_comes_back(planted: list[Observed], name: str) -> None:
    assert getattr(estimate(planted).delays, name).median_ns == pytest.approx(DELAYS_NS[name], rel=0.1)


def test_what_mends_is_measured_from_the_faults(broken: Observed) -> None:
    delays = estimate([broken]).delays
    for name in ("resubscribe", "rejoin", "node_start", "notice"):
        assert getattr(delays, name).median_ns == pytest.approx(DELAYS_NS[name], rel=0.1), name


def test_what_no_run_shows_is_said_and_taken_from_the_base(planted: list[Observed]) -> None:
    model = estimate(planted, base=made_model(rejoin=77_000_000))
    assert model.delays.rejoin.median_ns == 77_000_000
    assert any(note.startswith("rejoin: no run shows it") for note in model.notes)


def test_what_one_run_does_not_tell_apart_is_said(planted: list[Observed]) -> None:
    model = estimate(planted[:1])
    told = " ".join(model.notes)
    for name in ("node_delivery_ns", "redis_publish_ns, redis_send_ns", "connection_bytes"):
        assert f"{name}: " in told
    assert model.costs.redis_publish_ns.value == model.costs.redis_send_ns.value


def test_the_range_is_what_was_measured(planted: list[Observed]) -> None:
    measured = estimate(planted).range
    assert (measured.nodes, measured.clients_per_node, measured.payload_bytes) == (4, 50, 128)
    assert measured.publishes_per_s == pytest.approx(200, rel=0.2)


def test_a_simulated_run_is_no_measurement(tmp_path: Path) -> None:
    rundir = simulated(tmp_path, loaded_from(tmp_path, scenario_text()), made_model())
    with pytest.raises(MeasurementError, match="not a whole run of a real system"):
        observe(rundir)


def test_an_invalid_run_is_noted(tmp_path: Path, planted: list[Observed]) -> None:
    """It may be all that there is, but whoever reads the model has to know."""
    assert not any("invalid" in note for note in estimate(planted).notes)
    rundir = simulated(tmp_path, loaded_from(tmp_path, scenario_text()), made_model())
    manifest = rundir.read_manifest()
    phases = {**manifest["phases"], "drain_ended_by": "deadline"}
    write_json(rundir.manifest, {**manifest, "phases": phases})
    notes = estimate([*planted, observe(rundir, even_simulated=True)]).notes
    assert any(note.startswith("made: an invalid run") and "drain" in note for note in notes)


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"kinds": ["uvicorn"]}, "2 kinds of nodes: uvicorn; websockets"),
        ({"backend": "docker"}, "2 backends: docker; simulate"),
        ({"host": {"cores": 64}}, "2 machines"),
    ],
)
def test_runs_of_two_systems_or_machines_make_no_model(
    planted: list[Observed], other: dict[str, Any], what: str
) -> None:
    stranger = replace(planted[0], about={**planted[0].about, **other})
    with pytest.raises(MeasurementError, match=what):
        estimate([*planted, stranger])


def test_too_little_is_refused(tmp_path: Path) -> None:
    rundir = simulated(tmp_path, loaded_from(tmp_path, scenario_text(rate="1/s")), made_model())
    with pytest.raises(MeasurementError, match="too few to measure by"):
        estimate([observe(rundir, even_simulated=True)])


def test_the_same_runs_give_the_same_model(planted: list[Observed]) -> None:
    assert estimate(planted) == estimate(planted)


def test_a_model_survives_its_file(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    file.write_text(json.dumps(to_json(made_model())), encoding="utf-8")
    assert read_model(file) == made_model()


def test_the_default_model_was_measured() -> None:
    """From runs that it names, over more than one number of nodes, and with an interval on every figure."""
    model = read_model()
    assert model.range.nodes >= 4
    assert len({run["scenario"] for run in model.measured}) >= 5
    assert all(run["backend"] == "process" for run in model.measured)
    for name in ("node_message_ns", "node_delivery_ns", "connection_bytes"):
        cost = getattr(model.costs, name)
        assert 0 < cost.low <= cost.value <= cost.high, name
    assert DEFAULT.exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.pop("costs"),
        lambda data: data.update(schema=2),
        lambda data: data["costs"]["receive_ns"].update(low=1e9),
        lambda data: data["delays"]["redis"].update(quantiles_ns=[1.0]),
        lambda data: data["delays"]["redis"].update(quantiles_ns=[*range(11, -1, -1)]),
    ],
)
def test_a_file_that_is_no_model_is_refused(spoil: object) -> None:
    data = json.loads(json.dumps(to_json(made_model())))
    assert callable(spoil)
    spoil(data)
    with pytest.raises(MeasurementError, match="is no model"):
        from_json(data, "somewhere")


@pytest.mark.parametrize("memory_ns", [20e6, 100e6])
def test_how_long_waits_are_alike_is_found_again(memory_ns: float) -> None:
    """Waits drawn in line every 10 ms keep their distribution, and their memory comes back out of them."""
    delay = Delay.of(np.random.default_rng(1).exponential(1e6, 100_000), memory_ns)
    draws, at_ns = Draws(delay, 1, "memory"), np.arange(20_000) * 10_000_000
    drawn = np.array([draws.in_line(float(t), np.array([0]))[0] for t in at_ns])
    assert np.median(drawn) == pytest.approx(delay.median_ns, rel=0.1)
    assert memory_of(at_ns, drawn.astype(np.int64))[0] == pytest.approx(memory_ns, rel=0.15)


def test_waits_that_are_not_alike_have_no_memory() -> None:
    at_ns, random = np.arange(5000) * 10_000_000, np.random.default_rng(1)
    assert memory_of(at_ns, random.exponential(1e6, 5000).astype(np.int64)).tolist() == [0.0]
    assert not len(memory_of(at_ns[:10], at_ns[:10]))


def test_lines_have_memories_of_their_own() -> None:
    draws = Draws(Delay.of(np.random.default_rng(1).exponential(1e6, 1000), 1e9), 1, "lines", lanes=2)
    first, other = draws.in_line(0.0, np.array([0, 1])), draws.in_line(1.0, np.array([0, 1]))
    assert other == pytest.approx(first, rel=0.01, abs=1e4)
    assert first[0] != first[1]


def test_a_wait_in_line_is_not_counted_twice(tmp_path: Path) -> None:
    """One in five is held for 60 ms, at 100 messages a second: the median has to stay where the model has it."""
    values = np.concatenate([np.full(800, 1e6), np.full(200, 60e6)])
    loaded = loaded_from(tmp_path, scenario_text(rate="100/s", measure="20s"))
    medians = []
    for memory_ns, name in ((0.0, "none"), (2e9, "long")):
        rundir = simulated(tmp_path, loaded, made_model(redis=Delay.of(values, memory_ns)), name)
        medians.append(np.median(observe(rundir, even_simulated=True).redis_ns))
    assert medians[0] > 10e6  # drawn anew for each: most of them wait behind one that is held
    assert medians[1] < 2e6


def test_a_delay_is_drawn_between_its_quantiles() -> None:
    delay = Delay.of(np.random.default_rng(1).exponential(1e6, 100_000))
    drawn = delay.draw(np.random.default_rng(2), 100_000)
    assert np.median(drawn) == pytest.approx(1e6 * np.log(2), rel=0.03)
    assert drawn.mean() == pytest.approx(1e6, rel=0.1)
    assert Delay.of(np.array([-5.0, -1.0])).median_ns == 0


@given(st.lists(st.floats(0, 100), min_size=3, max_size=3), st.integers(0, 2**32 - 1))
def test_least_squares_finds_what_is_exact_and_goes_below_nothing(planted_x: list[float], seed: int) -> None:
    random = np.random.default_rng(seed)
    columns = random.random((30, 3))
    assert least_squares(columns, columns @ planted_x) == pytest.approx(planted_x, abs=1e-6)
    assert (least_squares(columns, random.normal(size=30)) >= 0).all()
