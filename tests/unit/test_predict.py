"""Predictions, each against a figure worked out by hand; and the publishers' plan against what publishers do."""

from pathlib import Path
from typing import Any

import pytest

from fanlab.load.config import make_config
from fanlab.load.publishing import stream_offsets as publishers_offsets
from fanlab.planned import EXACT_UP_TO, count_before, due_on, expected, stream_offsets
from fanlab.predict import backoff_mean_ns, predict
from fanlab.scenario.model import Reconnect, Scenario
from fanlab.scenario.plan import make_plan

S = 1_000_000_000
BACKOFF = {"initial": "500ms", "factor": 2, "max": "4s", "jitter": 0.2}


def scenario(**changes: Any) -> Scenario:
    """Three nodes, 30 clients, 50/s, ten seconds."""
    data: dict[str, Any] = {
        "name": "t",
        "question": "?",
        "topology": {"nodes": {"count": 3}},
        "channels": ["news", "jobs"],
        "clients": [{"group": "g", "count": 30, "channels": ["news"], "reconnect": BACKOFF}],
        "publishers": [{"name": "p", "channel": "news", "rate": "50/s"}],
        "phases": {"warm_up": "1s", "measure": "10s"},
    }
    return Scenario.model_validate(data | changes)


def group(**changes: Any) -> list[dict[str, Any]]:
    return [{"group": "g", "count": 30, "channels": ["news"], "reconnect": BACKOFF, **changes}]


def losses(faults: list[dict[str, Any]], **changes: Any) -> list[float | None]:
    made = scenario(faults=faults, **changes)
    return [prediction.predicted for prediction in predict(made, make_plan(made))]


def crash(target: Any, at: str, heal: str | None = None) -> dict[str, Any]:
    return {"kind": "crash", "target": target, "at": at} | ({"for": heal} if heal else {})


@pytest.mark.parametrize(
    ("faults", "changes", "predicted"),
    [
        ([crash("node-2", "2s")], {}, [10 * 25]),
        ([crash("node-2", "2s", "1s")], {}, [250]),
        ([crash("node-2", "9800ms")], {}, [10 * 10]),  # the end of the measure phase comes first
        ([crash("node-2", "2s")], {"clients": group(failover="least-connections")}, [250]),
        # sticky: attempts 0.5, 1.5, 3.5 s after; the node is back after 1 s, so the second one finds it
        ([crash("node-2", "2s", "1s")], {"clients": group(failover="sticky")}, [10 * 75]),
        ([crash("node-2", "2s")], {"clients": group(failover="sticky")}, [10 * 400]),
        # only node-2 to go to: as if sticky
        ([crash("node-2", "2s", "1s")], {"clients": group(nodes=["node-2"])}, [30 * 75]),
        # both at once: those of node-1 try node-2 (dead) at 0.5 s, node-3 at 1.5 s; those of node-2 go straight there
        ([crash(["node-1", "node-2"], "2s")], {}, [10 * 75, 250]),
        # they went to node-3, which then has 20
        ([crash("node-2", "2s"), crash("node-3", "5s")], {}, [250, 20 * 25 * 1]),
        ([crash("all", "2s")], {}, [10 * 400] * 3),
        # nobody is on it any more
        ([crash("node-2", "2s", "1s"), crash("node-2", "5s")], {}, [250, 0]),
        # those who join late are not there yet
        ([crash("node-2", "2s")], {"clients": group(join="5s")}, [0]),
        ([{"kind": "stop", "target": "node-1", "at": "2s"}], {}, [250]),
        ([{"kind": "pause", "target": "node-1", "at": "2s", "for": "3s"}], {}, [0]),
        ([{"kind": "pause", "target": "node-1", "at": "2s"}], {}, [None]),
        (
            [{"kind": "pause", "target": "node-1", "at": "2s", "for": "3s"}],
            {"clients": group(ping_timeout="2s")},
            [None],
        ),
        (
            [{"kind": "pause", "target": "node-1", "at": "2s", "for": "3s"}],
            {"publishers": [{"name": "p", "channel": "news", "rate": "50/s", "payload": "100kB"}]},
            [None],
        ),
        ([{"kind": "redis-restart", "at": "2s", "for": "2s"}], {}, [30 * 100]),
        ([{"kind": "redis-restart", "at": "9s", "for": "5s"}], {}, [30 * 50]),
        ([{"kind": "redis-kill-pubsub", "at": "2s"}], {}, [None]),
        # a channel that nobody publishes on loses nothing
        ([crash("node-2", "2s")], {"clients": group(channels=["jobs"])}, [0]),
        ([crash("node-2", "2s")], {"clients": group(channels=["jobs", "news"])}, [250]),
    ],
)
def test_predicted(faults: list[dict[str, Any]], changes: dict[str, Any], predicted: list[float | None]) -> None:
    found = losses(faults, **changes)
    assert len(found) == len(predicted)
    for one, other in zip(found, predicted, strict=True):
        assert one == (None if other is None else pytest.approx(other))


