"""The account of caches, from planted histories that can be counted on one's fingers.

Time in ms from time 0. One publisher updates 2 objects in turn: seq 1, 3, 5 … are object 0, seq 2, 4, 6 … object 1.
A publish at t is answered at t + 0.3, and a node takes it at t + 1 unless a test says otherwise.
"""

from pathlib import Path

import numpy as np
import pytest

from fanlab.ledger.account import account
from fanlab.ledger.cached import CacheAccount, CacheTally, MissCause, MissHop, Staleness
from fanlab.ledger.records import ReadStatus, Status
from fanlab.ledger.windows import NEVER
from support.histories import History, ns

MS = 1_000_000


def caches(history: History, path: Path) -> CacheAccount:
    made = account(history.write(path / "run")).caches
    assert made is not None
    assert made.tally.balanced
    assert made.tally.missed == len(made.misses)
    return made


def steady(nodes: int = 2, updates: int = 6, missed: dict[int, set[int]] | None = None) -> History:
    """Updates every 100 ms, taken by each node but for those that it missed; one client hears them all, elsewhere."""
    history = History(nodes=nodes + 1, objects=2, caching=range(nodes)).subscribe(0, node=nodes)
    for seq in range(1, updates + 1):
        history.publish(seq, 100 * seq, receivers=nodes + 1).deliver(0, seq, 100 * seq + 2, node=nodes)
        for node in range(nodes):
            if seq not in (missed or {}).get(node, ()):
                history.take(node, seq, 100 * seq + 1)
    return history


def rows(made: CacheAccount) -> list[tuple[int, int, str, str, int]]:
    """(node, seq, cause, hop, fault) of each miss."""
    return [
        (int(row["node"]), int(row["seq"]), MissCause(row["cause"]).label, MissHop(row["hop"]).label, int(row["fault"]))
        for row in made.misses
    ]


def test_no_objects_or_no_cache_and_there_is_no_account_of_caches(tmp_path: Path) -> None:
    assert account(History().subscribe(0).publish(1, 10).deliver(0, 1, 12).write(tmp_path / "a")).caches is None
    without = History(objects=2).subscribe(0).publish(1, 10).deliver(0, 1, 12)
    assert account(without.write(tmp_path / "b")).caches is None


def test_all_is_refreshed_and_nothing_wrong(tmp_path: Path) -> None:
    history = steady()
    for number in (0, 1):
        history.read(0, number, 650, 5 + number).read(1, number, 1400, 5 + number, sweep=True)
    made = caches(history, tmp_path)
    assert made.updates == 6
    assert made.tally == CacheTally(owed=12, refreshed=12, reads=2)
    assert (made.refresh.n, made.refresh.min_ns, made.refresh.max_ns) == (12, MS, MS)
    assert list(made.nodes) == ["node-1", "node-2"]
    # Each update is certain 0.3 ms after its send and taken 0.7 ms later; the first version of a key makes none wrong
    assert made.nodes["node-1"].wrong_over_time.sum() * 50 == pytest.approx(4 * 0.7)


def test_a_missed_update_that_the_next_one_mends(tmp_path: Path) -> None:
    history = steady(missed={1: {3}})
    history.read(1, 0, 350, 1).read(1, 0, 450, 1).read(1, 0, 510, 5).read(0, 0, 350, 3)
    made = caches(history, tmp_path)
    assert made.nodes["node-2"].tally == CacheTally(
        owed=6, refreshed=5, missed=1, reads=3, stale_reads=2, stale_reads_lost=2
    )
    assert made.nodes["node-1"].tally == CacheTally(owed=6, refreshed=6, reads=1)
    assert made.misses["mended_ns"].tolist() == [ns(501)]
    assert made.stale["age_ns"].tolist() == [round(49.7 * MS), round(149.7 * MS)]
    assert made.stale["newest"].tolist() == [3, 3]
    # wrong from 300.3 until 501 ms, and 0.7 ms for each of the versions 4, 6 of the other key
    assert made.nodes["node-2"].wrong_over_time.sum() * 50 == pytest.approx(200.7 + 2 * 0.7)


