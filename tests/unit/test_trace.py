"""deliveries.csv.gz: a row for everything that came and everything that did not."""

import csv
import gzip

import pytest

from fanlab import trace as module
from fanlab.errors import EnvironmentFailure
from fanlab.ledger.records import Status
from fanlab.trace import COLUMNS, trace, write_rows
from support.histories import History


@pytest.fixture
def rundir(tmp_path):
    """Client 1 loses number 3 to a crash of its node; 5 came twice, 77 to nobody who asked, of 6 nobody knows."""
    history = History(clients=2).subscribe(0).subscribe(1, node=1)
    for seq in range(1, 6):
        history.publish(seq, seq * 10)
        history.deliver(0, seq, seq * 10 + 1.25)
        if seq != 3:
            history.deliver(1, seq, seq * 10 + 2, node=1 if seq < 3 else 2)
    history.close(1, 25, 1).subscribe(1, node=2, at=32, took=1, lag=1)
    history.publish(6, 60, status=Status.UNKNOWN).deliver(0, 5, 90).deliver(0, 77, 91)
    history.fault("crash", "node-2", 24, 40)
    return history.write(tmp_path / "run")


def rows_of(path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def test_every_delivery_and_every_one_that_was_missing(rundir):
    found = trace(rundir)
    assert found.agrees
    rows = rows_of(rundir.deliveries)
    assert tuple(rows[0]) == COLUMNS
    assert [(row["client"], row["seq"], row["outcome"], row["copy"]) for row in rows] == [
        ("0", "1", "delivered", "1"),
        ("0", "2", "delivered", "1"),
        ("0", "3", "delivered", "1"),
        ("0", "4", "delivered", "1"),
        ("0", "5", "delivered", "1"),
        ("0", "6", "indeterminate", ""),
        ("0", "5", "copy", "2"),
        ("0", "77", "unexpected", "1"),
        ("1", "1", "delivered", "1"),
        ("1", "2", "delivered", "1"),
        ("1", "3", "lost", ""),
        ("1", "4", "delivered", "1"),
        ("1", "5", "delivered", "1"),
        ("1", "6", "indeterminate", ""),
    ]
    assert rows[0] == {
        "client": "0", "group": "readers", "node": "node-1", "publisher": "publisher-1", "channel": "news", "seq": "1",
        "outcome": "delivered", "copy": "1", "corrupted": "0", "intended_s": "0.010000000", "sent_s": "0.010100000",
        "received_s": "0.011250000", "latency_ms": "1.250000", "hop": "", "cause": "",
    }  # fmt: skip
    lost = rows[10]
    assert (lost["node"], lost["received_s"], lost["latency_ms"]) == ("node-2", "", "")
    assert (lost["cause"], lost["hop"] != "") == ("client_reconnecting", True)


def test_the_manifest_says_that_they_agree(rundir):
    before = rundir.read_manifest()
    trace(rundir)
    assert rundir.read_manifest() == {**before, "crosscheck": {"agrees": True, "counts": 0, "messages": 0}}


def test_a_falsified_account_is_found(rundir, monkeypatch):
    def falsified(rundir):
        found = account_of(rundir)
        found.losses["seq"] += 1
        return found

    account_of = module.account_of
    monkeypatch.setattr(module, "account_of", falsified)
    assert not trace(rundir).agrees
    assert rundir.read_manifest()["crosscheck"] == {"agrees": False, "counts": 0, "messages": 2}


def test_the_same_run_gives_the_same_bytes(rundir):
    trace(rundir)
    first = rundir.deliveries.read_bytes()
    trace(rundir)
    assert rundir.deliveries.read_bytes() == first


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(EnvironmentFailure, match="cannot write"):
        write_rows(tmp_path / "taken", [])
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
