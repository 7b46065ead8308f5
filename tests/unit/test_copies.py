"""Causes of copies: each planted, and each with the evidence taken away that it rests on."""

from collections import Counter
from dataclasses import fields
from random import Random

import numpy as np
import pytest

from fanlab.ledger.account import account
from fanlab.ledger.copies import RULES, CopyFacts, CopyWorld, Rule, copy_causes
from fanlab.ledger.nodejournal import NodeJournal
from fanlab.ledger.odd import CopyCause, Odd, odd_rows
from fanlab.ledger.records import WITNESS_DTYPE
from fanlab.ledger.windows import EVENT_DTYPE, NAMES
from fanlab.ledger.witness import Witness
from support.arrays import made_deliveries, made_messages
from support.histories import History

Row = tuple[int, int, int, int, int]  # received, client, stream, seq, node
UNEXPLAINED, RETRIED, DOUBLE, REPLAY = CopyCause


@pytest.fixture
def reckon(tmp_path):
    """Account for a history."""
    return lambda history, **how: account(history.write(tmp_path / "run", **how))


def story(witnessed: int | None = 1, journalled: int | None = None, clients: int = 1) -> History:
    """Message 2 of 3; the witness had it so often, and so did the node's journal. Everybody is on node 0."""
    history = History(clients=clients)
    for client in range(clients):
        history.subscribe(client)
    for seq in (1, 2, 3):
        history.publish(seq, seq * 10)
        for _ in range((witnessed or 0) if seq == 2 else 1):
            if witnessed is not None:
                history.witnessed(seq, seq * 10 + 0.3)
        for _ in range((journalled or 0) if seq == 2 else 1):
            if journalled is not None:
                history.fan_out(0, seq, seq * 10 + 0.5)
        for client in range(clients):
            history.deliver(client, seq, seq * 10 + 1)
    return history


def causes(found) -> list[CopyCause]:
    copies = found.odd[found.odd["kind"] == Odd.DUPLICATED]
    assert len(copies) == found.measure.duplicated
    assert not found.odd["cause"][found.odd["kind"] != Odd.DUPLICATED].any()
    return [CopyCause(cause) for cause in copies["cause"]]


@pytest.mark.parametrize(
    ("witnessed", "journalled", "copies", "expected"),
    [
        (2, None, 1, [RETRIED]),
        (2, 2, 1, [RETRIED]),
        (1, 2, 1, [DOUBLE]),
        (1, 3, 2, [DOUBLE, DOUBLE]),
        (2, 4, 3, [RETRIED, DOUBLE, DOUBLE]),
        (2, 2, 2, [RETRIED, UNEXPLAINED]),  # once more than all others had it
        (1, 1, 1, [UNEXPLAINED]),  # the node had it once, and sent it twice
        (1, None, 1, [UNEXPLAINED]),
        (None, 2, 1, [UNEXPLAINED]),  # nobody knows if Redis had it once
        (0, 2, 1, [UNEXPLAINED]),
    ],
)
def test_retried_doubled_or_neither(reckon, witnessed, journalled, copies, expected):
    history = story(witnessed, journalled)
    for copy in range(copies):
        history.deliver(0, 2, 50 + copy)
    found = reckon(history, frame_records=1 + copies)
    assert causes(found) == expected
    assert any("no witness" in sentence for sentence in found.evidence.coarse) == (witnessed is None)


def test_what_redis_had_while_the_witness_was_away_may_be_a_retry(reckon):
    history = story(1, 2).deliver(0, 2, 50)
    history.witness_up_ms = (-2000, 40)
    assert causes(reckon(history)) == [UNEXPLAINED]


def test_a_copy_over_a_later_connection_is_a_replay(reckon):
    history = story().close(0, 60).subscribe(0, node=1, at=70).deliver(0, 2, 75, node=1).deliver(0, 2, 80, node=1)
    assert causes(reckon(history)) == [REPLAY, REPLAY]


