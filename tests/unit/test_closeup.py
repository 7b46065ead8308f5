"""What a story is told from: all that the journals say about one number's messages and one client."""

import json
from pathlib import Path
from typing import Any

import pytest

from fanlab.ledger.closeup import CloseUp, close_up, mark_of
from fanlab.ledger.records import INTENT
from fanlab.ledger.stripe import Kind, StripeWriter
from fanlab.rundir import RunDir
from support.histories import RUN_TAG, History, mark, ns


def seen(history: History, path: Path, *, client: int = 0, seq: int = 1) -> CloseUp:
    return close_up(history.write(path / "run"), history.plan(), RUN_TAG, client, seq)


def add_lines(rundir: RunDir, *lines: str) -> Path:
    path = rundir.journal / "node-1.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_records_of_the_number_on_every_stream_and_deliveries_by_time(tmp_path: Path) -> None:
    history = History(clients=2, streams=("news", "news"))
    history.publish(1, 10).publish(2, 20).publish(1, 15, stream=1)
    history.deliver(1, 1, 13).deliver(0, 2, 22).deliver(0, 1, 12).deliver(0, 1, 17, stream=1)
    found = seen(history, tmp_path)
    assert found.intents[["seq", "stream"]].tolist() == [(1, 0), (1, 1)]
    assert found.outcomes[["seq", "stream"]].tolist() == [(1, 0), (1, 1)]
    came = found.deliveries[["recv_ns", "client", "stream"]].tolist()
    assert came == [(ns(12), 0, 0), (ns(13), 1, 0), (ns(17), 0, 1)]


def test_the_last_number_of_a_stream_is_what_its_publisher_meant_to_send(tmp_path: Path) -> None:
    history = History(streams=("news", "news", "news"))
    history.publish(2, 20).publish(1, 10).publish(5, 50, stream=1)
    history.deliver(0, 9, 12)  # of a number that nobody sent
    assert seen(history, tmp_path).last_seq.tolist() == [2, 5, 0]


def test_an_intent_for_a_stream_that_the_plan_lacks_is_passed_over(tmp_path: Path) -> None:
    history = History().publish(1, 10)
    rundir = history.write(tmp_path / "run")
    with StripeWriter(rundir.journal / "publishers-1.stripe", {"role": "publishers"}) as stripe:
        stripe.write(Kind.INTENTS, INTENT.pack(ns(20), 7, 1, 0))
    assert close_up(rundir, history.plan(), RUN_TAG, 0, 1).last_seq.tolist() == [1]


def test_a_clients_events_are_of_all_stripes_and_frames_by_time(tmp_path: Path) -> None:
    history = History(clients=2).subscribe(0).subscribe(1).close(0, 40)
    rundir = history.write(tmp_path / "run")
    with StripeWriter(rundir.journal / "clients-1.stripe", {"role": "clients"}) as stripe:
        stripe.events([{"t": ns(70), "ev": "left", "client": 0}])
        stripe.events([{"t": ns(50), "ev": "connecting", "client": 0}, {"t": ns(51), "ev": "open", "client": 1}])
    events = close_up(rundir, history.plan(), RUN_TAG, 0, 1).events
    assert [(line["ev"], line["client"]) for line in events] == [
        *((name, 0) for name in ("connecting", "open", "subscribing", "subscribed", "closed", "connecting", "left"))
    ]


def test_copies_are_those_of_the_number_and_the_stream_in_redis_order(tmp_path: Path) -> None:
    history = History(streams=("news", "news")).publish(1, 10).publish(2, 20).publish(1, 10, stream=1)
    history.witnessed(1, 14).witnessed(2, 21).witnessed(1, 11, stream=1).witnessed(1, 13)
    found = seen(history, tmp_path)
    assert (found.copies(0), found.copies(1)) == ([ns(14), ns(13)], [ns(11)])
    assert seen(History(), tmp_path / "unwitnessed").copies(0) == []


