"""The injector: each fault at its absolute time, with four stamps, the second and fourth given by a probe.

requested       the fault was asked for
confirmed       a probe saw its effect
heal_requested  its undoing was asked for
heal_confirmed  a probe saw the target serve again
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from fanlab import clock
from fanlab.errors import FanlabError, HarnessError
from fanlab.faults.catalogue import FAULTS, HEALED_BY_STARTING
from fanlab.faults.fault import Closing, Explaining, Fault, Means, Target
from fanlab.faults.timeline import PlannedFault
from fanlab.ledger.events import FaultStamp, StampName

PROBE_EVERY_S = 0.005
BITE_DEADLINE_S = 10.0
HEAL_DEADLINE_S = 30.0
ABORT_HEAL_S = 5.0  # when the fault has failed, or the run is given up
OWN_HEAL_DEADLINE_S = 10.0  # for what the system itself is to mend


@dataclass(frozen=True, slots=True)
class FaultFailure:
    """A fault that could not be done, did not bite or did not heal, and why. The run is invalid then."""

    fault: PlannedFault
    why: str


class FaultJournal:
    """faults.jsonl: one line per stamp, on disk before anybody is told."""

    def __init__(self, path: Path, on_stamp: Callable[[FaultStamp], None]) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._on_stamp = on_stamp

    def stamp(self, fault: PlannedFault, name: StampName, t_ns: int) -> None:
        """Record that `fault` reached `name` at `t_ns`."""
        stamp = FaultStamp(id=fault.id, kind=fault.kind, target=fault.target, stamp=name, t=t_ns)
        os.write(self._fd, json.dumps(stamp).encode() + b"\n")
        self._on_stamp(stamp)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


async def inject_all(
    timeline: Sequence[PlannedFault], zero_ns: int, means: Means, journal: FaultJournal
) -> list[FaultFailure]:
    """Run the whole timeline; returns when every fault has bitten, and healed where it is to heal, or could not.

    A bug in a fault is raised, as it is, when the others have been healed; it is no failure of the fault.

    When it is cancelled, what has been broken is healed first, as far as ABORT_HEAL_S allows. What is gone stays so: it
    would be started only to be ended with the others.
    """
    injections = [_Injection(planned, made(planned, means), journal) for planned in timeline]
    tasks = [asyncio.ensure_future(injection.run(zero_ns)) for injection in injections]
    if not tasks:
        return []
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()  # once: a second time would end the healing
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    for error in sorted(errors, key=lambda each: isinstance(each, asyncio.CancelledError)):  # the others, by the first
        raise error
    return [outcome for outcome in outcomes if isinstance(outcome, FaultFailure)]


def made(planned: PlannedFault, means: Means) -> Fault:
    """The planned fault as something that can be done."""
    return FAULTS[planned.kind](Target(means, planned.target, planned.id, planned.for_ns, planned.settings))


@dataclass(slots=True)
class _Injection:
    """One fault on its way through its four stamps."""

    planned: PlannedFault
    fault: Fault
    journal: FaultJournal
    broken: bool = False  # it may have been done, and is to be undone
    done: bool = False  # it was done
    heal_asked: bool = False
    undone: bool = False

    async def run(self, zero_ns: int) -> FaultFailure | None:
        try:
            return await self._all_stamps(zero_ns)
        except TimeoutError:
            return FaultFailure(self.planned, "could not be done in time: the target does not answer")
        except HarnessError:
            raise
        except (FanlabError, RedisError, OSError) as error:
            return FaultFailure(self.planned, str(error))
        finally:
            if self._is_to_be_undone():
                await _in_any_case(self._heal_at_once())
            if isinstance(self.fault, Closing):
                await self.fault.close()

    async def _all_stamps(self, zero_ns: int) -> FaultFailure | None:
        planned, fault = self.planned, self.fault
        await clock_reaches(zero_ns + planned.at_ns)
        self._stamp("requested")
        self.broken = True
        async with asyncio.timeout(BITE_DEADLINE_S):
            await fault.inject()
        self.done = True
        if not await _until(fault.has_bitten, BITE_DEADLINE_S):
            why = f": {fault.lacks()}" if isinstance(fault, Explaining) else ""
            return FaultFailure(planned, f"showed no effect within {BITE_DEADLINE_S:g} s{why}")
        self._stamp("confirmed")
        if planned.for_ns is None:
            self.broken = False
            return None
        await clock_reaches(zero_ns + planned.at_ns + planned.for_ns)
        self._stamp("heal_requested")
        self.heal_asked = True
        async with asyncio.timeout(HEAL_DEADLINE_S):
            await fault.heal()
        self.undone = True
        # With nothing to undo, a system that never mends it is what was to be found.
        undone = planned.for_ns > 0
        if await _until(fault.has_healed, HEAL_DEADLINE_S if undone else OWN_HEAL_DEADLINE_S):
            self._stamp("heal_confirmed")
            self.broken = False
        elif undone:
            return FaultFailure(planned, f"did not heal within {HEAL_DEADLINE_S:g} s")
        return None

    def _is_to_be_undone(self) -> bool:
        """It has failed, or the run is given up: what was broken would stay so."""
        if not self.broken or self.planned.for_ns == 0:
            return False
        task = asyncio.current_task()
        given_up = task is not None and task.cancelling() > 0
        if self.planned.kind in HEALED_BY_STARTING and (given_up or not self.done):
            return False
        return given_up or not self.undone

    async def _heal_at_once(self) -> None:
        """Undo it, and stamp what is seen of it. Whatever fails ends with the run's units."""
        failures = (TimeoutError, FanlabError, RedisError, OSError)
        with contextlib.suppress(*failures):
            async with asyncio.timeout(ABORT_HEAL_S):
                if not self.heal_asked:
                    self._stamp("heal_requested")
                if not self.undone:
                    with contextlib.suppress(*failures):
                        await self.fault.heal()
                if await _until(self.fault.has_healed, ABORT_HEAL_S):
                    self._stamp("heal_confirmed")

    def _stamp(self, name: StampName) -> None:
        self.journal.stamp(self.planned, name, clock.now_ns())


async def clock_reaches(t_ns: int) -> None:
    """Wait until the monotonic clock shows `t_ns`; returns at once if it has passed."""
    while (left_ns := t_ns - clock.now_ns()) > 0:  # noqa: ASYNC110 - a clock sets no event
        await asyncio.sleep(left_ns / clock.NS_PER_S)


async def _in_any_case(healing: Coroutine[Any, Any, None]) -> None:
    """See it through, though the run is given up meanwhile."""
    task = asyncio.ensure_future(healing)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _until(probe: Callable[[], Awaitable[bool]], deadline_s: float) -> bool:
    """Poll until the probe says yes; False at the deadline."""
    try:
        async with asyncio.timeout(deadline_s):
            while not await probe():  # noqa: ASYNC110 - no event tells of an effect; probes must look for it
                await asyncio.sleep(PROBE_EVERY_S)
    except TimeoutError:
        return False
    return True
