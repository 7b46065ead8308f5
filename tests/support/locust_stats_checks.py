"""What Locust's own statistics are told: counts in bulk, and failures where Locust users look for them.

A program of its own, which tests/unit/test_locust_stats.py runs: importing Locust patches the whole process by gevent.
"""

from locust.stats import RequestStats

from fanlab.load.batch import Batch
from fanlab.load.locust_stats import log_message


def a_batch_adds_to_its_entry_and_to_the_total() -> None:
    stats = RequestStats()
    batch = Batch(count=3, total_ms=6.0, min_ms=1.0, max_ms=3.0, buckets={80: 3})
    for _ in range(2):
        log_message(stats, {"ev": "batch", "deliver": {"news": batch.to_json()}})
    assert stats.get("deliver news", "WS").num_requests == stats.total.num_requests == 6
    assert stats.get("deliver news", "WS").max_response_time == 3.0
    assert not stats.errors


def failed_publishes_and_refused_connections_are_errors_with_their_reason() -> None:
    stats = RequestStats()
    failed = Batch(count=1, total_ms=1.0, min_ms=1.0, max_ms=1.0, buckets={80: 1}, failures=4)
    log_message(stats, {"ev": "batch", "publish": {"news": failed.to_json()}})
    log_message(stats, {"ev": "batch", "refused": {"ws://127.0.0.1:1/ws: refused": 2}})
    assert {(error.method, error.name): error.occurrences for error in stats.errors.values()} == {
        ("PUBLISH", "news"): 4,
        ("WS", "connect"): 2,
    }
    assert stats.total.num_failures == 6
    assert stats.get("connect", "WS").num_failures == 2
    assert any("ws://127.0.0.1:1/ws: refused" in str(error.error) for error in stats.errors.values())


if __name__ == "__main__":
    a_batch_adds_to_its_entry_and_to_the_total()
    failed_publishes_and_refused_connections_are_errors_with_their_reason()
