"""Reading back what lies beside the load's journals: the witness, Redis' subscribers, and what nodes say."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fanlab.ledger.account import account
from fanlab.ledger.journals import read_journals, stripe_paths
from fanlab.ledger.messages import Messages, collect_messages
from fanlab.ledger.nodejournal import read_node_journal
from fanlab.ledger.records import INTENT, INTENT_DTYPE, OUTCOME, OUTCOME_DTYPE, WITNESS, Status
from fanlab.ledger.redisjournal import RedisJournal, read_redis_journal
from fanlab.ledger.stripe import Kind, StripeWriter
from fanlab.ledger.witness import NO_RECEIVERS, Witness, read_witness, receivers_less_witness
from support.histories import RUN_TAG, History, abandon, mark

NODES = {"node-1": 0, "node-2": 1}


def witness_stripe(
    path: Path,
    *,
    copies: Sequence[tuple[int, int]] = (),
    changes: Sequence[dict[str, object]] = (),
    good: int = 0,
    end: bool = True,
) -> Path:
    """A stripe with copies as (stream, seq), in order, and events."""
    stripe = StripeWriter(path, {"role": "witness"})
    stripe.write(Kind.WITNESS, b"".join(WITNESS.pack(at, 0, seq, stream, 0) for at, (stream, seq) in enumerate(copies)))
    if changes:
        stripe.events({"ev": "witness", **change} for change in changes)
    if good:
        stripe.heartbeat(good)
    if end:
        stripe.close()
    else:
        abandon(stripe)
    return path


def up(t: int) -> dict[str, object]:
    return {"t": t, "state": "up"}


def down(t: int, good: int) -> dict[str, object]:
    return {"t": t, "state": "down", "good": good}


def messages(*receivers: int) -> Messages:
    """Stream 0's messages 1, 2 … with these receivers, message k sent at 100 k and answered 10 later."""
    intents = b"".join(INTENT.pack(100 * seq, seq, 0, 0) for seq in range(1, len(receivers) + 1))
    outcomes = b"".join(
        OUTCOME.pack(100 * seq, 100 * seq + 10, seq, 0, Status.OK if count >= 0 else Status.TIMED_OUT, 0, count, 0)
        for seq, count in enumerate(receivers, 1)
    )
    return collect_messages(np.frombuffer(intents, INTENT_DTYPE), np.frombuffer(outcomes, OUTCOME_DTYPE), 1)


# The witness


@pytest.mark.parametrize(
    ("changes", "good", "end", "rows"),
    [
        ([], 0, True, []),
        ([up(10), down(90, 80)], 70, True, [(10, 80)]),
        ([up(10), down(50, 40), up(60), down(90, 80)], 0, True, [(10, 40), (60, 80)]),
        ([up(10)], 70, False, [(10, 70)]),  # killed: all up to its last heartbeat is there
        ([up(10)], 0, False, []),  # killed before it said anything for certain
        ([up(0)], 0, False, []),
        ([up(10)], 10, False, []),
        ([up(10)], 11, False, [(10, 11)]),
        ([up(10), up(30), down(90, 80)], 0, True, [(10, 80)]),  # it was up already
        ([down(20, 5), up(30), down(90, 80), down(95, 94)], 0, True, [(30, 80)]),  # it was down already
        ([up(10), down(50, 40), up(60)], 40, False, [(10, 40)]),
        ([up(10), down(20, 5)], 0, True, [(10, 10)]),  # cut off before the first PING was answered
    ],
)
def test_when_the_witness_was_up(
    tmp_path: Path, changes: list[dict[str, object]], good: int, end: bool, rows: list[tuple[int, int]]
) -> None:
    witness = read_witness(witness_stripe(tmp_path / "w.stripe", changes=changes, good=good, end=end))
    assert witness is not None
    assert [tuple(row) for row in witness.up.tolist()] == rows
    assert witness.closed is end


def test_no_witness_and_a_torn_one(tmp_path: Path) -> None:
    assert read_witness(tmp_path / "none.stripe") is None
    path = witness_stripe(tmp_path / "w.stripe", copies=[(0, 1), (0, 2)], changes=[up(10)], good=20, end=False)
    path.write_bytes(path.read_bytes()[:-3])
    witness = read_witness(path)
    assert witness is not None
    assert (witness.torn, witness.corrupt, len(witness.records), len(witness.up)) == (1, 0, 2, 0)


