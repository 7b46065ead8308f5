"""What a second look at the deliveries adds to the odd ones: causes, disagreements, damage, and what cannot be told."""

import numpy as np
import pytest

from fanlab.ledger.arrival import Chunks
from fanlab.ledger.fold import Counts, Settled
from fanlab.ledger.histogram import Histogram
from fanlab.ledger.latency import LatencyTable
from fanlab.ledger.mending import Mended
from fanlab.ledger.odd import CopyCause, Odd, odd_rows
from fanlab.ledger.oddity import OddWorld, odd_deliveries
from fanlab.ledger.received import Received
from fanlab.ledger.records import WITNESS_DTYPE
from fanlab.ledger.windows import EVENT_DTYPE
from fanlab.ledger.witness import Witness
from support.arrays import made_deliveries, made_messages

Row = tuple[int, int, int, int, int]  # received, client, stream, seq, node


def settled(copies: list[Row] = (), warm_up: list[Row] = (), disordered: tuple[bool, ...] = (False,) * 4) -> Settled:
    """What a fold has found, as far as it is looked at again; the copies of both phases."""
    nothing = np.zeros(0, np.int64)
    return Settled(
        Received(0), nothing, LatencyTable(), Histogram(), nothing, nothing, nothing,
        odd=[odd_rows(Odd.DUPLICATED, made_deliveries(*copies))],
        odd_warm_up=[odd_rows(Odd.DUPLICATED, made_deliveries(*warm_up))],
        disordered=np.array(disordered),
    )  # fmt: skip


def chunks(*rows: Row) -> Chunks:
    return lambda: iter([(0, made_deliveries(*rows))])


def world(per_stream: list[int], saw: list[tuple[int, int]] | None = None, zero_ns: int = 0) -> OddWorld:
    """Three clients, nodes `a` and `b`; the witness had (stream, seq) in that order."""
    rows = None if saw is None else np.array([(0, 0, seq, stream, 0) for stream, seq in saw], WITNESS_DTYPE)
    witness = None if rows is None else Witness(rows, np.zeros((0, 2), np.int64))
    return OddWorld(made_messages(per_stream), zero_ns, 3, ("a", "b"), witness, np.zeros(0, EVENT_DTYPE), {})


def corrupted(*at: tuple[int, int], unnamed: int = 0) -> Mended:
    """From (received, intended)."""
    rows = odd_rows(Odd.CORRUPTED, made_deliveries(*((recv, 0, 0, 1, 0) for recv, _ in at)))
    return Mended({}, rows, np.array([intended for _, intended in at], np.int64), unnamed)


def told(found: np.ndarray) -> list[tuple[Odd, int, int, int, int]]:
    """(kind, received, client, stream, seq)."""
    rows = found[["kind", "recv_ns", "client", "stream", "seq"]].tolist()
    return [(Odd(kind), *rest) for kind, *rest in rows]


IN_ORDER = [(11, 0, 0, 1, 0), (12, 0, 1, 1, 0), (21, 0, 0, 2, 0), (22, 0, 1, 2, 0)]
THEIRS = [(0, 1), (1, 1), (0, 2), (1, 2)]
TURNED = [(11, 0, 1, 1, 0), (12, 0, 0, 1, 0), (21, 0, 1, 2, 0), (22, 0, 0, 2, 0)]


def test_nothing_odd():
    of = settled()
    found, coarse = odd_deliveries(of, Mended(), chunks(*IN_ORDER), world([2, 2], THEIRS))
    assert (told(found), coarse) == ([], [])
    assert (of.measure, of.warm_up) == (Counts(), Counts())


