"""A link as a real process, an upstream to connect to, and plain sockets on either side of it."""

import asyncio
import contextlib
import json
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fanlab.link.chain import CAPACITY_BYTES
from fanlab.link.client import LinkClient
from fanlab.link.state import ProxyState

DEADLINE_S = 30.0
PROXY = "p"  # the one that most tests have


@dataclass(slots=True)
class LinkProcess:
    """The process, and who controls it."""

    folder: Path
    seed: int = 1
    process: "subprocess.Popen[bytes] | None" = None
    client: LinkClient = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.client = LinkClient(self.folder / "control", deadline_s=DEADLINE_S)

    def spawn(self) -> "subprocess.Popen[bytes]":
        argv = [sys.executable, "-m", "fanlab.link.server", "--control", str(self.folder / "control")]
        argv += ["--host", "127.0.0.1", "--journal", str(self.folder / "link.jsonl"), "--seed", str(self.seed)]
        with (self.folder / "link.log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        return self.process

    @property
    def log(self) -> str:
        return (self.folder / "link.log").read_text()

    def events(self, *names: str) -> list[dict[str, Any]]:
        """The journal's lines, of these kinds only if any are given."""
        lines = (self.folder / "link.jsonl").read_bytes().splitlines()
        events = [json.loads(line) for line in lines]
        return [event for event in events if not names or event["ev"] in names]

    async def until(self, proxy: str, condition: Callable[[ProxyState], Any], what: str) -> ProxyState:
        """The proxy's state, as soon as the condition holds."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition(state := (await self.client.state())[proxy]):
                await asyncio.sleep(0.005)
        assert condition(state), what
        return state

    async def until_event(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        """The journal's lines of this kind, as soon as there are so many."""
        async with asyncio.timeout(DEADLINE_S):
            while len(found := self.events(name)) < count:
                await asyncio.sleep(0.005)
        return found


@contextlib.asynccontextmanager
async def running_link(folder: Path, seed: int = 1) -> AsyncIterator[LinkProcess]:
    """A link that is ended by hanging up; it must end well, and say nothing."""
    link = LinkProcess(folder, seed)
    process = link.spawn()
    try:
        async with link.client:
            yield link
        assert await asyncio.to_thread(process.wait, DEADLINE_S) == 0, link.log
        assert link.log == ""
    finally:
        process.kill()
        process.wait()


@dataclass(slots=True)
class Upstream:
    """Someone to connect to, who does nothing by himself."""

    listener: socket.socket

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def accept(self) -> socket.socket:
        self.listener.settimeout(DEADLINE_S)
        sock, _ = self.listener.accept()
        sock.settimeout(DEADLINE_S)
        return sock

    def nobody_came(self) -> bool:
        self.listener.settimeout(0)
        try:
            self.listener.accept()
        except BlockingIOError:
            return True
        return False


@contextlib.contextmanager
def upstream() -> Any:
    """One at a port of its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        yield Upstream(listener)


def dial(listen: str) -> socket.socket:
    """Connect to a proxy."""
    host, _, port = listen.rpartition(":")
    sock = socket.create_connection((host, int(port)), DEADLINE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def receive(sock: socket.socket, count: int) -> bytes:
    """So many bytes, or fewer if the other end ends in order first."""
    data = b""
    while len(data) < count and (more := sock.recv(count - len(data))):
        data += more
    return data


def ends(sock: socket.socket) -> str:
    """Read on: how it ended, "FIN" or "RST"; fails if anything comes before."""
    try:
        data = sock.recv(1)
    except ConnectionResetError:
        return "RST"
    assert data == b"", data
    return "FIN"


def nothing_came(sock: socket.socket) -> bool:
    """Neither bytes nor an end has come so far."""
    sock.settimeout(0)
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    finally:
        sock.settimeout(DEADLINE_S)
    return False


def send_reset(sock: socket.socket) -> None:
    """Close it with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@contextlib.asynccontextmanager
async def joined(link: LinkProcess, server: Upstream) -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    """A client, and who it talks to, connected from end to end through the link."""
    before = (await link.client.state())[PROXY]
    with dial(before.listen) as client, server.accept() as accepted:
        await link.until(PROXY, lambda now: now.opened > before.opened, "connected from end to end")
        yield client, accepted


def fill(sock: socket.socket, sent: int = 0, limit: int = 1 << 24) -> int:
    """Send until the kernel takes no more just now, from byte `sent` on; returns the new total."""
    sock.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while sent < limit:
            sent += sock.send(numbered(sent, 16_384))
    sock.settimeout(DEADLINE_S)
    return sent


async def fill_up(link: LinkProcess, sock: socket.socket) -> tuple[int, int]:
    """Send until neither the kernel nor the link takes any more; returns bytes sent, and held by the link."""
    sent = held = looks_without_progress = 0
    while looks_without_progress < 10 or held * 2 <= CAPACITY_BYTES:
        before, sent = sent, fill(sock, sent)
        looks_without_progress = 0 if sent > before else looks_without_progress + 1
        await asyncio.sleep(0.005)
        state = (await link.client.state())[PROXY]
        held = state.up.held + state.down.held
    return sent, held


def numbered(first: int, count: int) -> bytes:
    """Bytes `first` to `first + count` of a stream that never repeats itself within reach of a buffer."""
    return b"".join(b"%08d" % at for at in range(first // 8, (first + count) // 8 + 2))[first % 8 :][:count]
