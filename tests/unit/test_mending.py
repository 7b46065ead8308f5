"""Damaged copies, planted: which message each was, what it counts as, and when nobody can tell."""

from random import Random

import numpy as np
import pytest

from fanlab.ledger.account import account
from fanlab.ledger.mending import with_mended
from fanlab.ledger.odd import UNKNOWN_STREAM, Odd
from fanlab.ledger.records import DELIVERY_DTYPE
from support.histories import History


@pytest.fixture
def reckon(tmp_path):
    """Account for a history."""
    return lambda history, **how: account(history.write(tmp_path / "run", **how))


def steady(missing: tuple[int, ...] = (), clients: int = 1, streams: int = 1) -> History:
    """Messages 1 to 6, 10 ms apart, on each stream; client c on node c has all, but for those that client 0 lacks."""
    history = History(clients=clients, streams=("news",) * streams)
    for client in range(clients):
        history.subscribe(client, node=client)
    for seq in range(1, 7):
        for stream in range(streams):
            history.publish(seq, seq * 10 + stream * 0.01, stream=stream)
            for client in range(clients):
                if client or seq not in missing:
                    history.deliver(client, seq, seq * 10 + 1 + stream * 0.01, stream=stream, node=client)
    return history


def hit(text: bytes, *places: int) -> bytes:
    """The token, with bytes that are no digits."""
    return bytes(ord("x") if at in places else byte for at, byte in enumerate(text))


def corrupted(found) -> list[tuple[int, int, int, int]]:
    rows = found.odd[found.odd["kind"] == Odd.CORRUPTED]
    assert len(rows) == found.measure.corrupted
    return rows[["client", "stream", "seq", "node"]].tolist()


def unnamed(found) -> list[str]:
    return [sentence for sentence in found.evidence.coarse if "beyond telling" in sentence]


UNKNOWN = (UNKNOWN_STREAM, 0)


@pytest.mark.parametrize("place", [0, 2, 3, 9, 18, 30, 42, 43, 46])
@pytest.mark.parametrize("frame_records", [1, 2, 1000])
def test_one_damaged_byte_is_a_delivery_and_corrupted(reckon, place, frame_records):
    history = steady((4,))
    history.damaged(0, 41, hit(history.token(4), place) + b"abcdeghijkmnopqrs")
    found = reckon(history, frame_records=frame_records)
    assert (found.measure.delivered, found.measure.lost, found.measure.reordered) == (6, 0, 0)
    assert corrupted(found) == [(0, 0, 4, 0)]
    assert found.latency.overall.n == 6
    assert not unnamed(found)


def test_what_follows_the_token_may_be_damaged(reckon):
    found = reckon(steady((4,)).spoiled(0, 4, 41))
    assert (found.measure.delivered, found.measure.lost) == (6, 0)
    assert corrupted(found) == [(0, 0, 4, 0)]


def test_a_damaged_copy_is_a_copy_too(reckon):
    history = steady()
    found = reckon(history.damaged(0, 90, hit(history.token(4), 20)))
    assert (found.measure.delivered, found.measure.duplicated, found.measure.corrupted) == (6, 1, 1)


def test_a_damaged_message_that_comes_late_is_reordered_too(reckon):
    history = steady((4,))
    found = reckon(history.damaged(0, 90, hit(history.token(4), 20)))
    assert (found.measure.delivered, found.measure.reordered, found.measure.corrupted) == (6, 1, 1)


def test_one_that_was_not_owed_is_not_named(reckon):
    history = History(channels=("news", "jobs"), streams=("news", "jobs"), asked=("news",)).subscribe(0)
    history.publish(1, 10).deliver(0, 1, 11).publish(1, 12, stream=1)
    found = reckon(history.damaged(0, 13, hit(history.token(1, 1), 20)))
    assert corrupted(found) == [(0, *UNKNOWN, 0)]
    assert found.measure.unexpected == 0
    assert len(unnamed(found)) == 1


def test_one_that_was_not_sent_yet_is_not_named(reckon):
    history = steady((4,))
    assert corrupted(reckon(history.damaged(0, 5, hit(history.token(4), 20)))) == [(0, *UNKNOWN, 0)]


def test_another_runs_token_is_not_named(reckon):
    history = steady((4,))
    text = history.token(4).replace(b"beef", b"0123")
    assert corrupted(reckon(history.damaged(0, 90, hit(text, 20)))) == [(0, *UNKNOWN, 0)]


