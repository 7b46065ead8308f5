"""Time that stands still or runs slowly for a unit: pauses, and CPU quotas. Pure.

A server's queue is worked out in its own time, in which it always works at full speed: `work` takes real time there and
`time` brings it back. A quota is taken as a steady fraction, where a kernel deals it out in periods of 100 ms.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FOREVER = float(1 << 61)


@dataclass(slots=True)
class Warp:
    """Stretches of real time (from, until, speed), speed 0 to 1, that do not overlap; outside them the speed is 1."""

    stretches: Iterable[tuple[float, float, float]] = ()
    _real: Floats = field(init=False)
    _own: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.stretches = tuple(sorted(self.stretches))
        real, own = [0.0], [0.0]
        for start, until, speed in self.stretches:
            if start < real[-1] or not 0 <= speed <= 1 or until < start:
                raise ValueError(f"stretches of time overlap, or run backwards: {start:g} to {until:g} at {speed:g}")
            own_start = own[-1] + (start - real[-1])
            real += [start, until]
            own += [own_start, own_start + (until - start) * speed]  # at speed 0 the very same: `time` looks for it
        self._real, self._own = np.array([*real, real[-1] + FOREVER]), np.array([*own, own[-1] + FOREVER])

    def __bool__(self) -> bool:
        return bool(self.stretches)

    def work(self, real: Floats | float) -> Floats:
        """A real time, in the unit's own."""
        own: Floats = np.interp(np.asarray(real, np.float64), self._real, self._own)
        return own

    def time(self, own: Floats | float) -> Floats:
        """A time of the unit's own, in real time: where it stood still, when it went on, for what is done then."""
        own = np.asarray(own, np.float64)
        at = np.clip(np.searchsorted(self._own, own, side="right") - 1, 0, len(self._own) - 2)
        span = self._own[at + 1] - self._own[at]
        share = np.divide(own - self._own[at], span, out=np.zeros_like(own), where=span > 0)
        found: Floats = self._real[at] + share * (self._real[at + 1] - self._real[at])
        return found


def released(at: Floats, holds: Iterable[tuple[float, float]]) -> Floats:
    """When what came at those times gets through, where nothing passes in any of `holds` and all of it after."""
    for start, until in holds:
        at = np.where((at >= start) & (at < until), until, at)
    return at
