"""Each rule of the account on a history that it decides, and each count on the fault that it must catch."""

import json
from typing import Any

import pytest

from fanlab.clock import NS_PER_S
from fanlab.errors import MeasurementError
from fanlab.ledger.account import account
from fanlab.ledger.causes import Cause
from fanlab.ledger.clocks import ClockAccount, Span
from fanlab.ledger.health import HealthEvent, cpu_share, loop_lag_p99_ms
from fanlab.ledger.records import Status
from fanlab.ledger.result import Account, Tally
from fanlab.ledger.stripe import StripeWriter
from fanlab.rundir import RunDir, write_json
from support.histories import MS, ZERO_NS, History, mark, ns, spoil

ALL = range(1, 11)


@pytest.fixture
def reckon(tmp_path):
    """Account for a history."""
    return lambda history, **how: account(history.write(tmp_path / "run", **how))


def steady(clients: int = 2, **more) -> History:
    """Ten messages 10 ms apart, each received by each client 1 ms after its intended time; client c on node c."""
    history = History(clients=clients, **more)
    for client in range(clients):
        history.subscribe(client, node=client)
    for seq in ALL:
        history.publish(seq, seq * 10)
    for seq in ALL:
        for client in range(clients):
            history.deliver(client, seq, seq * 10 + 1, node=client)
    return history


def without(history: History, client: int, *seqs: int) -> History:
    """The history, less a client's deliveries of some messages."""
    history.deliveries = [one for one in history.deliveries if (one[3], one[2]) not in {(client, seq) for seq in seqs}]
    return history


def terms(found: Account) -> tuple[int, int, int, int]:
    tally = found.measure
    assert tally.balanced
    return tally.owed, tally.delivered, tally.lost, tally.indeterminate


def lost(found: Account) -> list[tuple[int, int]]:
    return sorted((int(row["client"]), int(row["seq"])) for row in found.losses)


# Counts


def test_a_clean_run(reckon):
    found = reckon(steady())
    assert terms(found) == (20, 20, 0, 0)
    assert found.measure.published == 10
    assert (found.measure.duplicated, found.measure.reordered, found.measure.unexpected) == (0, 0, 0)
    assert found.clients == {"count": 2, "connected": 2, "reconnects": 0, "never_returned": 0}
    assert found.publishers == {"planned": 10, "sent": 10, "unsent": 0, "failed": 0, "timed_out": 0, "unheard": 0}
    assert not found.partial
    assert found.outages == []


@pytest.mark.parametrize("missing", [[4], [1], [10], [3, 4, 5], [2, 9], list(ALL)])
def test_what_did_not_come_is_lost(reckon, missing):
    found = reckon(without(steady(), 1, *missing))
    assert terms(found) == (20, 20 - len(missing), len(missing), 0)
    assert lost(found) == [(1, seq) for seq in missing]
    assert found.by_client["lost"].tolist() == [0, len(missing)]
    assert found.losses["intended_ns"].tolist() == [ns(seq * 10) for seq in missing]
    assert found.losses["node"].tolist() == [1] * len(missing)


@pytest.mark.parametrize(("copies", "frame_records"), [(1, 100), (3, 100), (2, 1)])
def test_copies_beyond_the_first_are_duplicates(reckon, copies, frame_records):
    history = steady()
    for copy in range(copies):
        history.deliver(0, 4, 200 + copy)
    found = reckon(history, frame_records=frame_records)
    assert terms(found) == (20, 20, 0, 0)
    assert (found.measure.duplicated, found.measure.reordered) == (copies, 0)
    assert found.latency.overall.max_ns == MS  # a late copy is not a late message


def test_a_loss_and_a_duplicate_do_not_cancel(reckon):
    found = reckon(without(steady(), 0, 4).deliver(0, 5, 300))
    assert terms(found) == (20, 19, 1, 0)
    assert found.measure.duplicated == 1


@pytest.mark.parametrize("frame_records", [1, 100])
def test_a_lower_number_after_a_higher_one_is_reordered(reckon, frame_records):
    history = without(steady(), 0, 3, 6).deliver(0, 3, 150).deliver(0, 6, 151)
    found = reckon(history, frame_records=frame_records)
    assert terms(found) == (20, 20, 0, 0)
    assert (found.measure.reordered, found.measure.duplicated) == (2, 0)


