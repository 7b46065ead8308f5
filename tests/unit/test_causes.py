"""Each cause planted alone in a little run directory; and the table's own promises."""

import numpy as np
import pytest

from fanlab.ledger.account import account
from fanlab.ledger.causes import OTHERWISE, RULES, Cause, Hop, explain, why
from fanlab.ledger.lookups import latest
from fanlab.ledger.records import NO_NODE, Status
from support.forty import stream
from support.histories import History, mark


@pytest.fixture
def blame(tmp_path):
    """(seq, cause, fault, node) of each loss of client 0."""

    def reckon(history: History) -> list[tuple[int, str, int, int]]:
        found = account(history.write(tmp_path / "run"))
        assert found.measure.balanced
        assert sum(fault.measured for fault in found.faults) == (found.losses["fault"] >= 0).sum()
        rows = found.losses[found.losses["client"] == 0]
        return [(int(r["seq"]), Cause(r["cause"]).label, int(r["fault"]), int(r["node"])) for r in rows]

    return reckon


def blamed(missing, cause: Cause, fault: int = -1, node: int = 0) -> list[tuple[int, str, int, int]]:
    return [(seq, cause.label, fault, node) for seq in missing]


def test_nothing_explains_it(blame):
    assert blame(stream([7])) == blamed([7], Cause.UNEXPLAINED)


def test_publish_failed(blame):
    assert blame(stream([7], statuses={7: Status.FAILED})) == blamed([7], Cause.PUBLISH_FAILED)


def test_publish_failed_while_redis_was_down(blame):
    history = stream([7, 30], statuses={7: Status.FAILED, 30: Status.FAILED}).fault("redis-restart", "redis", 65, 90)
    assert blame(history) == blamed([7, 30], Cause.REDIS_DOWN, fault=0)  # 30: a publisher still reconnecting


def test_publish_failed_long_after_redis_was_back(blame):
    history = stream([7], statuses={7: Status.FAILED}).fault("redis-restart", "redis", -5000, -4000)
    assert blame(history) == blamed([7], Cause.PUBLISH_FAILED)


def test_the_client_was_backing_off_while_other_nodes_were_up(blame):
    history = (
        stream([5, 6, 7]).close(0, 45).subscribe(0, node=1, at=75, took=1, lag=1).fault("crash", "node-1", 44, 300)
    )
    assert blame(history) == blamed([5, 6, 7], Cause.CLIENT_RECONNECTING, fault=0)


def test_the_client_lost_its_connection_without_a_fault(blame):
    history = stream([5, 6, 7]).close(0, 45).subscribe(0, node=1, at=75, took=1, lag=1)
    assert blame(history) == blamed([5, 6, 7], Cause.CLIENT_RECONNECTING)


def test_the_client_was_connected_and_its_subscription_on_its_way(blame):
    history = (
        stream([5, 6, 7]).close(0, 45).subscribe(0, node=1, at=54, took=1, lag=20).fault("crash", "node-1", 44, 300)
    )
    causes = blame(history)
    assert causes == [
        *blamed([5], Cause.CLIENT_RECONNECTING, fault=0),
        *blamed([6, 7], Cause.CLIENT_RECONNECTING, fault=0, node=1),
    ]


def test_a_second_connection_that_broke_before_it_was_subscribed(blame):
    history = stream([5, 6, 7]).close(0, 45).fault("crash", "node-1", 44, 300)
    history.event(54, "connecting", 0, node=1, attempt=0).event(55, "open", 0, node=1)
    history.event(55, "subscribing", 0, node=1, channel="news").close(0, 65, node=1).subscribe(0, node=2, at=72, took=1)
    assert [(seq, cause, fault) for seq, cause, fault, _ in blame(history)] == [
        (seq, "client_reconnecting", 0) for seq in (5, 6, 7)
    ]


@pytest.mark.parametrize("failover", ["sticky", "round-robin"])
def test_every_node_that_the_client_may_go_to_was_down(blame, failover):
    history = stream([5, 6, 7, 8], nodes=1 if failover == "round-robin" else 3, failover=failover)
    history.close(0, 45).fault("crash", "node-1", 44, 69).subscribe(0, node=0, at=85, took=1)
    assert blame(history) == [
        *blamed([5, 6], Cause.NODE_DOWN, fault=0),
        *blamed([7, 8], Cause.CLIENT_RECONNECTING, fault=0),  # up again from 70 on, the client still backing off
    ]


