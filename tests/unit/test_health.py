"""Engines watching themselves, and what the account makes of it."""

import gc
import os
import sys

import pytest

from fanlab.clock import NS_PER_S
from fanlab.ledger.health import (
    HealthEvent,
    cpu_share,
    cpu_wait_share,
    gc_max_ms,
    health_event,
    loop_lag_p99_ms,
    steal_share,
)
from fanlab.ledger.probes import ProbeEvent, probe_delays, probe_event
from fanlab.load.health import Health, cpu_wait_of, stolen_of


def test_health_tells_of_the_garbage_collector() -> None:
    health = Health()
    health.pauses("start", {})
    health.pauses("stop", {})
    event = health.event(9, missed=0)
    assert 0 <= event["gc_max_ms"] == event["gc_ms"]
    assert health.event(10, missed=0)["gc_max_ms"] == 0
    began = len(gc.callbacks)
    health.pauses.watch()
    try:
        gc.collect()
        assert health.event(11, missed=0)["gc_max_ms"] > 0
    finally:
        del gc.callbacks[began:]


def test_what_the_kernel_says_of_waiting_and_steal() -> None:
    assert cpu_wait_of("861094 2500000000 4\n") == 2.5
    assert cpu_wait_of("") is None
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    assert stolen_of(f"cpu  536224 2953 93923 1812960 3588 0 10787 {3 * ticks_per_s} 0 0\ncpu0 1 2\n") == 3
    assert stolen_of("cpu  1 2 3 4\n") is None
    assert stolen_of("") is None
    if sys.platform == "linux":
        event = Health().event(1, missed=0)
        assert event["stolen_s"] >= 0
        assert event["cpus"] >= 1


def told(second: int, **fields: float | None) -> HealthEvent:
    return HealthEvent(second * NS_PER_S, 0.0, (), **fields)  # type: ignore[arg-type]


def test_a_health_event_is_read_back_with_and_without_what_the_system_tells() -> None:
    event = Health().event(5, missed=0)
    assert health_event(event).cpu_s == event["cpu_s"]
    assert health_event(event).stolen_s == event.get("stolen_s")
    assert health_event({"t": 1, "cpu_s": 2, "lags_ms": [3]}) == HealthEvent(1, 2.0, (3.0,))
    line = {"t": 1, "cpu_s": 2, "lags_ms": [3], "cpu_wait_s": 4, "gc_max_ms": 5, "stolen_s": 6, "cpus": 7}
    assert health_event(line) == HealthEvent(1, 2.0, (3.0,), 4.0, 5.0, 6.0, 7)
    with pytest.raises(KeyError):
        health_event({"t": 1})


def test_shares_are_of_the_span_and_of_the_worst_process() -> None:
    calm = [told(k, cpu_wait_s=0.01 * k, stolen_s=0.1 * k, cpus=2) for k in range(12)]
    starved = [told(k, cpu_wait_s=0.0 if k < 2 else 0.5 * (k - 2), stolen_s=0.1 * k, cpus=2) for k in range(12)]
    span = (2 * NS_PER_S, 10 * NS_PER_S)
    assert cpu_wait_share([calm, starved], *span) == pytest.approx(0.5)
    assert cpu_wait_share([calm], *span) == pytest.approx(0.01)
    assert steal_share([calm, starved], *span) == pytest.approx(0.05), "of all CPUs"


def test_what_is_not_told_is_not_known() -> None:
    silent = [told(k) for k in range(5)]
    span = (0, 4 * NS_PER_S)
    assert cpu_wait_share([silent], *span) is None
    assert steal_share([silent, []], *span) is None
    assert gc_max_ms([silent], *span) is None


def test_a_process_whose_system_tells_of_one_end_only_is_left_out() -> None:
    span = (0, 2 * NS_PER_S)
    known, told_later, told_before = (
        [told(0, cpu_wait_s=first, stolen_s=first, cpus=2), told(2, cpu_wait_s=last, stolen_s=last, cpus=2)]
        for first, last in ((0.0, 0.2), (None, 0.4), (0.0, None))
    )
    for other in (told_later, told_before):
        assert cpu_wait_share([other, known], *span) == pytest.approx(0.1)
        assert steal_share([other, known], *span) == pytest.approx(0.05)
        assert (cpu_wait_share([other], *span), steal_share([other], *span)) == (None, None)


