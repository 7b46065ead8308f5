"""The clients engine against a server of the test's own, which says byte for byte what it sends."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

from websockets.utils import accept_key

from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.load.config import Backoff, ClientsConfig, LoadConfig, NodeTarget, PublishersConfig
from fanlab.scenario.model import ConstantRate

RUN_TAG = 7
PAYLOAD_BYTES = 128
CONFIRMATION = b'{"type":"subscribed","channel":"news"}'


def frame(payload: bytes, opcode: int = 0x2, final: int = 0x80) -> bytes:
    """As a server sends it; the payload is less than 64 kB."""
    if len(payload) < 126:
        return bytes((final | opcode, len(payload))) + payload
    return bytes((final | opcode, 126)) + len(payload).to_bytes(2, "big") + payload


def accepted(listener: socket.socket) -> socket.socket:
    """The next connection, its handshake done."""
    sock, _ = listener.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(4096)
    key = next(line.split()[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    told = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept_key(key.decode())}\r\n"
    sock.sendall(f"HTTP/1.1 101 Switching Protocols\r\n{told}\r\n".encode())
    return sock


async def until(condition: Callable[[], bool]) -> None:
    """The caller has a deadline for the whole test."""
    while not condition():
        await asyncio.sleep(0.01)


def config_for(port: int, folder: Path, *, clients: int = 1, probes: int = 1) -> LoadConfig:
    """Clients of one channel, `news`, on one node at that port."""
    backoff = Backoff(50 * NS_PER_MS, 1.0, NS_PER_S, 0.0)
    group = ClientsConfig(
        "g", clients, 0, 100.0, ("news",), (0,), "sticky", backoff, 20 * NS_PER_S, 20 * NS_PER_S, join_ns=None
    )
    return LoadConfig(
        seed=1,
        run_tag=RUN_TAG,
        redis_url="redis://127.0.0.1:1/0",
        journal=str(folder),
        stats="",
        nodes=(NodeTarget(f"ws://127.0.0.1:{port}/ws", "json"),),
        channels=("news",),
        clients=(group,),
        publishers=(PublishersConfig("p", 1, 0, "news", ConstantRate(rate="1/s"), PAYLOAD_BYTES, NS_PER_S),),
        probes=probes,
    )
