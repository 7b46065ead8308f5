"""Tokens in frames, deliveries in stripes, batches for Locust."""

from pathlib import Path

import numpy as np
import pytest

from fanlab.clock import NS_PER_MS
from fanlab.ledger.records import DELIVERY_DTYPE, Token, encode_token
from fanlab.ledger.stripe import Kind, StripeReader, StripeWriter
from fanlab.load.batch import batch_from_json, percentile_ms
from fanlab.load.health import Health
from fanlab.load.histogram import Histogram
from fanlab.load.receiving import BUFFER_RECORDS, DeliveryBuffer, TokenReader
from fanlab.load.totals import Totals
from fanlab.load.wire import LineReader, encode

TOKEN = Token(run=9, stream=1, seq=5, intended_ns=123_456, sent_lag_us=7)


def test_a_token_is_found_in_any_envelope() -> None:
    reader = TokenReader(9, 2)
    for frame in (
        encode_token(TOKEN) + b"xyz",
        b'42["message",{"event":"news","data":"' + encode_token(TOKEN) + b'zzz"}]',
        b"\x81\x00" + encode_token(TOKEN),
    ):
        at = reader.find(frame)
        assert reader.read(frame, at) == TOKEN
    assert reader.find(b'{"type":"subscribed"}') == -1


def test_the_cache_is_by_the_whole_token() -> None:
    reader = TokenReader(9, 2)
    other = TOKEN._replace(seq=6)
    assert reader.read(encode_token(TOKEN), 0) == TOKEN
    assert reader.read(encode_token(other), 0) == other
    assert reader.read(encode_token(TOKEN)[:-1] + b"g", 0) is None


def test_what_is_not_this_runs_is_refused() -> None:
    reader = TokenReader(9, 2)
    for frame in (
        encode_token(TOKEN._replace(run=10)),
        encode_token(TOKEN)[:30],
        encode_token(TOKEN)[:-4] + b"0000",
        encode_token(TOKEN._replace(stream=2)),
    ):
        assert reader.read(frame, 0) is None