def test_never_returned(blame):
    missing = list(range(5, 41))
    history = stream(missing).close(0, 45).fault("crash", "node-1", 44)
    assert blame(history) == blamed(missing, Cause.NEVER_RETURNED, fault=0)


def test_in_a_partial_run_nobody_is_said_never_to_return(blame):
    history = stream(range(5, 41), status="aborted").close(0, 45).fault("crash", "node-1", 44)
    assert {cause for _, cause, _, _ in blame(history)} == {"client_reconnecting"}


def test_connected_again_and_never_subscribed(blame):
    history = stream(range(5, 41)).close(0, 45).fault("crash", "node-1", 44, 100)
    history.event(48, "connecting", 0, node=1, attempt=0).event(49, "open", 0, node=1)
    history.event(49, "subscribing", 0, node=1, channel="news")
    assert {(cause, fault) for _, cause, fault, _ in blame(history)} == {("never_subscribed", 0)}


def test_in_flight_when_the_node_died(blame):
    history = stream([5, 6, 7]).close(0, 65).subscribe(0, node=1, at=74, took=1).fault("crash", "node-1", 55, 300)
    assert blame(history) == [
        *blamed([5, 6], Cause.NODE_CRASH_IN_FLIGHT, fault=0),  # 5 was sent before the crash, 6 after; neither came
        *blamed([7], Cause.CLIENT_RECONNECTING, fault=0),
    ]


def test_a_hole_before_the_last_message_of_a_dying_node_is_not_its_deaths_doing(blame):
    history = stream([3, 6]).close(0, 65).subscribe(0, node=1, at=67, took=1).fault("crash", "node-1", 55, 300)
    assert blame(history) == [*blamed([3], Cause.UNEXPLAINED), *blamed([6], Cause.NODE_CRASH_IN_FLIGHT, fault=0)]


@pytest.mark.parametrize(("kind", "cause"), [("crash", "node_crash_in_flight"), ("pause", "node_down")])
def test_a_connection_that_was_silent_long_before_its_node_broke_was_not_silenced_by_that(blame, kind, cause):
    history = History().subscribe(0)
    for seq in range(1, 31):  # every 100 ms; from 5 on nothing comes, and at 2.9 s the node breaks
        history.publish(seq, seq * 100)
        if seq < 5:
            history.deliver(0, seq, seq * 100 + 1)
    history.close(0, 3005).subscribe(0, node=1, at=3010, took=1).fault(kind, "node-1", 2900)
    found = [(seq, found) for seq, found, _, _ in blame(history)]
    assert found == [(seq, "unexplained" if seq < 19 else cause) for seq in range(5, 31)]


def test_published_while_the_node_was_paused_and_the_client_gave_it_up(blame):
    history = stream([5, 6, 7]).close(0, 75).subscribe(0, node=1, at=76, took=1).fault("pause", "node-1", 45, 300)
    assert blame(history) == blamed([5, 6, 7], Cause.NODE_DOWN, fault=0)


def test_the_node_had_lost_its_subscription(blame):
    history = stream([5, 6, 7, 20]).gap(0, 48, 75).fault("redis-kill-pubsub", "redis", 47, 76)
    history.faults[0]["for_ns"] = 0
    assert blame(history) == [*blamed([5, 6, 7], Cause.RESUBSCRIBE_GAP, fault=0), *blamed([20], Cause.UNEXPLAINED)]


def test_on_its_way_when_the_subscription_went(blame):
    assert blame(stream([4, 5]).gap(0, 48, 55)) == blamed([4, 5], Cause.RESUBSCRIBE_GAP)


def test_a_client_that_was_silent_long_before_the_gap_was_not_silenced_by_that(blame):
    history = History().subscribe(0).gap(0, 3000, 3100)
    for seq in range(1, 41):
        history.publish(seq, seq * 100)
        if not 5 <= seq <= 30:
            history.deliver(0, seq, seq * 100 + 1)
    found = [(seq, cause) for seq, cause, _, _ in blame(history)]
    assert found == [(seq, "unexplained" if seq < 20 else "resubscribe_gap") for seq in range(5, 31)]


