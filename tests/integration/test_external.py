"""A system that runs already, driven from its URLs: an exact account, faults that Redis can do, and nothing leaked."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import free_port
from fanlab.errors import EnvironmentFailure, NodeFailure
from fanlab.faults.catalogue import FAULTS, refuse_impossible
from fanlab.faults.timeline import PlannedFault
from fanlab.rundir import RunDir
from fanlab.scenario.plan import NodeSpec
from fanlab.topology.backend import REDIS, UnitState
from fanlab.topology.external import ExternalBackend
from fanlab.topology.reach import Reach
from fanlab.topology.targets import TargetNode, Targets
from support.running_system import RunningSystem, files_with, has_redis, patient

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not has_redis(), reason="no redis-server: install one, or the extra fanlab[redis-server]"),
]

SHORT = patient("phases.measure=2s")
BY_REDIS = {"redis-kill-pubsub", "redis-client-pause", "redis-output-buffer", "redis-maxclients"}


def fanlab(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "fanlab", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=110, check=False, env={**os.environ, "COLUMNS": "200", **env}
    )


def result(rundir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((rundir / "summary.json").read_text())
    return found


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    with RunningSystem(tmp_path_factory.mktemp("theirs"), nodes=3) as running:
        yield running


def test_a_system_that_runs_is_accounted_for_exactly_and_left_as_it_was(system: RunningSystem, tmp_path: Path) -> None:
    done = fanlab("run", "steady", *system.options(), "--out", str(tmp_path / "run"), "--trace", *SHORT)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = result(tmp_path / "run")
    ledger = summary["ledger"]
    assert ledger["delivered"] == ledger["owed"] > 0
    assert summary["backend"] == "external"
    assert summary["evidence"]["crosscheck"] == "agrees"
    assert summary["evidence"]["node_journals"] == [], "black boxes"
    assert all(process.poll() is None for process in system.processes)


def test_a_file_names_it_as_well_and_journals_of_this_machine_count(system: RunningSystem, tmp_path: Path) -> None:
    nodes = [
        {"id": "node-1", "ws": f"{system.ws(1)}?token={system.password}", "http": system.http(1)},
        {"id": "node-2", "ws": system.ws(2), "journal": str(system.journal(2))},
        {"id": "node-3", "ws": system.ws(3).replace("127.0.0.1", "localhost")},
    ]
    targets = tmp_path / "targets.yaml"
    targets.write_text(json.dumps({"nodes": nodes, "redis": system.redis_url}))  # JSON is YAML
    rundir = tmp_path / "run"
    done = fanlab("run", "steady", "--backend", "external", "--targets", str(targets), "--out", str(rundir), *SHORT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert result(rundir)["evidence"]["node_journals"] == ["node-2"]
    assert files_with(system.password, rundir) == []
    assert system.password not in done.stdout + done.stderr
    facts = json.loads((rundir / "manifest.json").read_text())["backend_facts"]
    assert facts["nodes"][0]["ws"] == f"{system.ws(1)}?token=***"
    assert facts["redis"] == system.redis_url.replace(system.password, "***")


def test_what_redis_can_do_to_itself_is_done_and_its_cost_measured(system: RunningSystem, tmp_path: Path) -> None:
    fault = "faults=[{kind: redis-kill-pubsub, at: 500ms}]"
    rundir = tmp_path / "run"
    done = fanlab("run", "steady", *system.options(), "--out", str(rundir), *SHORT, "--set", fault, "--set", "gates=[]")
    assert done.returncode == 0, done.stdout + done.stderr
    [told] = result(rundir)["faults"]
    assert None not in (told["confirmed"], told["heal_confirmed"])
    assert result(rundir)["loss"]["unexplained"] == 0
    assert files_with(system.password, rundir) == [], "the command names it, and is in the manifest"


def test_what_needs_a_process_of_ours_is_refused_with_the_reason(tmp_path: Path) -> None:
    backend = ExternalBackend(RunDir(tmp_path), Targets(), Reach())
    for kind in sorted(FAULTS):
        target = REDIS if kind.startswith("redis-") else "node-1"
        timeline = [PlannedFault(0, kind, target, 0, 1)]
        if kind in BY_REDIS:
            refuse_impossible(timeline, backend)
        else:
            with pytest.raises(EnvironmentFailure, match="--backend external here: it runs already"):
                refuse_impossible(timeline, backend)


def test_a_fault_that_cannot_be_done_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    nowhere = [word for k in (1, 2, 3) for word in ("--node", f"node-{k}=ws://127.0.0.1:1/ws")]
    words = ["--backend", "external", *nowhere, "--redis-url", "redis://127.0.0.1:1", "--out", str(tmp_path / "run")]
    done = fanlab("run", "quickstart", *words)
    assert done.returncode == 4
    assert "crash node-2 cannot be done with --backend external here" in done.stderr


NOWHERE = [word for k in (1, 2) for word in ("--node", f"node-{k}=ws://127.0.0.1:1/ws")]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--node", "node-1=ws://127.0.0.1:1/ws"], 2, "--node: the scenario has 3 nodes, and 1 are given"),
        (["--node", "node-1=ws://192.0.2.1/ws"], 2, "the scenario has 3 nodes"),
        (["--max-rate", "many"], 2, "--max-rate: 'many' is no rate"),
        ([*NOWHERE, "--node", "node-3=http://127.0.0.1:1/"], 4, "--node node-3 http://127.0.0.1:1/ is no ws://"),
        ([*NOWHERE, "--node", "node-3=ws://me:secret@127.0.0.1:1/"], 2, "what the server asks for goes in the query"),
    ],
)
def test_mistakes_on_the_command_line(words: list[str], code: int, said: str, tmp_path: Path) -> None:
    given = ["--backend", "external", "--redis-url", "redis://127.0.0.1:1", "--out", str(tmp_path / "run")]
    done = fanlab("run", "steady", *given, *words)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "secret" not in done.stderr


def test_nodes_are_named_for_a_system_that_runs_only() -> None:
    done = fanlab("run", "steady", "--node", "node-1=ws://127.0.0.1:1/ws")
    assert done.returncode == 2
    assert "use --backend external" in done.stderr


REMOTE = [word for k in (1, 2, 3) for word in ("--node", f"node-{k}=ws://192.0.2.{k}/ws")]


def test_another_machine_is_refused_without_a_word_and_capped_with_one(tmp_path: Path) -> None:
    words = ["run", "steady", "--backend", "external", *REMOTE, "--redis-url", "redis://127.0.0.1:1"]
    refused = fanlab(*words, "--out", str(tmp_path / "1"))
    assert refused.returncode == 4
    assert "--allow-remote 192.0.2.1" in refused.stderr
    allowed = [word for k in (1, 2, 3) for word in ("--allow-remote", f"192.0.2.{k}")]
    capped = fanlab(*words, *allowed, "--out", str(tmp_path / "2"), "--max-rate", "100/s", "--max-connections", "50")
    assert capped.returncode == 2
    assert "--max-rate: the scenario publishes and reads up to 130/s" in capped.stderr
    assert "--max-connections: the scenario has 60 clients" in capped.stderr


def test_a_remote_redis_of_the_process_backend_needs_the_word_as_well(tmp_path: Path) -> None:
    words = ["run", "steady", "--redis-url", "redis://:secret@192.0.2.1", "--out"]
    refused = fanlab(*words, str(tmp_path / "1"))
    assert refused.returncode == 4
    assert "--redis-url: 192.0.2.1 is 192.0.2.1, which is another machine" in refused.stderr
    capped = fanlab(*words, str(tmp_path / "2"), "--allow-remote", "192.0.2.1", "--max-rate", "1/s")
    assert capped.returncode == 2
    assert "192.0.2.1 is another machine" in capped.stderr
    assert "secret" not in refused.stderr + capped.stderr
    assert files_with("secret", tmp_path) == []


# The backend by itself


NODE = NodeSpec(0, "node-1", "websockets", {}, journal=True)


def backend(
    tmp_path: Path, *nodes: TargetNode, redis: str | None = None, reach: Reach | None = None
) -> ExternalBackend:
    rundir = RunDir(tmp_path / "run")
    rundir.create()
    return ExternalBackend(rundir, Targets(nodes=list(nodes), redis=redis), reach or Reach())


async def test_a_unit_that_runs_is_asked_and_never_touched(system: RunningSystem, tmp_path: Path) -> None:
    target = TargetNode(id="node-1", ws=system.ws(1), http=system.http(1))
    theirs = backend(tmp_path, target, redis=system.redis_url)
    await theirs.open()
    try:
        redis = await theirs.start_redis({})
        assert (redis.source, redis.pid) == ("external", None)
        node = await theirs.start_node(NODE)
        assert (node.ws_url, node.cache_url) == (system.ws(1), f"{system.http(1)}/cache/{{key}}")
        for unit in (REDIS, "node-1"):
            assert await theirs.probe(unit)
            assert theirs.state(unit) is UnitState.RUNNING
            assert theirs.pid(unit) is None
            assert theirs.log_tail(unit) == []
            for deed in (theirs.signal(unit, 9), theirs.freeze(unit), theirs.restart(unit), theirs.exited(unit)):
                with pytest.raises(EnvironmentFailure, match="not fanlab's to touch"):
                    await deed
        with pytest.raises(EnvironmentFailure, match=r"topology\.redis\.config \(maxmemory\) cannot be applied"):
            await theirs.start_redis({"maxmemory": "1mb"})
    finally:
        await theirs.close()


async def test_a_node_that_does_not_serve_is_told_with_what_was_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanlab.topology.external.READY_WITHIN_S", 0.3)
    port = free_port()
    theirs = backend(tmp_path, TargetNode(id="node-1", ws=f"ws://127.0.0.1:{port}/ws?token=secret"))
    with pytest.raises(NodeFailure, match="a WebSocket's handshake last met with: connection refused") as caught:
        await theirs.start_node(NODE)
    assert "secret" not in str(caught.value)
    assert not await theirs.probe(REDIS)


async def test_what_answers_otherwise_does_not_serve(
    system: RunningSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanlab.topology.external.READY_WITHIN_S", 0.3)
    wrong = TargetNode(id="node-1", ws=f"{system.ws(1)}/no/such/path")
    with pytest.raises(NodeFailure, match="HTTP 404 instead of 101"):
        await backend(tmp_path / "1", wrong).start_node(NODE)
    redis = TargetNode(id="node-1", ws=f"ws://{system.host}:{system.ports[0]}/")
    with pytest.raises(NodeFailure, match="no answer that could be read"):
        await backend(tmp_path / "2", redis).start_node(NODE)


async def test_a_journal_counts_from_this_machine_only(system: RunningSystem, tmp_path: Path) -> None:
    gone = TargetNode(id="node-1", ws=system.ws(1), journal=str(tmp_path / "none.jsonl"))
    with pytest.raises(EnvironmentFailure, match="is no file"):
        await backend(tmp_path / "1", gone).start_node(NODE)


# TLS


@contextmanager
def tls_before(port: int, folder: Path) -> Iterator[tuple[int, Path]]:
    """A TLS proxy for `localhost` before a port: its own port, and the certificate to trust."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        threading.Thread(target=_accept, args=(server, context, port), daemon=True).start()
        yield server.getsockname()[1], certificate


