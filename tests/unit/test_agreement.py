"""Two checkers that agree, and every way in which they may not: each planted, and told by its messages."""

import io
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from fanlab.agreement import Agreement, compare, second_opinion, unmatched
from fanlab.analysis.names import names_of
from fanlab.crosscheck.answers import CACHE_TERMS
from fanlab.errors import MeasurementError
from fanlab.ledger.account import account
from fanlab.ledger.odd import Odd
from fanlab.ledger.records import ReadStatus, Status
from fanlab.ledger.result import UNDECIDED_DTYPE, Account
from fanlab.report import agreement
from fanlab.rundir import RunDir
from support.histories import ZERO_NS, History, ns


@pytest.fixture
def rundir(tmp_path) -> RunDir:
    """A run with something under every term but `corrupted`: two streams, a witness's order, a crash of nobody."""
    history = History(clients=3, channels=("news", "jobs"), streams=("news", "jobs"))
    for client in range(3):
        history.subscribe(client)
    for seq in range(1, 11):
        for stream in (0, 1):
            history.publish(seq, seq * 10 + stream, stream=stream)
            for client in range(3):
                if (client, stream, seq) not in {(1, 0, 4), (2, 1, 6), (2, 1, 9)}:
                    history.deliver(client, seq, seq * 10 + stream + 2, stream=stream)
    history.publish(11, 111, status=Status.TIMED_OUT).publish(12, -500)
    history.deliver(2, 6, 150, stream=1).deliver(2, 9, 79.5, stream=1).deliver(0, 3, 160).deliver(0, 77, 170)
    return history.write(tmp_path / "run")


def agreed(rundir: RunDir, changed: Account | None = None) -> Agreement:
    with second_opinion(rundir) as second:
        return compare(changed or account(rundir), second)


def told(found: Agreement) -> list[tuple]:
    return [(one.term, one.only, one.client, one.stream, one.seq) for one in found.differences]


def test_they_agree(rundir):
    found = agreed(rundir)
    assert found.agrees
    assert told(found) == []
    there = {one.term for one in found.counts if one.sql}
    assert there >= {"lost", "indeterminate", "duplicated", "reordered", "unexpected", "disagreed"}


def test_a_message_that_one_has_lost_and_the_other_has_not(rundir):
    found = account(rundir)
    found.losses = found.losses[1:]
    found.measure = replace(found.measure, lost=found.measure.lost - 1)
    told_of = agreed(rundir, found)
    assert not told_of.agrees
    assert told(told_of) == [("lost", "SQL", 1, 0, 4)]
    assert [(one.term, one.ledger, one.sql) for one in told_of.counts if not one.agrees] == [("lost", 0, 1)]


def test_as_many_and_not_the_same(rundir):
    found = account(rundir)
    found.losses["seq"] = 5
    told_of = agreed(rundir, found)
    assert not told_of.agrees
    assert told_of.differing_counts == 0
    assert told(told_of) == [("lost", "SQL", 1, 0, 4), ("lost", "ledger", 1, 0, 5)]


@pytest.mark.parametrize("kind", [Odd.DUPLICATED, Odd.REORDERED, Odd.UNEXPECTED, Odd.DISAGREED])
def test_an_odd_delivery_that_one_lists_with_another_time(rundir, kind):
    found = account(rundir)
    at = np.flatnonzero(found.odd["kind"] == kind)[0]
    found.odd["recv_ns"][at] += 1
    told_of = agreed(rundir, found)
    assert {one[:2] for one in told(told_of)} == {(kind.label, "ledger"), (kind.label, "SQL")}
    assert told_of.differing == {**dict.fromkeys(told_of.differing, 0), kind.label: 2}


def test_what_is_indeterminate_for_one_alone(rundir):
    found = account(rundir)
    found.undecided = np.array([(0, 0, 10, 11), (1, 0, 11, 11), (2, 0, 11, 11)], UNDECIDED_DTYPE)
    assert told(agreed(rundir, found)) == [("indeterminate", "ledger", 0, 0, 10)]


@pytest.mark.parametrize("term", ["published", "owed", "delivered", "lost", "indeterminate", "duplicated"])
def test_a_count_of_the_warm_up(rundir, term):
    found = account(rundir)
    found.warm_up = replace(found.warm_up, **{term: getattr(found.warm_up, term) + 1})
    told_of = agreed(rundir, found)
    assert [(one.phase, one.term) for one in told_of.counts if not one.agrees] == [("warm_up", term)]


@pytest.mark.parametrize("gone", [0, 7, 30])
def test_a_delivery_that_only_one_of_them_was_shown(rundir, gone):
    found = account(rundir)
    stripe = rundir.journal / "clients-0.stripe"
    raw = stripe.read_bytes()
    header = raw.index(b"FLD\0")
    at = header + 12 + 32 * gone
    length = int.from_bytes(raw[header + 4 : header + 8], "little")
    kept = raw[header + 12 : at] + raw[at + 32 : header + 12 + length]
    frame = b"FLD\0" + (length - 32).to_bytes(4, "little") + zlib.crc32(b"D" + kept).to_bytes(4, "little") + kept
    stripe.write_bytes(raw[:header] + frame + raw[header + 12 + length :])
    told_of = agreed(rundir, found)
    assert not told_of.agrees
    assert ("delivered", 1) in [(one.term, one.ledger - one.sql) for one in told_of.counts]
    assert told_of.differing["lost"] == 1


