"""The injector: each fault at its absolute time, with four stamps, the second and fourth given by a probe.

requested       the fault was asked for
confirmed       a probe saw its effect
heal_requested  its undoing was asked for
heal_confirmed  a probe saw the target serve again
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from redis.exceptions import RedisError

from fanlab import clock
from fanlab.errors import FanlabError
from fanlab.faults.crash import Crash
from fanlab.faults.fault import Fault, Target
from fanlab.faults.pause import Pause
from fanlab.faults.redis_kill_pubsub import RedisKillPubsub
from fanlab.faults.stop import Stop
from fanlab.faults.timeline import PlannedFault
from fanlab.ledger.events import FaultStamp, StampName
from fanlab.topology.backend import Backend

FAULTS: Final[dict[str, Callable[[Target], Fault]]] = {
    "crash": Crash,
    "stop": Stop,
    "pause": Pause,
    "redis-restart": Crash,  # the same deed, done to Redis
    "redis-kill-pubsub": RedisKillPubsub,
}
PROBE_EVERY_S = 0.005
BITE_DEADLINE_S = 10.0
HEAL_DEADLINE_S = 30.0
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
    timeline: Sequence[PlannedFault], zero_ns: int, backend: Backend, redis_url: str, journal: FaultJournal
) -> list[FaultFailure]:
    """Run the whole timeline; returns when every fault has bitten, and healed where it is to heal, or could not."""
    outcomes = await asyncio.gather(
        *(
            _run(fault, FAULTS[fault.kind](Target(backend, fault.target, redis_url)), zero_ns, journal)
            for fault in timeline
        )
    )
    return [failure for failure in outcomes if failure is not None]


async def _run(planned: PlannedFault, fault: Fault, zero_ns: int, journal: FaultJournal) -> FaultFailure | None:
    try:
        await clock_reaches(zero_ns + planned.at_ns)
        journal.stamp(planned, "requested", clock.now_ns())
        async with asyncio.timeout(BITE_DEADLINE_S):
            await fault.inject()
        if not await _until(fault.has_bitten, BITE_DEADLINE_S):
            return FaultFailure(planned, f"showed no effect within {BITE_DEADLINE_S:g} s")
        journal.stamp(planned, "confirmed", clock.now_ns())
        if planned.for_ns is None:
            return None
        await clock_reaches(zero_ns + planned.at_ns + planned.for_ns)
        journal.stamp(planned, "heal_requested", clock.now_ns())
        async with asyncio.timeout(HEAL_DEADLINE_S):
            await fault.heal()
        undone = (
            planned.for_ns > 0
        )  # else there is nothing to undo: a system that never mends it is what was to be found
        if await _until(fault.has_healed, HEAL_DEADLINE_S if undone else OWN_HEAL_DEADLINE_S):
            journal.stamp(planned, "heal_confirmed", clock.now_ns())
        elif undone:
            return FaultFailure(planned, f"did not heal within {HEAL_DEADLINE_S:g} s")
    except TimeoutError:
        return FaultFailure(planned, "could not be done in time: the target does not answer")
    except (FanlabError, RedisError, OSError) as error:
        return FaultFailure(planned, str(error))
    return None


async def clock_reaches(t_ns: int) -> None:
    """Wait until the monotonic clock shows `t_ns`; returns at once if it has passed."""
    while (left_ns := t_ns - clock.now_ns()) > 0:  # noqa: ASYNC110 - a clock sets no event
        await asyncio.sleep(left_ns / clock.NS_PER_S)


async def _until(probe: Callable[[], Awaitable[bool]], deadline_s: float) -> bool:
    """Poll until the probe says yes; False at the deadline."""
    try:
        async with asyncio.timeout(deadline_s):
            while not await probe():  # noqa: ASYNC110 - no event tells of an effect; probes must look for it
                await asyncio.sleep(PROBE_EVERY_S)
    except TimeoutError:
        return False
    return True
