"""What was owed and did not come, at its edges, and against a look at every (pair, message) by itself."""

from dataclasses import dataclass, field
from random import Random

import numpy as np
import pytest

from fanlab.ledger import missing
from fanlab.ledger.fold import Grid
from fanlab.ledger.messages import NO_MESSAGE, NO_OUTCOME, Messages
from fanlab.ledger.missing import Cut, Debts, debts
from fanlab.ledger.pairs import Pairs, spread
from fanlab.ledger.received import Received
from fanlab.ledger.records import Status
from fanlab.ledger.windows import NEVER
from support.arrays import made_messages, made_windows

GRID = Grid(0, 25, 4)
Key = tuple[int, int]  # pair, seq


def runs_of(received: set[Key], pairs: Pairs) -> tuple[np.ndarray, ...]:
    made = Received(len(pairs))
    rows = np.array(sorted(received), np.int64).reshape(-1, 2)
    made.add_new(rows[:, 0], rows[:, 1])
    return made.runs()


def owing(
    windows: np.ndarray, streams: tuple[int, ...], messages: Messages, received: set[Key], *, partial: bool = False,
    horizon: tuple[int, ...] = (NEVER,) * 4, zero_ns: int = 0,
) -> Debts:  # fmt: skip
    pairs = spread(windows, streams)
    cut = Cut(partial, np.array(horizon))
    return debts(pairs, messages, runs_of(received, pairs), GRID, cut, zero_ns=zero_ns, clients=len(horizon))


def terms(found: Debts) -> tuple[int, int, int]:
    return found.measure.owed, found.measure.lost, found.measure.indeterminate


# One message, sent at 11 and answered at 13, that did not come.


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ({}, (1, 1, 0)),
        ({"ask": 13}, (1, 1, 0)),
        ({"ask": 14}, (0, 0, 0)),
        ({"confirm": 10}, (1, 1, 0)),
        ({"confirm": 11}, (1, 0, 1)),
        ({"fade": 14}, (1, 1, 0)),
        ({"fade": 13}, (1, 0, 1)),
        ({"left": 11}, (1, 1, 0)),
        ({"left": 10}, (0, 0, 0)),
    ],
)
def test_what_is_owed_from_when_until_when(window, expected):
    of = {"ask": 0, "confirm": 0, "fade": NEVER, "left": NEVER, "held": NEVER} | window
    assert terms(owing(made_windows((0, 0, *of.values())), (0,), made_messages([1]), set())) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.OK, (1, 1, 0)),
        (Status.FAILED, (1, 1, 0)),  # nobody can have it, and it was owed
        (Status.TIMED_OUT, (1, 0, 1)),
        (Status.UNKNOWN, (1, 0, 1)),
        (NO_OUTCOME, (1, 0, 1)),
        (Status.UNSENT, (0, 0, 0)),
        (NO_MESSAGE, (0, 0, 0)),
    ],
)
def test_what_the_publisher_knows_decides(status, expected):
    assert terms(owing(made_windows((0, 0)), (0,), made_messages([1], status=[status]), set())) == expected


@pytest.mark.parametrize(
    ("partial", "held", "horizon", "lost"),
    [
        (False, NEVER, NEVER, 1),
        (False, 5, NEVER, 1),  # it was drained: what was to come has come
        (True, NEVER, NEVER, 1),
        (True, 14, NEVER, 1),
        (True, 13, NEVER, 0),  # it may have been on its way over the connection that the client still had
        (False, NEVER, 14, 1),
        (False, NEVER, 13, 0),  # where it would stand in the journal is not known any more
        (False, 14, 14, 1),
        (False, 13, 14, 0),
        (True, 14, 13, 0),
    ],
)
def test_behind_the_end_of_the_evidence_nothing_is_lost(partial, held, horizon, lost):
    window = made_windows((1, 0, 0, 0, NEVER, NEVER, held))
    found = owing(window, (0,), made_messages([1]), set(), partial=partial, horizon=(NEVER, horizon))
    assert terms(found) == (1, lost, 1 - lost)


def test_what_something_later_of_the_stream_came_after_is_lost_all_the_same():
    window = made_windows((0, 0, 0, 0, NEVER, NEVER, 5))
    found = owing(window, (0,), made_messages([5]), {(0, 3)}, partial=True)
    assert found.message.tolist() == [0, 1]
    assert [part.tolist() for part in found.undecided] == [[0], [3], [4]]


def test_another_clients_evidence_may_end_sooner():
    windows = made_windows((0, 0), (1, 0))
    found = owing(windows, (0,), made_messages([2]), set(), horizon=(NEVER, 5))
    assert found.pair.tolist() == [0, 0]
    assert [part.tolist() for part in found.undecided] == [[1], [0], [1]]


def test_a_loss_knows_what_its_client_got_next():
    found = owing(made_windows((0, 0), (1, 0)), (0, 0), made_messages([2, 6]), {(2, 1), (2, 4), (3, 6), (0, 2)})
    rows = list(zip(found.pair.tolist(), found.message.tolist(), found.next_message.tolist(), strict=True))
    assert rows == [
        (0, 0, 1), (1, 0, -1), (1, 1, -1), (2, 3, 5), (2, 4, 5), (2, 6, -1), (2, 7, -1),
        (3, 2, 7), (3, 3, 7), (3, 4, 7), (3, 5, 7), (3, 6, 7),
    ]  # fmt: skip


