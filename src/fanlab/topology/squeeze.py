"""A container's memory limit, as low as the kernel takes it: asked for again and again, as what is in use is moving."""

from collections.abc import Awaitable, Callable
from typing import Final

from fanlab.errors import EnvironmentFailure

LEAST_BYTES: Final = 6 << 20  # an engine refuses less by itself, and does not ask the kernel
SLACK_BYTES: Final = 64 << 10  # so far above what is in use is near enough: a client takes some 13 kB
_TRIES: Final = 20
_IDLE_REFUSALS: Final = 3  # so many with room to spare are not for want of it


async def squeeze(update: Callable[[int], Awaitable[None]], usage: Callable[[], int], wanted_bytes: int) -> None:
    """Limit to `wanted_bytes`, or to the least above it that is taken.

    Version 1 of cgroups takes no limit below what is in use, but frees what can be done without when it is asked for
    one; version 2 takes any, and kills. Raises EnvironmentFailure, the engine's, if no limit was taken at all.
    """
    least = max(wanted_bytes, LEAST_BYTES) if usage() > LEAST_BYTES else wanted_bytes
    size, taken, idle = least, False, 0
    for tries_left in reversed(range(_TRIES)):
        try:
            await update(size)
        except EnvironmentFailure:
            if taken:
                return  # the one before holds
            idle = idle + 1 if usage() <= size else 0
            if idle == _IDLE_REFUSALS or tries_left == 0:
                raise
        else:
            taken = True
            if size == least or size - usage() <= SLACK_BYTES:
                return
        size = max(least, usage())
