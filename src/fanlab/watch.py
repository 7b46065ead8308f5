"""Nodes, and a Redis of ours, that end, by themselves or by a fault: who, when and how, for the manifest."""

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


class ExpectedExit(UnplannedExit):
    """An end that a fault was to bring, or, as a limit does, might bring: `fault` is its id."""

    fault: int


class Watch:
    """Tells of every unit that ends, for as long as the `async with` lasts."""

    def __init__(
        self,
        backend: Backend,
        units: Sequence[str],
        zero_ns: Callable[[], int | None],
        tell: Callable[[UnplannedExit], None],
        expected: Callable[[ExpectedExit], None],
    ) -> None:
        """`zero_ns` answers None until time 0 is known. `expected` hears of what a fault ended, `tell` of others."""
        self._backend = backend
        self._units = units
        self._zero_ns = zero_ns
        self._tell = tell
        self._expected = expected
        self._faults: dict[str, int] = {}  # by unit, the fault by which it may be gone
        self._tasks: list[asyncio.Task[None]] = []

    def stamped(self, stamp: FaultStamp) -> None:
        """A fault reached one of its stamps: between `requested` and `heal_confirmed` its target may be gone."""
        if stamp["kind"] not in _ENDS_ITS_TARGET:
            return
        if stamp["stamp"] == "requested":
            self._faults[stamp["target"]] = stamp["id"]
        elif stamp["stamp"] == "heal_confirmed":
            self._faults.pop(stamp["target"], None)

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
            ended_ns = self._backend.gone_ns(unit) or clock.now_ns()
            zero_ns = self._zero_ns()
            t_s = None if zero_ns is None else round((ended_ns - zero_ns) / clock.NS_PER_S, 3)
            if unit in self._faults:
                self._expected(ExpectedExit(unit=unit, t_s=t_s, status=status, fault=self._faults[unit]))
            else:
                self._tell(UnplannedExit(unit=unit, t_s=t_s, status=status))
            while self._backend.state(unit) is UnitState.GONE:  # noqa: ASYNC110 - a fault may bring it back, untold
                await asyncio.sleep(POLL_S)
