"""What an engine process sets up for itself."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fanlab.ledger.stripe import Kind, StripeReader
from fanlab.load import bulk
from fanlab.load.config import LoadConfig
from fanlab.load.engine import open_stripe

CONFIG = LoadConfig(
    seed=1,
    run_tag=0,
    redis_url="redis://127.0.0.1:1/0",
    journal="",
    stats="",
    nodes=(),
    channels=(),
    clients=(),
    publishers=(),
)


def test_a_stripe_begins_with_who_writes_it(tmp_path: Path) -> None:
    with open_stripe(replace(CONFIG, journal=str(tmp_path)), "clients", 2):
        (start,) = StripeReader(tmp_path / "clients-2.stripe")
    assert start.kind is Kind.START
    header = json.loads(start.payload)
    assert (header["role"], header["worker"], header["receive"]) == ("clients", 2, bulk.find()[1])
    with open_stripe(replace(CONFIG, journal=str(tmp_path)), "publishers", 2):
        (start,) = StripeReader(tmp_path / "publishers-2.stripe")
    assert "receive" not in json.loads(start.payload)


def test_without_a_journal_nothing_is_written_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_stripe(CONFIG, "clients", 1) as stripe:
        stripe.write(Kind.DELIVERIES, b"x" * 32)
        stripe.heartbeat(1)
        stripe.events([{"ev": "health"}])
        stripe.close({"deliveries": 1})
    assert list(tmp_path.iterdir()) == []
