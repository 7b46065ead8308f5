"""What each kind of evidence says of a loss, and what is said where it is missing."""

import pytest

from fanlab.ledger.account import account
from fanlab.ledger.causes import Cause, Hop
from fanlab.ledger.records import Status
from support.forty import ALL, journal, stream, without
from support.histories import History, ns


@pytest.fixture
def told(tmp_path):
    """(cause, hop, fault) of each loss of client 0, by seq; and the sentences on what is coarse."""

    def reckon(history: History) -> tuple[dict[int, tuple[str, str, int]], list[str]]:
        found = account(history.write(tmp_path / "run"))
        assert found.measure.balanced
        rows = found.losses[found.losses["client"] == 0]
        told = {int(r["seq"]): (Cause(r["cause"]).label, Hop(r["hop"]).label, int(r["fault"])) for r in rows}
        return told, found.evidence.coarse

    return reckon


def test_the_hop_of_a_loss_that_nothing_explains(told):
    history = journal(stream([7, 20]), heard=without(20))
    assert told(history)[0] == {7: ("unexplained", "node_socket", -1), 20: ("unexplained", "redis_node", -1)}


def test_a_black_box_may_have_had_it_or_not(told):
    found, coarse = told(stream([7]))
    assert found == {7: ("unexplained", "unknown", -1)}
    assert [sentence.split(":")[0] for sentence in coarse] == [
        "node-1 keeps no journal",
        "Redis' subscribers were not watched",
    ]
    assert coarse[0].endswith("and of 1 of them nobody can tell")


def test_another_client_of_the_black_box_had_it(told):
    history = stream([7]).event(-1500, "connecting", 1, node=0, attempt=0)
    history.clients = 2
    history.event(-1499, "open", 1, node=0).event(-1499, "subscribing", 1, node=0, channel="news")
    history.event(-1498, "subscribed", 1, node=0, channel="news")
    for seq in ALL:
        history.deliver(1, seq, seq * 10 + 1)
    assert told(history)[0] == {7: ("unexplained", "node_socket", -1)}


def test_nobody_saw_what_a_killed_node_had_last(told):
    history = stream([5, 6, 7]).close(0, 75).subscribe(0, node=1, at=76, took=1).fault("crash", "node-1", 65, 300)
    found, coarse = told(journal(history, heard=range(1, 5), stop=None))
    assert found[5] == found[6] == ("node_crash_in_flight", "unknown", 0)
    assert found[7] == ("node_crash_in_flight", "redis_node", 0)  # published when it was seen to be dead
    assert coarse == [
        "node-1 died with the last lines of its journal: whether it had what was on its way is not known (2 losses)"
    ]


def test_what_a_killed_node_journaled_in_time_it_had(told):
    history = stream([5, 6]).close(0, 65).subscribe(0, node=1, at=67, took=1).fault("crash", "node-1", 62, 300)
    found, _ = told(journal(history, heard=range(1, 6), stop=None))
    assert found == {5: ("node_crash_in_flight", "node_socket", 0), 6: ("node_crash_in_flight", "unknown", 0)}


@pytest.mark.parametrize(("paused_at", "cause"), [(51, "node_down"), (74, "unexplained")])
def test_a_pause_takes_what_the_node_was_handing_on_and_not_what_it_had_handed_on(told, paused_at, cause):
    history = stream([5, 6, 7]).close(0, 75).subscribe(0, node=1, at=76, took=1)
    found, _ = told(journal(history.fault("pause", "node-1", paused_at, 300), heard=without(6, 7)))
    assert found[5] == (cause, "node_socket", 0 if cause == "node_down" else -1)


def test_a_paused_node_had_nothing_in_time(told):
    history = stream([5, 6, 7]).close(0, 75).subscribe(0, node=1, at=76, took=1).fault("pause", "node-1", 45, 300)
    for seq in (5, 6, 7):
        history.fan_out(0, seq, 301)  # it reads them when it wakes, and nobody is there any more
    assert set(told(journal(history, heard=without(5, 6, 7)))[0].values()) == {("node_down", "redis_node", 0)}


def test_what_others_got_of_a_node_when_it_woke_it_did_not_have_in_time(told):
    history = stream([5]).close(0, 56).subscribe(0, node=1, at=57, took=1, lag=1)
    history.clients = 2
    history.subscribe(1).fault("pause", "node-1", 49.5, 300).fan_out(0, 5, 301).deliver(1, 5, 302)
    assert told(journal(history, heard=without(5)))[0][5] == ("node_down", "redis_node", 0)


def test_what_a_node_had_at_once_it_had_though_the_connection_ended_in_that_moment(told):
    history = stream([5]).close(0, 50.2).subscribe(0, node=1, at=57, took=1, lag=1)
    assert told(journal(history))[0][5] == ("unexplained", "node_socket", -1)


