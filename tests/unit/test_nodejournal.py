"""What a node says of itself, line by line."""

import json
from pathlib import Path

import pytest

from fanlab.ledger.nodejournal import NodeJournal, read_node_journal
from support.histories import RUN_TAG, mark


def read(path: Path, *lines: object, run_tag: int | None = RUN_TAG) -> NodeJournal:
    path = path / "node-1.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return read_node_journal(path, run_tag)


def msg(text: object, t: int = 5) -> dict[str, object]:
    return {"t": t, "ev": "msg", "ch": "news", "mark": text, "n": 1, "done": t + 2}


def test_messages_and_what_its_cache_took(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        msg(mark(7, 2)),
        msg(mark(8, 3), 6),
        {"t": 9, "ev": "cache", "key": "a", "mark": mark(7, 2)},
        {"t": 4, "ev": "cache", "key": "b", "mark": mark(8, 1)},
    )
    assert found.messages.tolist() == [[2, 7, 5, 7], [3, 8, 6, 8]]
    assert found.taken.tolist() == [[2, 7, 9], [1, 8, 4]]
    assert found.torn == 0


def test_gaps_of_its_subscription(tmp_path: Path) -> None:
    lines = [{"t": 9, "ev": "gap", "ch": channel, "from": 3, "to": to} for channel, to in (("a", 8), ("b", 9))]
    assert read(tmp_path, *lines).gaps == [("a", 3, 8), ("b", 3, 9)]


@pytest.mark.parametrize("found", ["unsaid", "no journal", "nothing"])
def test_a_node_that_says_nothing(tmp_path: Path, found: str) -> None:
    journal = {
        "unsaid": NodeJournal,
        "no journal": lambda: read_node_journal(tmp_path / "none.jsonl", RUN_TAG),
        "nothing": lambda: read(tmp_path),
    }[found]()
    shapes = [rows.shape for rows in (journal.messages, journal.drops, journal.dropped, journal.who, journal.taken)]
    assert shapes == [(0, 4), (0, 4), (0,), (0, 2), (0, 3)]
    assert (journal.gaps, journal.torn, journal.redis, journal.starts, journal.stops) == ([], 0, [], [], [])
    assert journal.subscriptions == []


@pytest.mark.parametrize(("stream", "seq"), [(0, 1), (0x1000, 0x10000000), (0x89AB, 0xCDEF0123), (0xFFFF, 0xFFFFFFFF)])
def test_a_mark_names_the_stream_and_the_number(tmp_path: Path, stream: int, seq: int) -> None:
    found = read(tmp_path, msg(mark(seq, stream)), msg(mark(seq, stream) + "00000abc"))
    assert found.messages.tolist() == [[stream, seq, 5, 7]] * 2, "what follows a mark is no part of it"


@pytest.mark.parametrize("text", [None, 5, "", "fl1beef", mark(1)[:-1], "FL1" + mark(1)[3:], "x" + mark(1)])
def test_a_line_with_what_is_no_mark_is_of_no_message(tmp_path: Path, text: object) -> None:
    found = read(tmp_path, msg(text), msg(mark(2)))
    assert (found.messages.tolist(), found.torn) == ([[0, 2, 5, 7]], 0)


def test_a_mark_that_is_damaged_is_counted(tmp_path: Path) -> None:
    found = read(tmp_path, msg(mark(1)[:-1] + "x"), msg(mark(2)))
    assert (found.messages.tolist(), found.torn) == ([[0, 2, 5, 7]], 1)


@pytest.mark.parametrize(("run_tag", "seqs"), [(RUN_TAG, [1]), (0, [2]), (5, []), (None, [1, 2])])
def test_marks_of_other_runs_are_left_out_where_the_run_has_a_tag(
    tmp_path: Path, run_tag: int | None, seqs: list[int]
) -> None:
    found = read(tmp_path, msg(mark(1)), msg(mark(2, run=0)), run_tag=run_tag)
    assert (found.messages[:, 1].tolist(), found.torn) == (seqs, 0)
