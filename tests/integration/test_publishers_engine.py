"""The publishers engine, as a process, against a real Redis that dies, freezes and returns."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import RealRedis
from fanlab.clock import NS_PER_MS, NS_PER_S, now_ns
from fanlab.ledger.records import INTENT_DTYPE, OUTCOME_DTYPE, Status
from fanlab.ledger.stripe import Kind, StripeReader
from fanlab.load.config import LoadConfig, PublishersConfig
from fanlab.load.wire import LineReader, Message, encode
from fanlab.scenario.model import ConstantRate

pytestmark = pytest.mark.system


class Engine:
    """A publishers engine in a process of its own, with two publishers of 100/s."""

    def __init__(self, folder: Path, redis_url: str, timeout_ns: int = 500 * NS_PER_MS) -> None:
        publishers = PublishersConfig("p", 2, 0, "news", ConstantRate(rate="100/s"), 64, timeout_ns)
        config = LoadConfig(1, 77, redis_url, str(folder), "", (), ("news",), (), (publishers,))
        config.write(folder / "load.json")
        ours, theirs = socket.socketpair()
        argv = [sys.executable, "-m", "fanlab.load.engine", "--role", "publishers", "--config", folder / "load.json"]
        argv += ["--worker", "1", "--fd", str(theirs.fileno())]
        self.process = subprocess.Popen([str(part) for part in argv], pass_fds=[theirs.fileno()])
        theirs.close()
        ours.settimeout(20)
        self.socket, self._lines, self.heard = ours, LineReader(), list[Message]()
        self.path = folder / "publishers-1.stripe"

    def order(self, **message: Any) -> None:
        self.socket.sendall(encode(message))

    def until(self, condition: Callable[[Message], Any]) -> None:
        """Read what it tells until a message fits."""
        while True:
            for message in self._lines.feed(self.socket.recv(65536)):
                self.heard.append(message)
                if condition(message):
                    return

    def begin(self, seconds: float) -> int:
        """Both publishers take part; returns when publishing begins."""
        for stream in (0, 1):
            self.order(op="publish", stream=stream)
        self.until(lambda m: m["ev"] == "counts" and m["up"] and m["publishers"] == 2)
        start_ns = now_ns() + 100 * NS_PER_MS
        end_ns = start_ns + round(seconds * NS_PER_S)
        self.order(op="epoch", publish_start_ns=start_ns, zero_ns=start_ns, publish_end_ns=end_ns)
        return start_ns

    def finish(self) -> None:
        self.order(op="finish")
        self.until(lambda m: m["ev"] == "ended")
        assert self.process.wait(20) == 0

    def records(self, kind: Kind, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        return np.concatenate([np.frombuffer(f.payload, dtype) for f in StripeReader(self.path) if f.kind is kind])

    def outcomes(self) -> np.ndarray[Any, Any]:
        """All outcomes, after checking that there is one for each intent and one slot per 5 ms."""
        intents, outcomes = self.records(Kind.INTENTS, INTENT_DTYPE), self.records(Kind.OUTCOMES, OUTCOME_DTYPE)
        keys = [sorted(zip(part["stream"].tolist(), part["seq"].tolist(), strict=True)) for part in (intents, outcomes)]
        assert keys[0] == keys[1]
        intended = np.sort(intents["intended_ns"])
        assert set(np.diff(intended).tolist()) == {5 * NS_PER_MS}
        return outcomes[np.lexsort((outcomes["stream"], outcomes["seq"]))]


@pytest.fixture
def engine(tmp_path: Path, real_redis: RealRedis) -> Iterator[Engine]:
    started = Engine(tmp_path, real_redis.url)
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait()
    started.socket.close()


def sleep_until(t_ns: int) -> None:
    time.sleep(max(0, t_ns - now_ns()) / NS_PER_S)


def test_every_slot_is_published(engine: Engine) -> None:
    engine.begin(0.5)
    engine.until(lambda m: m["ev"] == "published")
    engine.finish()
    outcomes = engine.outcomes()
    assert Counter(outcomes["stream"].tolist()) == {0: 50, 1: 50}
    assert set(outcomes["status"].tolist()) == {Status.OK}
    assert set(outcomes["receivers"].tolist()) == {0}  # nobody listens
    batches = [m["publish"]["news"] for m in engine.heard if m["ev"] == "batch" and m["publish"]]
    assert sum(batch["count"] for batch in batches) == 100


def test_redis_dies_and_returns(engine: Engine, real_redis: RealRedis) -> None:
    start_ns = engine.begin(1.5)
    sleep_until(start_ns + 300 * NS_PER_MS)
    real_redis.kill()
    killed_ns = now_ns()
    sleep_until(start_ns + 700 * NS_PER_MS)
    real_redis.start()
    back_ns = now_ns()
    engine.until(lambda m: m["ev"] == "published")
    engine.finish()
    outcomes = engine.outcomes()
    assert len(outcomes) == 300
    failed = outcomes[outcomes["status"] == Status.FAILED]
    assert len(failed) >= 40
    assert set(outcomes["status"].tolist()) <= {Status.OK, Status.FAILED, Status.UNKNOWN}
    assert failed["sent_ns"].min() > killed_ns - 100 * NS_PER_MS
    late = outcomes[outcomes["sent_ns"] > back_ns + 400 * NS_PER_MS]
    assert len(late)
    assert set(late["status"].tolist()) == {Status.OK}


def test_a_frozen_redis_times_out_and_late_replies_keep_the_order(engine: Engine, real_redis: RealRedis) -> None:
    assert real_redis.process is not None
    start_ns = engine.begin(2)
    sleep_until(start_ns + 300 * NS_PER_MS)
    os.kill(real_redis.process.pid, signal.SIGSTOP)
    frozen_ns = now_ns()
    sleep_until(start_ns + 1200 * NS_PER_MS)
    thawed_ns = now_ns()
    os.kill(real_redis.process.pid, signal.SIGCONT)
    engine.until(lambda m: m["ev"] == "published")
    engine.finish()
    outcomes = engine.outcomes()
    assert len(outcomes) == 400
    assert set(outcomes["status"].tolist()) == {Status.OK, Status.TIMED_OUT}
    timed_out = outcomes[outcomes["status"] == Status.TIMED_OUT]
    # Those sent in the first 400 ms of the 900 ms freeze have waited for 500 ms before it ended.
    assert timed_out["sent_ns"].min() > frozen_ns - 50 * NS_PER_MS
    assert timed_out["sent_ns"].max() < thawed_ns - 400 * NS_PER_MS
    assert (timed_out["done_ns"] - timed_out["sent_ns"]).min() >= 500 * NS_PER_MS
    after = outcomes[outcomes["sent_ns"] > thawed_ns + 200 * NS_PER_MS]
    assert set(after["status"].tolist()) == {Status.OK}


def test_a_stalled_engine_catches_up_and_marks_what_came_too_late(engine: Engine) -> None:
    start_ns = engine.begin(1)
    sleep_until(start_ns + 300 * NS_PER_MS)
    engine.process.send_signal(signal.SIGSTOP)
    sleep_until(start_ns + 600 * NS_PER_MS)
    engine.process.send_signal(signal.SIGCONT)
    sleep_until(start_ns + 800 * NS_PER_MS)
    engine.process.send_signal(signal.SIGSTOP)
    sleep_until(start_ns + 1700 * NS_PER_MS)  # past the end and the timeout
    engine.process.send_signal(signal.SIGCONT)
    engine.until(lambda m: m["ev"] == "published")
    engine.finish()
    outcomes = engine.outcomes()
    assert len(outcomes) == 200
    ok, unsent = outcomes[outcomes["status"] == Status.OK], outcomes[outcomes["status"] == Status.UNSENT]
    assert len(ok) >= 140  # the first stall's slots were sent late, not skipped
    assert 20 <= len(unsent) <= 50
    assert engine.heard[-1]["outcomes"]["unsent"] == len(unsent)


def test_it_ends_in_order_when_its_worker_is_gone(engine: Engine) -> None:
    engine.begin(5)
    engine.until(lambda m: m["ev"] == "counts" and m["sent"] > 20)
    engine.socket.shutdown(socket.SHUT_RDWR)
    assert engine.process.wait(20) == 0
    engine.outcomes()
    frames = list(StripeReader(engine.path))
    assert frames[-1].kind is Kind.END
    assert b"orphaned" in frames[-1].payload


def test_sigkill_leaves_an_intent_for_every_message(engine: Engine) -> None:
    engine.begin(5)
    engine.until(lambda m: m["ev"] == "counts" and m["sent"] > 20)
    engine.process.kill()
    engine.process.wait()
    told = max(m["sent"] for m in engine.heard if m["ev"] == "counts")
    intents = engine.records(Kind.INTENTS, INTENT_DTYPE)
    assert len(intents) >= told
    assert len(intents) >= len(engine.records(Kind.OUTCOMES, OUTCOME_DTYPE))
