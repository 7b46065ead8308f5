"""What all generators are measured against: a real Redis and one node, as processes of their own, and nothing else."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from fanlab import resources
from fanlab.topology.manifest import read_manifest
from fanlab.topology.redis import find_server

READY_S = 20.0


def end_in_order() -> None:
    """Have a SIGTERM end this process as Ctrl-C does: it ends what it started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@dataclass(slots=True)
class System:
    """Use it with `with`; whatever it started is ended by its process."""

    folder: Path
    kind: str = "websockets"
    command: tuple[str, ...] = ()  # of a node that keeps to no contract; else that of its manifest
    home: Path | None = None  # where such a command is started
    redis_port: int = 0
    node_port: int = 0
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def ws(self) -> str:
        """Where clients connect to."""
        return f"ws://127.0.0.1:{self.node_port}/ws"

    @property
    def redis_url(self) -> str:
        """Where the stream is published."""
        return f"redis://127.0.0.1:{self.redis_port}/0"

    @property
    def node_pid(self) -> int:
        """The node's process."""
        return self.processes[1].pid

    @property
    def clients(self) -> int:
        """How many the node says that it has."""
        found = re.search(r"^node_clients ([0-9]+)", self._get("/metrics"), re.MULTILINE)
        return int(found.group(1)) if found else 0

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.redis_port, self.node_port = free_port(), free_port()
        try:
            server = find_server()
            argv = [str(server.path), "--bind", "127.0.0.1", "--port", str(self.redis_port), "--save", ""]
            self._start("redis", argv, self.folder)
            until(lambda: _listens(self.redis_port), "Redis")
            self._start_node()
            until(lambda: "ready" in self._get("/readyz"), "the node")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def _start_node(self) -> None:
        home = self.home or resources.folder("nodes") / self.kind
        env = {**os.environ, "PORT": str(self.node_port), "REDIS_URL": self.redis_url}  # for those without a manifest
        argv = list(self.command)
        if not argv:
            manifest = read_manifest(home)
            names = manifest.environment
            argv = [word.format(python=sys.executable) for word in manifest.process.argv]
            env |= {names.host: "127.0.0.1", names.port: str(self.node_port), names.id: "node-1"}
            env |= {names.redis_url: self.redis_url}
        self._start("node", argv, home, env)

    def _start(self, name: str, argv: list[str], cwd: Path, env: dict[str, str] | None = None) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes.append(subprocess.Popen(argv, cwd=cwd, env=env, stdout=log, stderr=log))

    def _get(self, path: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.node_port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read().decode()
        except OSError:
            return ""
        finally:
            connection.close()
        return text if answer.status == http.HTTPStatus.OK else ""


def until(holds: Callable[[], bool], what: str, within_s: float = READY_S) -> None:
    """Wait for a condition; ends the benchmark where it does not come."""
    end_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end_s:
            raise SystemExit(f"waited {within_s:g} s for {what}")
        time.sleep(0.05)


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