def test_copies_and_order(tmp_path: Path) -> None:
    witness = read_witness(witness_stripe(tmp_path / "w.stripe", copies=[(0, 2), (0, 1), (0, 2), (0, 9), (5, 1)]))
    assert witness is not None
    table = messages(1, 1, 1)
    assert witness.copies(table).tolist() == [1, 2, 0]
    assert witness.order(table).tolist() == [1, 0, -1]


def test_where_it_must_have_seen_a_message() -> None:
    witness = Witness(np.zeros(0), np.array([(10, 40), (60, 80)]))
    asked = [(10, 40), (9, 20), (20, 41), (30, 70), (60, 60), (81, 81), (0, 5)]
    columns = np.array(asked).T
    assert witness.surely_saw(columns[0], columns[1]).tolist() == [True, False, False, False, True, False, False]


def test_receivers_that_are_nodes(tmp_path: Path) -> None:
    # 1: two nodes and the witness; 2: the witness alone; 3: a retried publish that came twice: one reply counts
    # the witness once; 4: the witness was down and may have been counted; 5: the same, but nobody at all was counted;
    # 6: no reply
    table = messages(3, 1, 4, 2, 0, -1)
    copies = [(0, 1), (0, 2), (0, 3), (0, 3)]
    witness = read_witness(witness_stripe(tmp_path / "w.stripe", copies=copies, changes=[up(50), down(390, 380)]))
    assert receivers_less_witness(table, witness).receivers.tolist() == [2, 0, 3, NO_RECEIVERS, 0, -1]
    assert receivers_less_witness(table, None) is table


@pytest.mark.parametrize("count", [1, 2])
def test_a_message_of_which_the_witness_may_have_been_told_has_receivers_that_nobody_knows(
    tmp_path: Path, count: int
) -> None:
    witness = read_witness(witness_stripe(tmp_path / "w.stripe", changes=[up(50), down(109, 105)]))
    assert receivers_less_witness(messages(count), witness).receivers.tolist() == [NO_RECEIVERS]


def test_a_message_that_the_witness_surely_missed_was_not_sent_to_it() -> None:
    witness = Witness(np.zeros(0, [("stream", "<u2"), ("seq", "<u4")]), np.array([(50, 1000)]))
    assert receivers_less_witness(messages(2), witness).receivers.tolist() == [2]


# Redis' subscribers


def redis_journal(path: Path, *lines: object) -> RedisJournal:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    journal = read_redis_journal(path, NODES)
    assert journal is not None
    return journal


def came(
    t: int, number: int, node: str | None = "node-1", *, before: int | None = None, sub: int = 1
) -> dict[str, object]:
    at = {"t": t, "before": t - 50 if before is None else before, "ev": "subscriber"}
    return {**at, "id": number, "name": "x", "addr": f"a:{number}", "node": node, "sub": sub, "psub": 0}


def gone(t: int, number: int, node: str | None = "node-1") -> dict[str, object]:
    return {"t": t, "before": t - 50, "ev": "gone", "id": number, "node": node}


def watch(t: int, state: str, before: int = 0) -> dict[str, object]:
    return {"t": t, "ev": "watch", "state": state, **({"before": before} if state == "down" else {"log": True})}


@pytest.mark.parametrize(("told", "log"), [([], False), ([False], False), ([True], True), ([False, True], True)])
def test_redis_log_was_read_if_the_watch_says_so(tmp_path: Path, told: list[bool], log: bool) -> None:
    path = tmp_path / "redis.jsonl"
    path.write_text("".join(json.dumps({**watch(5, "up"), "log": one}) + "\n" for one in told), encoding="utf-8")
    journal = read_redis_journal(path, {})
    assert journal is not None
    assert journal.log is log


def test_rows_of_every_kind(tmp_path: Path) -> None:
    kill = {"t": 150, "ev": "buffer_kill", "id": 4, "name": "", "addr": "a:4", "node": "node-2", "omem": 9}
    found = redis_journal(
        tmp_path / "redis.jsonl",
        watch(90, "up"), came(100, 4, "node-2"), came(100, 5, None), kill, gone(200, 4, "node-2"),
        watch(300, "down", before=250), watch(400, "up"), came(450, 6, "node-9"),
    )  # fmt: skip
    assert [(row.id, row.node, row.sub) for row in found.subscribers] == [(4, 1, 1), (5, None, 1), (6, None, 1)]
    assert [(row.t, row.before, row.id, row.node) for row in found.gone] == [(200, 150, 4, 1)]
    assert [(row.t, row.id, row.node, row.omem) for row in found.buffer_kills] == [(150, 4, 1, 9)]
    assert found.watched.tolist() == [[90, 250], [400, 450]]  # the second ended with the harness
    assert found.torn == 0


