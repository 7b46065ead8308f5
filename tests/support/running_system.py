"""A system that somebody else runs: a Redis with a password and reference nodes, at an address of the test's choice."""

import http.client
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import redis

from conftest import free_port, redis_server_path
from support.answers import LIMITS
from support.node_process import wait_until

NODE = Path(__file__).resolve().parents[2] / "nodes" / "websockets"


def patient(*settings: str) -> list[str]:
    """Options that put settings, and limits that any machine keeps."""
    return [word for setting in (*settings, *(f"limits.{limit}" for limit in LIMITS)) for word in ("--set", setting)]


def has_redis() -> bool:
    """Whether this machine has a redis-server."""
    return redis_server_path() is not None


@dataclass(slots=True)
class RunningSystem:
    """Start it with `with`. Everything is ended by its process ids."""

    folder: Path
    nodes: int
    host: str = "127.0.0.1"
    password: str = field(default_factory=lambda: f"canary-{secrets.token_hex(8)}")
    ports: list[int] = field(default_factory=list)
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def redis_url(self) -> str:
        """With the password."""
        return f"redis://:{self.password}@{self.host}:{self.ports[0]}/0"

    def ws(self, node: int) -> str:
        """Where node 1, 2 … has its WebSocket."""
        return f"ws://{self.host}:{self.ports[node]}/ws"

    def http(self, node: int) -> str:
        """Where node 1, 2 … has its HTTP side."""
        return f"http://{self.host}:{self.ports[node]}"

    def journal(self, node: int) -> Path:
        """The journal that node 1, 2 … writes."""
        return self.folder / f"node-{node}.jsonl"

    def options(self) -> list[str]:
        """How `fanlab run` is told of it."""
        nodes = [word for k in range(1, self.nodes + 1) for word in ("--node", f"node-{k}={self.ws(k)}")]
        return ["--backend", "external", *nodes, "--redis-url", self.redis_url]

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ports = [free_port() for _ in range(self.nodes + 1)]
        try:
            self._start_redis()
            for k in range(1, self.nodes + 1):
                self._start_node(k)
            for k in range(1, self.nodes + 1):
                wait_until(lambda port=self.ports[k]: self._ready(port), f"node {k} ready")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Safe to call twice."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()

    def _start_redis(self) -> None:
        argv = [str(redis_server_path()), "--bind", self.host, "--port", str(self.ports[0]), "--save", ""]
        argv += ["--requirepass", self.password, "--dir", str(self.folder)]
        self._spawn(argv, "redis", {}, self.folder)

        def answers() -> bool:
            try:
                with redis.Redis.from_url(self.redis_url, socket_timeout=1) as client:
                    return bool(client.ping())
            except redis.RedisError:
                return False

        wait_until(answers, "a Redis that answers")

    def _start_node(self, k: int) -> None:
        env = {
            "FANLAB_HOST": self.host,
            "FANLAB_PORT": str(self.ports[k]),
            "FANLAB_REDIS_URL": self.redis_url,
            "FANLAB_NODE_ID": f"theirs-{k}",
            "FANLAB_JOURNAL": str(self.journal(k)),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._spawn([sys.executable, "server.py"], f"node-{k}", env, NODE)

    def _ready(self, port: int) -> bool:
        connection = http.client.HTTPConnection(self.host, port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _spawn(self, argv: list[str], name: str, env: dict[str, str], cwd: Path) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(argv, cwd=cwd, env={"PATH": os.environ["PATH"], **env}, stdout=log, stderr=log)
        self.processes.append(process)


def files_with(secret: str, folder: Path) -> list[str]:
    """The files under a folder in which the secret stands."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    ]
