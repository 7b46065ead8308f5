"""redis-client-pause: CLIENT PAUSE. Redis lives and lets commands wait; publishes come late, or not at all."""

import asyncio
import contextlib
import secrets
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from fanlab.clock import NS_PER_MS, NS_PER_S, now_ns
from fanlab.faults.fault import Target
from fanlab.faults.redis_connection import connected
from fanlab.topology.backend import Need
from fanlab.units import format_duration

WAITS_S: Final = 0.05  # a publish that takes this long, and SLOWER times as long as before the pause, is made to wait
SLOWER: Final = 5
TRIES: Final = 5


@dataclass(slots=True)
class RedisClientPause:
    """Let Redis' clients wait for `for`. It ends by itself then; before that, only where not all commands wait.

    The probe is a publish, on a channel of nobody's and a connection from before the pause: how far away Redis is, and
    what a connection takes, tell nothing. One that is kept waiting is asked for its answer again.
    """

    target: Target
    ends_ns: int = 0
    waits_s: float = WAITS_S
    control: Redis | None = None
    publisher: Redis | None = None
    publishing: asyncio.Future[int] | None = None  # without an answer yet

    async def inject(self) -> None:
        """CLIENT PAUSE with the fault's own end: nobody has to undo it, whatever becomes of fanlab."""
        await self._control().client_id()
        took_s = [await self._published_s() for _ in range(TRIES)]
        self.waits_s = max(WAITS_S, SLOWER * max(took_s))
        pause_ms = max(1, (self.target.for_ns or 0) // NS_PER_MS)
        await self._control().client_pause(pause_ms, all=self._all())
        self.ends_ns = now_ns() + pause_ms * NS_PER_MS

    async def has_bitten(self) -> bool:
        """The publish is kept waiting; where others are not, by a Redis that answers what was asked after it."""
        if await self._answered():
            return False
        if not self._all():
            await self._control().client_id()
        return self.publishing is not None and not self.publishing.done()

    async def heal(self) -> None:
        """CLIENT UNPAUSE. In mode `all` it would wait like any other: whose Redis it is then learns for how long."""
        if not self._all():
            await self._control().client_unpause()
            return
        left_ns = self.ends_ns - now_ns()
        if left_ns >= NS_PER_S and self.target.backend.refusal(Need.OWN_REDIS) is not None:
            self.target.means.warn(
                f"the Redis of this run answers nobody for another {format_duration(left_ns)}: a CLIENT PAUSE of all"
                " commands cannot be undone, and ends by itself then"
            )

    async def has_healed(self) -> bool:
        """The publish has its answer."""
        return await self._answered()

    async def close(self) -> None:
        """Give both connections up, and with them a publish that waits still."""
        if self.publishing is not None:
            self.publishing.cancel()
            with contextlib.suppress(asyncio.CancelledError, RedisError, OSError):
                await self.publishing
        for redis in (self.control, self.publisher):
            if redis is not None:
                await redis.aclose()
        self.control = self.publisher = self.publishing = None

    async def _published_s(self) -> float:
        began_ns = now_ns()
        await self._publish()
        return (now_ns() - began_ns) / NS_PER_S

    async def _answered(self) -> bool:
        """Publish, unless one waits still; whether it is answered in time. Raises RedisError."""
        if self.publishing is None:
            self.publishing = asyncio.ensure_future(self._publish())
        await asyncio.wait([self.publishing], timeout=self.waits_s)
        if not self.publishing.done():
            return False
        answered, self.publishing = self.publishing, None
        answered.result()
        return True

    async def _publish(self) -> int:
        if self.publisher is None:
            self.publisher = connected(self.target.redis_url)
        return int(await self.publisher.publish(f"fanlab-probe-{secrets.token_hex(8)}", ""))

    def _control(self) -> Redis:
        if self.control is None:
            self.control = connected(self.target.redis_url)
        return self.control

    def _all(self) -> bool:
        return bool(self.target.settings["mode"] == "all")
