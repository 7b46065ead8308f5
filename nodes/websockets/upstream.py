"""The node's one connection to Redis, and the loop that brings it back.

redis-py's PubSub reconnects and resubscribes in silence, gives up after some seconds of refusals, and may spin after a
keepalive death. So this drives redis-py's Connection, one object per session, without retries: a session ends at the
first error, with its time, and the loop here begins the next one.

Redis answers in order. So when the answer to a PING has come, all that was published before that PING was sent has
come too: that moment is the last known to be good, and a gap begins there, not at the last message (what was on its
way behind it is lost as well). PINGs go out at a steady pace, and a Redis that says nothing for too long is given up.

While nothing is subscribed the connection stays: the loop does not depend on there being a channel.
"""

import asyncio
import logging
import math
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from clients import Client
from heartbeat import Heartbeat
from hub import Confirmed, Hub, Verb
from journal import Gathered
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from settings import Settings

PINGS_UNANSWERED = 64  # no more at a time: a Redis that lags need not be asked again
YIELD_AFTER_NS = 5_000_000  # let the loop breathe during a long burst
VERBS: dict[bytes, Verb] = {b"subscribe": "SUBSCRIBE", b"unsubscribe": "UNSUBSCRIBE"}

log = logging.getLogger("node")


class OutOfStepError(RedisError):
    """Redis confirmed what nobody asked for: this connection cannot be trusted."""


class SilenceError(RedisError):
    """Redis has said nothing for too long, or the kernel has given the connection up."""


