"""The one pass over deliveries: its bins, its edges, and all of it against one delivery after the other."""

from collections import Counter
from dataclasses import dataclass, field
from random import Random

import numpy as np
import pytest

from fanlab.ledger.fold import Context, Grid, Settled, deliveries_settled
from fanlab.ledger.histogram import Histogram
from fanlab.ledger.latency import Part
from fanlab.ledger.messages import NO_MESSAGE, NO_OUTCOME, Messages
from fanlab.ledger.odd import Odd, sorted_odd
from fanlab.ledger.pairs import spread
from fanlab.ledger.records import Status
from fanlab.ledger.result import Outage
from fanlab.ledger.windows import NEVER
from support.arrays import made_deliveries, made_messages, made_windows

Row = tuple[int, int, int, int, int, int]  # received, client, stream, seq, node, intended


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def outage(client: int, over_ns: int | None) -> Outage:
    return Outage(client, 0, 0, None, over_ns, None, None, None)


def context(messages: Messages, windows: np.ndarray, streams: tuple[int, ...] = (0,), **changes) -> Context:
    return Context(
        spread(windows, streams), messages,
        **{"zero_ns": 0, "grid": Grid(0, 25, 4), "clients": 3, "node_names": ("a", "b"), "node_done_ns": {},
           "outages": (), "channel": Part(np.zeros(9, np.int64), ["news"]),
           "group": Part(np.zeros(9, np.int64), ["readers"]), **changes},
    )  # fmt: skip


def settle(of: Context, *chunks: list[Row]) -> Settled:
    made = [(0, made_deliveries(*rows)) for rows in chunks]
    return deliveries_settled(lambda: iter(made), of)


def odd(rows: list[np.ndarray]) -> list[tuple[Odd, int, int, int, int]]:
    """(kind, client, stream, seq, received) by time."""
    return [
        (Odd(kind), *rest) for kind, *rest in sorted_odd(rows)[["kind", "client", "stream", "seq", "recv_ns"]].tolist()
    ]


def test_times_outside_the_grid_count_in_its_first_or_last_bin():
    grid = Grid(100, 10, 3)
    assert grid.bin_of(ints(-5, 99, 100, 109, 110, 119, 120, 129, 130, 999)).tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert grid.count(ints(100, 105, 111)).tolist() == [2, 1, 0]
    assert grid.count(ints(100, 105, 121), ints(3, 4, 5)).tolist() == [7, 0, 5]
    assert grid.count(ints()).tolist() == [0, 0, 0]


# One message, meant for 10, sent at 11 and answered at 13, that came.


@pytest.mark.parametrize(
    ("window", "owed"),
    [
        ((), True),
        ((13, 20), True),
        ((14, 20), False),
        ((0, 0, NEVER, 11), True),
        ((0, 0, NEVER, 10), False),
    ],
)
def test_what_was_not_owed_is_unexpected(window, owed):
    found = settle(context(made_messages([1]), made_windows((0, 0, *window))), [(15, 0, 0, 1, 0, 10)])
    assert (found.measure.delivered, found.measure.unexpected) == (owed, not owed)
    assert found.by_client.tolist() == [owed, 0, 0]
    assert found.latency.overall.n == found.over_time.sum() == owed
    assert found.top.tolist() == [owed]


@pytest.mark.parametrize(
    ("status", "owed", "contradicts"),
    [
        (Status.OK, True, False),
        (Status.TIMED_OUT, True, False),
        (Status.UNKNOWN, True, False),
        (NO_OUTCOME, True, False),
        (Status.UNSENT, False, False),
        (Status.FAILED, False, True),
        (NO_MESSAGE, False, False),
    ],
)
def test_what_cannot_have_been_published_is_unexpected_and_a_failed_one_contradicts(status, owed, contradicts):
    of = context(made_messages([1], status=[status]), made_windows((0, 0)))
    found = settle(of, [(15, 0, 0, 1, 0, 10), (16, 0, 0, 1, 0, 10)])
    assert (found.measure.delivered, found.measure.unexpected, found.measure.duplicated) == (owed, not owed, 1)
    assert found.contradictions == contradicts


