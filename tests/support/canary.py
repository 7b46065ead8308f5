"""Canaries: secrets that begin and end with marks of their own, put wherever a run is given secrets; and a search.

The node that they are given to, leaky_node/, tells them to everybody. Nothing of them may be found in a run directory.
"""

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from conftest import free_port
from support.node_process import wait_until
from support.processes import left_after

ROOT = Path(__file__).resolve().parents[2]
HEAD, TAIL = "c4n4ry", "y4n4rc"
MARKS = (HEAD.encode(), TAIL.encode())
DEADLINE_S = 60.0


def canary(name: str, odd: str = "&<'\"é%20\\") -> str:
    """A secret; `odd` characters in its middle make it look different in a URL, in JSON, in HTML and in Python."""
    return f"{HEAD}{name}{odd}{TAIL}"


def found(folder: Path) -> list[str]:
    """Where a piece of a canary is to be found in a folder: in which file, unpacked if need be, and round what."""
    told = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = file.read_bytes()
        text = gzip.decompress(data) if file.suffix == ".gz" else data
        for mark in MARKS:
            at = text.find(mark)
            if at >= 0 or mark.decode() in file.name:
                told.append(f"{file.relative_to(folder)}: {text[max(0, at - 60) : at + 40]!r}")
    return told


@dataclass(slots=True)
class Nest:
    """A system full of canaries: a Redis with a password, and a folder with a leaky kind of node and a scenario."""

    folder: Path
    temporary: Path  # TMPDIR; its path must be short, for a Unix socket's must be
    redis_binary: str
    fails: bool = False
    port: int = field(default_factory=free_port)

    @property
    def redis_url(self) -> str:
        return f"redis://alice:{quote(canary('redis'), safe='')}@127.0.0.1:{self.port}/0"

    @property
    def scenario(self) -> Path:
        return self.folder / "canary.yaml"

    @property
    def out(self) -> Path:
        return self.folder / "run"

    def build(self) -> None:
        """Write the node and the scenario."""
        kind = self.folder / "nodes" / "leaky"
        kind.mkdir(parents=True)
        source = ROOT / "tests" / "support" / "leaky_node"
        (kind / "server.py").write_bytes((source / "server.py").read_bytes())
        manifest = (source / "node.yaml").read_text("utf-8")
        for word in ("ARGUMENT", "PROBE"):
            manifest = manifest.replace(word, canary(word, ""))
        (kind / "node.yaml").write_text(manifest.replace("QUERY", self.token), "utf-8")
        env = {
            "GOOD_NODE": str(ROOT / "nodes" / "websockets"),
            "AUTH_TOKEN": self.token,
            "DB_PASSWORD": canary("env"),
            "CREDENTIALS_JSON": '{"key": "' + canary("nested", "") + '"}',
            "PRIVATE_KEY": f"-----BEGIN-----\n{canary('pem', '')}\n-----END-----",
            "DATABASE_URL": f"postgres://app:{canary('database', '')}@127.0.0.1/db?sslpassword={canary('query', '')}",
            "WEBHOOK": f"https://{canary('username', '')}@127.0.0.1/hook",
            **({"LEAKY_FAILS": "1"} if self.fails else {}),
        }
        scenario = {
            "name": "canary",
            "question": f"Is {canary('env')} found?",
            "expect": f"{canary('env')} is not.",
            "topology": {"nodes": {"kind": "leaky", "count": 2, "env": env}},
            "channels": ["news"],
            "clients": [{"group": "readers", "count": 6, "channels": ["news"], "reconnect": {"initial": "100ms"}}],
            "publishers": [{"name": "ticker", "channel": "news", "rate": "40/s"}],
            "phases": {"warm_up": "200ms", "measure": "3s", "drain": {"quiet": "300ms", "deadline": "5s"}},
            "faults": [{"kind": "crash", "target": "node-2", "at": "1s", "for": "500ms"}],
            "gates": ["ledger.duplicated >= 0", "ledger.unexpected >= 0", "loss.unexplained >= 0"],
        }
        self.scenario.write_text(yaml.safe_dump(scenario, allow_unicode=True, sort_keys=False), "utf-8")

    @property
    def token(self) -> str:
        """What clients show to be let in."""
        return canary("token", "")

    @contextmanager
    def redis(self) -> Iterator[None]:
        """The Redis with the password, for as long as the block lasts."""
        argv = [self.redis_binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        rules = self.folder / "users.acl"
        digest = hashlib.sha256(canary("redis").encode()).hexdigest()
        rules.write_text(f"user default off\nuser alice on #{digest} ~* &* +@all\n", "utf-8")
        with (self.folder / "redis.log").open("wb") as log:
            process = subprocess.Popen([*argv, "--aclfile", str(rules)], stdout=log, stderr=log)
        try:
            wait_until(lambda: "eady to accept" in (self.folder / "redis.log").read_text(), "Redis")
            yield
        finally:
            process.kill()
            process.wait()

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        """fanlab in this folder; what it says goes to the file `said`."""
        more = {"DEPLOY_TOKEN": canary("process"), "CI": "1", "TMPDIR": str(self.temporary)}
        with self.said.open("wb") as said:
            command = [sys.executable, "-m", "fanlab", *words]
            return subprocess.Popen(command, cwd=self.folder, env={**os.environ, **more}, stdout=said, stderr=said)

    @property
    def said(self) -> Path:
        return self.folder / "said"

    def run_words(self, *more: str) -> list[str]:
        """The command line of a run."""
        overrides = ["--set", f"topology.nodes.env.OTHER_SECRET={canary('set', '')}"]
        return ["run", str(self.scenario), "--out", str(self.out), "--redis-url", self.redis_url, *overrides, *more]

    def fanlab(self, *words: str) -> int:
        """Run it to its end; returns its exit code."""
        process = self.start(*words)
        try:
            return process.wait(DEADLINE_S)
        finally:
            process.kill()
            process.wait()

    def ended_in_mid_run(self, signum: int) -> int:
        """Begin a run, and send it a signal when it publishes; returns its exit code."""
        process = self.start(*self.run_words())
        try:
            wait_until(self._running, "publishing", DEADLINE_S)
            time.sleep(1.2)  # let something happen: not waited for, and nothing depends on how much it is
            process.send_signal(signum)
            return process.wait(DEADLINE_S)
        finally:
            process.kill()
            process.wait()

    def heard(self) -> str:
        """What it has said so far."""
        return self.said.read_text("utf-8")

    def manifest(self) -> dict[str, Any]:
        """The run's."""
        told: dict[str, Any] = json.loads((self.out / "manifest.json").read_text("utf-8"))
        return told

    def _running(self) -> bool:
        manifest = self.out / "manifest.json"
        return manifest.exists() and '"status": "running"' in manifest.read_text("utf-8")


# What must be true, however a run ends. Each of these raises AssertionError.


def complete(nest: Nest) -> None:
    """A complete run holds none, and needed them all."""
    nest.build()
    with nest.redis():
        code = nest.fanlab(*nest.run_words("--trace"))
    assert code in (0, 1, 3), nest.heard()  # 3: a machine that had too much else to do
    _nowhere(nest)
    summary = json.loads((nest.out / "summary.json").read_text("utf-8"))
    assert summary["ledger"]["delivered"] > 100, "nobody gets in without the token, nor to Redis without the password"
    logs = [(nest.out / "nodes" / f"node-{number}.log").read_text("utf-8") for number in (1, 2)]
    assert all(log.count("***") > 50 for log in logs), "what the nodes told is masked, not lost"
    journal = [json.loads(line) for line in (nest.out / "journal" / "node-1.jsonl").read_text("utf-8").splitlines()]
    assert any(event.get("error") == "***" and event["notes"] == ["***", {"why": "***"}] for event in journal)
    wanted = {"report.html", "report.md", "locust_stats.csv", "deliveries.csv.gz"}
    assert wanted <= {file.name for file in nest.out.rglob("*.*")}
    assert list(nest.temporary.iterdir()) == [], "private folders are gone"


def failed(nest: Nest) -> None:
    """A run that fails holds none, nor does its error, though it quotes a log that does."""
    nest.fails = True
    nest.build()
    with nest.redis():
        code = nest.fanlab(*nest.run_words())
    assert code == 4, nest.heard()
    _nowhere(nest)
    assert "ended before it was ready" in nest.heard()
    quoted = [line for line in nest.heard().splitlines() if line.startswith("  | ")]
    assert any("***" in line for line in quoted), "the log is quoted"
    assert nest.manifest()["status"] == "failed"
    assert quoted[0] in nest.manifest()["error"]


def aborted(nest: Nest) -> None:
    """A run that is interrupted holds none, nor does its report."""
    nest.build()
    with nest.redis():
        code = nest.ended_in_mid_run(signal.SIGINT)
    assert code == 130, nest.heard()
    _nowhere(nest)
    assert nest.manifest()["status"] == "aborted"
    assert (nest.out / "report.html").exists()
    assert list(nest.temporary.iterdir()) == [], "private folders are gone"


def killed(nest: Nest) -> None:
    """What fanlab wrote itself holds none even if it is killed; the nodes' own files nobody has masked then."""
    nest.build()
    with nest.redis():
        nest.ended_in_mid_run(signal.SIGKILL)
        assert left_after(10.0, [], nest.out) == []
    logs, journals = nest.out / "nodes", nest.out / "journal"
    theirs = [*logs.glob("node-*.log"), *journals.glob("node-*.jsonl")]
    assert any(HEAD in file.read_text("utf-8") for file in theirs), "else this shows nothing"
    heads = [file.read_text("utf-8").splitlines()[0] for file in theirs if file.suffix == ".log"]
    assert all(head.startswith("--- fanlab starts") and HEAD not in head for head in heads)
    for file in theirs:
        file.unlink()
    assert found(nest.out) == []
    wait_until(lambda: not list(nest.temporary.iterdir()), "the private folders removed by the warden")


ENDS: dict[str, Callable[[Nest], None]] = {
    "complete": complete,
    "failed": failed,
    "aborted": aborted,
    "killed": killed,
}


def _nowhere(nest: Nest) -> None:
    assert found(nest.out) == []
    assert HEAD not in nest.heard()
    assert TAIL not in nest.heard()
