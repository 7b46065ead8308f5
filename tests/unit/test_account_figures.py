"""The figures of the account: what was published, how late it all was, how the time is cut, and what was at work."""

import pytest

from fanlab.clock import NS_PER_S
from fanlab.ledger.account import account
from fanlab.ledger.causes import Cause
from fanlab.ledger.clocks import ClockAccount, Span
from fanlab.ledger.health import HealthEvent, cpu_share, loop_lag_p99_ms
from fanlab.ledger.records import Status
from support.histories import MS, ZERO_NS, History, mark, ns
from support.ten import steady, without


@pytest.fixture
def reckon(tmp_path):
    """Account for a history."""
    return lambda history, **how: account(history.write(tmp_path / "run", **how))


def test_publishers_are_counted_in_the_measure_phase_whose_first_instant_is_time_0(reckon):
    history = History(clients=1).subscribe(0).publish(1, -0.000001).publish(2, 0, status=Status.FAILED)
    history.publish(3, 10, status=Status.UNSENT).publish(4, 20, receivers=0).publish(5, 30, status=Status.TIMED_OUT)
    history.publish(7, 40).deliver(0, 1, 5).deliver(0, 7, 45)  # number 6 was never used
    found = reckon(history)
    assert found.publishers == {
        "planned": 5, "sent": 4, "unsent": 1, "failed": 1, "timed_out": 1, "unheard": 1,
    }  # fmt: skip
    assert (found.warm_up.published, found.measure.published) == (1, 3)
    assert (found.warm_up.delivered, found.measure.delivered) == (1, 1)


def test_the_lag_of_the_schedule_is_a_percentile(reckon):
    history = History(clients=1, nodes=1)
    for seq in range(1, 101):
        history.publish(seq, seq * 5, lag=4 if seq == 50 else 1)
    found = reckon(history)
    assert found.schedule_lag_p99_ms == pytest.approx(1, rel=0.001)
    assert found.hops["schedule"].max_ns == 4 * MS


@pytest.mark.parametrize(
    ("seconds", "bin_ms", "bins"),
    [
        (0, 50, 1),
        (0.05, 50, 1),
        (0.051, 50, 2),
        (10, 50, 200),
        (10.001, 100, 101),
        (12_000, 60_000, 200),
        (12_000.001, 120_000, 101),
        (12_100, 120_000, 101),
        (24_000, 120_000, 200),
        (24_001, 180_000, 134),
    ],
)
def test_time_is_cut_into_about_200_bins_of_a_round_length(reckon, seconds, bin_ms, bins):
    found = reckon(History(clients=1, measure_ms=seconds * 1000, drain_ms=0))
    assert (found.bin_ns, len(found.offered), len(found.latency.over_time)) == (bin_ms * MS, bins, bins)
    assert isinstance(found.bin_ns, int)
    assert found.end_ns - found.start_ns == seconds * NS_PER_S


def test_after_an_outage_the_first_message_is_told_where_one_came(reckon):
    history = without(steady(), 0, 4, 5, 6).close(0, 32).subscribe(0, node=2, at=60, took=2, lag=3)
    without(history, 1, *range(4, 11)).close(1, 32).subscribe(1, node=2, at=600)
    assert [one.first_message_ns for one in reckon(history).outages] == [ns(71), None]


@pytest.mark.parametrize(
    ("boot_id", "clock"), [("a", ClockAccount("one-boot", Span(0, 0))), (None, ClockAccount("unknown"))]
)
def test_what_clocks_mean_to_one_another_is_told(reckon, boot_id, clock):
    history = steady()
    history.boot_id = boot_id
    assert reckon(history).clock == clock


@pytest.mark.parametrize(
    ("late_ms", "frame_ms", "found"),
    [
        (31, 70, True),  # what was sent at 40.1 came at 71 at the latest
        (29, 70, False),
        (31, 72, False),
        (None, 40.1, True),  # where nothing came at all, nothing was late
        (None, 40.100001, False),
    ],
)
def test_what_is_missing_may_have_come_as_late_as_any_other(reckon, late_ms, frame_ms, found):
    history = History(clients=1).subscribe(0).publish(4, 40).publish(9, 90)
    if late_ms is not None:
        history.publish(1, 10).deliver(0, 1, 10 + late_ms)
    history.deliver(0, 9, 95)
    history.unreadable = [(frame_ms, 100)]
    causes = {int(row["seq"]): Cause(row["cause"]) for row in reckon(history).losses}
    assert (causes[4] is Cause.GENERATOR_FAULT) == found