def test_an_entry_wrong_for_good(tmp_path: Path) -> None:
    history = steady(missed={0: {5}, 1: {4, 6}})
    for node, held in ((0, (3, 6)), (1, (5, 2))):
        for number, seq in enumerate(held):
            history.read(node, number, 1400, seq, sweep=True)
    made = caches(history, tmp_path)
    assert made.tally == CacheTally(owed=12, refreshed=9, missed=3, wrong_for_good=2)
    assert made.wrong[["node", "object", "held", "newest", "swept"]].tolist() == [
        (0, 0, 3, 5, True),
        (1, 1, 2, 6, True),
    ]
    assert made.misses["mended_ns"].tolist() == [NEVER, NEVER, NEVER]


def test_without_a_sweep_the_journal_tells_the_end(tmp_path: Path) -> None:
    made = caches(steady(missed={1: {6}}).read(1, 1, 1400, status=ReadStatus.FAILED, sweep=True), tmp_path)
    assert made.wrong[["node", "object", "held", "newest", "swept"]].tolist() == [(1, 1, 4, 6, False)]


def test_propagation_is_no_loss(tmp_path: Path) -> None:
    """node-2 is 300 ms late with everything: its reads are stale, and no update is missed."""
    history = History(nodes=2, objects=1, caching=[1]).subscribe(0)
    history.publish(1, 0).deliver(0, 1, 2).take(1, 1, 1).publish(2, 100).deliver(0, 2, 102).take(1, 2, 400)
    history.read(1, 0, 100.2, 1).read(1, 0, 200, 1).read(1, 0, 450, 2)
    made = caches(history, tmp_path)
    assert made.tally == CacheTally(owed=2, refreshed=2, reads=3, stale_reads=1)
    assert made.stale["why"].tolist() == [Staleness.LATE]
    assert made.refresh.max_ns == 300 * MS


def test_the_age_is_that_of_the_oldest_newer_version_and_so_is_the_reason(tmp_path: Path) -> None:
    """Version 2 was missed; version 3 is on its way when the read is asked: it is stale since 2, by loss."""
    history = History(nodes=1, objects=1, caching=[0]).subscribe(0)
    for seq, taken in ((1, 1), (2, None), (3, 320)):
        history.publish(seq, 100 * seq).deliver(0, seq, 100 * seq + 2)
        if taken:
            history.take(0, seq, taken if seq == 3 else 101)
    made = caches(history.read(0, 0, 310, 1), tmp_path)
    assert made.stale[["held", "newest", "age_ns", "why"]].tolist() == [(1, 3, round(109.7 * MS), Staleness.LOST)]


def test_a_node_that_took_it_and_answers_with_the_old_one(tmp_path: Path) -> None:
    history = steady(nodes=1).read(0, 0, 350, 1)
    for number, held in ((0, 1), (1, 6)):
        history.read(0, number, 1400, held, sweep=True)
    made = caches(history, tmp_path)
    assert made.tally == CacheTally(
        owed=6, refreshed=6, reads=1, stale_reads=1, stale_reads_withheld=1, wrong_for_good=1
    )


def test_a_missing_entry_misleads_nobody(tmp_path: Path) -> None:
    history = steady(nodes=1, missed={0: {1, 3, 5}}).read(0, 0, 350, status=ReadStatus.MISSING)
    made = caches(history.read(0, 0, 1400, status=ReadStatus.MISSING, sweep=True), tmp_path)
    assert made.tally == CacheTally(owed=6, refreshed=3, missed=3, empty_at_end=1, reads=1, reads_missing=1)


def test_reads_of_versions_that_nobody_published_have_failed(tmp_path: Path) -> None:
    made = caches(steady(nodes=1).read(0, 0, 650, 99).read(0, 1, 650, status=ReadStatus.FAILED), tmp_path)
    assert made.tally == CacheTally(owed=6, refreshed=6, reads=2, reads_failed=2)


def test_the_warm_up_counts_for_nothing_but_what_is_held(tmp_path: Path) -> None:
    history = History(nodes=1, objects=1, caching=[0]).subscribe(0)
    history.publish(1, -500).deliver(0, 1, -498).take(0, 1, -499).read(0, 0, -400, 1)
    history.publish(2, 100).deliver(0, 2, 102).read(0, 0, 200, 1)
    made = caches(history, tmp_path)
    assert made.tally == CacheTally(owed=1, missed=1, reads=1, stale_reads=1, stale_reads_lost=1, wrong_for_good=1)
    assert made.updates == 1


