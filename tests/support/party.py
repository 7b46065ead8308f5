"""A run and its workers, each `fanlab` in a process of its own, ended by their ids whatever happens."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from conftest import free_port
from support.node_process import wait_until

TOKEN = "canary-token-of-some-length"
END_S = 100


@dataclass(slots=True)
class Fanlab:
    """One `fanlab …`; what it says goes to files."""

    process: "subprocess.Popen[bytes]"
    said: Path

    def wait(self, deadline_s: float = END_S) -> int:
        """Its exit code."""
        return self.process.wait(deadline_s)

    def text(self) -> str:
        """All that it has said so far."""
        return self.said.read_text(errors="replace")

    def ends_with(self, code: int) -> None:
        """Wait for its end; fails with all that it said if that was another."""
        assert self.wait() == code, self.text()

    def children(self) -> list[psutil.Process]:
        """All processes that it has started, and they."""
        return psutil.Process(self.process.pid).children(recursive=True)


@dataclass(slots=True)
class Party:
    """Use it with `with`. `before` is put in front of a worker's command: the host that it is to run on."""

    folder: Path
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    temp: Path = field(init=False)  # where workers have their folders
    started: list[Fanlab] = field(default_factory=list)

    @property
    def rundir(self) -> Path:
        """Of the run."""
        return self.folder / "run"

    def run(self, *words: str, expect: int = 1, workers: int = 1) -> Fanlab:
        """`fanlab run`, waiting for workers of other hosts."""
        joining = ["--expect-workers", str(expect), "--listen", f"{self.host}:{self.port}", "--workers", str(workers)]
        return self._start(["run", *words, *joining, "--out", str(self.rundir)])

    def worker(self, *words: str, before: Sequence[str] = (), port: int | None = None, token: str = TOKEN) -> Fanlab:
        """`fanlab worker`, which joins it."""
        master = ["--master", f"{self.host}:{port or self.port}"]
        return self._start(["worker", *master, *words], before, FANLAB_TOKEN=token, TMPDIR=str(self.temp))

    def until_running(self) -> dict[str, Any]:
        """Wait until the run has given everybody the epoch; its manifest then."""

        def running() -> dict[str, Any] | None:
            manifest = self.manifest()
            return manifest if manifest.get("status") == "running" else None

        return dict(wait_until(running, "the run is under way", 60))

    def manifest(self) -> dict[str, Any]:
        """The run's, as it is now."""
        path = self.rundir / "manifest.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def summary(self) -> dict[str, Any]:
        """The result."""
        return dict(json.loads((self.rundir / "summary.json").read_text()))

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.temp = Path(tempfile.mkdtemp(prefix="fl-"))  # short: the path of a Unix socket is
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for one in self.started:
                family = [*one.children(), psutil.Process(one.process.pid)] if one.process.poll() is None else []
                for process in family:
                    with contextlib.suppress(psutil.Error):
                        process.send_signal(signal.SIGKILL)
                one.process.wait()
        finally:
            shutil.rmtree(self.temp, ignore_errors=True)

    def _start(self, words: Sequence[str], before: Sequence[str] = (), **env: str) -> Fanlab:
        said = self.folder / f"{words[0]}-{len(self.started)}.out"
        told = {**os.environ, "FANLAB_TOKEN": TOKEN, "COLUMNS": "200", **env}
        with said.open("wb") as out:
            command = [*before, sys.executable, "-m", "fanlab", *words]
            process = subprocess.Popen(command, env=told, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.started.append(Fanlab(process, said))
        return self.started[-1]
