"""Damaged copies, planted: which message each was, what it counts as, and when nobody can tell."""

from random import Random
from typing import Any

import numpy as np
import pytest

from fanlab.ledger.account import account
from fanlab.ledger.damage import damage_row, damage_table
from fanlab.ledger.mending import Mended, Owed, mend, with_mended
from fanlab.ledger.odd import ODD_DTYPE, UNKNOWN_STREAM, Odd
from fanlab.ledger.pairs import spread
from fanlab.ledger.records import DELIVERY_DTYPE, Status, Token, encode_token
from fanlab.ledger.windows import NEVER
from support.arrays import made_deliveries, made_messages, made_windows
from support.histories import RUN_TAG, History


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


# On small arrays: message q of a stream is meant for 10 q, sent 1 later, answered 2 after that.


def owed_of(per_stream: list[int], *windows: tuple[int, ...], run_tag: int | None = RUN_TAG, **how) -> Owed:
    """Client 0 is owed all of it, where nothing else is said."""
    return Owed(
        made_messages(per_stream, **how), spread(made_windows(*windows or ((0, 0),)), (0,) * len(per_stream)), run_tag
    )


def damage_of(*events: dict[str, Any], stripe: int = 0) -> np.ndarray:
    return damage_table([damage_row({"client": 0, "node": 0, **event}) for event in events], stripe)


def broken(owed: Owed, seq: int, t: int, *, stream: int = 0, **more: Any) -> dict[str, Any]:
    """A message whose token has one byte that is no digit."""
    intended = int(owed.messages.intended_ns[owed.messages.base[stream] + seq - 1])
    return {"t": t, "bytes": hit(encode_token(Token(RUN_TAG, stream, seq, intended, 0)), 35).hex(), **more}


def came(*rows: tuple[int, ...], source: int = 0):
    """Chunks of one stripe, from rows (received, client, stream, seq, node)."""
    return lambda: iter([(source, made_deliveries(*rows[:2])), (source, made_deliveries(*rows[2:]))])


def named(mended: Mended) -> list[tuple[int, int, int, int]]:
    """(received, client, stream, seq) of each corrupted one."""
    rows = mended.corrupted
    assert (rows["kind"] == Odd.CORRUPTED).all()
    return rows[["recv_ns", "client", "stream", "seq"]].tolist()


def test_a_copy_of_which_no_byte_was_kept_has_no_name():
    owed = owed_of([4])
    assert named(mend(damage_of({"t": 15, "bytes": ""}), came(), owed)) == [(15, 0, *UNKNOWN)]
    between = mend(damage_of({"t": 32, "bytes": ""}), came((22, 0, 0, 2), (42, 0, 0, 4)), owed)
    assert named(between) == [(32, 0, 0, 3)], "its neighbours tell"


NOTHING = came()
BETWEEN = ((22, 0, 0, 2), (42, 0, 0, 4))


@pytest.mark.parametrize(
    ("window", "may"),
    [((), True), ((13,), True), ((14,), False), ((0, 0, NEVER, 11), True), ((0, 0, NEVER, 10), False)],
)
def test_it_may_be_what_was_owed(window, may):
    owed = owed_of([1], (0, 0, *window))
    assert owed.may_be(np.array([0]), np.array([0])).tolist() == [may]
    assert named(mend(damage_of(broken(owed, 1, 15)), NOTHING, owed)) == [(15, 0, 0, 1) if may else (15, 0, *UNKNOWN)]


def test_it_may_not_be_what_is_none_or_cannot_exist():
    owed = owed_of([3], status=[Status.OK, Status.UNSENT, Status.UNKNOWN])
    assert owed.may_be(np.array([0, 0, 0, -1, 0]), np.array([0, 1, 2, 0, -1])).tolist() == [
        True, False, True, False, False,
    ]  # fmt: skip
    for nothing in (owed_of([0]), Owed(made_messages([3]), spread(made_windows(), (0,)), None)):
        assert nothing.may_be(np.array([0, -1]), np.array([0, -1])).tolist() == [False, False]
        assert mend(damage_of(broken(owed, 1, 15)), came((12, 0, 0, 1), (30, 0, 0, 3)), nothing).unnamed == 1