def test_a_copy_over_the_same_connection_is_none(reckon):
    history = story().close(0, 60).subscribe(0, at=70).publish(4, 80).deliver(0, 4, 81).deliver(0, 4, 82)
    assert causes(reckon(history)) == [UNEXPLAINED]


def test_another_clients_reconnection_explains_nothing(reckon):
    history = story(clients=2).close(1, 60).subscribe(1, at=70).deliver(0, 2, 80)
    assert causes(reckon(history)) == [UNEXPLAINED]


@pytest.mark.parametrize(
    ("doubled", "expected"),
    [
        ([0, 1, 2], [DOUBLE] * 3),
        ([0, 1], [UNEXPLAINED] * 2),  # one client of that node had it once
    ],
)
def test_a_black_box_that_gives_it_to_all_twice_has_subscribed_twice(reckon, doubled, expected):
    history = story(clients=3)
    for client in doubled:
        history.deliver(client, 2, 40 + client)
    assert causes(reckon(history)) == expected


def test_a_node_with_a_journal_speaks_for_itself(reckon):
    history = story(1, 1, clients=3)
    for client in range(3):
        history.deliver(client, 2, 40 + client)
    assert causes(reckon(history)) == [UNEXPLAINED] * 3


def test_of_one_client_nothing_is_concluded(reckon):
    assert causes(reckon(story(clients=1).deliver(0, 2, 40))) == [UNEXPLAINED]


@pytest.mark.parametrize(("first", "second", "expected"), [(0, 1, UNEXPLAINED), (1, 0, UNEXPLAINED), (0, 0, DOUBLE)])
def test_copies_of_one_instant_keep_their_nodes(reckon, first, second, expected):
    history = story(1, 2)
    history.deliveries = [one for one in history.deliveries if one[2] != 2]
    history.fan_out(1, 2, 20.5).fan_out(1, 2, 20.6)
    found = reckon(history.deliver(0, 2, 25, node=first).deliver(0, 2, 25, node=second))
    assert causes(found) == [expected]
    assert found.odd["node"].tolist()[:1] == [second]


def test_copies_of_what_was_never_published_have_no_cause(reckon):
    assert causes(reckon(story().deliver(0, 77, 40).deliver(0, 77, 41))) == [UNEXPLAINED]


def test_each_copy_has_one_cause(reckon):
    history = story(2, 4)
    for copy in range(4):
        history.deliver(0, 2, 50 + copy)
    history.close(0, 60).subscribe(0, at=70).deliver(0, 3, 75)
    found = reckon(history)
    counts = {cause: int(np.count_nonzero(found.odd["cause"] == cause)) for cause in CopyCause}
    assert counts == {RETRIED: 1, DOUBLE: 2, REPLAY: 1, UNEXPLAINED: 1}
    assert sum(counts.values()) == found.measure.duplicated


def test_every_cause_has_a_rule():
    assert {rule.cause for rule in RULES} == {*CopyCause} - {UNEXPLAINED}


def witness_of(rows: list[tuple[int, int]], *up: tuple[int, int]) -> Witness:
    """From (stream, seq), and (from, until)."""
    return Witness(
        np.array([(0, 0, seq, stream, 0) for stream, seq in rows], WITNESS_DTYPE), np.array(up).reshape(-1, 2)
    )


def journal_of(*rows: tuple[int, int]) -> NodeJournal:
    """From (stream, seq)."""
    return NodeJournal(messages=np.array([(*row, 0, 0) for row in rows], np.int64).reshape(-1, 4))


def opens(*rows: tuple[int, int]) -> np.ndarray:
    """From (t, client); a subscription just before each says nothing."""
    names = [(t - 1, client, NAMES.index("subscribed")) for t, client in rows]
    names += [(t, client, NAMES.index("open")) for t, client in rows]
    return np.array([(t, client, at, 0, 0, False) for t, client, at in names], EVENT_DTYPE)


