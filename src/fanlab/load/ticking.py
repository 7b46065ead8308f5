"""The clock of an asyncio process of the load: a tick every TICK_NS, each measured."""

import asyncio
from collections.abc import AsyncIterator

from fanlab.clock import NS_PER_S, now_ns
from fanlab.load.health import TICK_NS, Health

FLUSH_EVERY = 5  # ticks
HEALTH_EVERY = 100


async def ticks(health: Health) -> AsyncIterator[tuple[int, int]]:
    """The number of each tick, from 1, and when it came, endlessly. `health` is told how late it came."""
    due_ns, number = now_ns(), 0
    while True:
        due_ns += TICK_NS
        await asyncio.sleep(max(0, due_ns - now_ns()) / NS_PER_S)
        t_ns = now_ns()
        health.tick(due_ns, t_ns)
        due_ns = max(due_ns, t_ns - TICK_NS)  # after a stall, do not run after every tick that was missed
        number += 1
        yield number, t_ns
