"""redis-output-buffer: Redis cuts a subscriber off as soon as a little waits for it, as in a burst."""

from dataclasses import dataclass, field

from fanlab.faults.fault import Target
from fanlab.faults.redis_settings import RedisSetting

NAME = "client-output-buffer-limit"


@dataclass(slots=True)
class RedisOutputBuffer:
    """Set the hard limit for subscribers to `limit_bytes`, without a soft one; the old limits to heal."""

    target: Target
    setting: RedisSetting = field(init=False)

    def __post_init__(self) -> None:
        self.setting = RedisSetting(self.target, NAME)

    async def inject(self) -> None:
        """CONFIG SET client-output-buffer-limit, for the class pubsub alone."""
        await self.setting.set(f"pubsub {self.target.settings['limit_bytes']} 0 0")

    async def has_bitten(self) -> bool:
        """Redis says that this limit holds."""
        return await self.setting.holds()

    async def heal(self) -> None:
        """The limits that held before, unless somebody else has changed them meanwhile."""
        await self.setting.restore()

    async def has_healed(self) -> bool:
        """Redis says that they hold again, or others that somebody else has set."""
        return await self.setting.healed()

    async def close(self) -> None:
        """Hang up."""
        await self.setting.close()
