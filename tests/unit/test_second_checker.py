"""The second checker: what it imports, what it makes of damaged journals, and that it decides each rule by itself."""

import ast
import sys
from pathlib import Path

import pytest

from fanlab.crosscheck import answers
from fanlab.crosscheck.answers import Crosscheck
from fanlab.crosscheck.gather import NoRunError
from fanlab.crosscheck.tokens import guesses
from fanlab.ledger.records import Status, Token, encode_token
from support.histories import History, ns

ALL = range(1, 11)


@pytest.fixture
def check(tmp_path):
    """The second checker's tables for a history."""
    made: list[Crosscheck] = []

    def checked(history: History, **how: int) -> Crosscheck:
        made.append(Crosscheck(history.write(tmp_path / f"run-{len(made)}", **how).path))
        return made[-1]

    yield checked
    for one in made:
        one.close()


def steady(clients: int = 2, **more) -> History:
    """Ten messages 10 ms apart, each received by each client 1 ms after its intended time."""
    history = History(clients=clients, **more)
    for client in range(clients):
        history.subscribe(client)
    for seq in ALL:
        history.publish(seq, seq * 10)
        for client in range(clients):
            history.deliver(client, seq, seq * 10 + 1)
    return history


def without(history: History, client: int, *seqs: int) -> History:
    """The history, less a client's deliveries of some messages."""
    history.deliveries = [one for one in history.deliveries if (one[3], one[2]) not in {(client, seq) for seq in seqs}]
    return history


def terms(second: Crosscheck, phase: str = "measure") -> tuple[int, ...]:
    return tuple(second.counts()[phase][term] for term in ("owed", "delivered", "lost", "indeterminate"))


def test_it_imports_the_standard_library_and_itself_alone():
    folder = Path(answers.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names = [node.module]
            for name in names:
                assert name.partition(".")[0] in sys.stdlib_module_names or name.startswith("fanlab.crosscheck"), path


def test_a_clean_run(check):
    second = check(steady())
    assert terms(second) == (20, 20, 0, 0)
    assert second.counts()["measure"]["published"] == 10
    assert [list(second.members(term)) for term in answers.SETS] == [[] for _ in answers.SETS]


def test_each_set_names_its_messages(check):
    history = without(steady(clients=3), 1, 4, 6).deliver(1, 6, 150).deliver(0, 3, 160).deliver(0, 3, 161)
    history.deliver(2, 77, 170).publish(11, 105, status=Status.TIMED_OUT).deliver(0, 11, 171).deliver(1, 11, 172)
    second = check(history, frame_records=2, client_stripes=2)
    assert {term: list(second.members(term)) for term in answers.SETS if list(second.members(term))} == {
        "lost": [(1, 0, 4, 0)],
        "indeterminate": [(2, 0, 11, 0)],
        "duplicated": [(0, 0, 3, ns(160)), (0, 0, 3, ns(161))],
        "reordered": [(1, 0, 6, ns(150))],
        "unexpected": [(2, 0, 77, ns(170))],
    }
    assert terms(second) == (33, 31, 1, 1)


@pytest.mark.parametrize(
    ("sent", "done", "expected"),
    [(10, 19, (1, 1, 0, 0)), (10, 20, (2, 1, 0, 1)), (30, 31, (2, 1, 0, 1)), (31, 32, (2, 1, 1, 0))],
    ids=["before it asked", "touches the asking", "touches the confirmation", "after it"],
)
def test_a_publish_against_the_first_subscription(check, sent, done, expected):
    history = History().subscribe(0, at=19, lag=10)  # asked at 20, confirmed at 30
    history.publish(1, sent, lag=0, took=done - sent).publish(2, 100).deliver(0, 2, 101)
    assert terms(check(history)) == expected


def test_leaving_in_mid_run_is_an_edge_and_after_it_nothing_is_owed(check):
    history = without(steady(clients=1, measure_ms=10_000, quiet_ms=15), 0, *ALL)
    second = check(history.leave(0, 85).close(0, 86, own=True))
    assert terms(second) == (8, 0, 6, 2)


@pytest.mark.parametrize("cut", [{"status": "aborted"}, {"drain_ended_by": "deadline"}, {"close_stripes": False}])
def test_behind_the_end_of_the_evidence_nobody_can_tell(check, cut):
    assert terms(check(without(steady(**cut), 0, 3, 9, 10))) == (20, 17, 1, 2)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda raw: raw[:-20], (20, 19, 0, 1)),  # the end is gone, and with it the last delivery
        (lambda raw: raw + b"FL", (20, 20, 0, 0)),
        (lambda raw: raw + b"XXXXXXXXXXXXXXXXXX", (20, 20, 0, 0)),
        (lambda raw: raw[:-60] + b"!" + raw[-59:], (20, 19, 1, 0)),  # the last delivery, and the stripe was closed
    ],
    ids=["cut short", "torn", "no frame", "a wrong byte"],
)
def test_damaged_stripes_are_read_as_far_as_they_are_good(tmp_path, damage, expected):
    rundir = steady().write(tmp_path / "run", frame_records=1)
    path = rundir.journal / "clients-0.stripe"
    path.write_bytes(damage(path.read_bytes()))
    with Crosscheck(rundir.path) as second:
        assert terms(second) == expected