def test_latency_counts_first_copies_from_the_intended_time(reckon):
    history = History(clients=1).subscribe(0)
    history.publish(1, 10, lag=5).publish(2, 20).deliver(0, 1, 110).deliver(0, 2, 120).deliver(0, 2, 500, node=1)
    found = reckon(history)
    assert (found.latency.overall.n, found.latency.overall.min_ns, found.latency.overall.max_ns) == (
        2,
        100 * MS,
        100 * MS,
    )
    assert {name: one.n for name, one in found.latency.by_node.items()} == {"node-1": 2}
    assert found.latency.over_time[0].n == 2  # by intended time, though they came two bins later
    assert found.delivered.tolist()[2] == 2
    assert found.offered.tolist()[0] == 2
    assert (found.start_ns, found.zero_ns, found.bin_ns) == (ZERO_NS, ZERO_NS, 50 * MS)
    assert found.schedule_lag_p99_ms == pytest.approx(5, rel=1e-3)


def test_hops_are_joined_by_node_stream_and_number(reckon):
    history = History(clients=2, streams=("news", "news")).subscribe(0).subscribe(1, node=1)
    history.publish(1, 10, lag=1).publish(1, 10, lag=2, stream=1)
    history.fan_out(0, 1, 14, took=2).fan_out(1, 1, 15, took=1).fan_out(0, 1, 20, took=3, stream=1)
    history.node_line(0, 30, "msg", ch="news", mark=mark(2, 0, run=7), n=1, done=ns(31))  # another run's
    history.node_line(0, 30, "msg", ch="news", n=1, done=ns(31))  # somebody else's traffic
    history.deliver(0, 1, 17).deliver(1, 1, 15.5, node=1).deliver(0, 1, 29, stream=1)
    found = reckon(history)
    sums = {name: (hop.n, hop.sum_ns / MS) for name, hop in found.hops.items()}
    assert sums == {"schedule": (2, 3), "redis": (3, 3 + 4 + 8), "node": (3, 2 + 1 + 3), "client": (3, 1 + 0 + 6)}
    assert found.hops["client"].clamped == 1  # received before the node was done with all
    assert found.evidence.node_journals == ["node-1", "node-2"]


def test_of_a_message_that_a_node_received_twice_the_first_time_counts(reckon):
    history = steady(clients=1).fan_out(0, 1, 30, took=9).fan_out(0, 1, 10.5, took=0.2)
    found = reckon(history)
    assert (found.hops["node"].n, found.hops["node"].sum_ns) == (1, 0.2 * MS)
    assert found.hops["redis"].sum_ns == 0.4 * MS


def test_without_node_journals_there_are_fewer_hops(reckon):
    found = reckon(steady())
    assert {name: hop.n for name, hop in found.hops.items()} == {"schedule": 10, "redis": 0, "node": 0, "client": 0}
    assert found.evidence.node_journals == []


def test_the_generator_speaks_of_itself(reckon):
    history = steady().health(-500, 1.0, 90).health(0, 1.1, 80).health(500, 1.2, 3).health(1700, 1.6, 7)
    history.health(2500, 9.9, 99)
    found = reckon(history)
    assert found.loop_lag_p99_ms == 7  # 0 speaks of the second before it, 1700 of one that the measure phase ended in
    assert found.generator_cpu == pytest.approx(0.5 / 1.7)


def test_loop_lag_is_a_percentile_over_the_span_of_the_worst_process():
    calm = [HealthEvent(NS_PER_S * n, 0.0, (1.0,) * 100) for n in range(1, 5)]
    stalled = [*calm[:3], HealthEvent(NS_PER_S * 4, 0.0, (1.0,) * 96 + (90.0, 80.0, 70.0, 60.0))]
    assert loop_lag_p99_ms([calm], 0, 4 * NS_PER_S) == 1.0
    assert loop_lag_p99_ms([calm, stalled], 0, 4 * NS_PER_S) == 1.0, "4 of 400 are no more than 1 %"
    assert loop_lag_p99_ms([calm, stalled], 3 * NS_PER_S, 4 * NS_PER_S) == 80.0, "4 of 100 are: the 99th of them"


def test_a_generator_that_says_nothing_is_not_measured(reckon):
    found = reckon(steady().health(500, 1.2, 3))
    assert found.generator_cpu is None  # one event spans no time
    assert found.loop_lag_p99_ms == 3
    assert (cpu_share([[]], 0, 1), loop_lag_p99_ms([[]], 0, 1)) == (None, None)


def test_faults_carry_their_stamps_predictions_and_measure(reckon):
    history = without(steady(), 0, 4, 5, 6).close(0, 32).subscribe(0, node=2, at=60, took=2, lag=3)
    history.fault("crash", "node-1", 31, until=400, predicted=4.0).fault("crash", "node-3", 900)
    found = reckon(history)
    first, second = found.faults
    assert (first.requested_ns, first.confirmed_ns, first.heal_confirmed_ns) == (ns(31), ns(32), ns(401))
    assert (first.predicted, first.measured, first.heals) == (4.0, 3, True)
    assert (second.predicted, second.measured, second.heals, second.heal_confirmed_ns) == (None, 0, False, None)
    assert found.outages[0].fault == 0
