"""The account of what a run left that was cut short, or whose journals are not whole, or no run at all."""

import json
from typing import Any

import pytest

from fanlab.errors import MeasurementError
from fanlab.ledger.account import account
from fanlab.ledger.result import Tally
from fanlab.ledger.stripe import StripeWriter
from fanlab.rundir import RunDir, write_json
from support.histories import MS, History, ns, spoil
from support.ten import lost, steady, terms, without


@pytest.fixture
def reckon(tmp_path):
    """Account for a history."""
    return lambda history, **how: account(history.write(tmp_path / "run", **how))


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
