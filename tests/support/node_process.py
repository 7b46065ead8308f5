"""A node as a real process, the reference node by default, and clients that talk to it, some of them badly."""

import asyncio
import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from fanlab.topology.manifest import read_manifest

FOLDER = Path(__file__).resolve().parents[2] / "nodes" / "websockets"
DEADLINE_S = 30.0


def wait_until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Poll until the condition gives something true, and return that; fails with `what` at the deadline."""
    end = time.monotonic() + deadline_s
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"after {deadline_s:g} s still not: {what}")
        time.sleep(0.01)
    return found


async def eventually(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """`wait_until` for tests whose own clients must go on answering pings meanwhile."""
    return await asyncio.to_thread(wait_until, condition, what, deadline_s)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response; status 0: nobody answered."""

    status: int
    text: str
    headers: Mapping[str, str]


@dataclass(slots=True)
class NodeProcess:
    """One node, at one port, that can be ended and started again."""

    port: int
    redis_url: str
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    kind: str = "websockets"
    nodes: Path = FOLDER.parent
    process: subprocess.Popen[bytes] | None = None

    @property
    def journal_path(self) -> Path:
        return self.folder / f"node-{self.port}.jsonl"

    @property
    def log(self) -> str:
        return (self.folder / f"node-{self.port}.log").read_text(errors="replace")

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def spawn(self) -> Self:
        """Start it, ready or not, as its manifest says."""
        home = self.nodes / self.kind
        manifest = read_manifest(home)
        names = manifest.environment
        told = {
            names.host: "127.0.0.1",
            names.port: str(self.port),
            names.redis_url: self.redis_url,
            names.id: "node-1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if names.journal is not None:
            told[names.journal] = str(self.journal_path)
        with (self.folder / f"node-{self.port}.log").open("ab") as log:
            self.process = subprocess.Popen(
                manifest.argv(),
                cwd=home,
                env={"PATH": os.environ["PATH"], **told, **self.env},
                stdout=log,
                stderr=log,
            )
        return self

    def start(self) -> Self:
        """Start it and wait until it is ready."""
        self.spawn()
        try:
            self.wait_ready()
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log}") from None
        return self

    def wait_ready(self) -> None:
        wait_until(self._is_ready, "ready")

    def _is_ready(self) -> bool:
        assert self.process is None or self.process.poll() is None, f"it ended with {self.process.poll()}"
        return self.get("/readyz").status == 200

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """GET a path."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.read().decode(), dict(response.headers))
        except OSError:
            return Answer(0, "", {})
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """The value of a metric's sample, as named with its labels."""
        for line in self.get("/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[-1])
        return 0.0

    def send(self, signum: int) -> None:
        assert self.process is not None
        self.process.send_signal(signum)

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait for its end; returns the exit status."""
        assert self.process is not None
        return self.process.wait(deadline_s)

    def kill(self) -> None:
        """SIGKILL and wait; safe to call twice."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(DEADLINE_S)

    def events(self, *names: str) -> list[dict[str, Any]]:
        """The journal's whole lines, of these kinds only if any are given."""
        lines = self.journal_path.read_bytes().split(b"\n")[:-1] if self.journal_path.exists() else []
        events = [json.loads(line) for line in lines]
        return [event for event in events if not names or event["ev"] in names]


class RawClient:
    """A WebSocket client on a bare socket: it reads only when told to, and answers no ping."""

    def __init__(self, port: int, client: int | None = None) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(("127.0.0.1", port))
        key = base64.b64encode(os.urandom(16)).decode()
        named = "" if client is None else f"Fanlab-Client: {client}\r\n"
        self.socket.sendall(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"{named}\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._read(1)
        assert b" 101 " in head.split(b"\r\n")[0], head

    def send_text(self, text: str) -> None:
        """A masked text frame, with a mask of zeros."""
        data = text.encode()
        assert len(data) < 126
        self.socket.sendall(bytes((0x81, 0x80 | len(data))) + bytes(4) + data)

    def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""
        first, size = self._read(2)
        if size == 126:
            size = int.from_bytes(self._read(2))
        elif size == 127:
            size = int.from_bytes(self._read(8))
        return first & 0x0F, self._read(size)

    def wait_end(self) -> int | None:
        """Read until the server ends the connection; the close code, or None if there was none."""
        code = None
        try:
            while True:
                opcode, data = self.frame()
                if opcode == 8:
                    code = int.from_bytes(data[:2])
                    self.socket.sendall(b"\x88\x82" + bytes(4) + data[:2])
        except (EOFError, ConnectionError):
            return code

    def close(self) -> None:
        self.socket.close()

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data
