"""Disagreement on Redis' order, planted: exactly those deliveries are found that come too late on their node."""

from collections import Counter
from random import Random

import numpy as np
import pytest

from fanlab.ledger.account import account
from fanlab.ledger.messages import Messages
from fanlab.ledger.odd import Odd, odd_rows, sorted_odd
from fanlab.ledger.order import NOWHERE, Lanes, Reference, busiest_order, disagreements, needs_order, witness_order
from fanlab.ledger.records import DELIVERY_DTYPE, WITNESS_DTYPE
from fanlab.ledger.witness import Witness
from support.arrays import made_deliveries, made_messages
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


def test_a_lane_is_a_client_through_a_node_and_what_the_plan_lacks_shares_the_last():
    lanes = Lanes(3, 2)
    assert lanes.count == 12
    rows = made_deliveries(*((0, client, 0, 1, node) for client in (0, 1, 2, 3, 9) for node in (0, 1, 2, 7)))
    assert lanes.of(rows).tolist() == [0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11, 9, 10, 11, 11]
    assert [lanes.named(lane) for lane in (0, 2, 5, 11)] == [(0, 0), (0, 2), (1, 2), (3, 2)]


@pytest.mark.parametrize(
    ("per_stream", "needed"), [([], False), ([3], False), ([3, 0], False), ([0, 3, 0, 1], True), ([1, 1], True)]
)
def test_an_order_is_needed_between_messages_of_two_streams(per_stream, needed):
    assert needs_order(made_messages(per_stream)) is needed


def test_the_order_of_the_witness_is_that_of_its_first_copies():
    def saw(*rows: tuple[int, int]) -> Witness:
        return Witness(np.array([(0, 0, seq, stream, 0) for stream, seq in rows], WITNESS_DTYPE), np.zeros((0, 2)))

    messages = made_messages([2, 2])
    assert witness_order(None, messages) is None
    assert witness_order(saw(), messages) is None
    assert witness_order(saw((0, 3), (5, 1)), messages) is None
    found = witness_order(saw((1, 1), (0, 1), (1, 1), (0, 9), (0, 2)), messages)
    assert (found.place.tolist(), found.lane) == ([1, 4, 0, NOWHERE], None)
    assert witness_order(saw((0, 1)), messages).place.tolist() == [0, NOWHERE, NOWHERE, NOWHERE]


def busiest(rows: list[tuple[int, ...]], copies: list[tuple[int, ...]], messages: Messages, lanes: Lanes) -> Reference:
    def chunks():
        return iter([made_deliveries(*rows[:3]), made_deliveries(*rows[3:])])

    return busiest_order(chunks(), chunks(), odd_rows(Odd.DUPLICATED, made_deliveries(*copies)), messages, lanes)


@pytest.mark.parametrize("seed", range(40))
def test_the_order_of_the_lane_that_had_most(seed):
    random = Random(seed)  # noqa: S311 - a seeded choice
    messages, lanes = made_messages([3, 3]), Lanes(2, 2)
    rows = [
        (at, random.randrange(4), random.randrange(2), random.randint(1, 4), random.randrange(4)) for at in range(40)
    ]
    seen: set[tuple[int, ...]] = set()
    copies = [row for row in rows if row[1:] in seen or seen.add(row[1:])]
    had: Counter[tuple[int, int]] = Counter()
    for _, client, _, seq, node in [row for row in rows if row not in copies]:
        had[client, min(node, 2)] += client < 2 and seq <= 3
    lane = min((client, node) for client, node in had if had[client, node] == max(had.values()))
    theirs = [(stream, seq) for _, client, stream, seq, node in rows if (client, min(node, 2)) == lane and seq <= 3]
    expected = [theirs.index(one) if one in theirs else NOWHERE for one in [(s, q) for s in (0, 1) for q in (1, 2, 3)]]
    found = busiest(rows, copies, messages, lanes)
    assert (lanes.named(found.lane), found.place.tolist()) == (lane, expected)


def test_of_nothing_received_no_message_has_a_place():
    assert busiest([], [], made_messages([1, 1]), Lanes(2, 2)).place.tolist() == [NOWHERE, NOWHERE]
    strangers = [(1, 7, 0, 1, 0), (2, 7, 1, 1, 0)]
    assert busiest(strangers, [], made_messages([1, 1]), Lanes(2, 2)).place.tolist() == [NOWHERE, NOWHERE]


