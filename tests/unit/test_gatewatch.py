"""Gates that end a run: what is known live, from when on, and that nothing of the warm-up counts."""

from typing import Any

import pytest

from fanlab.gatewatch import SETTLED_NS, GateWatch, Stop, most_owed, told
from fanlab.load.batch import least_ms
from fanlab.load.totals import LoadSnapshot
from fanlab.scenario.gates import LIVE, parse_gate
from support.accounts import make_scenario

S = 1_000_000_000
BUCKET = 128  # of 65.5 ms and more


def load(**figures: Any) -> LoadSnapshot:
    base = dict.fromkeys(("clients", "connected", "reconnecting", "deliveries", "sent", "unsent", "failed", "owed"), 0)
    return LoadSnapshot(**{**base, "last_delivery_ns": None, "latency_p50_ms": None, "latency_p99_ms": None, **figures})


def watch(*gates: str, most_owed: int = 2) -> GateWatch:
    return GateWatch([parse_gate(gate) for gate in gates], most_owed)


def test_gates_that_end_no_run_are_not_looked_at() -> None:
    assert watch("publishers.failed == 0", "latency.p99 < 1s").idle
    assert not watch("publishers.failed == 0 else abort").idle


def test_what_failed_in_the_warm_up_counts_for_nothing() -> None:
    gates = watch("publishers.failed == 0 else abort")
    assert gates.look(-1, load(failed=5)) is None
    assert gates.look(SETTLED_NS - 1, load(failed=6)) is None
    assert gates.look(SETTLED_NS, load(failed=7)) is None
    assert gates.look(2 * S, load(failed=7)) is None
    assert gates.look(3 * S, load(failed=9)) == Stop("publishers.failed == 0 else abort", 3.0, 2)


@pytest.mark.parametrize(("op", "failed"), [("< 3", 3), ("<= 3", 4), ("== 3", 4)])
def test_a_count_fails_when_it_is_passed(op: str, failed: int) -> None:
    gates = watch(f"publishers.failed {op} else abort")
    gates.look(2 * S, load())
    assert gates.look(2 * S, load(failed=failed - 1)) is None
    assert gates.look(2 * S, load(failed=failed)) is not None


def test_from_when_on() -> None:
    gates = watch("publishers.unsent == 0 else abort after 5s")
    gates.look(2 * S, load())
    assert gates.look(4 * S, load(unsent=1)) is None
    assert gates.look(5 * S, load(unsent=1)) is not None


def test_a_percentile_is_taken_for_no_more_than_it_surely_is() -> None:
    """The lower end of its bucket: a gate just above it may hold by the exact figures."""
    low = least_ms(BUCKET)
    for threshold_ms, stops in ((low * 1.01, False), (low * 0.99, True)):
        gates = watch(f"latency.p50 < {threshold_ms}ms else abort")
        gates.look(2 * S, load(latencies={1: 1000}))
        stop = gates.look(3 * S, load(latencies={1: 1000, BUCKET: 2}))
        assert (stop is not None) is stops
        assert stop is None or stop.actual == low


@pytest.mark.parametrize(("figure", "least"), [("p50", 501), ("p90", 101), ("p95", 51), ("p99", 11)])
def test_a_percentile_fails_when_all_that_is_owed_yet_cannot_mend_it(figure: str, least: int) -> None:
    gates = watch(f"latency.{figure} < 1ms else abort", most_owed=1000)
    gates.look(2 * S, load())
    assert gates.look(3 * S, load(latencies={BUCKET: least - 1})) is None
    assert gates.look(3 * S, load(latencies={1: 900, BUCKET: least - 1})) is None
    assert gates.look(3 * S, load(latencies={BUCKET: least})) is not None


def test_a_single_slow_message_to_many_clients_ends_no_run() -> None:
    """60 slow copies among the first 3000 of 30 000 deliveries: 2 % by then, and 0.2 % in the end."""
    gates = watch("latency.p99 < 10ms else abort", most_owed=30_000)
    gates.look(2 * S, load())
    assert gates.look(3 * S, load(latencies={80: 2940, BUCKET: 60})) is None


def test_more_deliveries_than_were_thought_of_count_as_well() -> None:
    gates = watch("latency.p99 < 1ms else abort", most_owed=100)
    gates.look(2 * S, load())
    assert gates.look(3 * S, load(latencies={1: 9990, BUCKET: 10})) is None


@pytest.mark.parametrize(
    ("rate", "least", "most"),
    [
        ("100/s", 4 * 1000, 4 * 1001),
        ({"kind": "poisson", "rate": "100/s"}, 4 * 1150, 4 * 1250),
        ({"kind": "burst", "size": 30, "every": "3s"}, 4 * 120, 4 * 130),
    ],
)
def test_what_is_owed_at_most(rate: Any, least: int, most: int) -> None:
    scenario = make_scenario(
        channels=["news", "other"],
        clients=[{"group": "a", "count": 3, "channels": ["news"]}, {"group": "b", "count": 1, "channels": ["news"]},
                 {"group": "c", "count": 9, "channels": ["other"]}],
        publishers=[{"name": "p", "channel": "news", "rate": rate}],
        phases={"warm_up": "1s", "measure": "10s"},
        faults=[],
    )  # fmt: skip
    assert least <= most_owed(scenario) <= most


def test_every_field_that_is_said_to_be_known_live_is() -> None:
    for field in LIVE:
        gates = watch(f"{field} <= 0 else abort")
        gates.look(2 * S, load())
        assert gates.look(3 * S, load(failed=1, unsent=1, latencies={BUCKET: 200})) is not None, field


def test_in_words() -> None:
    gate = parse_gate("latency.p99 < 50ms else abort")
    assert told(Stop(gate.expr, 3.25, 65.5), gate) == (
        "stopped at 3.2 s by the gate latency.p99 < 50ms else abort: it was 65.5 ms by then"
    )
