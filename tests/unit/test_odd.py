"""Each odd delivery gets a row that names it, and the rows are as many as the counts say."""

import numpy as np
import pytest

from fanlab.ledger.account import account
from fanlab.ledger.arrival import Arrival, Held
from fanlab.ledger.odd import ODD_DTYPE, Odd, odd_rows, sorted_odd
from fanlab.ledger.records import DELIVERY_DTYPE
from support.histories import History, ns


@pytest.fixture
def reckon(tmp_path):
    """Account for a history."""
    return lambda history, **how: account(history.write(tmp_path / "run", **how))


def steady(clients: int = 2, messages: int = 5) -> History:
    """Messages 10 ms apart, each received by each client 1 ms after its intended time; client c on node c."""
    history = History(clients=clients)
    for client in range(clients):
        history.subscribe(client, node=client)
    for seq in range(1, messages + 1):
        history.publish(seq, seq * 10)
        for client in range(clients):
            history.deliver(client, seq, seq * 10 + 1, node=client)
    return history


def rows(found):
    """(kind, client, stream, seq, ms received, node) of each row."""
    names = ["kind", "client", "stream", "seq", "recv_ns", "node"]
    return [
        (Odd(kind), client, stream, seq, (recv - ns(0)) // 1_000_000, node)
        for kind, client, stream, seq, recv, node in found.odd[names].tolist()
    ]


def test_nothing_odd(reckon):
    assert rows(reckon(steady())) == []


@pytest.mark.parametrize("frame_records", [1, 1000])
def test_copies_are_listed_but_not_the_first(reckon, frame_records):
    history = steady().deliver(1, 2, 90, node=1).deliver(0, 4, 91).deliver(1, 2, 92, node=0)
    found = reckon(history, frame_records=frame_records)
    assert rows(found) == [
        (Odd.DUPLICATED, 1, 0, 2, 90, 1),
        (Odd.DUPLICATED, 0, 0, 4, 91, 0),
        (Odd.DUPLICATED, 1, 0, 2, 92, 0),
    ]
    assert found.measure.duplicated == 3


def test_of_copies_in_two_stripes_the_first_is_the_one_received_first(tmp_path):
    for number, later in enumerate((0, 1)):
        history = steady(clients=1).deliver(0, 2, 25, node=2)
        rundir = history.write(tmp_path / f"run-{number}")
        stripe = (rundir.journal / "clients-0.stripe").rename(rundir.journal / f"clients-{later}.stripe")
        assert stripe.exists()
        other = History().publish(2, 20).deliver(0, 2, 23, node=1)
        second = other.write(tmp_path / f"other-{number}").journal / "clients-0.stripe"
        second.rename(rundir.journal / f"clients-{1 - later}.stripe")
        found = account(rundir)
        assert rows(found) == [(Odd.DUPLICATED, 0, 0, 2, 23, 1), (Odd.DUPLICATED, 0, 0, 2, 25, 2)]
        assert found.measure.reordered == 0


def test_a_late_message_is_listed_once_and_a_copy_of_it_as_a_copy(reckon):
    history = steady(1)
    history.deliveries = [one for one in history.deliveries if one[2] != 2]
    found = reckon(history.deliver(0, 2, 60).deliver(0, 2, 61))
    assert rows(found) == [(Odd.REORDERED, 0, 0, 2, 60, 0), (Odd.DUPLICATED, 0, 0, 2, 61, 0)]


def test_strangers_are_listed(reckon):
    history = steady(1).deliver(0, 77, 60).deliver(9, 1, 61, node=2).deliver(9, 1, 62, node=1)
    found = reckon(history)
    assert rows(found) == [
        (Odd.UNEXPECTED, 0, 0, 77, 60, 0),
        (Odd.UNEXPECTED, 9, 0, 1, 61, 2),
        (Odd.DUPLICATED, 9, 0, 1, 62, 1),
    ]


def test_the_warm_up_is_not_listed(reckon):
    history = History().subscribe(0).publish(1, -500).publish(2, 10)
    found = reckon(history.deliver(0, 1, -400).deliver(0, 2, 11).deliver(0, 1, 100))
    assert rows(found) == []
    assert found.warm_up.duplicated == 1


def test_a_node_that_doubles_everything_is_listed_in_full(reckon):
    history = History(clients=20)
    for client in range(20):
        history.subscribe(client)
    for seq in range(1, 101):
        history.publish(seq, seq * 5)
        for client in range(20):
            history.deliver(client, seq, seq * 5 + 1).deliver(client, seq, seq * 5 + 1.5)
    found = reckon(history, frame_records=7)
    assert found.measure.duplicated == len(found.odd) == 2000
    assert len(np.unique(found.odd[["client", "seq"]])) == 2000
    assert (found.odd["kind"] == Odd.DUPLICATED).all()


def test_rows_are_sorted_whatever_order_they_come_in():
    records = np.zeros(4, DELIVERY_DTYPE)
    records["recv_ns"], records["client"] = [7, 5, 7, 6], [1, 0, 0, 9]
    parts = [odd_rows(Odd.DUPLICATED, records[:2]), odd_rows(Odd.REORDERED, records[2:])]
    found = sorted_odd(parts)
    assert found[["recv_ns", "client"]].tolist() == [(5, 0), (6, 9), (7, 0), (7, 1)]
    assert found.tolist() == sorted_odd(parts[::-1]).tolist()
    assert sorted_odd([]).dtype == ODD_DTYPE


def chunk(*rows: tuple[int, int]) -> np.ndarray:
    """Records from (recv, client)."""
    records = np.zeros(len(rows), DELIVERY_DTYPE)
    records["recv_ns"], records["client"] = [row[0] for row in rows], [row[1] for row in rows]
    return records


@pytest.mark.parametrize(
    ("chunks", "found"),
    [
        ([(0, [(1, 0), (2, 1), (3, 0)]), (0, [(3, 0), (4, 1)])], []),
        ([(0, [(5, 0), (4, 1), (6, 0)])], []),  # times of two clients, each in order
        ([(0, [(5, 0), (4, 1), (5, 0), (4, 1)])], []),  # of one instant
        ([(0, [(5, 0), (6, 1), (4, 0)])], [0]),
        ([(0, [(1, 0), (9, 0), (7, 0)])], [0]),  # later than its first, and yet too early
        ([(0, [(1, 0), (9, 1), (7, 1)])], [1]),
        ([(0, [(5, 0), (6, 1)]), (0, [(4, 1), (6, 0)])], [1]),
        ([(0, [(5, 0), (6, 1)]), (1, [(7, 1)])], [1]),  # in two stripes, so ties would have no order
        ([(0, [(5, 0)]), (1, [(6, 7)]), (0, [(5, 9)])], [2]),  # two that the plan lacks share one place
    ],
)
def test_clients_out_of_order(chunks, found):
    arrival = Arrival(2)
    for source, of in chunks:
        arrival.note(chunk(*of), source)
    assert np.flatnonzero(arrival.disordered).tolist() == found


def test_what_is_held_comes_back_by_time():
    held = Held(np.array([True, False, False]))
    assert held.split(chunk((9, 0), (3, 1)), 1)["client"].tolist() == [1]
    assert held.split(chunk((4, 0), (9, 0), (1, 0)), 0)["recv_ns"].tolist() == []
    assert held.sorted()["recv_ns"].tolist() == [1, 4, 9, 9]
    assert not len(Held(np.zeros(3, np.bool_)).sorted())
