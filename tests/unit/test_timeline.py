"""A timeline is a pure function of the scenario and its seed."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fanlab.faults.timeline import resolve
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import make_plan


def scenario(faults: list[dict[str, Any]], *, nodes: int = 5, seed: int = 1) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "t",
            "question": "?",
            "seed": seed,
            "topology": {"nodes": {"count": nodes}},
            "channels": ["news"],
            "clients": [{"group": "g", "count": 1, "channels": ["news"]}],
            "publishers": [{"name": "p", "channel": "news", "rate": "1/s"}],
            "faults": faults,
        }
    )


def targets(faults: list[dict[str, Any]], *, nodes: int = 5, seed: int = 1) -> list[str]:
    made = scenario(faults, nodes=nodes, seed=seed)
    return [fault.target for fault in resolve(made, make_plan(made))]


def test_faults_come_in_order_of_time_and_are_numbered_so() -> None:
    made = scenario(
        [{"kind": "pause", "target": "node-2", "at": "3s"}, {"kind": "crash", "target": "node-1", "at": "1s"}]
    )
    timeline = resolve(made, make_plan(made))
    assert [(fault.id, fault.name, fault.at_ns) for fault in timeline] == [
        (0, "crash node-1", 10**9),
        (1, "pause node-2", 3 * 10**9),
    ]


def test_a_list_of_targets_is_one_fault_each() -> None:
    assert targets([{"kind": "crash", "target": ["node-3", "node-1"], "at": "1s"}]) == ["node-1", "node-3"]


def test_all_means_every_node() -> None:
    assert targets([{"kind": "stop", "target": "all", "at": "1s"}], nodes=3) == ["node-1", "node-2", "node-3"]


def test_redis_faults_are_aimed_at_redis() -> None:
    assert targets([{"kind": "redis-restart", "at": "1s"}, {"kind": "redis-kill-pubsub", "at": "2s"}]) == ["redis"] * 2


@given(seed=st.integers(0, 1000), nodes=st.integers(1, 9))
def test_a_minority_is_fewer_than_half_yet_at_least_one(seed: int, nodes: int) -> None:
    chosen = targets([{"kind": "crash", "target": "minority", "at": "1s"}], nodes=nodes, seed=seed)
    assert len(set(chosen)) == len(chosen) >= 1
    assert len(chosen) < nodes / 2 or len(chosen) == 1


@given(seed=st.integers(0, 1000))
def test_a_choice_depends_on_the_seed_alone(seed: int) -> None:
    fault = [{"kind": "crash", "target": "one", "at": "1s"}]
    assert targets(fault, seed=seed) == targets(fault, seed=seed)


def test_other_seeds_choose_other_nodes() -> None:
    fault = [{"kind": "crash", "target": "one", "at": "1s"}]
    assert len({targets(fault, seed=seed)[0] for seed in range(50)}) == 5


def test_a_rolling_fault_goes_from_node_to_node() -> None:
    made = scenario([{"kind": "restart", "target": "all", "at": "1s", "stagger": "2s"}], nodes=3)
    timeline = resolve(made, make_plan(made))
    assert [(fault.name, fault.at_ns // 10**9, fault.for_ns) for fault in timeline] == [
        ("restart node-1", 1, 10**8),
        ("restart node-2", 3, 10**8),
        ("restart node-3", 5, 10**8),
    ]


def test_what_a_scenario_says_of_a_fault_goes_with_it_as_plain_data() -> None:
    made = scenario(
        [
            {"kind": "cpu-throttle", "target": "node-1", "at": "1s", "for": "1s", "cores": 0.2},
            {"kind": "redis-output-buffer", "at": "2s", "for": "1s", "limit": "64kB"},
            {"kind": "redis-client-pause", "at": "3s"},
        ]
    )
    assert [dict(fault.settings) for fault in resolve(made, make_plan(made))] == [
        {"cores": 0.2},
        {"limit_bytes": 64_000},
        {"mode": "write"},
    ]


def test_a_fault_that_comes_again_draws_its_target_again() -> None:
    chosen = targets(
        [{"kind": "crash", "target": "one", "at": "1s", "for": "100ms", "repeat": {"every": "500ms", "times": 18}}]
    )
    assert len(chosen) == 18
    assert len(set(chosen)) > 1
    first = targets([{"kind": "crash", "target": "one", "at": "1s", "for": "100ms"}])
    assert chosen[0] == first[0]  # what is said once is not changed by saying it again
