"""Secrets given to a run are found nowhere in its directory, however it ends, though its nodes tell them to all."""

import gzip
import json
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import redis_server_path
from support.canary import HEAD, Nest, canary, found
from support.node_process import wait_until
from support.processes import left_after

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


@pytest.fixture
def nest(tmp_path: Path) -> Iterator[Nest]:
    binary = redis_server_path()
    if binary is None:
        pytest.skip("no redis-server: install one, or the extra fanlab[redis-server]")
    with tempfile.TemporaryDirectory(prefix="fl-test-") as temporary:
        yield Nest(tmp_path, binary, temporary=Path(temporary))


def manifest_of(nest: Nest) -> dict[str, Any]:
    return json.loads((nest.out / "manifest.json").read_text("utf-8"))


def test_a_complete_run_holds_none_and_needed_them_all(nest: Nest) -> None:
    nest.build()
    with nest.redis():
        code = nest.fanlab(*nest.run_words("--trace"))
    said = nest.said.read_text("utf-8")
    assert code in (0, 1, 3), said  # 3: a machine that had too much else to do
    assert found(nest.out) == []
    assert HEAD not in said
    summary = json.loads((nest.out / "summary.json").read_text("utf-8"))
    assert summary["ledger"]["delivered"] > 100, "nobody gets in without the token, nor to Redis without the password"
    logs = [(nest.out / "nodes" / f"node-{number}.log").read_text("utf-8") for number in (1, 2)]
    assert all(log.count("***") > 50 for log in logs), "what the nodes told is masked, not lost"
    journal = [json.loads(line) for line in (nest.out / "journal" / "node-1.jsonl").read_text("utf-8").splitlines()]
    assert any(event.get("error") == "***" and event["notes"] == ["***", {"why": "***"}] for event in journal)
    names = {file.name for file in nest.out.rglob("*.*")}
    assert {"report.html", "report.md", "locust_stats.csv", "deliveries.csv.gz"} <= names
    assert list(nest.temporary.iterdir()) == [], "private folders are gone"


def test_a_run_that_fails_holds_none_nor_does_its_error(nest: Nest) -> None:
    nest.fails = True
    nest.build()
    with nest.redis():
        code = nest.fanlab(*nest.run_words())
    said = nest.said.read_text("utf-8")
    assert code == 4, said
    assert "ended before it was ready" in said
    quoted = [line for line in said.splitlines() if line.startswith("  | ")]
    assert any("***" in line for line in quoted), "the log is quoted"
    assert HEAD not in said
    assert HEAD[:6] not in said.replace("***", "")
    assert manifest_of(nest)["status"] == "failed"
    assert quoted[0] in manifest_of(nest)["error"]
    assert found(nest.out) == []


def test_a_run_that_is_interrupted_holds_none(nest: Nest) -> None:
    nest.build()
    with nest.redis():
        code = nest.ended_in_mid_run(signal.SIGINT)
    assert code == 130, nest.said.read_text("utf-8")
    assert manifest_of(nest)["status"] == "aborted"
    assert (nest.out / "report.html").exists()
    assert found(nest.out) == []
    assert HEAD not in nest.said.read_text("utf-8")
    assert list(nest.temporary.iterdir()) == []


def test_what_fanlab_wrote_itself_holds_none_even_if_it_is_killed(nest: Nest) -> None:
    """What the nodes wrote into their own logs and journals nobody has masked then."""
    nest.build()
    with nest.redis():
        nest.ended_in_mid_run(signal.SIGKILL)
        assert left_after(5.0, [], nest.out) == []
    theirs = [
        nest.out / folder / f"node-{n}{end}"
        for folder, end in (("nodes", ".log"), ("journal", ".jsonl"))
        for n in (1, 2)
    ]
    assert any(HEAD in file.read_text("utf-8") for file in theirs), "else this test shows nothing"
    heads = [file.read_text("utf-8").splitlines()[0] for file in theirs[:2]]
    for file in theirs:
        file.unlink(missing_ok=True)
    assert found(nest.out) == []
    assert all(head.startswith("--- fanlab starts") and HEAD not in head for head in heads)
    wait_until(lambda: not list(nest.temporary.iterdir()), "the private folders removed by the warden")