@pytest.mark.parametrize(("t", "name"), [(31, (0, 3)), (30, UNKNOWN)])
@pytest.mark.parametrize("by_token", [True, False])
def test_it_was_sent_before_it_came(t, name, by_token):
    owed = owed_of([5])
    event, neighbours = ({"t": t, "bytes": "00"}, BETWEEN) if not by_token else (broken(owed, 3, t), ())
    assert named(mend(damage_of(event), came(*neighbours), owed)) == [(t, 0, *name)]


@pytest.mark.parametrize(("run_tag", "name"), [(RUN_TAG, (0, 3)), (None, (0, 3)), (7, UNKNOWN)])
def test_it_is_of_this_run(run_tag, name):
    owed = owed_of([5], run_tag=run_tag)
    assert named(mend(damage_of(broken(owed, 3, 40)), NOTHING, owed)) == [(40, 0, *name)]


def test_what_its_token_says_of_its_time_must_be_so():
    owed = owed_of([5])
    text = hit(encode_token(Token(RUN_TAG, 0, 3, 31, 0)), 35)
    assert named(mend(damage_of({"t": 40, "bytes": text.hex()}), NOTHING, owed)) == [(40, 0, *UNKNOWN)]


def test_each_stands_in_its_stripe_by_time_and_in_the_list_by_time_and_client():
    owed = owed_of([5, 5], (0, 0), (1, 0), (2, 0))
    first = damage_of(
        broken(owed, 4, 90, node=2), broken(owed, 2, 50, client=2), broken(owed, 3, 90, stream=1), stripe=3
    )
    second = damage_of(
        {"t": 60, "bytes": "00"}, broken(owed, 1, 50, client=1), {"t": 70, "stream": 1, "seq": 5}, stripe=4
    )
    found = mend(np.concatenate((first, second)), NOTHING, owed)
    assert named(found) == [
        (50, 1, 0, 1), (50, 2, 0, 2), (60, 0, *UNKNOWN), (70, 0, 1, 5), (90, 0, 0, 4), (90, 0, 1, 3),
    ]  # fmt: skip
    assert found.intended_ns.tolist() == [10, 20, 60, 50, 40, 30]
    assert found.corrupted["node"].tolist() == [0, 0, 0, 0, 2, 0]
    assert found.unnamed == 1
    fields = ["recv_ns", "intended_ns", "client", "stream", "seq", "node"]
    assert {stripe: rows[fields].tolist() for stripe, rows in found.deliveries.items()} == {
        3: [(50, 20, 2, 0, 2, 0), (90, 30, 0, 1, 3, 0), (90, 40, 0, 0, 4, 2)],
        4: [(50, 10, 1, 0, 1, 0)],
    }


def test_a_good_token_names_its_message_whether_or_not_there_is_one():
    owed = owed_of([5])
    found = mend(damage_of({"t": 60, "stream": 0, "seq": 2}, {"t": 61, "stream": 7, "seq": 9}), NOTHING, owed)
    assert named(found) == [(60, 0, 0, 2), (61, 0, 7, 9)]
    assert (found.intended_ns.tolist(), found.unnamed, found.deliveries) == ([20, 61], 0, {})


def test_nothing_damaged_and_nothing_read():
    found = mend(damage_of(), NOTHING, owed_of([5]))
    assert (found.unnamed, found.deliveries, len(found.corrupted), len(found.intended_ns)) == (0, {}, 0, 0)
    assert found.corrupted.dtype == ODD_DTYPE


@pytest.mark.parametrize(
    ("window", "more", "name"),
    [
        ((), (), (0, 3)),
        ((34,), (), UNKNOWN),  # it was not owed to that client
        ((33,), (), (0, 3)),
        ((), ((90, 0, 0, 3),), UNKNOWN),  # the client has it from elsewhere
        ((), ((90, 1, 0, 3), (91, 0, 1, 3)), (0, 3)),  # others have it, and the client has another of that number
    ],
)
def test_what_is_missing_between_its_neighbours(window, more, name):
    owed = owed_of([5, 5], (0, 0, *window), (1, 0))
    assert named(mend(damage_of({"t": 35, "bytes": "00"}), came(*BETWEEN, *more), owed)) == [(35, 0, *name)]