def late_by_looking(rows: list[tuple[int, ...]], place: list[int], lanes: Lanes) -> list[tuple[int, ...]]:
    """Those that come after another stream's message with a higher place, of three messages in each stream."""
    late = []
    for at, (_, client, stream, seq, node) in enumerate(rows):
        before = [
            place[of * 3 + number - 1]
            for _, who, of, number, through in rows[:at]
            if min(who, lanes.clients) == min(client, lanes.clients) and of != stream and number <= 3
            and min(through, lanes.nodes) == min(node, lanes.nodes)
        ]  # fmt: skip
        if seq <= 3 and place[stream * 3 + seq - 1] != NOWHERE and any(p > place[stream * 3 + seq - 1] for p in before):
            late.append(rows[at])
    return late


@pytest.mark.parametrize("seed", range(60))
def test_what_is_odd_already_is_not_told_again(seed):
    random = Random(seed)  # noqa: S311 - a seeded choice
    messages, lanes = made_messages([3, 3]), Lanes(2, 1)
    place = [one if random.random() < 0.9 else NOWHERE for one in random.sample(range(9), 6)]
    rows = [
        (at // 6, random.randrange(3), random.randrange(2), random.randint(1, 4), random.choice((0, 0, 1)))
        for at in range(random.randint(0, 50))
    ]
    copies = [row for row in rows if random.random() < 0.3]
    others = [(99, *random.choice(rows)[1:]) for _ in range(random.randint(0, 2)) if rows]
    odd = sorted_odd([
        odd_rows(Odd.DUPLICATED, made_deliveries(*copies)),
        odd_rows(Odd.REORDERED, made_deliveries(*others[:1])),
        odd_rows(Odd.UNEXPECTED, made_deliveries(*others[1:])),
        odd_rows(Odd.CORRUPTED, made_deliveries(*rows[:5])),
    ])  # fmt: skip
    expected = Counter(late_by_looking(rows, place, lanes))
    for row in copies:
        expected[row] -= 1
    expected = Counter({
        row: count for row, count in expected.items() if count > 0 and row[1:4] not in [one[1:4] for one in others]
    })  # fmt: skip
    cuts = sorted(random.choices(range(len(rows) + 1), k=3))
    chunks = [made_deliveries(*rows[start:end]) for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    found = disagreements(chunks, odd, Reference(np.array(place), None), messages, lanes)
    assert Counter(found[["recv_ns", "client", "stream", "seq", "node"]].tolist()) == +expected
    assert (found["kind"] == Odd.DISAGREED).all()


def test_where_no_message_is_known_nobody_disagrees():
    rows = [made_deliveries((1, 0, 0, 1), (2, 0, 1, 1), (3, 0, 0, 2))]
    for per_stream in ([], [0, 0]):
        nothing = Reference(np.zeros(0, np.int64), None)
        assert not len(disagreements(rows, sorted_odd([]), nothing, made_messages(per_stream), Lanes(1, 1)))
    nowhere = Reference(np.full(2, NOWHERE), None)
    assert not len(disagreements(rows, sorted_odd([]), nowhere, made_messages([1, 1]), Lanes(1, 1)))


@pytest.mark.parametrize("seed", range(10))
def test_of_many_clients_through_many_nodes_each_is_a_lane_of_its_own(seed):
    random = Random(seed)  # noqa: S311 - a seeded choice
    messages, lanes = made_messages([3, 3]), Lanes(400, 299)
    alike = [(0, 0), (218, 136), (1, 5), (219, 141), (100, 7)]  # some of their numbers have the same last 16 bits
    assert len({(client * 300 + node) & 0xFFFF for client, node in alike}) == 3
    place = random.sample(range(6), 6)
    rows = []
    for at in range(60):
        client, node = random.choice(alike)
        rows.append((at, client, random.randrange(2), random.randint(1, 3), node))
    found = disagreements([made_deliveries(*rows)], sorted_odd([]), Reference(np.array(place), None), messages, lanes)
    assert sorted(found[["recv_ns", "client", "stream", "seq", "node"]].tolist()) == late_by_looking(rows, place, lanes)