def test_private_folders_are_private_and_outside_of_the_run_directory(nest: Nest) -> None:
    nest.build()
    with nest.redis():
        process = nest.start(*nest.run_words())
        try:
            wait_until(lambda: list(nest.temporary.glob("*/load.json")), "the load's configuration")
            for folder in nest.temporary.iterdir():
                assert stat.S_IMODE(folder.stat().st_mode) == 0o700
                assert not folder.is_relative_to(nest.out)
            told = [(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])]
            ours = [words for words in told if any("fanlab.load" in word for word in words)]
            assert ours
            assert not any(HEAD in word for words in ours for word in words), "any user may read command lines"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def test_the_search_finds_what_is_there(nest: Nest) -> None:
    folder = nest.folder / "planted"
    folder.mkdir()
    (folder / "deliveries.csv.gz").write_bytes(gzip.compress(f"a,b\n1,{canary('x')}\n".encode()))
    (folder / f"{HEAD}.txt").touch()
    (folder / "cut.log").write_text(canary("y")[:8])
    (folder / "clean.log").write_text("***")
    assert {place.partition(":")[0] for place in found(folder)} == {f"{HEAD}.txt", "cut.log", "deliveries.csv.gz"}


def test_verbs_that_run_nothing_print_none(nest: Nest) -> None:
    nest.build()
    wrong = [
        ("plan", str(nest.scenario)),
        ("plan", str(nest.scenario), "--json"),
        ("plan", str(nest.scenario), "--set", f"topology.nodes.env.API_KEY={canary('set')}"),
        ("validate", str(nest.scenario), "--set", f"topology.nodes.env.API_KEY.x={canary('set')}"),
        ("validate", str(nest.scenario), "--set", f"nowhere.API_KEY={canary('set')}"),
        ("validate", str(nest.scenario), "--set", f"topology.nodes.env=AUTH_TOKEN={canary('set')}"),
        ("validate", str(nest.scenario), "--set", f"topology.nodes.env=[{{AUTH_TOKEN: {canary('set', '')}"),
        ("validate", str(nest.scenario), "--set", f"topology.redis.config.requirepass=[{canary('set', '')}]"),
        ("run", str(nest.scenario), f"redis://u:{canary('word')}@127.0.0.1"),
        ("run", str(nest.scenario), "--redis-url", f"redis://u:{canary('word')}@127.0.0.1:1/0"),
        ("run", str(nest.scenario), "--redis-url", f"redis://u:{canary('a', '/')}@127.0.0.1:1/0"),
        ("run", str(nest.scenario), "--redis-url", f"redis://127.0.0.1:1/0?password={canary('word')}"),
        ("run", str(nest.scenario), "--redis-url", f"redis://u:{canary('word')}@192.0.2.1:1/0"),
        ("run", str(nest.scenario), "--redis-url", f"tcp://u:{canary('word')}@127.0.0.1"),
        ("run", str(nest.scenario), "--set", f"topology.redis.config.requirepass={canary('word')}"),
        ("run", str(nest.scenario), "--set", f"topology.redis.config.masterauth='{canary('word', '')}"),
        ("up", str(nest.scenario), "--redis-url", f"redis://u:{canary('word')}@127.0.0.1:1/0"),
        ("plan", str(nest.scenario), "--sett", canary("word")),
    ]
    for words in wrong:
        nest.fanlab(*words, *(["--out", str(nest.out)] if words[0] == "run" else []))
        said = nest.said.read_text("utf-8")
        assert said.strip(), words
        assert HEAD not in said, (words, said)
        assert "Traceback" not in said, (words, said)
        assert not nest.out.exists() or found(nest.out) == [], words
        for file in nest.out.rglob("manifest.json"):
            file.unlink()


def test_a_matrix_over_a_secret_shows_it_nowhere(nest: Nest) -> None:
    nest.fails = True
    nest.build()
    text = nest.scenario.read_text("utf-8")
    tried = [canary("one", ""), canary("two", "")]
    nest.scenario.write_text(f"{text}matrix:\n  topology.nodes.env.AUTH_TOKEN: {json.dumps(tried)}\n", "utf-8")
    with nest.redis():
        nest.fanlab(*nest.run_words())
    assert HEAD not in nest.said.read_text("utf-8")
    assert "topology.nodes.env.AUTH_TOKEN=***" in nest.said.read_text("utf-8")
    assert found(nest.out) == []


def test_a_bug_shows_none() -> None:
    broken = (
        "import sys, fanlab.cli as cli\n"
        "def bug(*_, **__): raise KeyError(sys.argv)\n"
        "cli._load = bug\n"
        "sys.argv[0] = 'fanlab'\n"
        "cli.main()"
    )
    url = f"redis://u:{canary('bug')}@127.0.0.1"
    command = [sys.executable, "-c", broken, "run", "x", "--redis-url", url, "--set", f"a.API_KEY={canary('set')}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 70
    assert "please report it with: fanlab run x --redis-url 'redis://u:***@127.0.0.1'" in done.stderr
    assert "KeyError" in done.stderr
    assert HEAD not in done.stderr
