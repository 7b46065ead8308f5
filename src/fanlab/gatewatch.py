"""Gates that end a run as soon as they are seen to fail (`else abort`), held against what the load tells live. Pure.

The load tells totals of the whole run. What is judged is what came on top of them a moment after time 0, so that
nothing of the warm-up is in it. Its histograms have buckets 9 % wide, of which the lower end is taken, and a percentile
counts as failed when so many deliveries are too slow that the rest of all that the plan owes cannot mend it: a gate
that would hold at the end ends no run.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fanlab.clock import NS_PER_S
from fanlab.load.batch import least_ms
from fanlab.load.pacer import expected_count
from fanlab.load.totals import LoadSnapshot
from fanlab.scenario.gates import Gate, describe, holds
from fanlab.scenario.model import BurstRate, Scenario

SETTLED_NS: Final = 1_500_000_000  # engines tell their totals every second at least: by then the warm-up is in them
_BY_CHANCE: Final = 6  # standard errors: so many messages more than on average no Poisson rate sends
_SHARES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Stop:
    """Which gate ended the run, when (from time 0), and what was known then: the value, or what it was at least."""

    expr: str
    t_s: float
    actual: float

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        return {"expr": self.expr, "t_s": round(self.t_s, 3), "actual": self.actual}


class GateWatch:
    """Looks at one snapshot of the load after the other, in order of time.

    `most_owed`: deliveries that the whole measure phase owes at most.
    """

    def __init__(self, gates: Sequence[Gate], most_owed: int) -> None:
        self._gates = [gate for gate in gates if gate.abort_after_ns is not None]
        self._most_owed = most_owed
        self._before: LoadSnapshot | None = None

    @property
    def idle(self) -> bool:
        """Whether there is nothing to look for."""
        return not self._gates

    def look(self, t_ns: int, load: LoadSnapshot) -> Stop | None:
        """The first gate that is seen to fail `t_ns` after time 0; None while there is none."""
        if self._before is None:
            self._before = load if t_ns >= SETTLED_NS else None
            return None
        for gate in self._gates:
            actual = self._value(gate.field, self._before, load)
            if t_ns >= (gate.abort_after_ns or 0) and actual is not None and _fails(gate, actual):
                return Stop(gate.expr, t_ns / NS_PER_S, actual)
        return None

    def _value(self, field: str, before: LoadSnapshot, load: LoadSnapshot) -> float | int | None:
        """A field of LIVE since `before`; None: too little is known yet."""
        block, _, name = field.partition(".")
        if block == "publishers":
            return int(getattr(load, name)) - int(getattr(before, name))
        found = Counter(load.latencies)
        found.subtract(before.latencies)
        return _percentile_at_least_ms(found, _SHARES[name], self._most_owed)


def most_owed(scenario: Scenario) -> int:
    """How many deliveries the measure phase owes at most: every message to every client of its channel."""
    began_ns = scenario.phases.warm_up_ns
    owed = 0.0
    for publisher in scenario.publishers:
        mean = expected_count(publisher.rate, began_ns, began_ns + scenario.phases.measure_ns)
        odd = publisher.rate.size if isinstance(publisher.rate, BurstRate) else 1
        messages = publisher.count * (mean + odd + _BY_CHANCE * math.sqrt(mean) * (publisher.rate.kind == "poisson"))
        owed += messages * sum(group.count for group in scenario.clients if publisher.channel in group.channels)
    return math.ceil(owed)


def told(stop: Stop, gate: Gate) -> str:
    """A stop in words."""
    return f"stopped at {stop.t_s:.1f} s by the gate {stop.expr}: it was {describe(gate, stop.actual)} by then"


def _fails(gate: Gate, actual: float) -> bool:
    """Counts only grow: one that is to be met exactly fails when it is passed, not before it is reached."""
    return actual > gate.threshold if gate.op == "==" else not holds(gate, actual)


def _percentile_at_least_ms(found: Mapping[int, int], share: float, most_owed: int) -> float | None:
    """What the percentile of all deliveries, at most so many, is at least in the end; None: that is open yet."""
    n = max(most_owed, sum(found.values()))
    beyond, seen = n - math.ceil(share * n - 1e-9), 0
    for bucket in sorted(found, reverse=True):
        seen += found[bucket]
        if seen > beyond:
            return least_ms(bucket)
    return None