def test_of_many_differences_ten_are_named(rundir):
    found = account(rundir)
    found.undecided = np.array([(0, 0, 1, 10), (2, 1, 1, 5)], UNDECIDED_DTYPE)
    told_of = agreed(rundir, found)
    assert told_of.differing["indeterminate"] == 18
    assert len(told_of.differences) == 10


def test_what_stands_in_one_of_two_sequences():
    one, two, three = (0, 0, 1, 5), (0, 0, 2, 5), (0, 0, 3, 5)
    assert list(unmatched([one, two], [one, two])) == []
    assert list(unmatched([one, two], [two, three])) == [(one, "ledger"), (three, "SQL")]
    assert list(unmatched([], [one])) == [(one, "SQL")]
    assert list(unmatched([one, one], [one])) == [(one, "ledger")]  # twice is not once


def test_no_run(tmp_path):
    with pytest.raises(MeasurementError, match=r"manifest\.json"), second_opinion(RunDir(tmp_path)):
        pass


def rendered(found: Agreement, rundir: RunDir) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(agreement.table(found, names_of(rundir.read_manifest()), ZERO_NS))
    return console.export_text()


def test_the_table_says_that_they_agree(rundir):
    text = rendered(agreed(rundir), rundir)
    assert "agree on every count" in text
    assert [line.split() for line in text.splitlines() if line.startswith("lost")] == [["lost", "1", "1", "yes"]]
    assert "warm-up" not in text


def test_the_table_and_the_json_name_what_differs(rundir):
    found = account(rundir)
    found.losses = found.losses[1:]
    found.odd["recv_ns"][found.odd["kind"] == Odd.UNEXPECTED] = ns(171)
    found.warm_up = replace(found.warm_up, owed=99)
    told_of = agreed(rundir, found)
    text = rendered(told_of, rundir)
    assert "lost by the SQL only: client 1, publisher-1 on news, seq 4" in text
    assert "unexpected by the ledger only: client 0, publisher-1 on news, seq 77, received at 0.171000000 s" in text
    assert "owed (warm-up)" in text
    assert "differ in 1 counts and 3 messages" in text
    document = json.loads(json.dumps(agreement.to_json(told_of, names_of(rundir.read_manifest()), ZERO_NS)))
    assert document["agrees"] is False
    assert document["differing"]["lost"] == 1
    assert document["differences"][0] == {
        "term": "lost", "only": "SQL", "client": 1, "publisher": "publisher-1", "channel": "news", "seq": 4,
        "received_s": None,
    }  # fmt: skip


# The nodes' caches


@pytest.fixture
def cached(tmp_path) -> RunDir:
    """Two nodes with caches: one missed an update, and answered late and old; the other was never read."""
    history = History(nodes=2, objects=2, caching=(0, 1)).subscribe(0)
    for seq in range(1, 7):
        history.publish(seq, 100 * seq).deliver(0, seq, 100 * seq + 2)
        for node in (0, 1):
            if (node, seq) != (0, 5):
                history.take(node, seq, 100 * seq + 1)
    history.read(0, 0, 550, 3).read(0, 0, 1400, 3, sweep=True).read(0, 1, 560, status=ReadStatus.MISSING)
    return history.write(tmp_path / "run")


def test_they_agree_on_caches(cached):
    found = agreed(cached)
    assert found.agrees
    assert [(one.cache, one.term, one.sql) for one in found.counts if one.cache is not None and one.sql] == [
        ("node-1", "owed", 6), ("node-1", "refreshed", 5), ("node-1", "missed", 1), ("node-1", "wrong_for_good", 1),
        ("node-1", "reads", 2), ("node-1", "reads_missing", 1), ("node-1", "stale_reads", 1),
        ("node-1", "stale_reads_lost", 1), ("node-2", "owed", 6), ("node-2", "refreshed", 6),
    ]  # fmt: skip


@pytest.mark.parametrize("term", CACHE_TERMS)
@pytest.mark.parametrize("node", ["node-1", "node-2"])
def test_a_count_of_a_cache(cached, node, term):
    found = account(cached)
    tally = found.caches.nodes[node].tally
    tally = replace(tally, **{term: getattr(tally, term) + 1})
    found.caches.nodes[node] = replace(found.caches.nodes[node], tally=tally)
    told_of = agreed(cached, found)
    assert not told_of.agrees
    assert [(one.cache, one.term, one.ledger - one.sql) for one in told_of.counts if not one.agrees] == [
        (node, term, 1)
    ]
    text = rendered(told_of, cached)
    assert f"{term.replace('_', ' ')} (cache of {node})" in text
    assert text.count("(cache of") == 1
    (line,) = [one for one in agreement.to_json(told_of, names_of(cached.read_manifest()), ZERO_NS)["counts"]
               if one["ledger"] != one["sql"]]  # fmt: skip
    assert (line["cache"], line["term"]) == (node, term)


def test_caches_that_only_one_of_them_knows_of(cached):
    told_of = agreed(cached, replace(account(cached), caches=None))
    assert {one.cache for one in told_of.counts if not one.agrees} == {"node-1", "node-2"}
    manifest = cached.read_manifest()
    manifest["caching_nodes"] = ["node-1"]
    found = account(cached)
    cached.manifest.write_text(json.dumps(manifest))
    assert {one.cache for one in agreed(cached, found).counts if not one.agrees} == {"node-2"}
    assert "agree on every count" in rendered(agreed(cached), cached)


def test_without_objects_there_are_no_caches(rundir):
    assert [one for one in agreed(rundir).counts if one.cache is not None] == []
