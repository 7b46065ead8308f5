"""`fanlab explain` as a user types it: what it prints, and what it exits with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fanlab.ledger.records import Status
from support.histories import History


def explain(*words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "fanlab", "explain", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Redis is away at 90 ms: message 1 is lost to both clients, message 2 reaches them."""
    history = History(clients=2, nodes=1).subscribe(0).subscribe(1).fault("redis-restart", "redis", 90, 200)
    history.publish(1, 100, status=Status.FAILED).publish(2, 500).deliver(0, 2, 501).deliver(1, 2, 501)
    return history.write(tmp_path / "a run").path


def test_a_loss_is_found_and_its_story_told(run: Path) -> None:
    listed = explain(run, "--lost")
    assert listed.returncode == 0, listed.stderr
    assert "2 lost:" in listed.stdout
    command = listed.stdout.rstrip().splitlines()[-1].strip()
    assert command == f"fanlab explain '{run}' --client 0 --seq 1", "as a shell takes it"
    told = explain(run, "--client", 0, "--seq", 1)
    assert told.returncode == 0, told.stderr
    assert "Message 1 of publisher-1 on news, for client 0 (readers:0)" in told.stdout
    assert "LOST at publisher → Redis, because of redis down" in told.stdout
    assert "It goes back: redis-restart @90ms ⇒ redis down." in told.stdout


def test_json_alone_on_stdout(run: Path) -> None:
    (story,) = json.loads(explain(run, "--client", "readers:1", "--seq", 2, "--json").stdout)
    assert (story["client"], story["outcome"], story["latency_ms"]) == (1, "delivered", 1.0)
    losses = json.loads(explain(run, "--lost", "--client", 1, "--json").stdout)
    assert [(one["client"], one["seq"], one["cause"]) for one in losses] == [(1, 1, "redis_down")]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--lost"),
        (["--client", "0"], "name --client and --seq"),
        (["--lost", "--seq", "1"], "name --client and --seq"),
        (["--client", "7", "--seq", "1"], "clients 0 to 1"),
        (["--client", "0", "--seq", "9"], "publisher-1 sent 1 to 2 on news"),
        (["--client", "0", "--seq", "0"], "--seq"),
        (["--client", "0", "--seq", "1", "--channel", "jobs"], "this run has news"),
    ],
)
def test_what_cannot_be_told_exits_with_2_and_says_what_can(words: list[str], told: str, run: Path) -> None:
    done = explain(run, *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_that_is_no_run_exits_with_3(tmp_path: Path) -> None:
    done = explain(tmp_path, "--lost")
    assert done.returncode == 3
    assert "manifest.json does not exist" in done.stderr