@pytest.mark.parametrize(("zero_ns", "measured", "rows"), [(10, 2, [12, 22]), (11, 1, [22]), (21, 0, [])])
def test_a_disagreement_counts_in_the_phase_of_its_message(zero_ns, measured, rows):
    of = settled()
    of.measure.disagreed, of.warm_up.disagreed = 100, 200
    found, coarse = odd_deliveries(of, Mended(), chunks(*TURNED), world([2, 2], THEIRS, zero_ns))
    assert (of.measure.disagreed, of.warm_up.disagreed) == (100 + measured, 202 - measured)
    assert told(found) == [(Odd.DISAGREED, at, 0, 0, at // 10) for at in rows]
    assert coarse == []


@pytest.mark.parametrize(("zero_ns", "measured"), [(9, 2), (10, 2), (11, 1), (20, 1), (21, 0)])
def test_a_damaged_one_counts_in_the_phase_that_it_was_meant_for(zero_ns, measured):
    of = settled()
    of.measure.corrupted, of.warm_up.corrupted = 100, 200
    found, coarse = odd_deliveries(of, corrupted((31, 20), (30, 10)), chunks(), world([2], [], zero_ns))
    assert (of.measure.corrupted, of.warm_up.corrupted) == (100 + measured, 202 - measured)
    assert [row[1] for row in told(found)] == [30, 31][2 - measured :]
    assert coarse == []


@pytest.mark.parametrize("unnamed", [1, 7])
def test_of_damage_beyond_telling_it_is_said_how_much(unnamed):
    _, coarse = odd_deliveries(settled(), corrupted((31, 20), unnamed=unnamed), chunks(), world([2], []))
    assert coarse == [
        f"{unnamed} deliveries were damaged beyond telling which message they were: what they were is among the lost"
    ]


@pytest.mark.parametrize(
    ("saw", "cause", "coarse"),
    [
        ([(0, 1), (0, 1)], CopyCause.PUBLISH_RETRIED, []),
        ([(0, 1)], CopyCause.UNEXPLAINED, []),
        (None, CopyCause.UNEXPLAINED,
         ["no witness: whether a copy was published twice or made by a node cannot be told"]),
    ],
)  # fmt: skip
def test_a_copy_has_a_cause_and_without_a_witness_it_is_said_that_none_can_be_told(saw, cause, coarse):
    rows = [(11, 0, 0, 1, 0), (15, 0, 0, 1, 0)]
    found = odd_deliveries(settled(rows[1:]), Mended(), chunks(*rows), world([2], saw))
    assert found[0]["cause"].tolist() == [cause]
    assert found[1] == coarse


def test_only_copies_have_a_cause():
    of = settled([(15, 0, 0, 1, 0)])
    of.odd.append(odd_rows(Odd.UNEXPECTED, made_deliveries((13, 0, 0, 1, 0), (19, 1, 0, 1, 0))))
    found, _ = odd_deliveries(
        of, Mended(), chunks((13, 0, 0, 1, 0), (15, 0, 0, 1, 0), (19, 1, 0, 1, 0)), world([2], [(0, 1), (0, 1)])
    )
    assert found[["kind", "cause"]].tolist() == [
        (Odd.UNEXPECTED, 0), (Odd.DUPLICATED, CopyCause.PUBLISH_RETRIED), (Odd.UNEXPECTED, 0),
    ]  # fmt: skip


@pytest.mark.parametrize(("client", "node"), [(0, 0), (1, 0), (2, 1), (0, 1)])
def test_without_a_witness_the_one_who_stands_for_redis_is_named(client, node):
    rows = [(at, client, stream, seq, node) for at, _, stream, seq, _ in IN_ORDER]
    late = [(12, 1 - client % 2, 1, 1, 0), (13, 1 - client % 2, 0, 1, 0)]
    found, coarse = odd_deliveries(settled(), Mended(), chunks(*rows, *late), world([2, 2]))
    assert told(found) == [(Odd.DISAGREED, 13, 1 - client % 2, 0, 1)]
    (sentence,) = coarse
    assert sentence == (
        f"no witness: client {client} on {'ab'[node]}, who received most, stands for the order of Redis, and"
        " `disagreed` counts who differs from it"
    )


def test_a_node_that_the_plan_lacks_has_no_name():
    rows = [(at, 0, stream, seq, 9) for at, _, stream, seq, _ in IN_ORDER]
    late = [(12, 1, 1, 1, 0), (13, 1, 0, 1, 0)]
    found, coarse = odd_deliveries(settled(), Mended(), chunks(*rows, *late), world([2, 2]))
    assert (told(found), coarse) == ([(Odd.DISAGREED, 13, 1, 0, 1)], [])


def test_a_witness_that_had_nothing_is_none():
    _, coarse = odd_deliveries(settled(), Mended(), chunks(*IN_ORDER), world([2, 2], []))
    assert [one.partition(",")[0] for one in coarse] == ["no witness: client 0 on a"]


def test_of_one_stream_alone_nobody_stands_for_redis():
    assert odd_deliveries(settled(), Mended(), chunks(*IN_ORDER), world([2, 0]))[1] == []


def test_copies_of_both_phases_neither_disagree_nor_count_for_who_received_most():
    again = [(30, 0, 0, 1, 0), (31, 0, 0, 1, 0)]
    others = [(at + 40, 1, stream, seq, 0) for at, _, stream, seq, _ in IN_ORDER]
    of = settled(again[1:], again[:1])
    found, coarse = odd_deliveries(of, Mended(), chunks(*IN_ORDER[:3], *again, *others), world([2, 2]))
    assert [row[0] for row in told(found)] == [Odd.DUPLICATED]
    assert any("client 1 on a" in one for one in coarse)


def test_those_out_of_order_are_looked_at_by_time():
    of = settled(disordered=(True, False, False, False))
    found, _ = odd_deliveries(of, Mended(), chunks(*IN_ORDER[::-1]), world([2, 2], THEIRS))
    assert told(found) == []