def test_a_full_buffer_writes_itself(tmp_path: Path) -> None:
    path = tmp_path / "s"
    stripe = StripeWriter(path, {})
    buffer = DeliveryBuffer(stripe, [0, 1], 2)
    for n in range(BUFFER_RECORDS + 3):
        buffer.add(TOKEN.intended_ns + 2 * NS_PER_MS, TOKEN._replace(seq=n, stream=n % 2), n % 7, 3)
    assert buffer.count == BUFFER_RECORDS
    buffer.flush()
    stripe.close()
    frames = [np.frombuffer(f.payload, DELIVERY_DTYPE) for f in StripeReader(path) if f.kind is Kind.DELIVERIES]
    records = np.concatenate(frames)
    assert records["seq"].tolist() == list(range(BUFFER_RECORDS + 3))
    assert set(records["node"].tolist()) == {3}
    assert set(records["sent_lag_us"].tolist()) == {7}
    counted = [histogram.take() for histogram in buffer.histograms]
    assert [batch.count for batch in counted if batch] == [(BUFFER_RECORDS + 3 + 1) // 2, (BUFFER_RECORDS + 3) // 2]


def test_histogram_batches() -> None:
    histogram = Histogram()
    assert histogram.take() is None
    histogram.add(np.array([1000] * 98 + [50_000, 100_000], np.int64))
    batch = histogram.take()
    assert batch is not None
    assert histogram.take() is None
    assert batch_from_json(batch.to_json()) == batch
    assert (batch.count, batch.min_ms, batch.max_ms, batch.total_ms) == (100, 1.0, 100.0, 248.0)
    assert percentile_ms([batch], 0.5) == pytest.approx(1.0, rel=0.09)
    assert percentile_ms([batch], 0.99) == pytest.approx(50, rel=0.09)
    assert percentile_ms([batch, batch], 1.0) == pytest.approx(100, rel=0.09)
    assert percentile_ms([], 0.5) is None
    failed = Histogram().take(failures=3)
    assert failed is not None
    assert (failed.count, failed.failures) == (0, 3)


def test_health_tells_how_late_ticks_came() -> None:
    health = Health(10 * NS_PER_MS)
    health.tick(due_ns=0, now_ns=2 * NS_PER_MS)
    health.tick(due_ns=10 * NS_PER_MS, now_ns=45 * NS_PER_MS)  # and those due at 20, 30 and 40 never came
    health.tick(due_ns=50 * NS_PER_MS, now_ns=49 * NS_PER_MS)
    event = health.event(9, missed=4)
    assert (event["lags_ms"], event["missed"]) == ([2.0, 35.0, 25.0, 15.0, 5.0, 0.0], 4)
    assert health.event(10, missed=4)["lags_ms"] == []  # each second by itself


def test_each_channels_latencies_are_counted_in_its_own_histogram(tmp_path: Path) -> None:
    """Streams 0 and 2 publish in channel 1, stream 1 in channel 3; two channels say nothing."""
    with StripeWriter(tmp_path / "s", {}) as stripe:
        buffer = DeliveryBuffer(stripe, [1, 3, 1], 4)
        for n, (stream, latency_us) in enumerate(((0, 100), (1, 7), (2, 3000), (1, 9), (0, 50))):
            token = TOKEN._replace(seq=n, stream=stream)
            buffer.add(token.intended_ns + latency_us * 1000, token, 0, 0)
        buffer.flush()
        batches = [histogram.take() for histogram in buffer.histograms]
    assert [batch and (batch.count, batch.total_ms, batch.min_ms, batch.max_ms) for batch in batches] == [
        None, (3, 3.15, 0.05, 3.0), None, (2, 0.016, 0.007, 0.009),
    ]  # fmt: skip


def test_lines_in_any_pieces() -> None:
    messages = [{"op": "a", "text": "ä\n"}, {"op": "b"}]
    data = b"".join(map(encode, messages))
    for cut in range(len(data)):
        reader = LineReader()
        assert reader.feed(data[:cut]) + reader.feed(data[cut:]) == messages
    with pytest.raises(ValueError, match="not a message"):
        LineReader().feed(b"[1]\n")


def clients(worker: int, **figures: object) -> dict[str, object]:
    base = {"ev": "counts", "role": "clients", "worker": worker, "t": 5, "clients": 2, "connected": 2}
    base |= {"reconnecting": 0, "deliveries": 10, "last_delivery_ns": None, "entitled": {"news": 2}}
    return base | figures


def publishers(tried: int, **figures: object) -> dict[str, object]:
    base = {"ev": "counts", "role": "publishers", "worker": 1, "publishers": 1, "up": True, "error": None}
    return base | {"tried": {"news": tried}, "sent": tried, "unsent": 0, "failed": 0} | figures


def test_totals_over_workers() -> None:
    totals = Totals()
    assert totals.snapshot().as_of_ns is None
    totals.told(clients(1, t=50, last_delivery_ns=40))
    totals.told(publishers(10))
    totals.told(clients(2, t=45, clients=3, connected=1, reconnecting=2, entitled={"news": 3}))
    totals.told(publishers(14, failed=2))
    snapshot = totals.snapshot()
    assert snapshot.owed == 10 * 2 + 4 * 5
    assert (snapshot.clients, snapshot.connected, snapshot.reconnecting, snapshot.deliveries) == (5, 3, 2, 20)
    assert (snapshot.sent, snapshot.failed, snapshot.last_delivery_ns, snapshot.as_of_ns) == (14, 2, 40, 45)
    assert totals.publishers_up() == 1
    totals.told(publishers(14, up=False, error="refused"))
    assert (totals.publishers_up(), totals.redis_error()) == (0, "refused")