def facts_of(copies: list[Row], chunks: list[list[Row]], world: CopyWorld) -> list[tuple[int, ...]]:
    """The facts of each copy, in the order of their table."""
    seen: list[CopyFacts] = []

    def look(facts: CopyFacts) -> np.ndarray:
        seen.append(facts)
        return np.zeros(len(copies), np.bool_)

    rows = odd_rows(Odd.DUPLICATED, made_deliveries(*copies))
    rule = Rule(REPLAY, "to look at the facts", look)
    causes = copy_causes(rows, (made_deliveries(*chunk) for chunk in chunks), world, [rule])
    assert causes.tolist() == [UNEXPLAINED] * len(copies)
    (facts,) = seen
    return list(zip(*(getattr(facts, one.name).tolist() for one in fields(CopyFacts)), strict=True))


def facts_by_looking(copies: list[Row], every: list[Row], world: CopyWorld) -> list[tuple[int, ...]]:
    """The same, copy by copy. All deliveries of one (client, stream, seq) have times of their own."""
    had = [] if world.witness is None else world.witness.records[["stream", "seq"]].tolist()
    up = [] if world.witness is None else world.witness.up.tolist()
    connected = [(t, client) for t, client, at, *_ in world.events.tolist() if NAMES[at] == "open"]
    facts = []
    for recv, client, stream, seq, node in copies:
        mine = [row for row in every if row[1:4] == (client, stream, seq)]
        first = min(mine)
        message = int(world.messages.find(np.array([stream]), np.array([seq]))[0])
        sent = world.messages.sent_ns[message]
        witnessed = had.count((stream, seq)) if message >= 0 else 0
        sure = message >= 0 and any(start <= sent and recv <= until for start, until in up)
        lines = world.journals[node].messages[:, :2].tolist() if node in world.journals else []
        brought = Counter(row[1] for row in every if row[2:] == (stream, seq, node))
        facts.append((
            sum(row[0] < recv for row in mine),
            sum(row[0] < recv and row[4] == node for row in mine),
            witnessed,
            witnessed > 0 and sure,
            lines.count([stream, seq]) if message >= 0 else 0,
            message >= 0 and node not in world.journals and len(brought) > 1 and min(brought.values()) > 1,
            any(who == client and first[0] < t <= recv for t, who in connected),
        ))  # fmt: skip
    return facts


@pytest.mark.parametrize("seed", range(60))
def test_the_facts_of_each_copy_by_itself(seed):
    random = Random(seed)  # noqa: S311 - a seeded choice
    per_stream = [random.randint(1, 3) for _ in range(random.randint(1, 3))]
    messages = made_messages(per_stream)
    keys = [(stream, seq) for stream, count in enumerate(per_stream) for seq in range(1, count + 2)]
    every: list[Row] = []
    for client in random.sample(range(9), 4):
        for stream, seq in keys:
            times = random.sample(range(11, 60), random.choice((1, 2, 2, 3, 4)))
            every += [(seq * 10 + t, client, stream, seq, random.choice((0, 0, 0, 1, 2))) for t in times]
    copies = [row for row in every if any(row[1:4] == one[1:4] and one[0] < row[0] for one in every)]
    random.shuffle(copies)
    seen = [key for key in keys for _ in range(random.choice((0, 1, 1, 2)))]
    up = random.choice(([(0, 500)], [(15, 60)], [(0, 12), (15, 45), (50, 90)], []))
    noted = [key for key in keys for _ in range(random.choice((0, 1, 2)))]
    world = CopyWorld(
        messages,
        random.choice((None, witness_of(seen, *up), witness_of(seen, *up))),
        opens(*((random.randrange(90), random.randrange(9)) for _ in range(random.choice((0, 6, 30))))),
        random.choice(({}, {1: journal_of(*noted)}, {0: journal_of(*noted), 1: journal_of()})),
        random.choice((2, 3)),
    )
    random.shuffle(every)
    cuts = sorted(random.choices(range(len(every) + 1), k=random.choice((0, 2, 40))))
    chunks = [every[start:end] for start, end in zip([0, *cuts], [*cuts, len(every)], strict=True)]
    assert facts_of(copies, chunks, world) == facts_by_looking(copies, every, world)