def test_a_paused_node_may_lose_with_its_subscription_all_that_it_had_not_read(blame):
    history = History().subscribe(0).gap(0, 3000, 3100).fault("pause", "node-1", 450, 2990)
    for seq in range(1, 41):
        history.publish(seq, seq * 100)
        if not 5 <= seq <= 30:
            history.deliver(0, seq, seq * 100 + 1)
    assert {cause for _, cause, _, _ in blame(history)} == {"resubscribe_gap"}


def test_a_gap_takes_nothing_that_the_node_says_it_had(blame):
    history = stream([4, 5, 6, 7]).gap(0, 48, 75).fan_out(0, 4, 41).fan_out(0, 6, 61).fan_out(1, 7, 71)
    assert blame(history) == [
        *blamed([4], Cause.UNEXPLAINED),
        *blamed([5], Cause.RESUBSCRIBE_GAP),
        *blamed([6], Cause.UNEXPLAINED),
        *blamed([7], Cause.RESUBSCRIBE_GAP),  # another node had it
    ]


def test_a_gap_of_another_node_or_channel_explains_nothing(blame):
    history = stream([5], channels=("news", "jobs"), asked=("news",)).gap(1, 48, 75).gap(0, 48, 75, channel="jobs")
    assert blame(history) == blamed([5], Cause.UNEXPLAINED)


def test_a_gap_after_the_connection_had_ended_explains_nothing(blame):
    history = stream(range(4, 41)).close(0, 45).gap(0, 300, 320)
    assert [cause for _, cause, _, _ in blame(history)][:2] == ["unexplained", "never_returned"]


@pytest.mark.parametrize(("closed", "cause"), [(50.1, "client_reconnecting"), (50.2, "node_crash_in_flight")])
def test_sent_at_the_moment_that_the_connection_ended_is_sent_to_nobody(blame, closed, cause):
    history = stream([5]).close(0, closed).subscribe(0, node=1, at=55, took=1).fault("crash", "node-1", 45, 300)
    assert [found for _, found, _, _ in blame(history)] == [cause]


def test_redis_had_no_subscriber(blame):
    assert blame(stream([5], receivers=0)) == blamed([5], Cause.NO_SUBSCRIBER)


def test_redis_at_fault_and_a_node_without_a_journal(blame):
    history = stream([5, 6], receivers=2).fault("redis-kill-pubsub", "redis", 45, 65)
    assert blame(history) == blamed([5, 6], Cause.RESUBSCRIBE_GAP, fault=0)


@pytest.mark.parametrize(
    ("why", "cause"),
    [("slow", Cause.SLOW_CLIENT_DROP), ("closing", Cause.NOT_OPEN), ("write_failed", Cause.WRITE_ERROR)],
)
def test_the_node_dropped_it(blame, why, cause):
    history = stream([5]).node_line(0, 51, "drop", ch="news", mark=mark(5), n=1, why=why)
    assert blame(history) == blamed([5], cause)


def test_another_nodes_drop_explains_nothing(blame):
    history = stream([5], receivers=2).node_line(1, 51, "drop", ch="news", mark=mark(5), n=1, why="slow")
    history.node_line(0, 51, "drop", ch="news", mark=mark(6), n=1, why="slow")
    history.node_line(0, 51, "drop", ch="news", mark=mark(5), n=1, why="some other reason")
    assert blame(history) == blamed([5], Cause.UNEXPLAINED)


def test_the_node_closed_the_connection_of_a_slow_client(blame):
    history = stream([5, 6, 7]).close(0, 75, code=1013).subscribe(0, node=1, at=76, took=1)
    history.node_line(0, 51, "drop", ch="news", mark=mark(5), n=1, why="slow")
    assert blame(history) == blamed([5, 6, 7], Cause.SLOW_CLIENT_DROP)


