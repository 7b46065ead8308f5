"""The search for the knee, told outcomes by hand: which load comes next, and what is said in the end."""

from collections.abc import Callable

import pytest

from fanlab.capacity.search import Axis, End, Outcome, Probe, Try, Wanted, conclude, next_step, shown

RATE = Wanted("rate", start=100, least=1, most=100_000)
CLIENTS = Wanted("clients", start=40, least=2, most=10_000)
NODES = Wanted("nodes", start=4, least=1, most=64)


def searched(wanted: Wanted, system: Callable[[float], Outcome]) -> tuple[list[Probe], End]:
    """The whole search of a made-up system."""
    probes: list[Probe] = []
    while True:
        step = next_step(wanted, probes)
        if isinstance(step, End):
            return probes, step
        assert len(probes) < wanted.max_runs
        probes.append(Probe(step.load, system(step.load), f"run {len(probes) + 1}"))


def below(knee: float) -> Callable[[float], Outcome]:
    return lambda load: "met" if load <= knee else "missed"


def test_it_doubles_then_bisects_then_repeats() -> None:
    probes, end = searched(RATE, below(333))
    assert [probe.load for probe in probes[:8]] == [100, 200, 400, 283, 336, 308, 308, 336]
    assert sorted(probe.load for probe in probes[8:]) == [308, 336]
    assert end.status == "answer"
    assert end.low is not None
    assert end.high is not None
    assert end.low <= 333 <= end.high
    assert (end.carried, end.refused, end.confidence) == (308, 336, 0.9)
    assert end.high / end.low <= 1.1**2


def test_it_halves_where_the_start_is_too_much() -> None:
    probes, end = searched(RATE, below(20))
    assert [probe.load for probe in probes[:4]] == [100, 50, 25, 12.5]
    assert end.status == "answer"


def test_an_unsteady_load_is_not_carried() -> None:
    _, end = searched(RATE, lambda load: "met" if load < 300 else "unsteady")
    assert end.status == "answer"
    assert end.refused is not None
    assert end.refused < 336


def test_not_even_the_least_load() -> None:
    _, end = searched(RATE, below(0))
    assert (end.status, end.low, end.high) == ("bound", None, 1)
    assert "not even 1 msg/s is carried" in end.why


def test_fewer_nodes_than_the_file_takes_are_a_bound() -> None:
    probes, end = searched(Wanted("nodes", start=4, least=3, most=64), lambda _: "met")
    assert [probe.load for probe in probes] == [4, 3]
    assert (end.status, end.high) == ("bound", 3)
    assert end.why == "3 nodes carry it, and fewer are not to be had with this file and objective"


def test_the_most_is_carried() -> None:
    wanted = Wanted("rate", start=100, least=1, most=450)
    probes, end = searched(wanted, below(1e9))
    assert [probe.load for probe in probes] == [100, 200, 400, 450]
    assert (end.status, end.low, end.high) == ("bound", 450, None)


def test_a_generator_that_gives_out_makes_a_bound_and_no_answer() -> None:
    probes, end = searched(RATE, lambda load: "met" if load < 500 else "generator")
    assert [probe.load for probe in probes[:5]] == [100, 200, 400, 800, 800]
    assert end.status == "bound"
    assert end.high is None
    assert end.low is not None
    assert 450 < end.low < 500
    assert "generator is saturated" in end.why


def test_a_knee_below_the_generators_is_found() -> None:
    _, end = searched(RATE, lambda load: "met" if load < 450 else "missed" if load < 700 else "generator")
    assert end.status == "answer"


def test_a_generator_that_gives_out_everywhere() -> None:
    _, end = searched(RATE, lambda _: "generator")
    assert (end.status, end.low, end.high) == ("none", None, None)


@pytest.mark.parametrize("outcome", ["generator", "broken"])
def test_one_such_run_is_forgotten(outcome: Outcome) -> None:
    tried: list[float] = []

    def system(load: float) -> Outcome:
        tried.append(load)
        return outcome if len(tried) == 3 else "met" if load <= 333 else "missed"

    probes, end = searched(RATE, system)
    assert probes[2].load == probes[3].load
    assert end.status == "answer"


def test_two_broken_runs_end_the_search() -> None:
    probes, end = searched(RATE, lambda load: "broken" if load > 150 else "met")
    assert len(probes) == 3
    assert (end.status, end.carried) == ("none", 100)
    assert end.why == "no valid run at 200 msg/s: run 3"


def test_the_fewest_nodes_that_carry() -> None:
    probes, end = searched(NODES, lambda nodes: "met" if nodes >= 3 else "missed")
    assert [probe.load for probe in probes[:3]] == [4, 2, 3]
    assert (end.status, end.load, end.carried, end.refused) == ("answer", 3, 3, 2)


def test_more_nodes_are_tried_where_there_are_too_few() -> None:
    probes, end = searched(NODES, lambda nodes: "met" if nodes >= 20 else "missed")
    assert [probe.load for probe in probes[:4]] == [4, 8, 16, 32]
    assert end.status == "answer"
    assert end.load is not None
    assert end.load in (19, 20, 21)


def test_one_node_is_an_answer() -> None:
    _, end = searched(NODES, lambda _: "met")
    assert (end.status, end.load) == ("answer", 1)


def test_nodes_with_a_saturated_generator_have_no_answer() -> None:
    probes, end = searched(NODES, lambda _: "generator")
    assert (len(probes), end.status) == (2, "none")


def test_too_few_nodes_however_many() -> None:
    _, end = searched(NODES, lambda _: "missed")
    assert (end.status, end.low, end.high) == ("bound", 64, None)


@pytest.mark.parametrize("most", [2, 3, 5, 9])
def test_whole_numbers_that_lie_side_by_side_are_close_enough(most: int) -> None:
    probes, end = searched(CLIENTS, below(most))
    assert end.status == "answer"
    assert (end.carried, end.refused) == (most, most + 1)
    assert all(probe.load == round(probe.load) for probe in probes)


def test_what_is_known_when_it_ends_early() -> None:
    probes = [Probe(100, "met"), Probe(200, "met"), Probe(400, "missed")]
    end = conclude(RATE, probes, "interrupted")
    assert (end.status, end.low, end.high, end.why) == ("bound", 200, 400, "interrupted")
    assert conclude(RATE, [], "interrupted").status == "none"


def test_runs_that_are_used_up() -> None:
    probes, end = searched(Wanted("rate", 100, 1, 1e5, max_runs=3), below(333))
    assert (len(probes), end.status, end.low, end.high) == (3, "bound", 200, 400)
    assert end.why == "all 3 runs are used up"


def test_the_next_step_follows_from_the_probes_alone() -> None:
    probes, _ = searched(RATE, below(333))
    for count in range(len(probes)):
        step = next_step(RATE, probes[:count])
        assert isinstance(step, Try)
        assert step.load == probes[count].load


@pytest.mark.parametrize(
    ("axis", "load", "words"),
    [
        ("rate", 12345.6, "12,350 msg/s"),
        ("rate", 0.025, "0.025 msg/s"),
        ("clients", 2000, "2,000 clients"),
        ("nodes", 1, "1 node"),
    ],
)
def test_loads_in_words(axis: Axis, load: float, words: str) -> None:
    assert shown(axis, load) == words
