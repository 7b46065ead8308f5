"""Locust's statistics, fed with merged batches: one `extend` per second and channel instead of an event per message."""

import time
from typing import Any

from locust.stats import RequestStats, StatsEntry, StatsError, bucket_response_time

from fanlab.load.batch import Batch, batch_from_json, bucket_ms
from fanlab.load.wire import Message

_NAMES = {"deliver": "WS", "publish": "PUBLISH"}


def log_message(stats: RequestStats, message: Message) -> None:
    """Add an engine's `batch` message."""
    for key, method in _NAMES.items():
        for channel, data in message.get(key, {}).items():
            name = f"deliver {channel}" if key == "deliver" else channel
            batch = batch_from_json(data)
            log_batch(stats, method, name, batch)
            if batch.failures:
                _log_errors(stats, method, name, "not published: see nodes/load-*.log, or is Redis up?", batch.failures)
    for error, count in message.get("refused", {}).items():
        log_batch(stats, "WS", "connect", Batch(0, 0.0, 0.0, 0.0, {}, failures=count))
        _log_errors(stats, "WS", "connect", error, count)


def _log_errors(stats: RequestStats, method: str, name: str, error: str, count: int) -> None:
    """Add to Locust's error report, which also decides its exit code. The failures themselves are counted already."""
    entry = stats.errors.setdefault(StatsError.create_key(method, name, error), StatsError(method, name, error))
    entry.occurred()
    entry.occurrences += count - 1


def log_batch(stats: RequestStats, method: str, name: str, batch: Batch) -> None:
    """Add a batch to its own entry and to the total."""
    entry: Any = StatsEntry(stats, name, method)
    second = int(time.time())  # noqa: TID251 - Locust's statistics are kept by wall clock
    requests = batch.count + batch.failures
    entry.num_requests = requests
    entry.num_failures = batch.failures
    entry.num_none_requests = batch.failures
    entry.num_reqs_per_sec = {second: requests}
    entry.num_fail_per_sec = {second: batch.failures} if batch.failures else {}
    entry.last_request_timestamp = float(second)
    if batch.count:
        entry.total_response_time = batch.total_ms
        entry.min_response_time = batch.min_ms
        entry.max_response_time = batch.max_ms
        for bucket, count in batch.buckets.items():
            rounded = bucket_response_time(bucket_ms(bucket))
            entry.response_times[rounded] = entry.response_times.get(rounded, 0) + count
    stats.get(name, method).extend(entry)
    stats.total.extend(entry)
