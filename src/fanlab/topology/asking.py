"""Asking a server that runs already whether it serves: HTTP's 200 or WebSocket's 101, in TLS where its URL says so."""

import asyncio
import base64
import contextlib
import os
import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from fanlab.topology.reach import Place

ASK_S: Final = 2.0
MAX_HEAD_BYTES: Final = 16_384
OK, UPGRADED = 200, 101
PORTS: Final = {"http": 80, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class Question:
    """One request and the status that means yes."""

    place: Place
    request: bytes = field(repr=False)
    wanted: int
    what: str  # as a person would say it

    async def ask(self, address: str) -> str | None:
        """Ask at one of the place's addresses. None: yes; else what was met with."""
        try:
            async with asyncio.timeout(ASK_S):
                status = await self._status(address)
        except TimeoutError:
            return f"no answer within {ASK_S:g} s"
        except ConnectionRefusedError:
            return "connection refused"
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            return f"no answer that could be read ({str(error) or type(error).__name__})"
        return None if status == self.wanted else f"HTTP {status} instead of {self.wanted}"

    async def _status(self, address: str) -> int:
        secure = self.place.url.startswith("wss:")
        reader, writer = await asyncio.open_connection(
            address,
            self.place.port,
            limit=MAX_HEAD_BYTES,
            ssl=ssl.create_default_context() if secure else None,
            server_hostname=self.place.host if secure else None,
        )
        try:
            writer.write(self.request)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        version, _, rest = head.split(b"\r\n", 1)[0].partition(b" ")
        if not version.startswith(b"HTTP/") or not rest.split():
            raise ValueError(f"it says {head[:40]!r}")
        return int(rest.split()[0])


def upgrade(place: Place) -> Question:
    """Whether a WebSocket can be opened there."""
    parts = urlsplit(place.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13")
    return Question(place, _get(place, target, *lines), UPGRADED, "a WebSocket's handshake")


def get(place: Place, path: str) -> Question:
    """Whether GET of a path there answers 200."""
    return Question(place, _get(place, path, "Accept: */*", "Connection: close"), OK, f"GET {path}")


def _get(place: Place, target: str, *headers: str) -> bytes:
    lines = (f"GET {target} HTTP/1.1", f"Host: {place.netloc}", "User-Agent: fanlab", *headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