@pytest.mark.parametrize("cpus", [None, 0])
def test_what_was_stolen_of_nobody_knows_how_many_cpus_is_no_share(cpus: int | None) -> None:
    assert steal_share([[told(0, stolen_s=0, cpus=cpus), told(2, stolen_s=1, cpus=cpus)]], 0, 2 * NS_PER_S) is None


@pytest.mark.parametrize(
    ("events", "share"),
    [
        ([(0, 0.0), (2, 0.5), (10, 4.5), (11, 99.0)], 0.5),  # at both ends of the span, to the instant
        ([(1, 0.0), (2, 0.5), (5, 1.0), (10, 4.5)], 0.5),
        ([(1, 0.0), (12, 5.5)], 0.5),  # just before it and just after
        ([(3, 1.0), (6, 2.5)], 0.5),  # within: as far as they go
        ([(3, 1.0), (13, 6.0), (14, 99.0)], 0.5),
        ([(0, 99.0), (1, 1.0), (7, 4.0)], 0.5),
        ([(2, 0.0), (2, 0.5), (2, 0.7)], None),  # no time between them
        ([(1, 0.0), (1, 1.0), (3, 2.0)], 0.5),
        ([(3, 1.0), (3, 1.5), (6, 2.5)], 0.5),
        ([(3, 1.0), (3, 1.5)], None),
        ([(5, 1.0)], None),
        ([(0, 0.0), (1, 1.0)], None),
        ([(11, 0.0), (12, 1.0)], None),
        ([], None),
    ],
)
def test_counters_are_compared_between_the_events_around_the_span(
    events: list[tuple[int, float]], share: float | None
) -> None:
    health = [HealthEvent(second * NS_PER_S, cpu_s, ()) for second, cpu_s in events]
    assert cpu_share([health], 2 * NS_PER_S, 10 * NS_PER_S) == (None if share is None else pytest.approx(share))


@pytest.mark.parametrize(("t", "counts"), [(1, False), (1.001, True), (2, True), (3, True), (3.001, False)])
def test_an_event_speaks_of_the_second_before_it(t: float, counts: bool) -> None:
    health = [HealthEvent(round(t * NS_PER_S), 0.0, (0.25,), gc_max_ms=0.75)]
    span = (1 * NS_PER_S, 2 * NS_PER_S)
    assert gc_max_ms([health], *span) == (0.75 if counts else None)
    assert loop_lag_p99_ms([health], *span) == (0.25 if counts else None)


def test_the_longest_pause_is_of_the_span_only() -> None:
    health = [told(k, gc_max_ms=pause) for k, pause in enumerate((90.0, 1.0, 7.5, 2.0, 80.0))]
    assert gc_max_ms([health], 1 * NS_PER_S, 2 * NS_PER_S) == 7.5, "an event speaks of the second before it"


def test_probe_delays_are_kept_by_engine_and_of_the_span_only() -> None:
    one = [ProbeEvent(k * NS_PER_S, (k * 100, k * 100 + 1), (0, k), 1) for k in range(5)]
    two = [ProbeEvent(3 * NS_PER_S, (9000,), (7000,), 0)]
    delays = probe_delays([one, [], two], 1 * NS_PER_S, 3 * NS_PER_S)
    assert [engine.n for engine in delays.bias] == [6, 1]
    assert [engine.max_ns for engine in delays.waits] == [401_000, 9_000_000]
    assert [engine.max_ns for engine in delays.bias] == [4_000, 7_000_000]
    assert delays.inferred == 3


def test_a_probe_event_is_read_back() -> None:
    line = {"t": 4, "delays_us": [1, 2], "late_us": [0, 3], "inferred": 1}
    assert probe_event(line) == ProbeEvent(4, (1, 2), (0, 3), 1)
    with pytest.raises(KeyError):
        probe_event({"t": 4, "delays_us": []})
