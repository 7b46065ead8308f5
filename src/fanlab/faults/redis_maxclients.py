"""redis-maxclients: Redis lets nobody else in. Who is connected notices nothing, until a connection is lost."""

from dataclasses import dataclass, field

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError

from fanlab.faults.fault import Target
from fanlab.faults.redis_connection import connected
from fanlab.faults.redis_settings import RedisSetting

FULL = "max number of clients reached"


@dataclass(slots=True)
class RedisMaxClients:
    """Set maxclients to the least that Redis takes, which leaves no room; the old number to heal."""

    target: Target
    setting: RedisSetting = field(init=False)

    def __post_init__(self) -> None:
        self.setting = RedisSetting(self.target, "maxclients")

    async def inject(self) -> None:
        """CONFIG SET maxclients 1: those who are connected are more, and stay."""
        await self.setting.set("1")

    async def has_bitten(self) -> bool:
        """A new connection is refused for that reason."""
        return await self._refused()

    async def heal(self) -> None:
        """The number that held before, unless somebody else has changed it meanwhile."""
        await self.setting.restore()

    async def has_healed(self) -> bool:
        """A new connection is served."""
        return not await self._refused()

    async def close(self) -> None:
        """Hang up."""
        await self.setting.close()

    async def _refused(self) -> bool:
        try:
            async with connected(self.target.redis_url) as redis:
                await redis.ping()
        except (RedisConnectionError, MaxConnectionsError) as error:
            return FULL in str(error)
        return False