def test_a_publish_of_unknown_outcome_is_never_a_miss_nor_makes_a_read_stale(tmp_path: Path) -> None:
    history = History(nodes=2, objects=1, caching=[0, 1]).subscribe(0)
    history.publish(1, 0).deliver(0, 1, 2).take(0, 1, 1).take(1, 1, 1)
    history.publish(2, 100, status=Status.TIMED_OUT).take(0, 2, 101)
    history.publish(3, 200, status=None)
    made = caches(history.read(0, 0, 300, 2).read(1, 0, 300, 1), tmp_path)
    assert made.nodes["node-1"].tally == CacheTally(owed=3, refreshed=2, indeterminate=1, reads=1)
    assert made.nodes["node-2"].tally == CacheTally(owed=3, refreshed=1, indeterminate=2, reads=1)


def test_an_unsent_slot_is_no_update_and_a_failed_one_is_missed_by_all(tmp_path: Path) -> None:
    history = steady(updates=2).publish(3, 300, status=Status.UNSENT).publish(4, 400, status=Status.FAILED)
    made = caches(history.read(0, 1, 500, 2), tmp_path)
    assert made.tally == CacheTally(owed=6, refreshed=4, missed=2, reads=1)
    assert rows(made) == [(node, 4, "publish_failed", "publisher_redis", -1) for node in (0, 1)]


def test_causes_that_the_journals_tell(tmp_path: Path) -> None:
    history = steady(nodes=3, updates=8, missed={0: {3, 7}, 1: {5}, 2: {6}})
    history.gap(0, 290, 320).fan_out(1, 5, 500.5, n=0)
    made = caches(history, tmp_path)
    assert rows(made) == [
        (0, 3, "resubscribe_gap", "redis_node", -1),
        (1, 5, "not_taken", "node_cache", -1),
        (2, 6, "unexplained", "redis_node", -1),
        (0, 7, "unexplained", "redis_node", -1),
    ]


def test_a_gap_goes_back_to_the_fault_of_redis(tmp_path: Path) -> None:
    history = steady(nodes=1, missed={0: {3}}).fault("redis-kill-pubsub", "redis", 280, 281).gap(0, 270, 340)
    assert rows(caches(history, tmp_path)) == [(0, 3, "resubscribe_gap", "redis_node", 0)]


def test_nobody_was_subscribed(tmp_path: Path) -> None:
    history = steady(nodes=1, updates=2).publish(3, 300, receivers=0)
    assert rows(caches(history, tmp_path)) == [(0, 3, "no_subscriber", "redis_node", -1)]


def test_failing_publishes_while_redis_is_at_fault(tmp_path: Path) -> None:
    history = steady(nodes=1, updates=2).publish(3, 300, status=Status.FAILED).fault("redis-restart", "redis", 290, 400)
    assert rows(caches(history, tmp_path)) == [(0, 3, "redis_down", "publisher_redis", 0)]


def test_a_crash_empties_the_cache_and_the_node_misses_until_it_is_subscribed_again(tmp_path: Path) -> None:
    history = steady(nodes=1, updates=9, missed={0: {3, 4, 5, 6}})
    history.node_line(0, -2000, "start", pid=1).fault("crash", "node-1", 305, 510)
    history.node_line(0, 510.5, "start", pid=2)
    history.node_line(0, 650, "subscribed", ch="news")
    history.read(0, 1, 720, status=ReadStatus.MISSING).read(0, 1, 250, 2)
    made = caches(history, tmp_path)
    assert rows(made) == [
        (0, 3, "node_crash_in_flight", "unknown", 0),
        *[(0, seq, "node_down", "redis_node", 0) for seq in (4, 5, 6)],
    ]
    assert made.tally == CacheTally(owed=9, refreshed=5, missed=4, reads=2, reads_missing=1)
    # wrong: from 300.3 (seq 3) until the crash is confirmed at 306; then nothing is held; 9 for 0.7 ms
    assert made.nodes["node-1"].wrong_over_time.sum() * 50 == pytest.approx(5.7 + 0.7)


def test_a_node_that_is_gone_at_the_end_has_no_entries(tmp_path: Path) -> None:
    history = steady(nodes=1, missed={0: {5, 6}}).fault("crash", "node-1", 450)
    made = caches(history.read(0, 0, 1400, status=ReadStatus.FAILED, sweep=True), tmp_path)
    assert made.tally == CacheTally(owed=6, refreshed=4, missed=2)
    assert {row[2] for row in rows(made)} == {"node_down"}


