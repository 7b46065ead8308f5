"""Disagreement on Redis' order, planted: exactly those deliveries are found that come too late on their node."""

from random import Random

import numpy as np
import pytest

from fanlab.ledger.account import account
from fanlab.ledger.messages import Messages
from fanlab.ledger.odd import Odd, sorted_odd
from fanlab.ledger.order import NOWHERE, Lanes, Reference, disagreements
from fanlab.ledger.records import DELIVERY_DTYPE
from support.histories import History, ns

NEWS, JOBS = 0, 1


def two_streams(clients: int = 2, *, witness: bool = True) -> History:
    """n1 j1 n2 j2 n3 j3 in Redis' order, 10 ms apart; client c on node c receives all of it in that order."""
    history = History(clients=clients, channels=("news", "jobs"), streams=("news", "jobs"))
    for client in range(clients):
        history.subscribe(client, node=client)
    for turn in range(6):
        seq, stream = turn // 2 + 1, turn % 2
        history.publish(seq, turn * 10, stream=stream)
        if witness:
            history.witnessed(seq, turn * 10 + 0.5, stream=stream)
        for client in range(clients):
            history.deliver(client, seq, turn * 10 + 1, stream=stream, node=client)
    return history


def moved(history: History, client: int, stream: int, seq: int, at: float) -> History:
    """The history, with one delivery at another time."""
    found = next(n for n, one in enumerate(history.deliveries) if (one[3], one[4], one[2]) == (client, stream, seq))
    history.deliveries[found] = (ns(at), *history.deliveries[found][1:])
    history.deliveries.sort(key=lambda one: one[0])
    return history


@pytest.fixture
def reckon(tmp_path):
    """Account for a history."""
    return lambda history, **how: account(history.write(tmp_path / "run", **how))


def disagreed(found) -> list[tuple[int, int, int]]:
    rows = found.odd[found.odd["kind"] == Odd.DISAGREED]
    assert len(rows) == found.measure.disagreed
    return rows[["client", "stream", "seq"]].tolist()


@pytest.mark.parametrize("witness", [True, False])
def test_one_order_for_all_is_no_disagreement(reckon, witness):
    found = reckon(two_streams(witness=witness))
    assert not len(found.odd)


@pytest.mark.parametrize("frame_records", [1, 3, 1000])
def test_a_message_after_a_later_one_of_another_stream_disagrees(reckon, frame_records):
    found = reckon(moved(two_streams(), 1, NEWS, 2, 35), frame_records=frame_records)  # j2 came at 31
    assert disagreed(found) == [(1, NEWS, 2)]
    assert found.measure.reordered == 0
    assert found.odd["node"].tolist() == [1]
    assert not found.evidence.coarse


def test_each_that_is_overtaken_counts_once(reckon):
    history = moved(two_streams(), 1, JOBS, 3, 5)  # j3 first of all jobs but after n1: j1 and j2 are late in their own
    found = reckon(history)
    assert disagreed(found) == [(1, NEWS, 2), (1, NEWS, 3)]
    assert found.measure.reordered == 2


def test_late_in_its_own_stream_is_reordered_and_no_more(reckon):
    found = reckon(moved(two_streams(), 0, NEWS, 1, 45))
    assert disagreed(found) == []
    assert found.measure.reordered == 1


def test_a_copy_is_no_disagreement_but_what_it_overtakes_is(reckon):
    history = moved(two_streams(), 1, NEWS, 3, 70)
    history.deliver(1, 1, 60, stream=JOBS, node=1)  # an old copy, late: nothing but a copy
    assert disagreed(reckon(history)) == [(1, NEWS, 3)]


def test_another_node_is_another_lane(reckon):
    history = two_streams(1).close(0, 33, node=0).subscribe(0, node=2, at=34)
    history.deliveries = [one for one in history.deliveries if one[4:5] != (NEWS,) or one[2] != 2]
    found = reckon(history.deliver(0, 2, 38, stream=NEWS, node=2))  # n2 through node 2, which had not sent j2
    assert disagreed(found) == []


def test_what_the_witness_lacks_is_left_out(reckon):
    history = moved(two_streams(), 1, NEWS, 2, 35)
    history.witness = [row for row in history.witness if row[2:] != (2, NEWS)]
    assert disagreed(reckon(history)) == []