def hit(text: bytes, *places: int) -> bytes:
    """The token, with bytes that no token has."""
    return bytes(ord("x") if at in places else byte for at, byte in enumerate(text))


@pytest.mark.parametrize("place", [0, 2, 3, 6, 7, 18, 30, 42, 43, 46])
def test_a_damaged_token_is_named_by_its_other_bytes(check, place):
    history = without(steady(), 1, 4)
    second = check(history.damaged(1, 41, b"{..." + hit(history.token(4), place) + b"filler"))
    assert terms(second) == (20, 20, 0, 0)
    assert list(second.members("corrupted")) == [(1, 0, 4, ns(41))]
    assert [row.corrupted for row in second.trace() if (row.client, row.seq) == (1, 4)] == [1]


@pytest.mark.parametrize("place", range(3, 47))
def test_a_digit_is_undone_whatever_it_became(place):
    text = encode_token(Token(0xBEEF, 5, 77, 123_456_789_012_345, 99))
    for letter in b"0123456789abcdefA/":
        damaged = text[:place] + bytes([letter]) + text[place + 1 :]
        named = {(0xBEEF, 5, 77, 123_456_789_012_345)}
        assert guesses(damaged) == (named if damaged != text else set())


def test_a_damaged_copy_is_named_by_its_neighbours_or_not_at_all(check):
    history = without(steady(), 1, 4, 8, 10).damaged(1, 41, b"xx").damaged(1, 81, b"yy").damaged(1, 81.5, b"zz")
    history.damaged(1, 101, b"xx").spoiled(0, 6, 200)
    second = check(history)
    assert terms(second) == (20, 18, 2, 0)  # two claim 8; after 10 nothing came
    nobody_knows = [(1, 65535, 0, ns(at)) for at in (81, 81.5, 101)]
    assert list(second.members("corrupted")) == [(0, 0, 6, ns(200)), (1, 0, 4, ns(41)), *nobody_knows]
    unreadable = [row for row in second.trace() if row.outcome == "unreadable"]
    assert [(row.received_ns, row.corrupted, row.copy, row.intended_ns) for row in unreadable] == [
        (ns(at), 1, None, None) for at in (81, 81.5, 101)
    ]


def test_what_is_mended_stands_before_later_ones_of_its_frame(check):
    history = without(steady(clients=1), 0, 4, 5).deliver(0, 5, 60).deliver(0, 1, 60)
    second = check(history.damaged(0, 60, hit(history.token(4), 9)))
    assert terms(second) == (10, 10, 0, 0)
    assert list(second.members("reordered")) == []
    assert list(second.members("duplicated")) == [(0, 0, 1, ns(60))]


def test_without_a_witness_the_busiest_client_stands_for_the_order(check):
    history = History(clients=2, channels=("news", "jobs"), streams=("news", "jobs")).subscribe(0).subscribe(1)
    for seq in (1, 2, 3):
        history.publish(seq, seq * 10).publish(seq, seq * 10 + 5, stream=1)
        history.deliver(0, seq, seq * 10 + 1).deliver(0, seq, seq * 10 + 6, stream=1)
    history.deliver(1, 1, 101, stream=1).deliver(1, 1, 102).deliver(1, 2, 103, node=1)
    assert list(check(history).members("disagreed")) == [(1, 0, 1, ns(102))]
    for seq, stream in ((1, 1), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1)):
        history.witnessed(seq, 0, stream=stream)
    assert list(check(history).members("disagreed")) == [(0, 1, 1, ns(16))]


@pytest.mark.parametrize("text", [None, "[]", "{", "{}", '{"phases": {"zero_ns": 5}}'])
def test_no_run(tmp_path, text):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(NoRunError, match=r"manifest\.json|ended before it published"):
        Crosscheck(tmp_path)


def test_the_trace_has_every_delivery_and_all_that_is_missing(check):
    history = without(steady(clients=2), 1, 4).deliver(0, 3, 160).deliver(0, 0, 170).publish(11, -50)
    rows = list(check(history).trace())
    assert len(rows) == len(history.deliveries) + 3
    found = {(row.client, row.seq, row.outcome, row.copy): row for row in rows}
    assert len(found) == len(rows)
    assert {key for key in found if key[2] != "delivered"} == {
        (0, 3, "copy", 2),
        (0, 0, "unexpected", 1),
        (1, 4, "lost", None),
        (0, 11, "lost", None),
        (1, 11, "lost", None),
    }
    first = found[0, 3, "delivered", 1]
    assert (first.group, first.node, first.publisher, first.channel) == ("readers", "node-1", "publisher-1", "news")
    assert (first.intended_ns, first.sent_ns, first.received_ns) == (ns(30), ns(30.1), ns(31))
    assert found[1, 4, "lost", None].received_ns is None