def test_a_black_box_is_known_by_what_readers_saw(tmp_path: Path) -> None:
    """Object 0: 1 was seen, 3 overwritten unseen, 5 is held; object 1: 2 is held at the end, so 4 and 6 never came."""
    history = History(nodes=1, objects=2, caching=[0]).subscribe(0)
    for seq in range(1, 7):
        history.publish(seq, 100 * seq).deliver(0, seq, 100 * seq + 2)
    history.read(0, 0, 150, 1).read(0, 1, 250, 2).read(0, 1, 650, 2)
    history.read(0, 0, 1400, 5, sweep=True).read(0, 1, 1400, 2, sweep=True)
    made = caches(history, tmp_path)
    assert made.tally == CacheTally(
        owed=6, refreshed=3, missed=2, indeterminate=1, wrong_for_good=1, reads=3, stale_reads=1, stale_reads_lost=1
    )
    assert made.refresh.n == 0  # nobody knows when
    assert not made.nodes["node-1"].journalled


def test_a_black_box_that_nobody_read_is_indeterminate(tmp_path: Path) -> None:
    history = History(nodes=1, objects=2, caching=[0]).subscribe(0)
    for seq in (1, 2):
        history.publish(seq, 100 * seq).deliver(0, seq, 100 * seq + 2)
    assert caches(history, tmp_path).tally == CacheTally(owed=2, indeterminate=2)


def test_what_was_on_its_way_when_an_aborted_run_ended_is_not_missed(tmp_path: Path) -> None:
    history = steady(nodes=1, missed={0: {3, 5, 6}})
    history.status, history.drain_ms, history.drain_ended_by = "aborted", None, None
    made = caches(history, tmp_path)
    assert made.tally == CacheTally(owed=6, refreshed=3, missed=1, indeterminate=2)


def test_two_publishers_objects_are_different_keys(tmp_path: Path) -> None:
    history = History(nodes=1, objects=2, caching=[0], streams=("news", "news")).subscribe(0)
    for stream in (0, 1):
        history.publish(1, 100, stream=stream).deliver(0, 1, 102, stream=stream)
    history.take(0, 1, 101, stream=0).read(0, 0, 200, 1, stream=0)
    made = caches(history.read(0, 0, 200, status=ReadStatus.MISSING, stream=1), tmp_path)
    assert made.tally == CacheTally(owed=2, refreshed=1, missed=1, reads=2, reads_missing=1, empty_at_end=1)
    assert made.misses["stream"].tolist() == [1]


def test_the_order_of_the_journals_lines_does_not_matter(tmp_path: Path) -> None:
    history = steady(missed={0: {5}, 1: {4, 6}}).read(1, 1, 650, 2).read(0, 0, 520, 3)
    one = caches(history, tmp_path / "one")
    for lines in history.node_lines.values():
        lines.reverse()
    history.reads.reverse()
    other = caches(history, tmp_path / "other")
    assert one.tally == other.tally
    assert np.array_equal(one.misses, other.misses)
    assert np.array_equal(one.stale, other.stale)
    assert np.array_equal(one.nodes["node-2"].wrong_over_time, other.nodes["node-2"].wrong_over_time)


def test_a_node_that_ended_by_itself_has_no_entries_and_misses_the_rest(tmp_path: Path) -> None:
    history = steady(nodes=1, missed={0: {5, 6}}).died(0, 450)
    made = caches(history.read(0, 0, 1400, status=ReadStatus.FAILED, sweep=True), tmp_path)
    assert made.tally == CacheTally(owed=6, refreshed=4, missed=2)
    assert rows(made) == [(0, seq, "node_down", "redis_node", -1) for seq in (5, 6)]


def test_a_node_that_answers_at_the_end_is_not_gone_whatever_ended_it(tmp_path: Path) -> None:
    history = steady(nodes=1, missed={0: {5}}).died(0, 450).read(0, 0, 1400, 3, sweep=True)
    assert caches(history, tmp_path).tally.wrong_for_good == 1


