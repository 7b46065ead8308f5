"""The witness as a real process at a real Redis: it has everything, in Redis' order, and does not show."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import redis

from conftest import RealRedis
from fanlab.ledger.records import Token, encode_token
from fanlab.ledger.stripe import StripeReader
from fanlab.ledger.witness import Witness, read_witness
from fanlab.ledger.witnessname import WITNESS_NAME
from fanlab.load.witness import URL_VARIABLE
from support.node_process import wait_until

pytestmark = pytest.mark.system

RUN = 7
CHANNELS = ("news", "odd[x]*?\\", "jobs")


class Process:
    """One witness with two streams."""

    def __init__(self, url: str, folder: Path) -> None:
        self.stripe = folder / "witness.stripe"
        self.log = folder / "witness.log"
        argv = [sys.executable, "-m", "fanlab.load.witness", "--out", str(self.stripe), "--run-tag", str(RUN)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*argv, "--streams", "2", "--", *CHANNELS], env={**os.environ, URL_VARIABLE: url}, stderr=log
            )

    def read(self) -> Witness:
        found = read_witness(self.stripe)
        assert found is not None
        return found

    def wait_up(self, times: int = 1) -> None:
        wait_until(lambda: self.stripe.exists() and len(self.read().up) >= times, f"up for the {times}th time")

    def end(self, signum: int = signal.SIGTERM) -> Witness:
        self.process.send_signal(signum)
        self.process.wait(20)
        return self.read()


@pytest.fixture
def witness(redis_server: str, tmp_path: Path) -> Iterator[Process]:
    process = Process(redis_server, tmp_path)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.wait()


@pytest.fixture
def client(redis_server: str) -> Iterator[redis.Redis]:
    with closing(redis.Redis.from_url(redis_server)) as connected:
        yield connected


def token(seq: int, stream: int = 0, run: int = RUN) -> bytes:
    return b'{"pad":"fl","token":"' + encode_token(Token(run, stream, seq, 1000 + seq, 0)) + b'"}'


def copies(witness: Witness) -> list[tuple[int, int]]:
    return list(zip(witness.records["stream"].tolist(), witness.records["seq"].tolist(), strict=True))


def test_it_has_every_copy_in_the_order_of_publishing(witness: Process, client: redis.Redis) -> None:
    witness.wait_up()
    sent = [(seq % 2, seq, CHANNELS[seq % 3]) for seq in range(1, 20_001)]
    before_ns = time.monotonic_ns()
    for start in range(0, len(sent), 500):
        with client.pipeline(transaction=False) as pipe:
            for stream, seq, channel in sent[start : start + 500]:
                pipe.publish(channel, token(seq, stream))
            assert set(pipe.execute()) == {1}  # the witness alone is counted
    client.publish("news", token(3))
    client.publish("news", token(4, run=8))
    client.publish("news", "no token")
    client.publish("elsewhere", token(5))
    published_ns = time.monotonic_ns()
    found = witness.end()
    assert copies(found) == [(stream, seq) for stream, seq, _ in sent] + [(0, 3)]
    assert found.records["intended_ns"].tolist() == [1000 + seq for _, seq in copies(found)]
    assert (found.records["recv_ns"][1:] >= found.records["recv_ns"][:-1]).all()
    assert (found.torn, found.corrupt, found.closed) == (0, 0, True)
    assert witness.process.returncode == 0
    ((since_ns, good_ns),) = found.up.tolist()
    assert since_ns < before_ns < published_ns < good_ns
    *_, end = StripeReader(witness.stripe)
    assert end.payload == b'{"reason": "asked", "copies": 20001, "foreign": 1, "damaged": 1, "cut": 0}'


def test_it_does_not_show_among_the_channels(witness: Process, client: redis.Redis) -> None:
    witness.wait_up()
    assert client.pubsub_channels() == []
    assert {count for _, count in client.pubsub_numsub(*CHANNELS)} == {0}
    assert client.pubsub_numpat() == len(CHANNELS)
    assert [entry["name"] for entry in client.client_list(_type="pubsub")] == [WITNESS_NAME]


def test_a_name_that_is_a_pattern_matches_itself_and_no_other(witness: Process, client: redis.Redis) -> None:
    witness.wait_up()
    assert client.publish("oddx", token(1)) == 0
    assert client.publish("oddxy?\\", token(2)) == 0
    assert client.publish("odd[x]*?\\", token(3)) == 1
    assert copies(witness.end()) == [(0, 3)]


def test_cut_off_it_comes_back_and_says_what_it_may_have_missed(witness: Process, client: redis.Redis) -> None:
    witness.wait_up()
    missed: list[tuple[int, int]] = []
    for seq in range(1, 4):
        assert client.publish("news", token(seq)) == 1
        with client.pipeline(transaction=False) as pipe:  # at once, so that it cannot be back in time
            pipe.client_kill_filter(_type="pubsub").publish("news", token(100 + seq))
            before_ns = time.monotonic_ns()
            assert pipe.execute() == [1, 0]
            missed.append((before_ns, time.monotonic_ns()))
        witness.wait_up(times=seq + 1)
    client.publish("news", token(9))
    found = witness.end()
    assert copies(found) == [(0, 1), (0, 2), (0, 3), (0, 9)]
    assert len(found.up) == 4
    assert not found.surely_saw(*np.array(missed).T).any()
    assert all(until <= kill[1] for kill, (_, until) in zip(missed, found.up.tolist(), strict=False))
    assert all(since >= kill[0] for kill, (since, _) in zip(missed, found.up.tolist()[1:], strict=True))


def test_redis_restarted(witness: Process, real_redis: RealRedis, client: redis.Redis) -> None:
    witness.wait_up()
    real_redis.kill()
    wait_until(lambda: b"no connection" in witness.log.read_bytes(), "word of it in the log")
    real_redis.start()
    witness.wait_up(times=2)
    assert client.publish("news", token(1)) == 1
    assert copies(witness.end()) == [(0, 1)]


def test_killed_it_leaves_what_it_had(witness: Process, client: redis.Redis) -> None:
    witness.wait_up()
    client.publish("news", token(1))
    wait_until(lambda: len(witness.read().records), "the copy on disk")
    found = witness.end(signal.SIGKILL)
    assert copies(found) == [(0, 1)]
    assert (found.closed, len(found.up)) == (False, 1)


def test_a_redis_that_refuses_is_named_in_the_log(real_redis: RealRedis, tmp_path: Path, client: redis.Redis) -> None:
    client.config_set("requirepass", "secret")
    witness = Process(real_redis.url, tmp_path)
    try:
        wait_until(lambda: b"NOAUTH" in witness.log.read_bytes(), "the refusal in the log")
        assert len(witness.end().up) == 0
        allowed = Process(real_redis.url.replace("redis://", "redis://:secret@"), tmp_path / "..")
    finally:
        witness.process.kill()
        witness.process.wait()
    try:
        allowed.wait_up()
        assert b"secret" not in Path(f"/proc/{allowed.process.pid}/cmdline").read_bytes()
    finally:
        allowed.process.kill()
        allowed.process.wait()


def test_it_ends_when_whoever_started_it_is_gone(redis_server: str, tmp_path: Path) -> None:
    script = (
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-m', 'fanlab.load.witness', '--out', {str(tmp_path / 'w.stripe')!r},\n"
        "    '--run-tag', '7', '--streams', '1', 'news'])\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, URL_VARIABLE: redis_server}, stdin=subprocess.PIPE
    )
    try:
        wait_until(lambda: (found := read_witness(tmp_path / "w.stripe")) is not None and len(found.up), "up")
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: (found := read_witness(tmp_path / "w.stripe")) is not None and found.closed, "its end")
    *_, end = StripeReader(tmp_path / "w.stripe")
    assert b'"orphaned"' in end.payload