def test_lines_that_are_none_are_counted(tmp_path: Path) -> None:
    lines = [
        '{"t":1',
        "[]",
        {"t": 1, "ev": "subscriber", "id": 4},
        {"ev": "gone"},
        {"t": 1, "ev": "party"},
        {"t": "x", "ev": "watch"},
    ]
    found = redis_journal(tmp_path / "redis.jsonl", *lines, came(5, 1))  # fmt: skip
    assert found.torn == len(lines)
    assert len(found.subscribers) == 1
    assert read_redis_journal(tmp_path / "none.jsonl", NODES) is None


def test_when_a_node_was_subscribed(tmp_path: Path) -> None:
    found = redis_journal(
        tmp_path / "redis.jsonl",
        watch(90, "up"), came(100, 4), came(100, 5, "node-2"), came(200, 4, sub=2), gone(300, 4),
        came(350, 7), came(350, 4, before=300), watch(500, "down", before=450),
    )  # fmt: skip
    assert found.subscribed(0).tolist() == [[100, 50, 250, 300], [350, 300, 450, 450], [350, 300, 450, 450]]
    assert found.subscribed(1).tolist() == [[100, 50, 450, 450]]


def test_what_comes_as_another_goes_is_not_ended_by_that(tmp_path: Path) -> None:
    found = redis_journal(
        tmp_path / "redis.jsonl",
        watch(90, "up"), came(100, 4), gone(300, 4), came(300, 4), watch(500, "down", before=450),
    )  # fmt: skip
    assert found.subscribed(0).tolist() == [[100, 50, 250, 300], [300, 250, 450, 450]]


def test_a_subscriber_of_which_no_end_is_known_is_not_surely_there_once_nobody_looks(tmp_path: Path) -> None:
    unwatched = redis_journal(tmp_path / "redis.jsonl", came(100, 4))
    assert unwatched.watched.tolist() == []
    assert unwatched.subscribed(0).tolist() == [[100, 50, 100, 0]]
    assert unwatched.subscribed(1).tolist() == []
    late = redis_journal(tmp_path / "redis.jsonl", watch(90, "up"), watch(400, "down", before=350), came(420, 4))
    assert late.subscribed(0).tolist() == [[420, 370, 420, 350]]


@pytest.mark.parametrize("t", [0, 90])
def test_a_harness_that_died_had_watched_until_its_last_word(tmp_path: Path, t: int) -> None:
    said: list[object] = [watch(t, "up")]
    assert redis_journal(tmp_path / "redis.jsonl", *said).watched.tolist() == [[t, t]]
    said += [came(t + 20, 4), gone(t + 60, 4), {"t": t + 99, "ev": "gone", "id": "x"}]
    assert redis_journal(tmp_path / "redis.jsonl", *said).watched.tolist() == [[t, t + 60]]


def test_buffer_kills_are_put_in_order(tmp_path: Path) -> None:
    kill = {"ev": "buffer_kill", "name": "n", "addr": "a:4", "node": "node-2", "omem": 9}
    found = redis_journal(tmp_path / "redis.jsonl", {"t": 7, "id": 1, **kill}, {"t": 5, "id": 2, **kill})
    assert [(row.t, row.id, row.name, row.addr) for row in found.buffer_kills] == [
        (5, 2, "n", "a:4"),
        (7, 1, "n", "a:4"),
    ]


# Nodes