def test_the_basis_spells_the_sum_out() -> None:
    made = scenario(faults=[crash("node-2", "2s")])
    (prediction,) = predict(made, make_plan(made))
    assert prediction.basis == (
        "10 clients of g × 25 messages in 500ms (back-off until attempt 1, to node-3) = 250;"
        " back-off without its spread, nothing for connecting"
    )


def test_the_back_off_grows_to_its_bound() -> None:
    reconnect = Reconnect.model_validate(BACKOFF)
    assert [backoff_mean_ns(reconnect, attempt) / S for attempt in (0, 1, 2, 3, 4, 5000)] == [0.5, 1, 2, 4, 4, 4]


RATES: list[Any] = [
    "50/s",
    {"kind": "poisson", "rate": "40/s"},
    {"kind": "ramp", "from": "1/s", "to": "90/s", "over": "6s"},
    {"kind": "step", "steps": [{"at": 0, "rate": "10/s"}, {"at": "3s", "rate": "70/s"}]},
    {"kind": "burst", "size": 7, "every": "400ms"},
]


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: rate if isinstance(rate, str) else rate["kind"])
def test_the_plan_counts_what_the_publishers_will_send(rate: Any) -> None:
    made = scenario(
        publishers=[
            {"name": "a", "channel": "news", "rate": rate, "count": 3},
            {"name": "b", "channel": "jobs", "rate": rate, "count": 2},
        ]
    )
    plan = make_plan(made)
    config = make_config(made, plan, nodes=[], redis_url="", run_tag=0, journal=Path(), stats=Path())
    for each in expected(made, plan):
        offsets = []
        for offset in publishers_offsets(config, each.stream):
            if offset >= 11 * S:
                break
            offsets.append(offset)
        assert each.warm_up == sum(offset < S for offset in offsets)
        assert each.measure == sum(offset >= S for offset in offsets)
        assert each.subscribers == (30 if each.channel == "news" else 0)
        assert each.deliveries == each.measure * each.subscribers


def test_counts_are_of_messages_strictly_before_each_edge() -> None:
    made = scenario()
    assert next(stream_offsets(made, make_plan(made), 0)) == 0
    assert count_before(made, make_plan(made), 0, (0, 1, S, S + 1)) == [0, 1, 50, 51]


def test_very_long_plans_are_counted_by_the_integral() -> None:
    made = scenario(publishers=[{"name": "p", "channel": "news", "rate": "4000k/s"}])
    (each,) = expected(made, make_plan(made))
    assert each.measure == 40_000_000 > EXACT_UP_TO


def test_a_late_group_is_owed_what_comes_after_it() -> None:
    made = scenario(clients=group(join="4s", spawn_rate="30/s"))
    (each,) = expected(made, make_plan(made))
    assert each.measure * each.subscribers == 15_000
    assert each.deliveries == pytest.approx(30 * 50 * (6 - 29 / 30 / 2), rel=1e-3)  # the last one comes 29/30 s after


def test_what_is_due_is_cut_to_the_measure_phase() -> None:
    made = scenario()
    assert due_on(made, ("news",), -S, S) == pytest.approx(50)
    assert due_on(made, ("news",), 9 * S, 99 * S) == pytest.approx(50)
    assert due_on(made, ("news",), 11 * S, 12 * S) == 0
    assert due_on(made, ("jobs",), 0, S) == 0


def test_clients_that_hardly_wait_are_foretold_in_few_steps() -> None:
    hasty = group(reconnect={"initial": "1ns", "factor": 1, "max": "1ns"})
    at_once, waiting = losses([crash("all", "2s", "4s")], clients=hasty), losses([crash("node-2", "2s")], clients=hasty)
    assert at_once == pytest.approx([10 * 50 * 4] * 3, rel=0.02)  # the grid on which their attempts are looked at
    assert waiting == pytest.approx([0], abs=1)


def test_what_would_take_long_to_foretell_is_not() -> None:
    faults = [crash("all", f"{turn * 20}ms", "15ms") for turn in range(100)]
    topology = {"nodes": {"count": 20}}
    made = scenario(faults=faults, topology=topology, clients=[group(group=f"g{n}")[0] for n in range(50)])
    found = predict(made, make_plan(made))
    assert len(found) == 2000
    assert {prediction.predicted for prediction in found} == {None}
    assert found[0].basis == "so many faults, groups and publishers are not worked out"


def test_very_many_late_groups_are_each_taken_for_one_client_at_a_steady_rate() -> None:
    late = [group(group=f"g{n}", join="4s", spawn_rate="30/s")[0] for n in range(80)]
    rates = [{"name": f"p{n}", "channel": "news", "rate": "5/s"} for n in range(80)]
    made = scenario(clients=late, publishers=rates)
    for each in expected(made, make_plan(made)):
        assert each.measure == 50
        assert each.deliveries == pytest.approx(80 * 30 * 5 * (6 - 15 / 30), rel=1e-3)
