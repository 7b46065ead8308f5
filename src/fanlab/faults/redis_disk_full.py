"""redis-disk-full: the append-only file cannot be written any more (ENOSPC).

Redis then refuses commands that write, and PING with them (MISCONF), while PUBLISH and subscriptions go on: a node that
lives by PING gives up a connection that serves it well. The full disk is the kernel's own: the file is a link to
/dev/full. See `writeCommandsDeniedByDiskError` in Redis' server.c.
"""

import shlex
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from fanlab.errors import EnvironmentFailure
from fanlab.faults.fault import Target
from fanlab.faults.redis_connection import connected
from fanlab.topology.backend import REDIS

KEY: Final = "fanlab:disk-full"
_FULL: Final = "No space left on device"


@dataclass(slots=True)
class RedisDiskFull:
    """Let Redis keep an append-only file where there is no room; stop keeping it to heal."""

    target: Target
    done: bool = False  # or begun

    async def inject(self) -> None:
        """Put the link where Redis will open the file, then let it keep one, and write."""
        async with connected(self.target.redis_url) as redis:
            if (await redis.config_get("appendonly"))["appendonly"] != "no":
                raise EnvironmentFailure("redis-disk-full: this Redis keeps an append-only file already")
            folder, name = await self._place(redis)
            self.done = True
            path = shlex.quote(f"{folder}/temp-{name}.incr")
            await self._sh(f"mkdir -p {shlex.quote(folder)} && ln -sfn /dev/full {path}")
            await redis.config_set("appendonly", "yes")
            await redis.set(KEY, "")

    async def has_bitten(self) -> bool:
        """PING is refused for that reason."""
        return await self._refused()

    async def heal(self) -> None:
        """Let it keep no file any more, and remove what there is of it: not of one that it kept before."""
        if not self.done:
            return
        async with connected(self.target.redis_url) as redis:
            await redis.config_set("appendonly", "no")
            await redis.delete(KEY)
            folder, _ = await self._place(redis)
        await self._sh(f"rm -rf {shlex.quote(folder)}")

    async def has_healed(self) -> bool:
        """PING is answered."""
        return not await self._refused()

    async def _place(self, redis: Redis) -> tuple[str, str]:
        found = await redis.config_get("dir", "appenddirname", "appendfilename")
        if "appenddirname" not in found:
            raise EnvironmentFailure("redis-disk-full needs Redis 7 or later")
        return f"{found['dir']}/{found['appenddirname']}", str(found["appendfilename"])

    async def _sh(self, command: str) -> None:
        status = await self.target.backend.execute(REDIS, ["sh", "-c", command])
        if status != 0:
            raise EnvironmentFailure(f"`{command}` ended with {status} where Redis' files are")

    async def _refused(self) -> bool:
        async with connected(self.target.redis_url) as redis:
            try:
                await redis.ping()
            except ResponseError as error:
                return _FULL in str(error)
        return False