@pytest.mark.parametrize("known", ["time", "no time yet"])
def test_a_node_that_died_by_itself(told, known):
    history = stream(range(6, 41)).close(0, 65)
    history.exits.append({"unit": "node-1", "t_s": 0.055 if known == "time" else None, "status": -11})
    found, _ = told(history)
    assert found[6][0] == ("node_crash_in_flight" if known == "time" else "unexplained")
    assert found[7] == ("never_returned", "client", -1)


def test_every_node_died_by_itself_and_one_came_back(told):
    history = stream(range(5, 9), nodes=1).died(0, 45).close(0, 45).subscribe(0, node=0, at=75, took=2, lag=5)
    found, _ = told(history)
    assert found[5] == found[7] == ("node_down", "redis_node", -1)
    assert found[8] == ("client_reconnecting", "client", -1)


def test_a_death_during_a_fault_of_redis_goes_back_to_that(told):
    history = stream([6]).fault("redis-kill-pubsub", "redis", 45, 60).died(0, 58).close(0, 65)
    history.subscribe(0, node=1, at=66, took=1)
    assert told(history)[0] == {6: ("node_crash_in_flight", "redis_node", 0)}


def test_redis_died_by_itself(told):
    history = stream([7, 8], statuses={7: Status.FAILED, 8: Status.FAILED})
    history.exits.append({"unit": "redis", "t_s": 0.065, "status": -9})
    assert set(told(history)[0].values()) == {("redis_down", "publisher_redis", -1)}


def test_redis_did_not_answer_those_who_watched(told):
    history = stream([7, 30], statuses={7: Status.FAILED, 30: Status.FAILED})
    history.redis_line(-1000, "watch", state="up").redis_line(60, "watch", state="down", before=ns(55))
    history.watched(90, 900)
    assert told(history)[0] == {7: ("redis_down", "publisher_redis", -1), 30: ("publish_failed", "publisher_redis", -1)}


def down(history: History, at: float, back: float | None, *, why: str = "closed") -> History:
    history.node_line(0, at, "redis", state="down", why=why, error=why)
    if back is not None:
        history.node_line(0, back, "redis", state="up").node_line(0, back, "subscribed", ch="news")
    return history


def test_what_came_before_a_node_left_a_channel_had_time_to_come(told):
    history = journal(stream([5, 6]), heard=without(5, 6)).node_line(0, 75, "unsubscribed", ch="news")
    assert set(told(history)[0].values()) == {("unexplained", "redis_node", -1)}


def test_redis_knows_before_the_node_that_it_has_left_a_channel(told):
    history = journal(stream([5, 6], receivers=0), heard=without(5, 6)).fault("pause", "node-1", 30, 48)
    history.node_line(0, 65, "unsubscribed", ch="news").node_line(0, 66, "subscribed", ch="news")
    assert set(told(history)[0].values()) == {("no_subscriber", "redis_node", 0)}


def test_a_node_leaves_what_it_had_lost_and_never_renewed(told):
    history = down(journal(stream([5, 6]), heard=without(5, 6)), 46, None).node_line(0, 900, "unsubscribed", ch="news")
    assert set(told(history)[0].values()) == {("no_subscriber", "redis_node", -1)}


@pytest.mark.parametrize("lines", ["a gap", "no gap", "never again", "unsubscribed", "not yet"])
def test_a_node_tells_of_its_subscription(told, lines):
    missing = [5, 6, 7]
    history = journal(stream(missing), heard=without(*missing))
    expected = "resubscribe_gap"
    match lines:
        case "a gap":
            down(history, 46, 75).gap(0, 45, 75)
        case "no gap":
            down(history, 46, 75)
        case "never again":
            down(history, 46, None)
            expected = "no_subscriber"
        case "unsubscribed":
            history.node_line(0, 46, "unsubscribed", ch="news").node_line(0, 75, "subscribed", ch="news")
            expected = "no_subscriber"
        case "not yet":
            history.node_lines[0] = [line for line in history.node_lines[0] if line["ev"] != "subscribed"]
            history.node_line(0, 75, "subscribed", ch="news")
            expected = "no_subscriber"
    assert set(told(history)[0].values()) == {(expected, "redis_node", -1)}


def test_a_subscription_renewed_in_silence(told):
    history = journal(stream([7]), heard=without(7)).node_line(0, 75, "subscribed", ch="news")
    assert told(history)[0] == {7: ("resubscribe_gap", "redis_node", -1)}