@pytest.mark.parametrize("journals", [True, False])
def test_a_node_that_forgets_to_subscribe_again_beside_one_that_does(journals: bool, tmp_path: Path) -> None:
    """Both lose their connection at 290 ms; node-2 is back at 400, node-1 connected again and subscribed to nothing."""
    history = steady(updates=8, missed={0: {3, 4, 5, 6, 7, 8}, 1: {3}})
    history.fault("redis-kill-pubsub", "redis", 290, 291).watched(-2000, 1500)
    history.listed(0, 7, -1000, gone=292).listed(1, 8, -1000, gone=292).listed(1, 9, 400).listed(2, 10, -1000)
    for node in (0, 1):
        history.node_line(node, -1000, "subscribed", ch="news").node_line(node, 292, "redis", state="down")
    history.gap(1, 290, 400).node_line(1, 400, "subscribed", ch="news")
    if not journals:
        del history.node_lines[0]
        history.read(0, 0, 150, 1).read(0, 1, 250, 2)
        history.read(0, 0, 1400, 1, sweep=True).read(0, 1, 1400, 2, sweep=True)
    assert rows(caches(history, tmp_path)) == [
        (0, 3, "no_subscriber", "redis_node", 0),
        (1, 3, "resubscribe_gap", "redis_node", 0),
        *[(0, seq, "no_subscriber", "redis_node", 0) for seq in (4, 5, 6, 7, 8)],
    ]


def test_what_a_restarted_node_held_before_is_forgotten_in_the_journals_account_of_the_end(tmp_path: Path) -> None:
    """Object 0 was wrong when the node died; the new process holds nothing of it, and object 1 again."""
    history = steady(nodes=1, updates=6, missed={0: {3, 5}}).fault("crash", "node-1", 510, 520)
    history.node_line(0, -2000, "start", pid=1).node_line(0, 520.5, "start", pid=2)
    history.node_line(0, 521, "subscribed", ch="news")
    made = caches(history, tmp_path)
    assert (made.tally.wrong_for_good, made.tally.empty_at_end) == (0, 1)


def test_what_a_node_had_when_it_died_went_with_it(tmp_path: Path) -> None:
    history = steady(nodes=1, missed={0: {5, 6}}).fault("crash", "node-1", 501).fan_out(0, 5, 500.5, n=0)
    assert rows(caches(history, tmp_path)) == [
        (0, 5, "node_crash_in_flight", "unknown", 0),
        (0, 6, "node_down", "redis_node", 0),
    ]


def test_a_gap_explains_what_was_published_in_it_and_nothing_that_was_overtaken_before(tmp_path: Path) -> None:
    history = steady(nodes=1, missed={0: {2, 4, 5}}).gap(0, 390, 420)
    assert [row[2] for row in rows(caches(history, tmp_path))] == ["unexplained", "resubscribe_gap", "unexplained"]


def test_the_first_message_of_all_was_heard_and_not_taken(tmp_path: Path) -> None:
    history = steady(nodes=1, missed={0: {1}}).fan_out(0, 1, 100.5, n=0)
    assert rows(caches(history, tmp_path)) == [(0, 1, "not_taken", "node_cache", -1)]


def test_refreshes_over_time_are_in_the_bin_of_the_intended_send(tmp_path: Path) -> None:
    history = History(nodes=1, objects=1, caching=[0]).subscribe(0)
    for seq, at in enumerate((0, 20, 55, 60, 70, 120, 999), start=1):
        history.publish(seq, at).deliver(0, seq, at + 2).take(0, seq, at + seq)
    over_time = caches(history, tmp_path).nodes["node-1"].refresh_over_time
    assert [part.n for part in over_time] == [2, 3, 1, *[0] * 16, 1, *[0] * 10]
    assert [part.max_ns for part in over_time if part.n] == [2 * MS, 5 * MS, 6 * MS, 7 * MS]


def test_a_read_asked_at_time_0_counts(tmp_path: Path) -> None:
    history = steady(nodes=1).read(0, 0, -0.000001, status=ReadStatus.MISSING)
    assert caches(history.read(0, 0, 0, status=ReadStatus.MISSING), tmp_path).tally.reads == 1


@pytest.mark.parametrize(("after_ms", "ages"), [(0, []), (0.000001, [1])])
def test_a_read_is_stale_from_the_instant_after_a_newer_version_was_certain(
    after_ms: float, ages: list[int], tmp_path: Path
) -> None:
    made = caches(steady(nodes=1).read(0, 0, 300.3 + after_ms, 1), tmp_path)
    assert made.stale["age_ns"].tolist() == ages


