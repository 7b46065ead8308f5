"""Nodes, and a Redis of ours, that end by themselves: who, when and how, for the manifest and for who watches."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Self, TypedDict

from fanlab import clock
from fanlab.errors import EnvironmentFailure
from fanlab.ledger.events import FaultStamp
from fanlab.topology.backend import Backend, UnitState

POLL_S: Final = 0.1
_ENDS_ITS_TARGET: Final = ("crash", "stop", "restart", "memory-limit", "redis-restart")


class UnplannedExit(TypedDict):
    """As the manifest lists it: `t_s` is from time 0 (None: before there was one), `status` < 0 names the signal."""

    unit: str
    t_s: float | None
    status: int


class Watch:
    """Tells of every unit that ends though no fault ended it, for as long as the `async with` lasts."""

    def __init__(
        self,
        backend: Backend,
        units: Sequence[str],
        zero_ns: Callable[[], int | None],
        tell: Callable[[UnplannedExit], None],
    ) -> None:
        """`zero_ns` answers None until time 0 is known."""
        self._backend = backend
        self._units = units
        self._zero_ns = zero_ns
        self._tell = tell
        self._kept_down: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def stamped(self, stamp: FaultStamp) -> None:
        """A fault reached one of its stamps: between `requested` and `heal_confirmed` its target may be gone."""
        if stamp["kind"] not in _ENDS_ITS_TARGET:
            return
        if stamp["stamp"] == "requested":
            self._kept_down.add(stamp["target"])
        elif stamp["stamp"] == "heal_confirmed":
            self._kept_down.discard(stamp["target"])

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._watch(unit), name=f"watch {unit}") for unit in self._units]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, unit: str) -> None:
        while True:
            try:
                status = await self._backend.exited(unit)
            except EnvironmentFailure:
                return  # the warden is lost and everything with it, which the load's own lines tell
            if unit not in self._kept_down:
                zero_ns = self._zero_ns()
                t_s = None if zero_ns is None else round((clock.now_ns() - zero_ns) / clock.NS_PER_S, 3)
                self._tell(UnplannedExit(unit=unit, t_s=t_s, status=status))
            while self._backend.state(unit) is UnitState.GONE:  # noqa: ASYNC110 - a fault may bring it back, untold
                await asyncio.sleep(POLL_S)
