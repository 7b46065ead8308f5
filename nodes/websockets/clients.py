"""Client connections and the fan-out to them.

A published payload becomes one WebSocket frame, serialized once, and its bytes go to every member's transport: no
compression, no masking, so that the frame is the same for all. This is what `websockets.broadcast()` does with one
serialization per client; it also skips clients in silence, which is not acceptable here: whoever was in the set and
was not written to is counted under its cause.

A client whose unsent bytes would pass the cap is slow. Policy `close`: it is closed with 1013 and gets nothing more.
Policy `drop-newest`: it stays and misses messages until its buffer has room. Nobody ever waits for it.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import State

GOING_AWAY = 1001
TRY_AGAIN_LATER = 1013
NUMBER_HEADER = "Fanlab-Client"
_NUMBER_DIGITS = 10

log = logging.getLogger("node")


class Client(ServerConnection):
    """One client's connection. It notes when it last heard from its peer, for the heartbeat."""

    heard_s: float
    asked_s: float | None
    doomed: bool  # to be closed for being slow
    number: int | None  # that it told in its handshake, as fanlab's do

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.heard_s = self.loop.time()
        self.asked_s = None
        self.doomed = False
        self.number = None

    def data_received(self, data: bytes) -> None:
        """Anything at all is a sign of life."""
        self.heard_s = self.loop.time()
        super().data_received(data)

    @property
    def writable(self) -> bool:
        """Whether a frame may still be sent."""
        return not self.doomed and self.protocol.state is State.OPEN and not self.transport.is_closing()

    @property
    def unsent_bytes(self) -> int:
        """What waits in this process for the client to read."""
        return 0 if self.transport.is_closing() else int(self.transport.get_write_buffer_size())

    def ask(self) -> None:
        """Send a ping without waiting for room in the buffer, as websockets' own `ping()` would."""
        if self.writable:
            self.transport.write(PING)

    async def close_within(self, timeout_s: float, code: int, reason: str) -> None:
        """Close in order, or abort: `close()` alone waits without limit for room in a full buffer."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.close(code, reason)
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """End the connection now, whatever waits in its buffer."""
        self.transport.abort()


def number_of(text: str | None) -> int | None:
    """A client's number from the header in which it tells one; None where it does not, or it is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= _NUMBER_DIGITS else None


def text_frame(data: bytes) -> bytes:
    """A text frame as a server sends it, to any client."""
    return bytes(Frame(Opcode.TEXT, data).serialize(mask=False))


def payload_frame(payload: bytes) -> bytes:
    """The payload, verbatim: a text frame if it is UTF-8, else a binary one."""
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError:
            return bytes(Frame(Opcode.BINARY, payload).serialize(mask=False))
    return text_frame(payload)


PING = bytes(Frame(Opcode.PING, b"hb").serialize(mask=False))


Why = Literal["closing", "slow", "write_failed"]  # its connection is ending; its buffer is full; the write was refused


@dataclass(slots=True)
class Outcome:
    """How one message fared: clients written to, and the others by cause, as the journal names it."""

    written: int = 0
    dropped: dict[Why, list[Client]] = field(default_factory=dict)

    def drop(self, why: Why, client: Client) -> None:
        """This client does not get it."""
        self.dropped.setdefault(why, []).append(client)


class Fanout:
    """Writes frames to clients under the buffer cap."""

    def __init__(self, cap_bytes: int, policy: str, close_timeout_s: float) -> None:
        self._cap_bytes = cap_bytes
        self._close_timeout_s = close_timeout_s
        self._close_slow = policy == "close"
        self._closing: set[asyncio.Task[None]] = set()
        self.slow_closed = 0

    def publish(self, members: Iterable[Client], payload: bytes) -> Outcome:
        """Hand a payload to all members."""
        outcome = Outcome()
        frame = payload_frame(payload)
        room = self._cap_bytes - len(frame)
        for client in members:
            if not client.writable:
                outcome.drop("closing", client)
                continue
            if client.unsent_bytes > room:
                outcome.drop("slow", client)
                if self._close_slow:
                    self.close_slow(client)
                continue
            try:
                client.transport.write(frame)
            except (OSError, RuntimeError) as error:
                log.warning("client=%s write failed: %s", client.id, error)
                outcome.drop("write_failed", client)
            else:
                outcome.written += 1
        return outcome

    def tell(self, client: Client, data: bytes) -> None:
        """Send one client an answer. Answers are never dropped: a client with no room for them is closed."""
        if not client.writable:
            return
        frame = text_frame(data)
        if client.unsent_bytes > self._cap_bytes - len(frame):
            self.close_slow(client)
        else:
            client.transport.write(frame)

    def close_slow(self, client: Client) -> None:
        """Begin to close a client with 1013; past the close timeout its connection is aborted."""
        if client.doomed:
            return
        client.doomed = True
        self.slow_closed += 1
        log.warning("client=%s slow, closed: %d bytes unsent, cap %d", client.id, client.unsent_bytes, self._cap_bytes)
        task = asyncio.get_running_loop().create_task(
            client.close_within(self._close_timeout_s, TRY_AGAIN_LATER, "too slow")
        )
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