@pytest.mark.parametrize(
    ("why", "extra", "cause"),
    [
        ("timeout", None, "partition"),
        ("closed", None, "resubscribe_gap"),
        ("timeout", "kill", "output_buffer_kill"),
        ("timeout", "pause", "resubscribe_gap"),
        ("timeout", "redis", "resubscribe_gap"),
        ("closed", "partition", "partition"),
    ],
)
def test_what_broke_the_subscription(told, why, extra, cause):
    history = down(journal(stream([5, 6, 7]), heard=without(5, 6, 7)), 70, 75, why=why).gap(0, 45, 75)
    fault = 0 if extra in ("pause", "redis", "partition") else -1
    match extra:
        case "kill":
            history.watched(-1900, 900).listed(0, 7, -1800, 50).buffer_kill(0, 7, 49)
        case "pause" | "partition":
            history.fault(extra, "node-1", 46, 60)
        case "redis":
            history.fault("pause", "redis", 46, 60)
    assert set(told(history)[0].values()) == {(cause, "redis_node", fault)}


@pytest.mark.parametrize("log", [True, False])
def test_a_gap_may_be_a_full_buffer_where_redis_log_is_not_read(told, log):
    history = down(journal(stream([5]), heard=without(5)), 46, 55).gap(0, 45, 55)
    found, coarse = told(history.watched(-1900, 900, log=log).listed(0, 7, -1800, 46).listed(0, 8, 55))
    assert found == {5: ("resubscribe_gap", "redis_node", -1)}
    assert [sentence.split(",")[0] for sentence in coarse] == ([] if log else ["Redis' log was not read"])


@pytest.mark.parametrize(("since", "cause"), [(1000, "partition"), (2000, "resubscribe_gap")])
def test_a_gap_noticed_long_after_it_began(told, since, cause):
    history = History(measure_ms=4000).subscribe(0).gap(0, since, 2600)
    history.node_line(0, 2500, "redis", state="down", error="nobody says why")
    for seq in range(1, 31):
        history.publish(seq, seq * 100)
        if seq != 24:
            history.deliver(0, seq, seq * 100 + 1)
    assert told(history)[0][24][0] == cause


def test_a_stamped_partition_of_a_black_box(told):
    history = stream([5, 6]).fault("partition", "node-1", 45, 65)
    assert {one[::2] for one in told(history)[0].values()} == {("partition", 0)}


def test_a_partition_keeps_no_client_from_its_node(told):
    history = stream([5, 6], nodes=1).close(0, 45).subscribe(0, node=0, at=65, took=1)
    history.fault("partition", "node-1", 10, 300)
    assert {one[0] for one in told(history)[0].values()} == {"client_reconnecting"}


def listed(history: History, *spans: tuple[float, float | None]) -> History:
    history.watched(-1950, 900)
    for id_, (since, until) in enumerate(spans):
        history.listed(0, 10 + id_, since, until)
    return history


@pytest.mark.parametrize(
    ("spans", "receivers", "cause"),
    [
        (((-1900, 46), (75, None)), 0, "resubscribe_gap"),
        (((-1900, 46),), 0, "no_subscriber"),
        (((-1900, None),), 0, "no_subscriber"),  # listed, and not for this channel
        (((-1900, 46), (75, None)), 3, "unexplained"),  # Redis counted all three nodes
        (((-1900, 90), (75, None)), 3, "partition"),  # Redis held the old connection open when the new one came
    ],
)
def test_what_redis_listed_of_a_black_box(told, spans, receivers, cause):
    history = listed(stream([5, 6, 7], receivers=receivers), *spans)
    assert {one[0] for one in told(history)[0].values()} == {cause}


def test_a_black_boxes_connection_that_ended_with_its_process(told):
    history = listed(stream([5]).close(0, 55).subscribe(0, node=1, at=56, took=1), (-1900, 46), (80, None))
    history.fault("crash", "node-1", 45, 79)
    assert told(history)[0][5][0] == "node_crash_in_flight"


def test_a_buffer_kill_of_a_connection_that_was_never_listed(told):
    history = stream([5, 6], receivers=2).watched(-1950, 900).buffer_kill(0, 7, 65)
    history.listed(0, 8, 68)
    assert {one[0] for one in told(history)[0].values()} == {"output_buffer_kill"}


def test_silence_long_before_redis_dropped_the_connection(told):
    history = History(measure_ms=4000).subscribe(0).watched(-1950, 4400)
    for seq in range(1, 39):
        history.publish(seq, seq * 100, receivers=1)
        if not 10 <= seq <= 30:
            history.deliver(0, seq, seq * 100 + 1)
    history.listed(0, 10, -1900, 3000).listed(0, 11, 3050)
    assert {one[0] for one in told(history)[0].values()} == {"partition"}


def test_redis_lists_what_a_black_box_surely_had(told):
    """Its one connection was counted, and lived on until a later message had come over it."""
    assert told(listed(stream([7], receivers=1), (-1900, None)))[0] == {7: ("unexplained", "node_socket", -1)}