@pytest.mark.parametrize(("client", "stream"), [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("has", [True, False])
def test_whether_a_client_has_it_already_goes_by_client_and_stream(client, stream, has):
    owed = owed_of([5, 5], (0, 0), (1, 0))
    rows = [(22, client, stream, 2), (42, client, stream, 4)]
    rows += [(90, c, s, 3) for c in (0, 1) for s in (0, 1) if ((c, s) == (client, stream)) == has]
    found = mend(damage_of({"t": 35, "client": client, "bytes": "00"}), came(*rows), owed)
    assert named(found) == [(35, client, *(UNKNOWN if has else (stream, 3)))]


@pytest.mark.parametrize("by_token", [True, False])
def test_what_one_client_was_owed_another_was_not(by_token):
    owed = owed_of([5], (0, 0), (1, 0, 90), (2, 0))
    rows = [] if by_token else [(at, who, 0, seq) for who in range(3) for at, seq in ((22, 2), (42, 4))]
    event = broken(owed, 3, 35) if by_token else {"t": 35, "bytes": "00"}
    found = mend(damage_of(*({**event, "client": client} for client in range(3))), came(*rows), owed)
    assert named(found) == [(35, 0, 0, 3), (35, 1, *UNKNOWN), (35, 2, 0, 3)]


def test_of_two_clients_each_has_its_own_between_its_neighbours():
    owed = owed_of([5], (0, 0), (1, 0), (2, 0))
    damage = damage_of(
        *({"t": t, "client": client, "bytes": "00"} for t, client in ((35, 0), (36, 1), (37, 2), (38, 2)))
    )
    found = mend(damage, came(*((at, who, 0, seq) for who in range(3) for at, seq in ((22, 2), (42, 4)))), owed)
    assert named(found) == [(35, 0, 0, 3), (36, 1, 0, 3), (37, 2, *UNKNOWN), (38, 2, *UNKNOWN)]
    assert found.unnamed == 2


def test_only_what_its_token_does_not_name_is_looked_for_among_its_neighbours():
    def chunks():
        raise AssertionError
        yield

    owed = owed_of([5])
    assert named(mend(damage_of(broken(owed, 3, 35)), chunks, owed)) == [(35, 0, 0, 3)]


def two_in_one() -> tuple[Owed, dict[str, Any]]:
    """A text that is one byte away from two tokens, one inside the other: of numbers 0xF3 and 2."""
    outer = Token(RUN_TAG, 0, 0xF3, 0x0BEE_F000_0000_0000, 0x2000_0000)
    text = encode_token(outer)
    inner = Token(RUN_TAG, 0, 2, (int(text[43:47], 16) << 20) + 5, 0)
    assert encode_token(inner)[3:30] == text[20:47]
    owed = owed_of([0xF3])
    owed.messages.intended_ns[[1, 0xF2]] = inner.intended_ns, outer.intended_ns
    return owed, {"t": 99, "bytes": (text[:17] + b"fl0" + encode_token(inner)[3:]).hex()}


@pytest.mark.parametrize(
    ("got", "name"),
    [
        ([], UNKNOWN),
        ([0xF3], (0, 2)),  # what it has not got is likelier
        ([2], (0, 0xF3)),
        ([2, 0xF3], UNKNOWN),
    ],
)
def test_of_two_that_it_may_be_it_is_the_one_that_the_client_lacks(got, name):
    owed, event = two_in_one()
    owed.messages.sent_ns[:] = 5
    owed.messages.done_ns[:] = 9
    rows = [(10, 0, 0, seq) for seq in got] + [(10, 1, 0, 2), (10, 1, 0, 0xF3), (10, 0, 0, 1)]
    assert named(mend(damage_of(event), came(*rows), owed)) == [(99, 0, *name)]


def test_a_stripe_without_deliveries_has_what_was_mended_all_the_same():
    mended = {1: records((5, 0, 9)), 2: records((6, 0, 9)), 3: records()}
    found = [(source, rows["recv_ns"].tolist()) for source, rows in with_mended(came((7, 0, 0, 1), source=2), mended)()]
    assert found == [(2, [6, 7]), (2, []), (1, [5])]


@pytest.mark.parametrize(("seq", "place"), [(1, 3), (2, 4), (3, 5), (4, 5)])
def test_of_what_came_at_one_instant_it_stands_before_what_is_later_of_its_own_stream(seq, place):
    there = [(10, 0, 0, 9), (20, 1, 0, 9), (20, 0, 1, 9), (20, 0, 0, 2), (20, 0, 0, 3), (30, 0, 0, 9)]
    ((_, placed), *_) = with_mended(
        lambda: iter([(0, made_deliveries(*there))]), {0: made_deliveries((20, 0, 0, seq, 7))}
    )()
    assert placed["node"].tolist() == [7 * (at == place) for at in range(7)]
