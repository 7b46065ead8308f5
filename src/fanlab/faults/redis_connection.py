"""Connections to Redis for faults: tried once, with no time limit of redis-py's own.

redis-py keeps a limit by asyncio.wait_for, which on Python 3.11 can swallow a cancellation. The injector bounds every
call instead.
"""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def connected(url: str) -> Redis:
    """A client for an `async with`. It connects with its first command, and keeps the connection for those after it."""
    return Redis.from_url(url, decode_responses=True, socket_timeout=None, retry=Retry(NoBackoff(), 0))