@pytest.mark.parametrize("frame_records", [1, 1000])
def test_two_damaged_bytes_are_known_by_their_neighbours(reckon, frame_records):
    history = steady((4,), clients=2)
    found = reckon(history.damaged(0, 41, hit(history.token(4), 20, 21)), frame_records=frame_records)
    assert (found.measure.delivered, found.measure.lost, found.measure.reordered) == (12, 0, 0)
    assert corrupted(found) == [(0, 0, 4, 0)]


@pytest.mark.parametrize(
    ("missing", "at", "node"),
    [
        ((4, 5), 41, 0),  # two are missing there
        ((4,), 63, 0),  # it came elsewhere
        ((6,), 61, 0),  # nothing came after
        ((1,), 11, 0),  # nothing came before
        ((4,), 41, 2),  # through another node
        ((), 41, 0),  # nothing is missing
    ],
)
def test_nobody_can_tell(reckon, missing, at, node):
    history = steady(missing)
    found = reckon(history.damaged(0, at, b"xx", node=node))
    assert corrupted(found) == [(0, *UNKNOWN, node)]
    assert found.measure.lost == len(missing)
    assert "1 deliveries were damaged" in unnamed(found)[0]


def test_of_two_streams_that_lack_one_each_nobody_can_tell(reckon):
    history = steady((4,), streams=2)
    assert corrupted(reckon(history.damaged(0, 41, b"xx"))) == [(0, *UNKNOWN, 0)]


def test_two_that_claim_the_same_both_have_no_name(reckon):
    history = steady((4,))
    found = reckon(history.damaged(0, 41, b"xx").damaged(0, 41.5, b"yy"))
    assert corrupted(found) == [(0, *UNKNOWN, 0)] * 2
    assert found.measure.lost == 1


def test_a_named_one_is_a_neighbour(reckon):
    history = steady((3, 4))
    history.damaged(0, 31, hit(history.token(3), 20)).damaged(0, 41, b"xx")
    assert corrupted(reckon(history)) == [(0, 0, 3, 0), (0, 0, 4, 0)]


def test_the_warm_up_has_its_own_count(reckon):
    history = History().subscribe(0).publish(1, -500).publish(2, 10).deliver(0, 2, 11)
    history.damaged(0, -499, hit(history.token(1), 20)).damaged(0, -498, b"xx").damaged(0, 20, b"xx")
    found = reckon(history)
    assert (found.measure.corrupted, found.warm_up.corrupted, found.warm_up.delivered) == (1, 2, 1)
    assert corrupted(found) == [(0, *UNKNOWN, 0)]


def test_a_journal_out_of_order(reckon):
    history = steady((4,), clients=2)
    history.damaged(0, 41, hit(history.token(4), 20))
    history.deliveries.reverse()
    found = reckon(history)
    assert (found.measure.delivered, found.measure.reordered, corrupted(found)) == (12, 0, [(0, 0, 4, 0)])


def test_all_of_a_run_damaged(reckon):
    random = Random(3)  # noqa: S311 - a seeded choice
    history = History(clients=5)
    for client in range(5):
        history.subscribe(client)
    for seq in range(1, 101):
        history.publish(seq, seq * 5)
        for client in range(5):
            history.damaged(client, seq * 5 + 1, hit(history.token(seq), random.randrange(47)))
    found = reckon(history)
    assert (found.measure.delivered, found.measure.corrupted, found.measure.reordered) == (500, 500, 0)


def records(*rows: tuple[int, int, int]) -> np.ndarray:
    """From (recv, client, seq)."""
    made = np.zeros(len(rows), DELIVERY_DTYPE)
    for at, row in enumerate(rows):
        made["recv_ns"][at], made["client"][at], made["seq"][at] = row
    return made


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4, 5])
def test_mended_ones_stand_where_they_came_wherever_the_chunks_are_cut(cut):
    there = records((10, 0, 1), (20, 0, 3), (20, 0, 4), (20, 1, 1), (30, 0, 6))
    mended = {1: records((5, 0, 9), (20, 0, 2), (20, 0, 5), (30, 0, 5), (40, 0, 7))}
    other = records((10, 7, 1))

    def chunks():
        yield 0, other
        yield 1, there[:cut]
        yield 1, there[cut:]

    came = [rows for source, rows in with_mended(chunks, mended)() if source == 1]
    expected = [(5, 0, 9), (10, 0, 1), (20, 0, 2), (20, 0, 3), (20, 0, 4), (20, 1, 1), (20, 0, 5), (30, 0, 5)]
    expected += [(30, 0, 6), (40, 0, 7)]
    assert np.concatenate(came)[["recv_ns", "client", "seq"]].tolist() == expected
    assert with_mended(chunks, {}) is chunks
