"""Faults that change one of Redis' settings with CONFIG SET, and give it its old value to heal.

By the keeper's rule: of the limits of output buffers those of subscribers alone are a fault's, and a setting that
somebody else has changed meanwhile stays as it is.
"""

from dataclasses import dataclass

from redis.asyncio import Redis

from fanlab.errors import EnvironmentFailure
from fanlab.faults.fault import Target
from fanlab.faults.redis_connection import connected
from fanlab.faults.redis_keeper import part, to_give_back


@dataclass(slots=True)
class RedisSetting:
    """One setting, and what it was. The connection is opened before the change, which may let nobody else in."""

    target: Target
    name: str
    had: str = ""
    given: str = ""
    redis: Redis | None = None

    async def set(self, value: str) -> None:
        """Note what it is, and set it. Raises EnvironmentFailure where Redis does not know it."""
        self.had, self.given = await self.get(), value
        await self._connection().config_set(self.name, value)

    async def get(self) -> str:
        """What Redis says of it now: of the part that a fault changes."""
        found = await self._connection().config_get(self.name)
        if self.name not in found:
            raise EnvironmentFailure(f"this Redis has no setting {self.name}")
        return part(self.name, str(found[self.name]))

    async def holds(self) -> bool:
        """Whether it is now what the fault has given it."""
        return await self.get() == self.given

    async def healed(self) -> bool:
        """Whether it has its old value, or one of somebody else's."""
        return not to_give_back(await self.get(), self.had, [self.given])

    async def restore(self) -> None:
        """Set it to what it was, if it still is what the fault has given it."""
        if to_give_back(await self.get(), self.had, [self.given]):
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