def test_swapped_within_one_instant_is_reordered_by_the_order_of_the_journal(reckon):
    history = without(steady(), 0, 9, 10).deliver(0, 10, 120).deliver(0, 9, 120)
    assert reckon(history).measure.reordered == 1


def test_a_journal_out_of_time_order_is_sorted_by_time(reckon):
    history = steady()
    history.deliveries.reverse()
    found = reckon(history)
    assert found.measure.reordered == 0
    assert terms(found) == (20, 20, 0, 0)


def test_streams_of_one_channel_are_independent(reckon):
    history = History(streams=("news", "news")).subscribe(0)
    history.publish(1, 10).publish(1, 10, stream=1).publish(2, 20)
    history.deliver(0, 1, 12).deliver(0, 2, 22).deliver(0, 1, 23, stream=1)
    found = reckon(history)
    assert terms(found) == (3, 3, 0, 0)
    assert found.measure.reordered == 0


@pytest.mark.parametrize(
    ("client", "seq", "stream"),
    [(0, 77, 0), (0, 0, 0), (5, 1, 0), (0, 1, 1), (0, 1, 9)],
    ids=["never published", "number 0", "no such client", "a channel never asked for", "no such stream"],
)
def test_what_nobody_was_owed_is_unexpected(reckon, client, seq, stream):
    history = steady(channels=("news", "jobs"), streams=("news", "jobs"), asked=("news",)).publish(1, 50, stream=1)
    history.deliver(client, seq, 60, stream=stream).deliver(client, seq, 61, stream=stream)
    found = reckon(history)
    assert terms(found) == (20, 20, 0, 0)
    assert (found.measure.unexpected, found.measure.duplicated) == (1, 1)
    assert found.latency.overall.n == 20


def test_warm_up_has_a_tally_of_its_own(reckon):
    history = steady()
    history.publish(11, -500).publish(12, -400).deliver(0, 11, -499).deliver(0, 12, 1).deliver(1, 11, -498)
    history.deliver(1, 11, -490)
    found = reckon(history)
    assert terms(found) == (20, 20, 0, 0)
    warm_up = found.warm_up
    assert (warm_up.published, warm_up.owed, warm_up.delivered, warm_up.lost) == (2, 4, 3, 1)
    assert warm_up.duplicated == 1
    assert warm_up.balanced
    assert len(found.losses) == 0


# Who is owed


def publish_at_25(*, sent: float, done: float, confirmed: float = 30, asked: float = 20) -> History:
    """One message published within [sent, done], one later; a subscription in flight within [asked, confirmed]."""
    history = History().subscribe(0, at=asked - 1, lag=confirmed - asked)
    return history.publish(1, sent, lag=0, took=done - sent).publish(2, 100).deliver(0, 2, 101)


@pytest.mark.parametrize(
    ("sent", "done", "came", "expected"),
    [
        (10, 19, False, (1, 1, 0, 0)),  # before: not owed
        (10, 20, False, (2, 1, 0, 1)),  # touches the edge
        (22, 28, False, (2, 1, 0, 1)),
        (10, 90, False, (2, 1, 0, 1)),  # spans the edge
        (30, 31, False, (2, 1, 0, 1)),
        (31, 32, False, (2, 1, 1, 0)),  # after: owed
        (22, 28, True, (2, 2, 0, 0)),
        (31, 32, True, (2, 2, 0, 0)),
    ],
)
def test_a_publish_against_the_first_subscription(reckon, sent, done, came, expected):
    history = publish_at_25(sent=sent, done=done)
    if came:
        history.deliver(0, 1, 95)
    found = reckon(history)
    assert terms(found) == expected
    assert found.measure.unexpected == 0


def test_received_though_published_before_it_was_asked_for(reckon):
    found = reckon(publish_at_25(sent=10, done=19).deliver(0, 1, 40))
    assert terms(found) == (1, 1, 0, 0)
    assert found.measure.unexpected == 1


