"""Readiness of a node, as an object that can explain itself: it polls, and a failure quotes what it saw."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

from fanlab.clock import NS_PER_S, now_ns
from fanlab.errors import NodeFailure
from fanlab.topology.wardenclient import Exited
from fanlab.units import format_duration

PROBE_TIMEOUT_S: Final = 1.0
SHORTEST_LOOK_S: Final = 0.05  # with less time left a look would tell nothing
FIRST_PAUSE_S: Final = 0.01
LONGEST_PAUSE_S: Final = 0.2
MAX_HEAD_BYTES: Final = 16_384
MAX_BODY_BYTES: Final = 2000
SHOWN_CHARS: Final = 200
OK: Final = 200
# As Python, Node.js (require, import), Ruby, PHP, Java and Go say that something which they need is not installed.
NOT_INSTALLED: Final = (
    *("modulenotfounderror", "cannot find module", "err_module_not_found", "cannot load such file"),
    *("failed opening required", "classnotfoundexception", "no required module provides package"),
)


class Seen(StrEnum):
    """What one probe met with."""

    READY = "ready"
    REFUSED = "refused"
    STATUS = "status"
    TIMEOUT = "timeout"
    GARBLED = "garbled"


@dataclass(frozen=True, slots=True)
class Observation:
    """One probe's outcome, and a few words on it."""

    seen: Seen
    detail: str

    @property
    def ready(self) -> bool:
        """Whether the unit said 200."""
        return self.seen is Seen.READY


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """GET a URL path of a node; 200 means ready."""

    host: str
    port: int
    path: str

    async def look(self, timeout_s: float = PROBE_TIMEOUT_S) -> Observation:
        """Ask once. Never raises for anything that the other side does."""
        try:
            async with asyncio.timeout(timeout_s):
                status, body = await self._get()
        except TimeoutError:
            return Observation(Seen.TIMEOUT, f"no answer within {timeout_s:g} s")
        except ConnectionRefusedError:
            return Observation(Seen.REFUSED, "connection refused")
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            return Observation(Seen.GARBLED, f"no HTTP answer ({str(error) or type(error).__name__})")
        if status == OK:
            return Observation(Seen.READY, "200")
        shown = " ".join(body.decode("utf-8", "replace").split())[:SHOWN_CHARS]
        return Observation(Seen.STATUS, f"HTTP {status}" + (f": {shown}" if shown else ""))

    async def date(self, timeout_s: float = PROBE_TIMEOUT_S) -> float | None:
        """What the server's `Date` header says, in seconds since the epoch; None where it sends none, or no answer."""
        try:
            async with asyncio.timeout(timeout_s):
                _, _, head = await self._ask()
        except (TimeoutError, OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            return None
        for line in head.decode("latin-1").split("\r\n"):
            if line.lower().startswith("date:"):
                with contextlib.suppress(ValueError):
                    return parsedate_to_datetime(line[5:].strip()).timestamp()
        return None

    async def _get(self) -> tuple[int, bytes]:
        status, body, _ = await self._ask()
        return status, body

    async def _ask(self) -> tuple[int, bytes, bytes]:
        """Status, the first bytes of the body where it is not 200, and the head."""
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=MAX_HEAD_BYTES)
        try:
            writer.write(
                f"GET {self.path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
                "User-Agent: fanlab\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode()
            )
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            version, _, rest = head.split(b"\r\n", 1)[0].partition(b" ")
            if not version.startswith(b"HTTP/"):
                raise ValueError(f"it says {head[:40]!r}")
            status = int(rest.split()[0]) if rest.split() else 0
            body = b"" if status == OK else await _body(reader, head)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return status, body, head


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """The first bytes of the body: as many as the server announces, or until it closes."""
    length = MAX_BODY_BYTES
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = min(length, int(line.partition(b":")[2]))
    body = b""
    while len(body) < length and (part := await reader.read(length - len(body))):
        body += part
    return body


async def first(polling: Coroutine[None, None, None], exit_: Awaitable[Exited], timeout_s: float) -> Exited | None:
    """Run `polling` until it returns, the process exits, or time is up; the exit if that came first, else None."""
    polls = asyncio.ensure_future(polling)
    exited = asyncio.ensure_future(exit_)
    try:
        await asyncio.wait((polls, exited), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if exited.done():
            return exited.result()
        if polls.done():
            polls.result()
        return None
    finally:
        for task in (polls, exited):
            task.cancel()
        await asyncio.gather(polls, exited, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Readiness:
    """Waits until a unit's probe passes, or says why it did not."""

    unit: str
    probe: HttpProbe
    timeout_ns: int
    command: str  # as a person would type it, for the hint
    log_tail: Callable[[], list[str]]
    install: str | None = None  # likewise: what installs the unit's dependencies

    async def wait(self, exit_: Awaitable[Exited]) -> None:
        """Returns when ready. Raises NodeFailure when the unit ends (`exit_` is its exit) or time is up."""
        last: list[Observation] = []
        exited = await first(self._poll(last), exit_, self.timeout_ns / NS_PER_S + PROBE_TIMEOUT_S)
        saw = last[-1] if last else None
        if exited is not None:
            raise self._failure(f"{self.unit} ended before it was ready: {exited}", None)
        if saw is None or not saw.ready:
            raise self._failure(
                f"{self.unit} was not ready within {format_duration(self.timeout_ns)}: "
                f"GET http://{self.probe.host}:{self.probe.port}{self.probe.path} "
                f"last met with: {saw.detail if saw else 'no answer'}",
                saw or Observation(Seen.TIMEOUT, "no answer"),
            )

    async def _poll(self, last: list[Observation]) -> None:
        """Look again and again. The last look ends with the time, so that a mute server shows as one."""
        end_ns = now_ns() + self.timeout_ns
        pause_s = FIRST_PAUSE_S
        while (left_s := (end_ns - now_ns()) / NS_PER_S) > SHORTEST_LOOK_S:
            last[:] = [await self.probe.look(min(PROBE_TIMEOUT_S, left_s))]
            if last[0].ready:
                return
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 1.5)

    def _failure(self, message: str, saw: Observation | None) -> NodeFailure:
        tail = self.log_tail()
        return NodeFailure(message, log_tail=tail, hint=self._hint("\n".join(tail).lower(), saw))

    def _hint(self, log: str, saw: Observation | None) -> str:
        if "address already in use" in log or "eaddrinuse" in log:
            return "fanlab keeps the port reserved; a server must set SO_REUSEADDR before it binds (most do)"
        if any(words in log for words in NOT_INSTALLED):
            return "install the node's dependencies first" + (f": {self.install}" if self.install else "")
        if saw is None:
            return f"start it by hand to see why: {self.command}"
        return {
            Seen.REFUSED: "does it listen on the host and port that its environment names?",
            Seen.STATUS: "it listens but does not call itself ready; its log should say what it waits for",
            Seen.TIMEOUT: "it accepts connections but does not answer; if it only needs longer, raise ready.timeout",
            Seen.GARBLED: "it listens but speaks no HTTP at ready.path",
            Seen.READY: "",
        }[saw.seen]
