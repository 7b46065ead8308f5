"""A memory limit below what is in use: what is asked of the engine, and when that is enough."""

import pytest

from fanlab.errors import EnvironmentFailure
from fanlab.topology.squeeze import LEAST_BYTES, SLACK_BYTES, squeeze

MB = 1 << 20


class Container:
    """In version 1 of cgroups: a refusal frees what can be done without, and what is in use may change after a try."""

    def __init__(self, used: int, *, free: int = 0, moves: tuple[int, ...] = (), unified: bool = False) -> None:
        self.used, self.free, self.moves, self.unified = used, free, list(moves), unified
        self.asked: list[int] = []
        self.limit: int | None = None

    def usage(self) -> int:
        return self.used

    async def update(self, size: int) -> None:
        self.asked.append(size)
        refused = size < LEAST_BYTES
        if not refused and not self.unified and self.used > size:
            self.used, self.free = self.used - self.free, 0
            refused = self.used > size
        if not refused:
            self.limit = size
        self.used += self.moves.pop(0) if self.moves else 0
        if refused:
            raise EnvironmentFailure("refused")


async def test_a_limit_with_room_is_taken_as_it_is() -> None:
    container = Container(20 * MB)
    await squeeze(container.update, container.usage, 30 * MB)
    assert (container.asked, container.limit) == ([30 * MB], 30 * MB)


async def test_very_little_is_asked_of_the_kernel_and_not_of_the_engine() -> None:
    container = Container(40 * MB, free=17 * MB)
    await squeeze(container.update, container.usage, MB)
    assert (container.asked, container.limit) == ([LEAST_BYTES, 23 * MB], 23 * MB)


async def test_it_follows_what_is_in_use_down() -> None:
    container = Container(24 * MB, moves=(0, -MB, -SLACK_BYTES))
    await squeeze(container.update, container.usage, MB)
    assert container.limit == 23 * MB  # the last of it is near enough


async def test_less_in_use_after_a_refusal_is_asked_for_again() -> None:
    """The kernel refused, for it was in use just then; by now it is not."""
    container = Container(24 * MB)
    peaks = [0, MB, 0]

    async def update(size: int) -> None:
        container.used += (peak := peaks.pop(0) if peaks else 0)
        try:
            await container.update(size)
        finally:
            container.used -= peak

    await squeeze(update, container.usage, MB)
    assert (container.asked, container.limit) == ([LEAST_BYTES, 24 * MB, 24 * MB], 24 * MB)


async def test_refusals_for_want_of_room_between_show_that_others_were_for_that_too() -> None:
    container = Container(24 * MB)
    passing, growing = iter([0, MB, MB, 0, MB, MB]), iter([0, 0, 0, MB])

    async def update(size: int) -> None:
        peak = next(passing, 0)
        container.used += peak + next(growing, 0)
        try:
            await container.update(size)
        finally:
            container.used -= peak

    await squeeze(update, container.usage, MB)
    assert container.limit == 25 * MB


async def test_what_was_taken_once_holds() -> None:
    container = Container(24 * MB, moves=(0, -MB, 2 * MB))
    refusing = container.update

    async def update(size: int) -> None:
        if container.limit is not None:
            raise EnvironmentFailure("no more")
        await refusing(size)

    await squeeze(update, container.usage, MB)
    assert container.limit == 24 * MB


async def test_version_2_takes_it_at_once() -> None:
    container = Container(24 * MB, unified=True)
    await squeeze(container.update, container.usage, MB)
    assert container.asked == [LEAST_BYTES]


async def test_a_small_unit_is_told_that_the_engine_takes_no_less() -> None:
    container = Container(2 * MB)
    with pytest.raises(EnvironmentFailure, match="refused"):
        await squeeze(container.update, container.usage, 3 * MB)
    assert (container.asked, container.limit) == ([3 * MB] * 3, None)


async def test_a_unit_that_only_grows_is_given_up() -> None:
    container = Container(24 * MB)

    async def update(size: int) -> None:
        container.used += MB
        await container.update(size)

    with pytest.raises(EnvironmentFailure, match="refused"):
        await squeeze(update, container.usage, MB)
    assert len(container.asked) == 20
