"""Each count of the account on the fault that it must catch."""

import pytest

from fanlab.ledger.account import _blurred, account
from fanlab.ledger.clocks import ClockAccount, Span
from support.histories import MS, History, ns
from support.ten import ALL, lost, steady, terms, without


@pytest.fixture
def reckon(tmp_path):
    """Account for a history."""
    return lambda history, **how: account(history.write(tmp_path / "run", **how))


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
    assert found.by_stream["published"].tolist() == [10], "what was published in the measure phase"
    assert warm_up.duplicated == 1
    assert warm_up.balanced
    assert len(found.losses) == 0


def test_losses_by_clocks_that_are_apart_may_be_put_down_to_a_neighbour():
    apart = ClockAccount("exchange", Span(-5, 5), apart_ns=1_500_000)
    (said,) = _blurred(apart, 1)
    assert said.startswith("times of different hosts can be compared to ± 1.5 ms only: a loss so near to the edge of")
    assert not list(_blurred(apart, 0))
    assert not list(_blurred(ClockAccount("one-boot"), 1))