@pytest.mark.parametrize(
    ("taken", "why"), [(310, Staleness.WITHHELD), (310.000001, Staleness.LATE), (None, Staleness.LOST)]
)
def test_an_old_answer_is_withheld_if_the_node_had_taken_the_newer_version_by_the_asking(
    taken: float | None, why: Staleness, tmp_path: Path
) -> None:
    history = steady(nodes=1, missed={0: {3}})
    if taken is not None:
        history.take(0, 3, taken)
    assert caches(history.read(0, 0, 310, 1), tmp_path).stale["why"].tolist() == [why]


def test_why_a_black_box_gave_an_old_answer_is_not_known_if_nobody_saw_the_newer_one(tmp_path: Path) -> None:
    history = History(nodes=1, objects=1, caching=[0]).subscribe(0)
    for seq in (1, 2):
        history.publish(seq, 100 * seq).deliver(0, seq, 100 * seq + 2)
    made = caches(history.read(0, 0, 300, 1), tmp_path)
    assert made.stale["why"].tolist() == [Staleness.UNKNOWN]
    assert made.tally == CacheTally(owed=2, refreshed=1, indeterminate=1, reads=1, stale_reads=1)


def test_a_version_of_uncertain_outcome_is_stale_as_any_other_when_a_certain_one_is_newer(tmp_path: Path) -> None:
    history = History(nodes=1, objects=1, caching=[0]).subscribe(0)
    history.publish(1, 100, status=Status.TIMED_OUT).take(0, 1, 101)
    history.publish(2, 200).deliver(0, 2, 202).take(0, 2, 260)
    made = caches(history.read(0, 0, 150, 1).read(0, 0, 250, 1), tmp_path)
    assert made.stale[["held", "newest", "age_ns"]].tolist() == [(1, 2, round(49.7 * MS))]


def test_where_no_publish_is_certain_no_read_is_stale(tmp_path: Path) -> None:
    history = History(nodes=1, objects=1, caching=[0]).subscribe(0)
    for seq in (1, 2):
        history.publish(seq, 100 * seq, status=Status.TIMED_OUT)
    made = caches(history.take(0, 1, 101).read(0, 0, 300, 1), tmp_path)
    assert made.tally == CacheTally(owed=2, refreshed=1, indeterminate=1, reads=1)


def test_an_answer_is_of_no_age_while_only_a_version_after_the_next_is_certain(tmp_path: Path) -> None:
    """Redis' reply to version 2 is late: at the read, version 3 is certain, and 2 is not yet."""
    history = History(nodes=1, objects=1, caching=[0]).subscribe(0)
    for seq, took in ((1, 0.2), (2, 150), (3, 0.2)):
        history.publish(seq, 100 * seq, took=took).deliver(0, seq, 100 * seq + 2)
    made = caches(history.take(0, 1, 101).read(0, 0, 310, 1), tmp_path)
    assert made.stale[["newest", "age_ns"]].tolist() == [(3, 0)]


def test_of_an_aborted_run_what_was_certain_by_the_nodes_last_word_is_unknown(tmp_path: Path) -> None:
    """The node's last take is at 301 ms: a publish that was certain just then may have been next."""
    history = History(nodes=1, objects=1, caching=[0]).subscribe(0)
    for seq, at in ((1, 100), (2, 300.699999), (3, 300.7), (4, 300)):
        history.publish(seq, at).deliver(0, seq, at + 2)
    history.status, history.drain_ms, history.drain_ended_by = "aborted", None, None
    made = caches(history.take(0, 1, 101).take(0, 4, 301), tmp_path)
    assert made.tally == CacheTally(owed=4, refreshed=2, missed=1, indeterminate=1)
    assert made.misses["seq"].tolist() == [2]


def test_a_full_buffer_is_the_fault_of_the_node_whose_connection_redis_closed(tmp_path: Path) -> None:
    history = steady(missed={0: {3}, 1: {3}}).gap(0, 290, 340).gap(1, 290, 340)
    history.watched(-2000, 2000).buffer_kill(1, 7, 289)
    assert rows(caches(history, tmp_path)) == [
        (0, 3, "resubscribe_gap", "redis_node", -1),
        (1, 3, "output_buffer_kill", "redis_node", -1),
    ]


