"""redis-kill-pubsub: CLIENT KILL TYPE pubsub. Redis and its data stay; every node's subscription is cut at once."""

from dataclasses import dataclass, field

from redis.asyncio import Redis

from fanlab.errors import EnvironmentFailure
from fanlab.faults.fault import Target
from fanlab.faults.redis_connection import connected
from fanlab.ledger.witnessname import WITNESS_NAME


@dataclass(slots=True)
class RedisKillPubsub:
    """Cut every subscriber's connection. It heals by itself, when the nodes have subscribed again."""

    target: Target
    killed: frozenset[str] = frozenset()
    subscribers: dict[str, int] = field(default_factory=dict)

    async def inject(self) -> None:
        """Note who is subscribed to what, then kill those connections."""
        async with connected(self.target.redis_url) as redis:
            self.killed = await _pubsub_ids(redis)
            self.subscribers = await _subscribers(redis)
            if not self.killed:
                raise EnvironmentFailure("redis-kill-pubsub found no subscriber to cut off")
            await redis.client_kill_filter(_type="pubsub")

    async def has_bitten(self) -> bool:
        """None of the connections that were there is there still."""
        async with connected(self.target.redis_url) as redis:
            return not self.killed & await _pubsub_ids(redis)

    async def heal(self) -> None:
        """Nothing to undo."""

    async def has_healed(self) -> bool:
        """Each channel has at least as many subscribers as before."""
        async with connected(self.target.redis_url) as redis:
            now = await _subscribers(redis)
        return all(now.get(channel, 0) >= count for channel, count in self.subscribers.items())


async def _pubsub_ids(redis: Redis) -> frozenset[str]:
    """Those of the system: fanlab's own witness is cut off with them, but nobody is to be the poorer for it."""
    found = await redis.client_list(_type="pubsub")
    return frozenset(client["id"] for client in found if client["name"] != WITNESS_NAME)


async def _subscribers(redis: Redis) -> dict[str, int]:
    channels = await redis.pubsub_channels()
    counts = await redis.pubsub_numsub(*channels) if channels else []
    return {str(channel): count for channel, count in counts}