def test_a_witness_that_left_no_journal_may_have_been_counted(told):
    history = listed(stream([7], receivers=1), (-1900, None))
    history.evidence = {"witness": True}
    found, coarse = told(history)
    assert found == {7: ("unexplained", "unknown", -1)}
    assert any("the witness left no journal" in sentence for sentence in coarse)


def test_drops_without_names_explain_no_more_than_they_count(tmp_path):
    history = stream([5], clients=3)
    for client in range(3):
        for line in history.events:
            if line.get("client") == client:
                line["node"] = 0
    for seq in without(5):
        for client in (1, 2):
            history.deliver(client, seq, seq * 10 + 1)
    journal(history).drop(0, 5, 51, "slow", n=1).drop(0, 5, 51, "write_failed", n=1)
    found = account(history.write(tmp_path / "run"))
    causes = {int(row["client"]): Cause(row["cause"]).label for row in found.losses}
    assert causes == {0: "slow_client_drop", 1: "write_error", 2: "unexplained"}
    assert len(found.evidence.coarse) == 1


def test_drops_with_names_explain_those(tmp_path):
    history = stream([5], clients=2)
    for line in history.events:
        line["node"] = 0
    for seq in without(5):
        history.deliver(1, seq, seq * 10 + 1)
    journal(history).drop(0, 5, 51, "slow", n=1, who=[1])
    found = account(history.write(tmp_path / "run"))
    causes = {int(row["client"]): Cause(row["cause"]).label for row in found.losses}
    assert causes == {0: "unexplained", 1: "slow_client_drop"}
    assert found.evidence.coarse == []


@pytest.mark.parametrize("code", [1013, 1001])
def test_a_black_box_gave_its_client_up_as_too_slow(told, code):
    history = stream([5, 6]).close(0, 65, code=code).subscribe(0, node=1, at=66, took=1)
    assert {one[0] for one in told(history)[0].values()} == {"slow_client_drop" if code == 1013 else "unexplained"}


SILENT = "no answer to a ping within 0.03 s"


def stalled(lag_ms: float, timeout_ms: float = 30, reason: str = SILENT) -> History:
    history = stream([5, 6, 7]).health(-900, 0.1, 0).health(100, 0.2, lag_ms)
    history.ping_timeout_ms = timeout_ms
    history.event(65, "closed", 0, node=0, code=1006, reason=reason, own=False)
    return history.subscribe(0, node=1, at=72, took=1)


def test_the_engine_stood_still_until_it_gave_the_connection_up(told):
    found, _ = told(journal(stalled(40)))
    assert found == {
        5: ("generator_fault", "node_socket", -1),
        6: ("generator_fault", "node_socket", -1),
        7: ("generator_fault", "client", -1),
    }


@pytest.mark.parametrize(
    "history",
    [stalled(20), stalled(40, timeout_ms=50), stalled(40, reason=""), stalled(40).fault("pause", "node-1", 40, 300)],
)
def test_the_engine_did_not_bring_it_about(told, history):
    assert "generator_fault" not in {one[0] for one in told(history)[0].values()}


def test_what_a_corrupt_frame_held(told):
    history = stream([20])
    history.heartbeat_ms = 900
    history.unreadable = [(45, 75)]
    found, _ = told(journal(history))
    assert {seq: one[:2] for seq, one in found.items()} == {
        5: ("generator_fault", "client"),
        6: ("generator_fault", "client"),
        7: ("generator_fault", "client"),
        20: ("unexplained", "node_socket"),
    }


def test_a_corrupt_frame_explains_no_more_than_it_held_for_sure(told):
    history = stream([6])  # 6 never came: the frame held two, and there are three that it may have
    history.unreadable = [(45, 75)]
    found, _ = told(journal(history))
    assert set(found.values()) == {("generator_fault", "unknown", -1)}


def test_an_engine_that_died(told):
    history = stream([6], close_stripes=False, heartbeat_ms=50)
    assert told(journal(history))[0] == {6: ("generator_fault", "unknown", -1)}


def test_publishes_that_timed_out_are_no_losses_even_if_the_witness_had_them(tmp_path):
    history = stream([5], statuses={5: Status.TIMED_OUT}).witnessed(5, 51)
    found = account(history.write(tmp_path / "run"))
    assert (found.measure.lost, found.measure.indeterminate) == (0, 1)


def test_unheard_counts_nodes_and_not_the_witness(tmp_path):
    history = stream([])
    for seq in ALL:
        history.witnessed(seq, seq * 10 + 0.3)
    assert account(history.write(tmp_path / "run")).publishers["unheard"] == len(ALL)