def test_what_nobody_is_owed_is_unexpected_and_no_more(reckon):
    history = two_streams(1)
    history.streams, history.channels = ("news", "jobs", "mail"), ("news", "jobs", "mail")
    history.asked = ("news", "jobs")
    history.publish(1, 5, stream=2).witnessed(1, 5, stream=2)
    history.witness.insert(0, history.witness.pop())
    history.deliver(0, 1, 62, stream=2)
    history.events = [event for event in history.events if event.get("channel") != "mail"]
    found = reckon(history)
    assert disagreed(found) == []
    assert found.measure.unexpected == 1


def test_by_time_where_the_journal_is_out_of_order(reckon):
    history = moved(two_streams(), 1, NEWS, 2, 35)
    history.deliveries.reverse()
    assert disagreed(reckon(history)) == [(1, NEWS, 2)]


def test_the_warm_up_has_its_own_count(reckon):
    history = History(channels=("news", "jobs"), streams=("news", "jobs")).subscribe(0)
    history.publish(1, -50).publish(1, -40, stream=JOBS).witnessed(1, -49).witnessed(1, -39, stream=JOBS)
    found = reckon(history.deliver(0, 1, -30, stream=JOBS).deliver(0, 1, -20))
    assert (found.measure.disagreed, found.warm_up.disagreed, len(found.odd)) == (0, 1, 0)


def test_without_a_witness_who_received_most_stands_for_redis_and_it_is_said(reckon):
    history = moved(two_streams(3, witness=False), 0, NEWS, 2, 35)
    history.deliveries = [one for one in history.deliveries if (one[3], one[4], one[2]) != (0, JOBS, 3)]
    found = reckon(history)
    assert disagreed(found) == [(0, NEWS, 2)]
    assert [sentence for sentence in found.evidence.coarse if "client 1 on node-2, who received most" in sentence]


def test_a_doubling_client_is_not_the_one_who_received_most(reckon):
    history = two_streams(witness=False)
    history.deliveries = [one for one in history.deliveries if (one[3], one[4], one[2]) != (0, JOBS, 3)]
    for seq in (1, 2, 3):
        history.deliver(0, seq, 80 + seq)
    found = reckon(moved(history, 0, NEWS, 2, 35))
    assert disagreed(found) == [(0, NEWS, 2)]
    assert any("client 1 on node-2" in sentence for sentence in found.evidence.coarse)


def test_a_stream_alone_needs_no_reference(reckon):
    history = History().subscribe(0).publish(1, 10).publish(2, 20).deliver(0, 1, 11).deliver(0, 2, 21)
    assert reckon(history).evidence.coarse == []


def table(streams: int, per_stream: int) -> Messages:
    """Messages of which nothing but their numbers matters."""
    count = streams * per_stream
    times = np.zeros(count, np.int64)
    base = np.arange(streams + 1) * per_stream
    return Messages(base, times, times, times, np.zeros(count, np.uint8), np.ones(count, np.int64))


@pytest.mark.parametrize("seed", range(40))
def test_each_lane_against_all_that_came_before_however_cut(seed):
    random = Random(seed)  # noqa: S311 - a seeded choice
    streams, per_stream = random.randint(2, 4), 6
    messages, lanes = table(streams, per_stream), Lanes(2, 2)
    order = random.sample(range(streams * per_stream), streams * per_stream)  # no order within a stream, either
    order = [place if random.random() < 0.9 else NOWHERE for place in order]
    came = np.zeros(random.randint(1, 60), DELIVERY_DTYPE)
    for at in range(len(came)):  # times differ, so that each row of the result names one delivery
        came[at] = (at, 0, random.randint(1, per_stream), random.randrange(2), random.randrange(streams),
                    random.randrange(2), 0)  # fmt: skip
    expected = []
    for at, late in enumerate(came):
        place = order[late["stream"] * per_stream + late["seq"] - 1]
        before = came[:at][(came["client"][:at] == late["client"]) & (came["node"][:at] == late["node"])]
        before = before[before["stream"] != late["stream"]]
        if place != NOWHERE and any(order[one["stream"] * per_stream + one["seq"] - 1] > place for one in before):
            expected.append(at)
    cuts = sorted(random.choices(range(len(came) + 1), k=random.choice((0, 3, 60))))
    found = disagreements(np.split(came, cuts), sorted_odd([]), Reference(np.array(order), None), messages, lanes)
    assert sorted(found["recv_ns"].tolist()) == expected
