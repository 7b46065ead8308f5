"""An engine watching itself: is it late because the system is, or because it has too much to do?"""

import time
from dataclasses import dataclass, field

from fanlab.clock import NS_PER_MS
from fanlab.ledger.events import ClientEvent

TICK_NS = 10 * NS_PER_MS


@dataclass(slots=True)
class Health:
    """Collects how late the engine's own ticks came, and tells them once a second. Ticks are due every `period_ns`."""

    period_ns: int = TICK_NS
    _lags_ns: list[int] = field(default_factory=list)

    def tick(self, due_ns: int, now_ns: int) -> None:
        """A tick that was due at `due_ns` came at `now_ns`.

        Those that were due in between and never came are late too: a stall of ten periods is ten late ticks, not one
        (otherwise a percentile of them would leave out just what it is to show).
        """
        self._lags_ns.extend(range(now_ns - due_ns, -1, -self.period_ns) if now_ns >= due_ns else (0,))

    def event(self, t_ns: int, missed: int) -> ClientEvent:
        """The `health` event since the last call; `cpu_s` is the process's CPU time since its start."""
        lags, self._lags_ns = self._lags_ns, []
        return {
            "t": t_ns,
            "ev": "health",
            "cpu_s": round(time.process_time(), 6),
            "lags_ms": [round(lag / NS_PER_MS, 1) for lag in lags],
            "missed": missed,
        }
