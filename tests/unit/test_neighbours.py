"""The one message that fits between its neighbours, against a look at all that came before and after."""

from random import Random

import numpy as np
import pytest

from fanlab.ledger import neighbours
from fanlab.ledger.messages import Messages
from fanlab.ledger.neighbours import between_neighbours
from support.arrays import made_deliveries, made_messages

Damage = tuple[int, int, int]  # t, client, node
Came = tuple[int, int, int, int, int]  # received, client, stream, seq, node


def damage_of(rows: list[Damage]) -> np.ndarray:
    return np.array(rows, [("t", "<i8"), ("client", "<i8"), ("node", "<u2")])


def gaps(damage: list[Damage], chunks: list[list[Came]], messages: Messages) -> list[tuple[int, int, int]]:
    found = between_neighbours(damage_of(damage), (made_deliveries(*rows) for rows in chunks), messages)
    return sorted(zip(*(part.tolist() for part in found), strict=True))


def by_looking(damage: list[Damage], came: list[Came], per_stream: list[int]) -> list[tuple[int, int, int]]:
    """Of what came at one instant the higher number counts as the later; what came with the damage, as after it."""
    found = []
    for row, (t, client, node) in enumerate(damage):
        for stream, count in enumerate(per_stream):
            seen = [(at, seq, through) for at, who, of, seq, through in came if (who, of) == (client, stream)]
            seen = [one for one in seen if one[1] <= count]
            before, after = [one for one in seen if one[0] < t], [one for one in seen if one[0] >= t]
            if before and after:
                (_, low, left), (_, high, right) = max(before), min(after)
                if high == low + 2 and left == right == node:
                    found.append((row, stream, low + 1))
    return found


@pytest.mark.parametrize("seed", range(60))
def test_what_fits_however_the_chunks_are_cut(seed):
    random = Random(seed)  # noqa: S311 - a seeded choice
    per_stream = [random.randint(5, 9) for _ in range(random.randint(1, 3))]
    came: dict[tuple[int, int, int, int], int] = {}
    for client in range(1, 6):
        for stream, count in enumerate(per_stream):
            for seq in range(1, count + 2):  # the last is one that nobody published
                if random.random() < 0.7:
                    late = random.choice((0, 0, 0, 10, 20, 25))
                    came[seq * 10 + late, client, stream, seq] = random.choice((0, 0, 0, 1))
    rows = [(*key, node) for key, node in came.items()]
    damage = sorted(
        (random.randint(1, 9) * 10 + random.choice((0, 1, 5)), random.choice((1, 2, 4, 7)), random.choice((0, 0, 1)))
        for _ in range(random.randint(1, 8))
    )
    random.shuffle(rows)
    cuts = sorted(random.choices(range(len(rows) + 1), k=random.choice((0, 2, 20))))
    chunks = [rows[start:end] for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    assert gaps(damage, chunks, made_messages(per_stream)) == by_looking(damage, rows, per_stream)


def test_two_damaged_copies_with_nothing_between_them_have_the_same_neighbours():
    came = [(10, 3, 0, 1, 0), (30, 3, 0, 3, 0)]
    assert gaps([(15, 3, 0), (15, 3, 0), (20, 3, 0)], [came], made_messages([5])) == [(0, 0, 2), (1, 0, 2), (2, 0, 2)]


def test_number_1_may_be_a_neighbour_received_at_time_0():
    came = [(0, 0, 0, 1, 0), (30, 0, 0, 3, 0)]
    assert gaps([(15, 0, 0)], [came], made_messages([5])) == [(0, 0, 2)]


def test_without_damage_or_streams_there_is_nothing_to_tell():
    came = [(10, 0, 0, 1, 0), (30, 0, 0, 3, 0)]
    assert gaps([], [came], made_messages([5])) == []
    assert gaps([(15, 0, 0)], [came], made_messages([])) == []


@pytest.mark.parametrize(("most", "found"), [(4, [(0, 0, 2)]), (3, [])])
def test_of_too_much_damage_nothing_is_said(monkeypatch, most, found):
    monkeypatch.setattr(neighbours, "_MOST_CELLS", most)  # one copy of one client cuts two streams in two each
    came = [(10, 0, 0, 1, 0), (30, 0, 0, 3, 0)]
    assert gaps([(15, 0, 0)], [came], made_messages([5, 5])) == found
