"""redis-client-pause: CLIENT PAUSE. Redis lives and lets commands wait; publishes come late, or not at all."""

import asyncio
import secrets
from dataclasses import dataclass

from fanlab.clock import NS_PER_MS
from fanlab.faults.fault import Target
from fanlab.faults.redis_connection import connected

WAITS_S = 0.05  # a command that takes this long, on a local Redis that answers others in under 1 ms, is made to wait


@dataclass(slots=True)
class RedisClientPause:
    """Let Redis' clients wait for `for`; it ends by itself then, and CLIENT UNPAUSE could wait like any other."""

    target: Target

    async def inject(self) -> None:
        """CLIENT PAUSE with the fault's own end: nobody has to undo it, whatever becomes of fanlab."""
        async with connected(self.target.redis_url) as redis:
            pause_ms = max(1, (self.target.for_ns or 0) // NS_PER_MS)
            await redis.client_pause(pause_ms, all=self.target.settings["mode"] == "all")

    async def has_bitten(self) -> bool:
        """A publish, on a channel of nobody's, is kept waiting. It dies with its connection."""
        return not await self._publishes()

    async def heal(self) -> None:
        """Nothing to do: the pause knows its end."""

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
