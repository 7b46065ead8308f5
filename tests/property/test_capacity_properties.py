"""The search against made-up systems whose knee is known and moves from run to run."""

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanlab.capacity.search import CONCLUSIVE, Axis, End, Outcome, Probe, Wanted, next_step
from fanlab.seed import rng

SEARCHES = 120  # for each scatter


def searched(
    wanted: Wanted, knee: float, scatter: float, draw: Random, failing: float = 0.0
) -> tuple[list[Probe], End]:
    """The search of a system whose knee is `knee`, times a logistic factor of its own in each run."""
    probes: list[Probe] = []
    while True:
        step = next_step(wanted, probes)
        if isinstance(step, End):
            return probes, step
        probes.append(
            Probe(step.load, _outcome(wanted, step.load, knee, scatter, draw=draw, failing=failing), "made up")
        )


def _outcome(wanted: Wanted, load: float, knee: float, scatter: float, *, draw: Random, failing: float) -> Outcome:
    if draw.random() < failing:
        return draw.choice(["generator", "broken"])
    chance = min(max(draw.random(), 1e-12), 1 - 1e-12)
    of_this_run = knee * math.exp(scatter * math.log(chance / (1 - chance)))
    carried = load >= of_this_run if wanted.axis == "nodes" else load <= of_this_run
    return "met" if carried else draw.choice(["missed", "unsteady"])


@pytest.mark.parametrize("scatter", [0.0, 0.02, 0.06, 0.12])
def test_the_truth_is_in_the_interval_as_often_as_is_said(scatter: float) -> None:
    wanted = Wanted("rate", start=100, least=0.1, most=100_000)
    held = runs = 0
    for number in range(SEARCHES):
        draw = rng(5, "capacity", scatter, number)
        knee = 100 * math.exp(draw.uniform(-4, 4))
        probes, end = searched(wanted, knee, scatter, draw)
        assert end.status == "answer"
        assert end.low is not None
        assert end.high is not None
        held += end.low <= knee <= end.high
        runs += len(probes)
    told = wanted.confidence
    least = told - 3 * math.sqrt(told * (1 - told) / SEARCHES)
    assert held / SEARCHES >= least, f"{held} of {SEARCHES} hold the truth, {runs / SEARCHES:.1f} runs each"


@given(
    axis=st.sampled_from(["rate", "clients", "nodes"]),
    seed=st.integers(0, 2**32),
    knee=st.floats(0.01, 1e5),
    scatter=st.floats(0, 0.5),
    failing=st.sampled_from([0.0, 0.1, 0.5]),
    most=st.integers(1, 1000),
    repeats=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_every_search_ends_within_its_limits(
    *, axis: Axis, seed: int, knee: float, scatter: float, failing: float, most: int, repeats: int
) -> None:
    wanted = Wanted(axis, start=min(10, most), least=1, most=most, repeats=repeats, max_runs=25)
    probes, end = searched(wanted, knee, scatter, rng(seed), failing)
    again = searched(wanted, knee, scatter, rng(seed), failing)
    assert (probes, end) == again
    assert len(probes) <= wanted.max_runs
    assert all(wanted.least <= probe.load <= wanted.most for probe in probes)
    assert axis == "rate" or all(probe.load == round(probe.load) for probe in probes)
    if end.status == "answer":
        assert None not in (end.load, end.low, end.high)
        assert end.low <= end.load <= end.high  # type: ignore[operator]
        assert {probe.outcome for probe in probes} & {"met"}
    if end.status == "bound":
        known = {probe.load for probe in probes if probe.outcome in CONCLUSIVE}
        assert {end.low, end.high} - {None} <= known
        assert end.low is not None or end.high is not None