@pytest.mark.parametrize(("intended", "measured"), [(9, False), (10, True), (11, True)])
def test_a_stranger_counts_where_it_says_that_it_was_meant_for(intended, measured):
    of = context(made_messages([1]), made_windows((0, 0)), zero_ns=10)
    found = settle(of, [(15, 0, 0, 7, 0, intended), (15, 9, 0, 7, 0, intended)])
    assert (found.measure.unexpected, found.warm_up.unexpected) == (2 * measured, 2 * (not measured))


def test_what_a_message_says_of_itself_does_not_count_where_its_publisher_knows_better():
    of = context(made_messages([3]), made_windows((0, 0)), zero_ns=20)
    found = settle(of, [(15, 0, 0, 1, 0, 999), (25, 0, 0, 2, 0, 0), (25, 9, 0, 1, 0, 999), (26, 9, 0, 2, 0, 0)])
    assert (found.warm_up.delivered, found.warm_up.unexpected) == (1, 1)
    assert (found.measure.delivered, found.measure.unexpected) == (1, 1)
    assert found.latency.overall == Histogram.of([5])


def test_number_0_is_no_message():
    found = settle(context(made_messages([1]), made_windows((0, 0))), [(15, 0, 0, 0, 0, 10), (16, 0, 0, 1, 0, 10)])
    assert odd(found.odd) == [(Odd.UNEXPECTED, 0, 0, 0, 15)]
    assert found.measure.delivered == 1


def test_without_any_message_all_are_strangers():
    found = settle(context(made_messages([0]), made_windows((0, 0))), [(15, 0, 0, 1, 0, 10)], [(16, 1, 0, 1, 0, 10)])
    assert odd(found.odd) == [(Odd.UNEXPECTED, 0, 0, 1, 15), (Odd.UNEXPECTED, 1, 0, 1, 16)]


def test_of_strangers_each_is_one_and_the_rest_are_copies():
    rows = [
        (19, 7, 0, 1), (20, 9, 0, 1), (21, 9, 0, 1), (22, 9, 0, 2), (23, 9, 1, 1), (24, 8, 0, 1), (25, 9, 0, 1),
        (25, 8, 5, 1),
    ]  # fmt: skip
    of = context(made_messages([2, 2]), made_windows((0, 0)), (0, 0))
    found = settle(of, rows[:3], rows[3:])
    assert odd(found.odd) == [
        (Odd.UNEXPECTED, 7, 0, 1, 19), (Odd.UNEXPECTED, 9, 0, 1, 20), (Odd.DUPLICATED, 9, 0, 1, 21),
        (Odd.UNEXPECTED, 9, 0, 2, 22),
        (Odd.UNEXPECTED, 9, 1, 1, 23), (Odd.UNEXPECTED, 8, 0, 1, 24), (Odd.UNEXPECTED, 8, 5, 1, 25),
        (Odd.DUPLICATED, 9, 0, 1, 25),
    ]  # fmt: skip


def test_of_a_strangers_copies_at_one_instant_the_one_read_first_is_the_first():
    found = settle(context(made_messages([1]), made_windows((0, 0))), [(20, 9, 0, 1, 5), (20, 9, 0, 1, 2)])
    rows = sorted_odd(found.odd)
    assert {(Odd(row["kind"]), int(row["node"])) for row in rows} == {(Odd.UNEXPECTED, 5), (Odd.DUPLICATED, 2)}


def test_the_first_delivery_after_each_outage():
    outages = (
        outage(0, 20), outage(0, 40), outage(0, None), outage(1, None), outage(2, 30), outage(2, 31), outage(2, 99),
    )  # fmt: skip
    of = context(made_messages([9]), made_windows((0, 0), (1, 0), (2, 0)), outages=outages)
    rows = [(19, 0, 0, 1), (20, 0, 0, 2), (25, 1, 0, 2), (29, 2, 0, 1), (30, 2, 0, 2), (39, 0, 0, 3), (45, 0, 0, 4)]
    for chunks in ([rows], [rows[:4], rows[4:]]):
        found = settle(of, *chunks, [(50, 0, 0, 5), (50, 2, 0, 3)])
        assert found.first_message_ns.tolist() == [20, 45, NEVER, NEVER, 30, 50, NEVER]