@pytest.mark.parametrize(
    ("status", "came", "expected", "unexpected"),
    [
        (Status.TIMED_OUT, False, (11, 10, 0, 1), 0),
        (Status.TIMED_OUT, True, (11, 11, 0, 0), 0),
        (Status.UNKNOWN, False, (11, 10, 0, 1), 0),
        (None, False, (11, 10, 0, 1), 0),
        (None, True, (11, 11, 0, 0), 0),
        (Status.FAILED, False, (11, 10, 1, 0), 0),
        (Status.FAILED, True, (11, 10, 1, 0), 1),
        (Status.UNSENT, False, (10, 10, 0, 0), 0),
        (Status.UNSENT, True, (10, 10, 0, 0), 1),
    ],
)
def test_how_a_publish_ended(reckon, status, came, expected, unexpected):
    history = steady(clients=1).publish(11, 55, status=status)
    if came:
        history.deliver(0, 11, 57)
    found = reckon(history)
    assert terms(found) == expected
    assert found.measure.unexpected == unexpected
    assert found.evidence.contradictions == (status is Status.FAILED and came)
    assert found.publishers["failed"] == (status is Status.FAILED)
    assert found.publishers["unsent"] == (status is Status.UNSENT)
    assert found.publishers["timed_out"] == (status in (None, Status.TIMED_OUT, Status.UNKNOWN))
    assert found.publishers["planned"] == 11
    assert found.publishers["sent"] == 11 - found.publishers["unsent"]


def test_leaving_ends_what_is_owed_and_the_last_moment_is_an_edge(reckon):
    history = without(steady(measure_ms=10_000, quiet_ms=15), 0, *ALL).leave(0, 85).close(0, 86, own=True)
    found = reckon(history)
    # 1 … 6 are owed; 7 (70.3) and 8 (80.3) end within 15 ms of leaving; 9 and 10 come after it
    assert found.by_client["owed"][0] == 8
    assert lost(found) == [(0, seq) for seq in range(1, 7)]
    assert found.measure.indeterminate == 2
    assert found.outages == []


@pytest.mark.parametrize(("left", "expected"), [(85.3, (1, 0)), (85.2999, (0, 1))])
def test_where_owed_ends_and_the_edge_of_leaving_begins(reckon, left, expected):
    # message 8 is done at 80.3: 5 ms before leaving is the edge, and just so is already on it
    history = without(steady(clients=1, quiet_ms=4.9999), 0, 8).leave(0, left)
    found = reckon(history)
    assert (found.measure.lost, found.measure.indeterminate) == expected


def test_leaving_after_the_drain_forgives_nothing(reckon):
    history = without(steady(quiet_ms=2000), 0, 10).leave(0, 1400).close(0, 1401, own=True)
    assert lost(reckon(history)) == [(0, 10)]


def test_disconnected_is_no_excuse(reckon):
    history = without(steady(), 0, 4, 5, 6).close(0, 35).subscribe(0, node=2, at=60, took=2, lag=3)
    found = reckon(history)
    assert lost(found) == [(0, 4), (0, 5), (0, 6)]
    (outage,) = found.outages
    assert (outage.client, outage.node, outage.next_node) == (0, 0, 2)
    assert (outage.start_ns, outage.reopened_ns, outage.resubscribed_ns) == (ns(35), ns(62), ns(65))
    assert outage.first_message_ns == ns(71)
    assert found.clients["reconnects"] == 1
    assert found.clients["never_returned"] == 0


def test_a_client_that_never_came_is_owed_nothing(reckon):
    history = steady()
    history.clients = 3
    history.event(-1000, "connecting", 2, node=0, attempt=0).event(-999, "failed", 2, node=0, error="refused")
    found = reckon(history)
    assert terms(found) == (20, 20, 0, 0)
    assert found.clients == {"count": 3, "connected": 2, "reconnects": 0, "never_returned": 0}


def test_what_is_indeterminate_is_listed_in_runs(reckon):
    history = without(steady(), 1, 2, 3, 4, 7)
    history.outcomes = [one for one in history.outcomes if one[2] not in {2, 3, 7}]  # their publisher did not tell
    found = reckon(history)
    assert terms(found) == (20, 16, 1, 3)
    assert found.undecided.tolist() == [(1, 0, 2, 3), (1, 0, 7, 7)]


# Partial runs


