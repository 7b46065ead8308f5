"""An engine watching itself: is it late because the system is, or because it has too much to do?"""

import math
import time
from dataclasses import dataclass, field

from fanlab.clock import NS_PER_MS
from fanlab.ledger.events import ClientEvent

TICK_NS = 10 * NS_PER_MS


@dataclass(slots=True)
class Health:
    """Collects how late the engine's own ticks came, and says so once a second."""

    _lags_ns: list[int] = field(default_factory=list)

    def tick(self, due_ns: int, now_ns: int) -> None:
        """A tick that was due at `due_ns` came at `now_ns`."""
        self._lags_ns.append(max(0, now_ns - due_ns))

    def event(self, t_ns: int, missed: int) -> ClientEvent:
        """The `health` event since the last call; `cpu_s` is the process's CPU time since its start."""
        lags = sorted(self._lags_ns) or [0]
        self._lags_ns = []
        p99 = lags[math.ceil(0.99 * len(lags)) - 1]
        return {
            "t": t_ns,
            "ev": "health",
            "cpu_s": round(time.process_time(), 6),
            "loop_lag_max_ms": round(lags[-1] / NS_PER_MS, 3),
            "loop_lag_p99_ms": round(p99 / NS_PER_MS, 3),
            "missed": missed,
        }