def test_a_copy_or_a_stranger_is_no_first_delivery():
    of = context(made_messages([2]), made_windows((0, 0)), outages=(outage(0, 20),))
    found = settle(of, [(15, 0, 0, 1), (21, 0, 0, 1), (22, 0, 0, 7), (23, 9, 0, 2), (24, 0, 0, 2)])
    assert found.first_message_ns.tolist() == [24]


def test_the_clients_part_of_the_way_is_from_when_the_node_had_handed_it_out():
    done = {0: ints(1, 0, 33), 1: ints(14, 24, 34), 7: ints(1, 1, 1)}
    of = context(made_messages([3]), made_windows((0, 0)), node_done_ns=done)
    found = settle(of, [(15, 0, 0, 1, 0), (25, 0, 0, 2, 0), (35, 0, 0, 3, 1)])
    assert found.client_hop == Histogram.of([14, 1])


@pytest.mark.parametrize("sources", [(0, 0), (0, 1)])
def test_a_client_that_is_in_two_journals_or_out_of_order_is_sorted_by_time(sources):
    chunks = [(sources[0], made_deliveries((35, 0, 0, 3), (36, 1, 0, 3))), (sources[1], made_deliveries((15, 0, 0, 1)))]
    found = deliveries_settled(lambda: iter(chunks), context(made_messages([3]), made_windows((0, 0), (1, 0))))
    assert found.disordered.tolist() == [True, False, False, False]
    assert (found.measure.delivered, found.measure.reordered) == (3, 0)