@pytest.mark.parametrize(
    "cut", [{"status": "aborted"}, {"drain_ended_by": "deadline"}, {"drain_ended_by": None}, {"close_stripes": False}]
)
def test_in_a_run_cut_short_what_was_on_its_way_is_indeterminate(reckon, cut):
    found = reckon(without(steady(**cut), 0, 3, 9, 10))
    assert terms(found) == (20, 17, 1, 2)
    assert lost(found) == [(0, 3)]  # a later one came, so this one never will
    assert found.partial == ("drain_ended_by" not in cut)


def test_in_a_run_cut_short_what_was_published_to_no_connection_is_lost(reckon):
    history = without(steady(status="aborted"), 0, *range(5, 11)).close(0, 45)
    assert lost(reckon(history)) == [(0, seq) for seq in range(5, 11)]


def test_what_died_with_an_earlier_connection_is_lost_and_what_the_last_one_may_bring_is_not(reckon):
    history = (
        without(steady(status="aborted"), 0, *range(5, 11)).close(0, 45).subscribe(0, node=1, at=75, took=1, lag=1)
    )
    found = reckon(history)
    assert lost(found) == [(0, 5), (0, 6), (0, 7)]
    assert found.measure.indeterminate == 3


def test_past_its_last_heartbeat_an_open_stripe_says_nothing(reckon):
    history = without(steady(close_stripes=False, heartbeat_ms=65), 0, *range(3, 11)).close(0, 25)
    found = reckon(history)
    assert lost(found) == [(0, seq) for seq in range(3, 7)]  # it was away at 65 ms, and may have come back after
    assert found.measure.indeterminate == 4
    assert found.evidence.unclosed == 1
    assert found.evidence.complete_until_ns == ns(65)


@pytest.mark.parametrize(("heartbeat", "expected"), [(100.3, (0, 1)), (100.4, (1, 0))])
def test_what_is_done_at_the_last_heartbeat_is_past_it(reckon, heartbeat, expected):
    found = reckon(without(steady(clients=1, close_stripes=False, heartbeat_ms=heartbeat), 0, 10).close(0, 95))
    assert (found.measure.lost, found.measure.indeterminate) == expected


@pytest.mark.parametrize(("asked", "expected"), [(100.3, (0, 1)), (100.4, (1, 0))])
def test_what_is_done_as_the_last_connection_asks_may_be_on_its_way(reckon, asked, expected):
    history = without(steady(clients=1, status="aborted"), 0, 10).close(0, 95).subscribe(0, at=asked - 1)
    found = reckon(history)
    assert (found.measure.lost, found.measure.indeterminate) == expected


def test_killed_before_the_epoch(reckon):
    found = reckon(History(epoch=False, status="starting"))
    assert found.partial
    assert terms(found) == (0, 0, 0, 0)
    assert found.measure == found.warm_up == Tally()
    assert found.publishers == {
        "planned": 0, "sent": 0, "unsent": 0, "failed": 0, "timed_out": 0, "unheard": 0,
    }  # fmt: skip
    assert found.clients == {"count": 0, "connected": 0, "reconnects": 0, "never_returned": 0}
    assert {term: counts.tolist() for term, counts in found.by_client.items()} == {
        "owed": [0], "delivered": [0], "lost": [0],
    }  # fmt: skip
    assert (found.start_ns, found.zero_ns, found.end_ns, found.bin_ns) == (0, 0, 0, 50 * MS), "one bin, with nothing"
    assert [found.offered.tolist(), found.delivered.tolist(), found.lost.tolist()] == [[0]] * 3
    assert [one.n for one in found.latency.over_time] == [0]


def rewritten(rundir: RunDir, *path: object, value: object = None) -> RunDir:
    """The run, with one place of its manifest set; without it, where no value is given."""
    manifest = rundir.read_manifest()
    place: Any = manifest
    for name in path[:-1]:
        place = place[name]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    write_json(rundir.manifest, manifest)
    return rundir


def test_a_run_killed_while_it_measured_is_measured_for_as_long_as_was_planned(tmp_path):
    history = steady(status="aborted").health(-500, 1, 90).health(2000, 2, 3).health(2000.1, 3, 80)
    rundir = rewritten(history.write(tmp_path / "run"), "phases", "measure_end_ns")
    assert account(rundir).loop_lag_p99_ms == 3