def test_what_a_node_says_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "node-1.jsonl"
    lines: list[object] = [
        {"t": 1, "ev": "start", "node": "node-1", "pid": 5},
        {"t": 2, "ev": "redis", "state": "up"},
        {"t": 3, "ev": "subscribed", "ch": "news"},
        {"t": 4, "ev": "drop", "ch": "news", "mark": mark(7), "n": 2, "why": "slow", "who": [3, 12]},
        {
            "t": 5,
            "ev": "drop",
            "ch": "news",
            "mark": mark(7, run=1),
            "n": 1,
            "why": "slow",
            "who": [9],
        },  # another run's
        {"t": 6, "ev": "drop", "ch": "news", "mark": mark(8), "n": 4, "why": "closing"},
        {"t": 7, "ev": "drop", "ch": "news", "mark": mark(9), "n": 1, "why": "slow", "who": [5]},
        {"t": 8, "ev": "redis", "state": "down", "error": "x", "why": "closed"},
        {"t": 9, "ev": "redis", "state": "down", "why": "boredom"},
        {"t": 10, "ev": "unsubscribed", "ch": "news"},
        {"t": 11, "ev": "weather", "sky": "blue"},
        {"t": 12, "ev": "stop"},
    ]
    bad: list[object] = [
        {"ev": "drop", "mark": mark(7), "n": 2, "why": "slow"},
        {"t": 4, "ev": "drop", "mark": mark(7), "n": 1, "why": "slow", "who": ["x"]},
        {"t": 4, "ev": "drop", "mark": mark(7), "n": 1, "why": "slow", "who": 3},
        {"ev": "start"},
        {"t": 3, "ev": "subscribed"},
        {"t": 3, "ev": "redis", "state": "sideways"},
        {"t": 3, "ev": "redis"},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, *bad]) + '{"t":13,"ev":"ms')
    found = read_node_journal(path, RUN_TAG)
    assert found.drops.tolist() == [[0, 7, 4, 0], [0, 8, 6, 1], [0, 9, 7, 0]]
    assert found.dropped.tolist() == [2, 4, 1]
    assert found.who.tolist() == [[0, 3], [0, 12], [2, 5]]
    assert found.torn == len(bad) + 1
    assert (found.starts, found.stops) == ([1], [12])
    assert [tuple(row) for row in found.redis] == [(2, "up", None), (8, "down", "closed"), (9, "down", None)]
    assert [tuple(row) for row in found.subscriptions] == [(3, "news", "subscribed"), (10, "news", "unsubscribed")]


# All of it


def test_the_witness_is_no_stripe_of_the_load_and_its_death_does_not_spoil_the_run(tmp_path: Path) -> None:
    history = History(clients=1, nodes=1)
    history.subscribe(0).publish(1, 10, receivers=2).deliver(0, 1, 12)
    rundir = history.write(tmp_path / "run")
    whole = account(rundir)
    witness_stripe(rundir.witness, copies=[(0, 1)], changes=[up(1)], good=2, end=False)
    rundir.redis_journal.write_text(json.dumps(watch(5, "up")) + "\n" + json.dumps(watch(9, "down", before=8)) + "\n")
    found = account(rundir)
    assert rundir.witness not in stripe_paths(rundir)
    assert (found.evidence.stripes, found.evidence.unclosed, found.partial) == (2, 0, whole.partial)
    assert (whole.evidence.witness, whole.evidence.redis_watch, whole.evidence.redis_log) == (False, False, False)
    assert (found.evidence.witness, found.evidence.redis_watch, found.evidence.redis_log) == (True, True, True)


def test_what_is_missing_in_the_middle_spoils_the_run(tmp_path: Path) -> None:
    rundir = History(clients=1, nodes=1).subscribe(0).publish(1, 10).deliver(0, 1, 12).write(tmp_path / "run")
    path = witness_stripe(rundir.witness, copies=[(0, 1)], changes=[up(1)], good=2)
    data = bytearray(path.read_bytes())
    data[data.index(WITNESS.pack(0, 0, 1, 0, 0)) + 3] ^= 1
    path.write_bytes(data)
    rundir.redis_journal.write_text("no JSON\n" + json.dumps(watch(5, "up")) + "\n")
    evidence = account(rundir).evidence
    assert (evidence.corrupt, evidence.torn) == (1, 1)


def test_foreign_frames_are_those_that_the_engines_count(tmp_path: Path) -> None:
    history = History(clients=1, nodes=1, close_stripes=False).subscribe(0)
    history.event(50, "health", None, cpu_s=1, lags_ms=[1], missed=2)
    rundir = history.write(tmp_path / "run")
    plan = history.plan()
    assert read_journals(rundir, plan, None).foreign == 2
    stripe = StripeWriter(rundir.journal / "clients-7.stripe", {"role": "clients"})
    stripe.events([{"t": 1, "ev": "health", "cpu_s": 1.0, "lags_ms": [], "missed": 9}])
    stripe.close({"foreign": 4, "damaged": 5})
    journals = read_journals(rundir, plan, None)
    assert journals.foreign == 6
    assert account(rundir).evidence.foreign == 6