def test_what_is_undecided_stands_in_runs():
    statuses = [NO_OUTCOME, NO_OUTCOME, Status.OK, NO_OUTCOME, Status.OK, Status.OK]
    found = owing(made_windows((2, 0), (3, 0)), (0,), made_messages([6], status=statuses), {(0, 5), (1, 1)})
    assert list(zip(*(part.tolist() for part in found.undecided), strict=True)) == [
        (0, 0, 1), (0, 3, 3), (1, 1, 1), (1, 3, 3),
    ]  # fmt: skip


def test_nobody_owed_nothing_published():
    for windows, per_stream in ((made_windows(), [3]), (made_windows((0, 0)), [0]), (made_windows((0, 0)), [])):
        found = owing(windows, (0,) * len(per_stream), made_messages(per_stream), set())
        assert terms(found) == (0, 0, 0)
        assert not len(found.pair) + len(found.message) + len(found.next_message) + sum(map(len, found.undecided))


@dataclass
class Expected:
    """Each cell by itself."""

    measure: list[int] = field(default_factory=lambda: [0, 0, 0])
    warm_up: list[int] = field(default_factory=lambda: [0, 0, 0])
    grid: list[list[int]] = field(default_factory=lambda: [[0] * GRID.bins, [0] * GRID.bins])
    by_client: list[list[int]] = field(default_factory=lambda: [[0] * 4, [0] * 4])
    by_stream: list[int] = field(default_factory=lambda: [0] * 3)
    losses: list[tuple[int, int, int]] = field(default_factory=list)
    undecided: list[tuple[int, int]] = field(default_factory=list)


def by_looking(pairs: Pairs, messages: Messages, received: set[Key], cut: Cut, zero_ns: int) -> Expected:
    result = Expected()
    for pair, (stream, window) in enumerate(zip(pairs.stream.tolist(), pairs.window, strict=True)):
        client = int(window["client"])
        of_stream = range(int(messages.base[stream]), int(messages.base[stream + 1]))
        owed, got = {}, set()
        for message in of_stream:
            status, sent, done = messages.status[message], messages.sent_ns[message], messages.done_ns[message]
            if status not in (Status.UNSENT, NO_MESSAGE) and done >= window["ask_ns"] and sent <= window["left_ns"]:
                owed[message] = sent > window["confirm_ns"] and done < window["fade_ns"] and status in (
                    Status.OK, Status.FAILED,
                )  # fmt: skip
                if (pair, message - of_stream.start + 1) in received and status != Status.FAILED:
                    got.add(message)
        for message, sure in owed.items():
            done, horizon = messages.done_ns[message], cut.horizon_ns[client]
            after = [other for other in got if other > message]
            held = window["held_ns"] if cut.partial or horizon < NEVER else NEVER
            lost = message not in got and sure and (after or (done < horizon and done < held))
            open_ = message not in got and not lost
            measured = messages.intended_ns[message] >= zero_ns
            phase = result.measure if measured else result.warm_up
            for at, yes in enumerate((True, lost, open_)):
                phase[at] += bool(yes)
            if measured:
                result.by_stream[stream] += 1
                for at, yes in enumerate((True, lost)):
                    result.grid[at][GRID.bin_of(messages.intended_ns[message])] += bool(yes)
                    result.by_client[at][client] += bool(yes)
                if lost:
                    result.losses.append((pair, message, min(after, default=-1)))
                if open_:
                    result.undecided.append((pair, message))
    return result


@pytest.mark.parametrize("seed", range(40))
def test_every_cell_by_itself_in_blocks_of_any_size(monkeypatch, seed):
    random = Random(seed)  # noqa: S311 - a seeded choice
    monkeypatch.setattr(missing, "_CELLS", random.choice((1, 7, 16, 1 << 21)))
    per_stream, streams = [random.randint(0, 9) for _ in range(3)], (0, 1, 0)
    kinds = (Status.OK, Status.OK, Status.OK, Status.FAILED, Status.TIMED_OUT, Status.UNSENT, NO_OUTCOME, NO_MESSAGE)
    messages = made_messages(per_stream, status=random.choices(kinds, k=sum(per_stream)))
    rows = []
    for channel in range(2):
        for client in range(4):
            if random.random() < 0.8:
                ask, left = random.choice((0, 13, 31)), random.choice((NEVER, NEVER, 61, 72))
                held = random.choice((NEVER, 31, 53))
                rows.append((client, channel, ask, ask + random.choice((0, 9, 10)), left - 10, left, held))
    pairs = spread(made_windows(*rows), streams)
    cells = [(pair, seq) for pair in range(len(pairs)) for seq in range(1, per_stream[pairs.stream[pair]] + 3)]
    received = set(random.sample(cells, len(cells) // 2))
    cut = Cut(random.random() < 0.4, np.array([random.choice((NEVER, NEVER, 63, 74)) for _ in range(4)]))
    expected = by_looking(pairs, messages, received, cut, 30)
    found = debts(pairs, messages, runs_of(received, pairs), GRID, cut, zero_ns=30, clients=4)
    for phase, counts in ((found.measure, expected.measure), (found.warm_up, expected.warm_up)):
        assert [phase.owed, phase.lost, phase.indeterminate] == counts
    assert [found.grid_owed.tolist(), found.grid_lost.tolist()] == expected.grid
    assert [found.owed_by_client.tolist(), found.lost_by_client.tolist()] == expected.by_client
    assert found.owed_by_stream.tolist() == expected.by_stream
    columns = (found.pair.tolist(), found.message.tolist(), found.next_message.tolist())
    assert list(zip(*columns, strict=True)) == expected.losses
    undecided = [part.tolist() for part in found.undecided]
    each = [(pair, one) for pair, first, last in zip(*undecided, strict=True) for one in range(first, last + 1)]
    assert each == expected.undecided
