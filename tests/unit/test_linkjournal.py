"""Which node is behind a connection that comes to Redis through the link."""

import json

import pytest

from fanlab.ledger.linkjournal import read_behind, with_nodes
from fanlab.ledger.redisjournal import read_redis_journal
from support.histories import History


def opened(t, node, up, *, id_=1, proxy="redis"):
    return {"t": t, "ev": "open", "proxy": f"{node}/{proxy}", "id": id_, "down": "127.0.0.1:1", "up": up}


def listed(t, id_, addr, node=None):
    return {"t": t, "before": t - 1, "ev": "subscriber", "id": id_, "addr": addr, "node": node, "name": ""}


def gone(t, id_, node=None):
    return {"t": t, "before": t - 1, "ev": "gone", "id": id_, "node": node}


def behind(tmp_path, *lines):
    path = tmp_path / "link.jsonl"
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return read_behind(path)


def test_the_journal_of_the_link_names_the_node_behind_each_of_its_addresses_and_since_when(tmp_path):
    found = behind(
        tmp_path,
        opened(20, "node-2", "a:1"),
        opened(10, "node-1", "a:1"),
        opened(30, "node-1", "a:2", proxy="clients"),
        {"t": 40, "ev": "close", "proxy": "node-1/redis", "id": 1},
        {"t": 50, "ev": "toxic", "proxy": "node-1/redis", "up": "a:3"},
        {"t": "soon", "ev": "open", "proxy": "node-1/redis", "up": "a:4"},
        {"t": 60, "ev": "open", "proxy": 7, "up": "a:5"},
        '{"t":70,"ev":"op',
    )
    assert found == {"a:1": [(10, "node-1"), (20, "node-2")]}


def test_without_the_link_nobody_is_behind_anything(tmp_path):
    assert read_behind(tmp_path / "link.jsonl") == {}
    lines = [listed(5, 7, "a:1"), gone(6, 7)]
    assert list(with_nodes(lines, {})) == lines


OPENED = {"a:1": [(10, "node-1"), (20, "node-2")]}


@pytest.mark.parametrize(("t", "node"), [(9, None), (10, "node-1"), (19, "node-1"), (20, "node-2"), (99, "node-2")])
def test_the_last_connection_of_an_address_counts(t, node):
    for line in (listed(t, 7, "a:1"), {**listed(t, 7, "a:1"), "ev": "buffer_kill"}):
        (found,) = with_nodes([line], OPENED)
        assert found["node"] == node
        assert {**found, "node": None} == line


def test_who_is_named_already_stays_who_he_is():
    (found,) = with_nodes([listed(15, 7, "a:1", "node-3")], OPENED)
    assert found["node"] == "node-3"


def test_what_is_listed_no_more_is_known_by_what_was_last_listed():
    lines = [gone(11, 7), listed(12, 7, "a:1"), listed(13, 8, "b:1"), gone(14, 7), gone(14, 8), listed(25, 7, "a:1")]
    lines += [gone(26, 7), listed(27, 9, "c:1", "node-3"), gone(28, 9)]
    nodes = [line["node"] for line in with_nodes(lines, OPENED)]
    assert nodes == [None, "node-1", None, "node-1", None, "node-2", "node-2", "node-3", "node-3"]


def test_lines_of_another_sort_are_let_through():
    lines = [{"t": 1, "ev": "watch", "state": "up"}, {"t": "x", "ev": "subscriber", "addr": "a:1"}, {"addr": ["a"]}]
    assert list(with_nodes(lines, OPENED)) == lines


def test_redis_journal_has_the_nodes_behind_the_link(tmp_path):
    history = History(clients=1, nodes=2).subscribe(0).watched(-1950, 900).publish(1, 10)
    history.listed(0, 10, -1900, 300).listed(1, 11, -1900)
    for line in history.redis_lines:
        line.pop("node", None)
    rundir = history.write(tmp_path / "run")
    nodes = {"node-1": 0, "node-2": 1}
    unknown = read_redis_journal(rundir.redis_journal, nodes)
    assert [row.node for row in (*unknown.subscribers, *unknown.gone)] == [None] * 3
    link = [opened(1, "node-1", "127.0.0.1:10"), opened(1, "node-2", "127.0.0.1:11")]
    (rundir.journal / "link.jsonl").write_text("".join(json.dumps(line) + "\n" for line in link))
    known = read_redis_journal(rundir.redis_journal, nodes)
    assert [row.node for row in (*known.subscribers, *known.gone)] == [0, 1, 0]
