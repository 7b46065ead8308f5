"""Faults that change one of Redis' settings with CONFIG SET, and give it its old value to heal."""

from dataclasses import dataclass

from redis.asyncio import Redis

from fanlab.errors import EnvironmentFailure
from fanlab.faults.fault import Target
from fanlab.faults.redis_connection import connected


@dataclass(slots=True)
class RedisSetting:
    """One setting, and what it was. The connection is opened before the change, which may let nobody else in."""

    target: Target
    name: str
    had: str = ""
    redis: Redis | None = None

    async def set(self, value: str) -> None:
        """Note what it is, and set it. Raises EnvironmentFailure where Redis does not know it."""
        self.had = await self.get()
        await self._connection().config_set(self.name, value)

    async def get(self) -> str:
        """What Redis says it is now."""
        found = await self._connection().config_get(self.name)
        if self.name not in found:
            raise EnvironmentFailure(f"this Redis has no setting {self.name}")
        return str(found[self.name])

    async def restore(self) -> None:
        """Set it to what it was."""
        await self._connection().config_set(self.name, self.had)

    async def close(self) -> None:
        """Give the connection up."""
        if self.redis is not None:
            await self.redis.aclose()
            self.redis = None

    def _connection(self) -> Redis:
        if self.redis is None:
            self.redis = connected(self.target.redis_url)
        return self.redis