def test_nodes_that_the_plan_lacks_are_one():
    every = [(1, 0, 0, 1, 0), (5, 0, 0, 1, 7), (6, 0, 0, 1, 8), (3, 1, 0, 1, 7), (4, 1, 0, 1, 8)]
    world = CopyWorld(made_messages([1]), None, opens(), {}, 2)
    numbers = [row[:2] for row in facts_of([every[1], every[2], every[4]], [every], world)]
    assert numbers == [(1, 0), (2, 1), (1, 0)]


def test_where_nothing_was_published_a_copy_has_no_facts_but_its_numbers():
    every = [(1, 0, 0, 1, 0), (5, 0, 0, 1, 0)]
    world = CopyWorld(made_messages([0]), witness_of([(0, 1)], (0, 9)), opens(), {0: journal_of((0, 1))}, 1)
    assert facts_of([every[1]], [every], world) == [(1, 1, 0, False, 0, False, False)]


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        ({}, UNEXPLAINED),
        ({"witnessed": 2}, RETRIED),
        ({"witnessed": 2, "number": 2}, UNEXPLAINED),
        ({"witnessed": 3, "number": 2}, RETRIED),
        ({"once_surely": True, "of_node": 1, "node_had": 2}, DOUBLE),
        ({"once_surely": True, "of_node": 1, "node_had": 1}, UNEXPLAINED),
        ({"once_surely": True, "of_node": 2, "node_had": 2}, UNEXPLAINED),
        ({"once_surely": True, "of_node": 2, "node_had": 3}, DOUBLE),
        ({"once_surely": True, "of_node": 1, "node_had": 2, "witnessed": 2, "number": 3}, UNEXPLAINED),
        ({"once_surely": True, "of_node": 0, "node_had": 2}, UNEXPLAINED),
        ({"of_node": 1, "node_had": 2}, UNEXPLAINED),
        ({"reconnected": True}, REPLAY),
        ({"once_surely": True, "of_node": 1, "all_clients": True}, DOUBLE),
        ({"once_surely": True, "all_clients": True}, UNEXPLAINED),
        ({"of_node": 1, "all_clients": True}, UNEXPLAINED),
        ({"reconnected": True, "once_surely": True, "of_node": 1, "all_clients": True}, REPLAY),
        ({"reconnected": True, "once_surely": True, "of_node": 1, "node_had": 2}, DOUBLE),
        ({"reconnected": True, "witnessed": 2}, RETRIED),
    ],
)
def test_the_first_rule_that_holds_decides(facts, cause):
    plain = {"number": 1, "of_node": 0, "witnessed": 1, "once_surely": False, "node_had": 0, "all_clients": False,
             "reconnected": False}  # fmt: skip
    one = CopyFacts(**{name: np.array([value]) for name, value in (plain | facts).items()})
    holding = [rule.cause for rule in RULES if rule.holds(one).all()]
    assert (holding or [UNEXPLAINED])[0] == cause


def test_of_rules_that_hold_the_first_counts_whatever_stands_between_them():
    rules = [
        Rule(cause, "by hand", lambda f, which=which: np.isin(f.number, which))
        for cause, which in ((RETRIED, [1]), (DOUBLE, [2]), (REPLAY, [1, 2, 3]))
    ]
    every = [(at, 0, 0, 1, 0) for at in range(1, 5)]
    world = CopyWorld(made_messages([1]), None, opens(), {}, 1)
    found = copy_causes(odd_rows(Odd.DUPLICATED, made_deliveries(*every[1:])), [made_deliveries(*every)], world, rules)
    assert found.tolist() == [RETRIED, DOUBLE, REPLAY]


def test_without_copies_nothing_is_read():
    def chunks():
        raise AssertionError
        yield

    assert copy_causes(odd_rows(Odd.DUPLICATED, made_deliveries()), chunks(), None).tolist() == []