@pytest.mark.parametrize(("kind", "target"), [("pause", "node-1"), ("crash", "node-2"), ("redis-restart", "redis")])
def test_only_a_nodes_own_death_empties_its_cache(kind: str, target: str, tmp_path: Path) -> None:
    history = steady(missed={0: {5, 6}}).fault(kind, target, 550, 560)
    made = caches(history, tmp_path).nodes["node-1"]
    assert made.tally == CacheTally(owed=6, refreshed=4, missed=2, wrong_for_good=2)
    # Object 0 is wrong from 500.3 and object 1 from 600.3 ms to the end at 1500 ms; 3 and 4 are each late by 0.7
    assert made.wrong_over_time.sum() * 50 == pytest.approx(999.7 + 899.7 + 2 * 0.7)


def test_a_death_that_was_asked_for_and_never_confirmed_empties_no_cache(tmp_path: Path) -> None:
    history = steady(nodes=1, missed={0: {5, 6}}).fault("crash", "node-1", 550)
    history.stamps = [stamp for stamp in history.stamps if stamp["stamp"] == "requested"]
    assert caches(history, tmp_path).tally.wrong_for_good == 2


def test_a_node_that_began_anew_by_itself_holds_what_it_took_since(tmp_path: Path) -> None:
    history = steady(nodes=1, missed={0: {4, 5, 6}})
    history.node_line(0, -2000, "start", pid=1).node_line(0, 250, "start", pid=2)
    made = caches(history, tmp_path)
    assert made.wrong[["object", "held", "newest"]].tolist() == [(0, 3, 5)]
    assert made.tally.empty_at_end == 1


def black_box(*, starts: int = 0, crashed: bool = False, held: int = 0) -> History:
    """Three versions of one object, and all that is known of the node is what its cache holds in the sweep."""
    history = History(nodes=1, objects=1, caching=[0]).subscribe(0)
    for seq in (1, 2, 3):
        history.publish(seq, 100 * seq).deliver(0, seq, 100 * seq + 2)
    for pid in range(starts):
        history.node_line(0, 150 * pid - 100, "start", pid=pid)
    if crashed:
        history.fault("crash", "node-1", 350, 360)
    return history.read(0, 0, 1400, held, status=ReadStatus.OK if held else ReadStatus.MISSING, sweep=True)


@pytest.mark.parametrize(
    ("life", "missed"),
    [({}, 3), ({"starts": 1}, 3), ({"starts": 2}, 0), ({"crashed": True}, 0), ({"crashed": True, "starts": 2}, 0)],
)
def test_an_empty_entry_of_a_black_box_tells_of_misses_only_if_it_never_forgot(
    life: dict, missed: int, tmp_path: Path
) -> None:
    made = caches(black_box(**life), tmp_path)
    assert made.tally == CacheTally(owed=3, missed=missed, indeterminate=3 - missed, empty_at_end=1)


@pytest.mark.parametrize("crashed", [False, True])
@pytest.mark.parametrize("held", [1, 2])
def test_what_is_newer_than_a_black_boxs_last_version_never_came_whatever_it_forgot(
    held: int, crashed: bool, tmp_path: Path
) -> None:
    made = caches(black_box(crashed=crashed, held=held), tmp_path)
    assert made.tally == CacheTally(
        owed=3, refreshed=1, missed=3 - held, indeterminate=held - 1, wrong_for_good=1, empty_at_end=0
    )
    assert made.misses["seq"].tolist() == list(range(held + 1, 4))


def test_a_black_boxs_miss_is_mended_by_the_next_version_that_anybody_saw(tmp_path: Path) -> None:
    history = History(nodes=1, objects=1, caching=[0]).subscribe(0)
    for seq, status in enumerate((Status.OK, Status.FAILED, Status.OK, Status.OK), start=1):
        history.publish(seq, 100 * seq, status=status)
    made = caches(history.read(0, 0, 150, 1).read(0, 0, 450, 4).read(0, 0, 480, 4), tmp_path)
    assert made.misses[["seq", "mended_ns"]].tolist() == [(2, ns(451))]
    assert made.tally == CacheTally(owed=4, refreshed=2, missed=1, indeterminate=1, reads=3)