def _accept(server: socket.socket, context: ssl.SSLContext, port: int) -> None:
    while True:
        try:
            plain, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(plain, context, port), daemon=True).start()


def _serve(plain: socket.socket, context: ssl.SSLContext, port: int) -> None:
    try:
        outer = context.wrap_socket(plain, server_side=True)
    except OSError:
        plain.close()
        return
    inner = socket.create_connection(("127.0.0.1", port))
    back = threading.Thread(target=_pump, args=(inner, outer), daemon=True)
    back.start()
    _pump(outer, inner)
    back.join()
    outer.close()
    inner.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl, which makes the certificate")
def test_a_node_behind_tls(system: RunningSystem, tmp_path: Path) -> None:
    with tls_before(system.ports[1], tmp_path) as (port, certificate):
        words = ["--backend", "external", "--node", f"node-1=wss://localhost:{port}/ws"]
        words += ["--redis-url", system.redis_url, *SHORT, "--set", "topology.nodes.count=1"]
        done = fanlab("run", "steady", *words, "--out", str(tmp_path / "1"), SSL_CERT_FILE=str(certificate))
        assert done.returncode == 0, done.stdout + done.stderr
        ledger = result(tmp_path / "1")["ledger"]
        assert ledger["delivered"] == ledger["owed"] > 0
        distrusted = fanlab("run", "steady", *words, "--out", str(tmp_path / "2"))
        assert distrusted.returncode == 4
        assert "CERTIFICATE_VERIFY_FAILED" in distrusted.stderr