def test_a_run_that_measured_for_less_than_was_planned_is_measured_for_that_long(tmp_path):
    history = steady().health(-500, 1, 90).health(1300, 2, 3).health(1300.1, 3, 80)
    rundir = rewritten(history.write(tmp_path / "run"), "phases", "measure_end_ns", value=ns(300))
    assert account(rundir).loop_lag_p99_ms == 3


@pytest.mark.parametrize(
    "path",
    [
        ("plan",),
        ("scenario",),
        ("scenario", "phases", "drain", "quiet_ns"),
        ("scenario", "phases", "measure_ns"),
        ("scenario", "clients", 0),
        ("scenario", "clients", 0, "failover"),
    ],
)
def test_a_manifest_that_lacks_what_the_account_reads_is_none(tmp_path, path):
    rundir = rewritten(steady().write(tmp_path / "run"), *path)
    with pytest.raises(MeasurementError, match="is no manifest of a run"):
        account(rundir)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_history_that_cannot_be_is_tolerated_where_a_journal_has_holes(tmp_path, damaged):
    history = steady()
    history.events = [event for event in history.events if (event["ev"], event["client"]) != ("open", 0)]
    rundir = history.write(tmp_path / "run")
    if damaged:
        path = rundir.journal / "clients-1.stripe"
        with StripeWriter(path, {"role": "clients"}) as stripe:
            spoil(path, stripe, history.deliveries[:1])
        assert account(rundir).evidence.corrupt == 1
    else:
        with pytest.raises(MeasurementError, match="subscribing"):
            account(rundir)


def test_no_run(tmp_path):
    with pytest.raises(MeasurementError, match="does not exist"):
        account(RunDir(tmp_path))
    write_json(tmp_path / "manifest.json", {"schema_version": 1})
    with pytest.raises(MeasurementError, match="is no manifest of a run"):
        account(RunDir(tmp_path))


def test_an_event_without_its_fields_is_quoted(reckon):
    with pytest.raises(MeasurementError, match=r"clients-0.stripe holds an event that is none: .*'ev': 'open'.*node"):
        reckon(steady().event(5, "open", 0, node="node-1"))


def test_a_frame_damaged_in_the_middle_is_counted_and_its_history_tolerated(tmp_path):
    history = steady()
    rundir = history.write(tmp_path / "run")
    stripe = rundir.journal / "clients-0.stripe"
    data = bytearray(stripe.read_bytes())
    at = data.index(b'"ev":"open"')
    data[at] ^= 0xFF
    stripe.write_bytes(data)
    found = account(rundir)
    assert found.evidence.corrupt == 1
    assert found.measure.owed == 0  # no events, so nobody is known to have asked
    assert found.measure.unexpected == 20


@pytest.mark.parametrize("role", ["publishers", "clients"])
def test_whether_the_publishers_kept_a_journal(tmp_path, role):
    rundir = steady().write(tmp_path / "run")
    for path in rundir.journal.glob("*.stripe"):
        if not path.name.startswith(role):
            path.unlink()
    evidence = account(rundir).evidence
    assert (evidence.stripes, evidence.publisher_journal) == (1, role == "publishers")


# Figures


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


def test_torn_lines_are_counted(tmp_path):
    history = steady().fault("crash", "node-1", 900).fan_out(0, 1, 14)
    rundir = history.write(tmp_path / "run")
    with (rundir.journal / "node-1.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"t":1,"ev":"ms{"t":5,"ev":"start","node":"node-1","pid":9}\n[1]\n{"t":3,"ev":"gap","ch":"ne')
    with rundir.faults.open("a", encoding="utf-8") as file:
        file.write('{"id":0,"ki')
    assert account(rundir).evidence.torn == 4


def test_a_run_that_never_began_lost_nothing(tmp_path):
    rundir = steady().write(tmp_path / "run")
    manifest = rundir.read_manifest()
    manifest["phases"]["zero_ns"] = None
    rundir.manifest.write_text(json.dumps(manifest), encoding="utf-8")
    found = account(rundir)
    assert (found.measure.owed, len(found.losses), len(found.odd)) == (0, 0, 0)