def test_a_nodes_lines_are_those_of_the_number_and_what_is_of_no_message(tmp_path: Path) -> None:
    history = History(streams=("news", "news")).publish(1, 10).publish(2, 20)
    history.node_line(0, -100, "start").fan_out(0, 2, 21).fan_out(0, 1, 12, stream=1).fan_out(0, 1, 11)
    history.node_line(0, 30, "stop").node_line(1, 5, "start")
    found = seen(history, tmp_path)
    lines = [(line["ev"], mark_of(line)) for line in found.nodes[0]]
    assert lines == [("start", None), ("msg", (0, 1)), ("msg", (1, 1)), ("stop", None)]
    assert [line["ev"] for line in found.nodes[1]] == ["start"]
    assert set(found.nodes) == {0, 1}, "node-3 keeps no journal"


@pytest.mark.parametrize(
    "line",
    [
        '{"t":1,"ev":"msg","ch":"ne',
        "[1]",
        '"t"',
        '{"ev":"start"}',
        '{"t":1.5,"ev":"start"}',
        '{"t":1,"ev":"gap","from":1}',
        '{"t":1,"ev":"gap","to":1}',
        '{"t":1,"ev":"gap","from":"0","to":1}',
        f'{{"t":1,"ev":"msg","mark":"{mark(2)}"}}',
        f'{{"t":1,"ev":"msg","mark":"{mark(1, run=RUN_TAG - 1)}"}}',
    ],
)
def test_a_line_that_is_none_or_of_another_message_hides_none_after_it(tmp_path: Path, line: str) -> None:
    history = History()
    rundir = history.write(tmp_path / "run")
    add_lines(rundir, line, '{"t":3,"ev":"gap","from":1,"to":2}', f'{{"t":2,"ev":"msg","mark":"{mark(1)}"}}')
    assert close_up(rundir, history.plan(), RUN_TAG, 0, 1).nodes == {
        0: [{"t": 2, "ev": "msg", "mark": mark(1)}, {"t": 3, "ev": "gap", "from": 1, "to": 2}]
    }


def test_a_run_without_a_tag_has_the_marks_of_tag_0(tmp_path: Path) -> None:
    history = History()
    rundir = history.write(tmp_path / "run")
    add_lines(rundir, *(f'{{"t":{run},"ev":"msg","mark":"{mark(1, run=run)}"}}' for run in (0, 1)))
    assert close_up(rundir, history.plan(), None, 0, 1).nodes == {0: [{"t": 0, "ev": "msg", "mark": mark(1, run=0)}]}


def test_what_redis_said_is_all_there_by_time(tmp_path: Path) -> None:
    history = History().watched(-900, 900).listed(0, 5, -800)
    assert [line["ev"] for line in seen(history, tmp_path).redis or ()] == ["watch", "subscriber", "watch"]
    assert seen(History(), tmp_path / "unwatched").redis is None


@pytest.mark.parametrize(("stream", "seq"), [(0, 0), (0x1000, 0x10000000), (0x89AB, 0xCDEF0123), (0xFFFF, 0xFFFFFFFF)])
def test_a_mark_names_the_stream_and_the_number(stream: int, seq: int) -> None:
    assert mark_of({"mark": mark(seq, stream)}) == (stream, seq)
    assert mark_of({"mark": mark(seq, stream) + "0123"}) == (stream, seq), "what follows is no part of it"


@pytest.mark.parametrize("line", [{}, {"mark": None}, {"mark": 5}, {"mark": ""}, {"mark": "fl1beef0000000000zz"}])
def test_what_is_no_mark_names_nothing(line: dict[str, Any]) -> None:
    assert mark_of(line) is None


def test_a_connection_at_redis_is_the_nodes_that_is_behind_it_on_the_link(tmp_path: Path) -> None:
    history = History()
    rundir = history.write(tmp_path / "run")
    listed = {"t": 5, "before": 0, "ev": "subscriber", "id": 7, "name": "", "addr": "a:1", "node": None}
    (rundir.journal / "redis.jsonl").write_text(json.dumps(listed) + "\n", encoding="utf-8")
    opened = {"ev": "open", "proxy": "node-2/redis", "t": 4, "up": "a:1"}
    (rundir.journal / "link.jsonl").write_text(json.dumps(opened) + "\n", encoding="utf-8")
    found = close_up(rundir, history.plan(), RUN_TAG, 0, 1).redis
    assert found == [listed | {"node": "node-2"}]
