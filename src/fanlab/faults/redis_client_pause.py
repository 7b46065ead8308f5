"""redis-client-pause: CLIENT PAUSE. Redis lives and lets commands wait; publishes come late, or not at all."""

import asyncio
import secrets
from dataclasses import dataclass

from fanlab.clock import NS_PER_MS, NS_PER_S, now_ns
from fanlab.faults.fault import Target
from fanlab.faults.redis_connection import connected
from fanlab.topology.backend import Need
from fanlab.units import format_duration

WAITS_S = 0.05  # a command that takes this long, on a local Redis that answers others in under 1 ms, is made to wait


@dataclass(slots=True)
class RedisClientPause:
    """Let Redis' clients wait for `for`. It ends by itself then; before that, only where not all commands wait."""

    target: Target
    ends_ns: int = 0

    async def inject(self) -> None:
        """CLIENT PAUSE with the fault's own end: nobody has to undo it, whatever becomes of fanlab."""
        async with connected(self.target.redis_url) as redis:
            pause_ms = max(1, (self.target.for_ns or 0) // NS_PER_MS)
            await redis.client_pause(pause_ms, all=self._all())
            self.ends_ns = now_ns() + pause_ms * NS_PER_MS

    async def has_bitten(self) -> bool:
        """A publish, on a channel of nobody's, is kept waiting. It dies with its connection."""
        return not await self._publishes()

    async def heal(self) -> None:
        """CLIENT UNPAUSE. In mode `all` it would wait like any other: whose Redis it is then learns for how long."""
        if not self._all():
            async with connected(self.target.redis_url) as redis:
                await redis.client_unpause()
            return
        left_ns = self.ends_ns - now_ns()
        if left_ns >= NS_PER_S and self.target.backend.refusal(Need.OWN_REDIS) is not None:
            self.target.means.warn(
                f"the Redis of this run answers nobody for another {format_duration(left_ns)}: a CLIENT PAUSE of all"
                " commands cannot be undone, and ends by itself then"
            )

    def _all(self) -> bool:
        return bool(self.target.settings["mode"] == "all")

    async def has_healed(self) -> bool:
        """A publish is answered at once."""
        return await self._publishes()

    async def _publishes(self) -> bool:
        async with connected(self.target.redis_url) as redis:
            try:
                async with asyncio.timeout(WAITS_S):
                    await redis.publish(f"fanlab-probe-{secrets.token_hex(8)}", "")
            except TimeoutError:
                return False
        return True