class Upstream:
    """Keeps a session with Redis. `up` and `trouble` say how it stands."""

    def __init__(
        self,
        settings: Settings,
        journal: Gathered,
        on_message: Callable[[str, bytes, int], None],
        on_confirmed: Callable[[Confirmed[Client]], None],
        on_refused: Callable[[Confirmed[Client], str], None],
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._on_message = on_message
        self._on_confirmed = on_confirmed
        self._on_refused = on_refused
        self._pool = ConnectionPool.from_url(
            settings.redis_url,
            protocol=2,  # replies and messages come in one stream, in order
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,  # a time limit on writes goes through wait_for, which may swallow a cancellation
            socket_connect_timeout=settings.redis_timeout_s,
            client_name=_client_name(settings.node_id),
            driver_info=None,
        )
        self._commands: deque[tuple[str, ...]] = deque()
        self._wake = asyncio.Event()
        self._spread = random.Random()  # noqa: S311 - spreads nodes' retries, guards nothing
        self.hub: Hub[Client] | None = None
        self.up = False
        self.trouble = "not connected yet"
        self.trusted = False  # the session has lasted long enough to be followed by another at once
        self.sessions = 0
        self.known_good_ns = time.monotonic_ns()
        self._pings: deque[int] = deque()  # when the unanswered ones were sent
        self.heard_s = 0.0
        self.asked_s: float | None = None

    def send(self, verb: Verb, channel: str) -> None:
        """Queue a command; without a session it is not needed, for a new one asks for everything."""
        self._commands.append((verb, channel))
        self._wake.set()

    async def run(self, hub: Hub[Client]) -> None:
        """Hold a session with Redis, for ever; cancel to end."""
        self.hub = hub
        refusals = 0
        while True:
            self.trusted = False
            try:
                # Each in a task of its own: a TaskGroup that fails leaves a request to cancel its task behind, by which
                # Pythons before 3.11.3 take the next session's time limit for the end of the whole loop.
                await asyncio.create_task(self._session(hub))
            except* (RedisError, OSError) as group:
                self._lost(hub, _first(group))
            except* Exception as group:  # whatever ends a session, the loop goes on; but this one is a surprise
                log.exception("redis session failed unexpectedly")
                self._lost(hub, _first(group))
            refusals = 0 if self.trusted else refusals + 1
            await asyncio.sleep(self._delay_s(refusals))

    def _delay_s(self, refusals: int) -> float:
        """At once after a lost session; then growing, ± 20 %, so that nodes do not come back in step."""
        if not refusals:
            return 0.0
        delay_s = min(self._settings.redis_retry_max_s, self._settings.redis_retry_s * 2.0 ** min(refusals - 1, 30))
        return delay_s * self._spread.uniform(0.8, 1.2)

    def _lost(self, hub: Hub[Client], error: BaseException) -> None:
        now_ns = time.monotonic_ns()
        reason = f"{type(error).__name__}: {error}"
        if self.up or reason != self.trouble:
            log.warning("redis down: %s", reason)
            self._journal.event(now_ns, "redis", state="down", error=reason, **_why(error, was_up=self.up))
        if self.up:
            hub.disconnected(self.known_good_ns, now_ns)
        self.up = False
        self.trouble = reason

    async def _session(self, hub: Hub[Client]) -> None:
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(self._settings.redis_timeout_s):
                await connection.connect()  # type: ignore[no-untyped-call]
                known_good_ns = time.monotonic_ns()
                await connection.send_command("PING")
                await connection.read_response()
            self._opened(hub, known_good_ns)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write(connection))
                tasks.create_task(self._watch())
                tasks.create_task(self._read(connection, hub))
        finally:
            await connection.disconnect(nowait=True)

    def _opened(self, hub: Hub[Client], known_good_ns: int) -> None:
        self.known_good_ns = known_good_ns
        self.heard_s, self.asked_s = asyncio.get_running_loop().time(), None
        self.sessions += 1
        self.up = True
        self.trouble = ""
        log.info("redis up: session %d", self.sessions)
        self._journal.event(time.monotonic_ns(), "redis", state="up")
        self._commands.clear()
        self._pings.clear()
        hub.connected()

    async def _write(self, connection: AbstractConnection) -> None:
        """The only sender: commands leave in the order in which the hub gave them."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch = list(self._commands)
            self._commands.clear()
            if batch:
                await connection.send_packed_command(connection.pack_commands(batch), check_health=False)

    async def _watch(self) -> None:
        """PING at a steady pace; end the session when nothing at all comes in time."""
        loop = asyncio.get_running_loop()
        ping_s, timeout_s = self._settings.redis_ping_s, self._settings.redis_timeout_s
        heartbeat: Heartbeat[Upstream] = Heartbeat(ping_s, timeout_s, loop.time(), tick_s=ping_s)
        while True:
            await asyncio.sleep(heartbeat.tick_s)
            self.trusted = True
            if heartbeat.sweep(loop.time(), [self]).dead:
                raise SilenceError(f"Redis has said nothing for {timeout_s:g} s")
            if len(self._pings) < PINGS_UNANSWERED:
                self._pings.append(time.monotonic_ns())
                self._commands.append(("PING",))
                self._wake.set()

    async def _read(self, connection: AbstractConnection, hub: Hub[Client]) -> None:
        loop = asyncio.get_running_loop()
        yielded_ns = time.monotonic_ns()
        while True:
            try:
                reply = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
            except ResponseError as error:
                refused = hub.refused(time.monotonic_ns())
                if refused is None:
                    raise
                self._on_refused(refused, str(error))
                continue
            if reply is None:  # a read without a time limit timed out: the kernel gave the connection up (ETIMEDOUT)
                raise SilenceError("the connection timed out")
            now_ns = time.monotonic_ns()
            self.heard_s = loop.time()
            self._take(hub, reply, now_ns)
            if now_ns - yielded_ns > YIELD_AFTER_NS:
                await asyncio.sleep(0)  # parsing what is buffered never yields by itself
                yielded_ns = time.monotonic_ns()

    def _take(self, hub: Hub[Client], reply: Any, now_ns: int) -> None:
        """One reply: a message, a confirmation, or PONG (bare while nothing is subscribed, else a list)."""
        kind = cast("bytes", reply[0]) if isinstance(reply, list) else b"pong"
        if kind == b"pong":
            if self._pings:
                self.known_good_ns = self._pings.popleft()
        elif kind == b"message":
            self._on_message(reply[1].decode(), reply[2], now_ns)
        elif kind in VERBS:
            name = reply[1].decode()
            confirmed = hub.confirmed(VERBS[kind], name, self.known_good_ns, now_ns)
            self._journal.event(now_ns, "subscribed" if kind == b"subscribe" else "unsubscribed", ch=name)
            self._on_confirmed(confirmed)
            if not confirmed.asked:
                raise OutOfStepError(f"unasked {kind.decode()} of {name}")


def _why(error: BaseException, *, was_up: bool) -> dict[str, str]:
    """The journal's `why`: what an error says of the peer; nothing where the connection was ours to end."""
    if isinstance(error, TimeoutError | RedisTimeoutError | SilenceError):
        return {"why": "timeout"}
    if not was_up:
        return {"why": "refused"}
    return {"why": "closed"} if isinstance(error, RedisConnectionError | OSError) else {}


def _client_name(node_id: str) -> str:
    """CLIENT SETNAME takes no spaces or control characters."""
    return "".join(char if "!" <= char <= "~" else "_" for char in node_id)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