def test_the_fault_of_an_outage_is_the_last_one_on_its_node(blame):
    history = stream([5, 6]).close(0, 45).subscribe(0, node=1, at=65, took=1)
    history.fault("crash", "node-1", -300, -200).fault("crash", "node-2", 44, 300).fault("crash", "node-1", 44, 300)
    assert {fault for _, _, fault, _ in blame(history)} == {2}


def test_a_client_that_came_back_and_was_cast_out_again(blame):
    history = stream([5, 15]).fault("crash", "node-1", 44, 300).fault("crash", "node-2", 144, 300)
    history.close(0, 45).subscribe(0, node=1, at=55, took=1).close(0, 145, node=1).subscribe(0, node=2, at=155, took=1)
    assert blame(history) == [
        *blamed([5], Cause.CLIENT_RECONNECTING, fault=0),
        *blamed([15], Cause.CLIENT_RECONNECTING, fault=1, node=1),
    ]


def test_what_a_paused_node_notices_on_waking_goes_back_to_the_pause(blame):
    history = stream([5, 6]).close(0, 45).subscribe(0, node=1, at=65, took=1).fault("pause", "node-1", -2000, 0)
    assert {fault for _, _, fault, _ in blame(history)} == {0}


def test_every_rule_has_a_reason_and_the_first_that_holds_decides():
    class Everything:
        node = np.full(3, NO_NODE)

        def __getattr__(self, name: str) -> object:
            return np.full(3, 5) if name.endswith("fault") else np.ones(3, np.bool_)

    assert all(rule.why for rule in RULES)
    assert {rule.cause for rule in RULES} == set(Cause) - {Cause.UNEXPLAINED}
    cause, fault, hop, rule = explain(Everything())  # type: ignore[arg-type]
    assert cause.tolist() == [RULES[0].cause] * 3
    assert fault.tolist() == [5] * 3
    assert hop.tolist() == [Hop.PUBLISHER_REDIS] * 3
    assert rule.tolist() == [0] * 3
    assert why(0) == RULES[0].why
    assert why(len(RULES)) == OTHERWISE.why
    cause, fault, hop, _ = explain(Everything(), ())  # type: ignore[arg-type]
    assert cause.tolist() == [Cause.UNEXPLAINED] * 3
    assert fault.tolist() == [-1] * 3
    assert hop.tolist() == [1] * 3  # as the facts have it


def test_a_subscription_on_its_way_is_told_from_a_connection_that_was_too_short(tmp_path):
    history = stream([5, 6, 7]).close(0, 45).subscribe(0, node=1, at=46, took=1, lag=25)
    told = {why(int(row["rule"])) for row in account(history.write(tmp_path / "run")).losses}
    assert told == {"the client was connected again, its subscription on its way"}


def test_a_node_that_redis_did_not_count_while_it_was_at_fault_and_that_came_back(blame):
    history = stream([7], receivers=0).fault("redis-kill-pubsub", "redis", 68, 69)
    assert blame(history) == blamed([7], Cause.RESUBSCRIBE_GAP, fault=0)


def test_latest_finds_the_last_entry_of_the_same_group():
    group, t = np.asarray([1, 1, 2]), np.asarray([10, 20, 15])
    asked = np.asarray([[1, 9], [1, 10], [1, 19], [1, 99], [2, 14], [2, 15], [3, 99], [0, 99]])
    assert latest(group, t, asked[:, 0], asked[:, 1]).tolist() == [-1, 0, 0, 1, -1, 2, -1, -1]
    nothing = np.zeros(0, np.int64)
    assert latest(nothing, nothing, asked[:, 0], asked[:, 1]).tolist() == [-1] * 8
    assert latest(group, t, nothing, nothing).tolist() == []


def test_a_slow_clients_drop_before_the_connection_began_explains_nothing(blame):
    history = stream([7, 30]).close(0, 65).subscribe(0, node=0, at=75, took=1).close(0, 305)
    history.subscribe(0, node=1, at=306, took=1)
    history.node_line(0, 51, "drop", ch="news", mark=mark(39), n=1, why="slow")
    assert blame(history) == [*blamed([7], Cause.CLIENT_RECONNECTING), *blamed([30], Cause.UNEXPLAINED)]