@dataclass
class Expected:
    """One delivery after the other."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)  # (phase, label)
    odd: list[tuple[Odd, int, int, int, int]] = field(default_factory=list)
    odd_warm_up: list[tuple[Odd, int, int, int, int]] = field(default_factory=list)
    top: Counter[tuple[int, int]] = field(default_factory=Counter)
    seen: set[tuple[int, int, int]] = field(default_factory=set)
    latencies: list[int] = field(default_factory=list)
    by_node: dict[str, list[int]] = field(default_factory=dict)
    by_bin: dict[int, list[int]] = field(default_factory=dict)
    over_time: list[int] = field(default_factory=lambda: [0] * 4)
    by_client: Counter[int] = field(default_factory=Counter)
    hop: list[int] = field(default_factory=list)
    first: dict[int, int] = field(default_factory=dict)
    contradictions: int = 0

    def take(self, row: Row, of: Context) -> None:
        """The next delivery."""
        recv, client, stream, seq, _, told = row
        message = int(of.messages.find(ints(stream), ints(seq))[0]) if stream < len(of.messages.base) - 1 else -1
        window = [
            pair["ask_ns"] <= of.messages.done_ns[message] and of.messages.sent_ns[message] <= pair["left_ns"]
            for who, where, pair in zip(of.pairs.client, of.pairs.stream, of.pairs.window, strict=True)
            if (who, where) == (client, stream) and message >= 0
        ]
        may = message >= 0 and of.messages.status[message] in (Status.OK, Status.UNKNOWN)
        good, copy = may and any(window), (client, stream, seq) in self.seen
        intended = int(of.messages.intended_ns[message]) if message >= 0 else told
        self.seen.add((client, stream, seq))
        if copy:
            self._odd(Odd.DUPLICATED, row, intended >= of.zero_ns)
            return
        if window and of.messages.status[message] == Status.FAILED:
            self.contradictions += 1
        if not good:
            self._odd(Odd.UNEXPECTED, row, intended >= of.zero_ns)
            return
        self.counts["measure" if intended >= of.zero_ns else "warm-up", "delivered"] += 1
        if seq < self.top[client, stream]:
            self._odd(Odd.REORDERED, row, intended >= of.zero_ns)
        self.top[client, stream] = max(seq, self.top[client, stream])
        for index, one in enumerate(of.outages):
            if one.client == client and one.resubscribed_ns is not None and recv >= one.resubscribed_ns:
                self.first[index] = min(recv, self.first.get(index, NEVER))
        if intended >= of.zero_ns:
            self._figures(row, intended, message, of)

    def _odd(self, kind: Odd, row: Row, measured: bool) -> None:
        self.counts["measure" if measured else "warm-up", kind.label] += 1
        (self.odd if measured else self.odd_warm_up).append((kind, *row[1:4], row[0]))

    def _figures(self, row: Row, intended: int, message: int, of: Context) -> None:
        recv, client, _, _, node, _ = row
        self.latencies.append(recv - intended)
        name = of.node_names[node] if node < len(of.node_names) else f"#{node}"
        self.by_node.setdefault(name, []).append(recv - intended)
        self.by_bin.setdefault(int(of.grid.bin_of(intended)), []).append(recv - intended)
        self.over_time[of.grid.bin_of(recv)] += 1
        self.by_client[client] += 1
        if node in of.node_done_ns and of.node_done_ns[node][message] > 0:
            self.hop.append(recv - int(of.node_done_ns[node][message]))


def any_context(random: Random) -> Context:
    per_stream = [random.randint(1, 6) for _ in range(3)]
    kinds = (Status.OK, Status.OK, Status.OK, Status.UNKNOWN, Status.FAILED, Status.UNSENT, NO_MESSAGE)
    messages = made_messages(per_stream, status=random.choices(kinds, k=sum(per_stream)))
    asked = [(client, channel) for channel in range(2) for client in range(3) if random.random() < 0.8]
    windows = [(*one, random.choice((0, 0, 23)), 0, NEVER, random.choice((NEVER, NEVER, 41))) for one in asked]
    outages = [outage(client, random.choice((None, 20, 35, 50))) for client in (0, 0, 2) for _ in range(2)]
    done = {0: ints(*(random.choice((0, 12, 40)) for _ in messages.status))}
    return context(
        messages, made_windows(*windows), (0, 1, 0), outages=outages, node_done_ns=done, zero_ns=random.choice((0, 25))
    )


def any_rows(random: Random, of: Context) -> list[Row]:
    """Mostly each client's messages in turn, with some late, some twice, some of nobody's."""
    rows = []
    for client in range(4):
        for stream, count in enumerate(np.diff(of.messages.base).tolist()):
            for seq in range(1, count + 2):
                for _ in range(random.choice((0, 1, 1, 1, 2))):
                    recv = seq * 10 + random.choice((3, 3, 4, 5, 25))
                    rows.append((recv, client, stream, seq, random.choice((0, 1, 5)), seq * 10))
    random.shuffle(rows)
    return sorted(rows, key=lambda row: row[0])


@pytest.mark.parametrize("seed", range(50))
def test_all_of_it_one_after_the_other_however_cut(seed):
    random = Random(seed)  # noqa: S311 - a seeded choice
    of = any_context(random)
    rows = any_rows(random, of)
    expected = Expected()
    for row in rows:
        expected.take(row, of)
    cuts = sorted(random.choices(range(len(rows) + 1), k=random.choice((0, 3, 100))))
    found = settle(of, *(rows[start:end] for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True)))
    for phase, counts in (("measure", found.measure), ("warm-up", found.warm_up)):
        for label in ("delivered", "duplicated", "reordered", "unexpected"):
            assert getattr(counts, label) == expected.counts[phase, label]
    assert Counter(odd(found.odd)) == Counter(expected.odd)
    assert Counter(odd(found.odd_warm_up)) == Counter(expected.odd_warm_up)
    pairs = list(zip(of.pairs.client.tolist(), of.pairs.stream.tolist(), strict=True))
    assert found.top.tolist() == [expected.top[pair] for pair in pairs]
    runs = zip(*(part.tolist() for part in found.received.runs()), strict=True)
    assert {(*pairs[pair], seq) for pair, low, high in runs for seq in range(low, high + 1)} == {
        key for key in expected.seen if key[:2] in pairs
    }
    assert found.latency.overall == Histogram.of(expected.latencies)
    assert {name: one.n for name, one in found.latency.by_node.items()} == {
        name: len(values) for name, values in expected.by_node.items()
    }
    assert [one.sum_ns for one in found.latency.over_time] == [sum(expected.by_bin.get(at, [])) for at in range(4)]
    assert found.over_time.tolist() == expected.over_time
    assert found.by_client.tolist() == [expected.by_client[client] for client in range(3)]
    assert found.client_hop == Histogram.of(expected.hop)
    assert found.first_message_ns.tolist() == [expected.first.get(at, NEVER) for at in range(len(of.outages))]
    assert found.contradictions == expected.contradictions
