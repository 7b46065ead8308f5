"""The search for the knee: from the probes made so far to the next load to try, or to what can be said. Pure.

It doubles or halves from where it starts until one load is carried and a harder one is not, bisects in equal ratios
until the two are within the precision, then repeats at both ends, and where outcomes disagree at the middle of what is
believed (see `threshold`), until the interval is as narrow as asked or the runs are used up. It keeps no state: what a
journal of probes says is all that it needs, so that a search can be taken up again.

A load is harder when it is higher; of nodes, when there are fewer of them for the same load.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from fanlab.capacity.threshold import Knee, Trial, knee

Axis = Literal["rate", "clients", "nodes"]
Outcome = Literal["met", "missed", "unsteady", "generator", "broken"]
Status = Literal["answer", "bound", "none"]

AXES: Final[tuple[Axis, ...]] = ("rate", "clients", "nodes")
CONCLUSIVE: Final = frozenset({"met", "missed", "unsteady"})
_TRIES = 2  # of a load whose run said nothing of the system
_DIGITS = 3  # of a rate


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is searched for. Loads are messages a second in all, clients in all, or nodes."""

    axis: Axis
    start: float
    least: float
    most: float
    precision: float = 0.1
    repeats: int = 3
    max_runs: int = 40
    confidence: float = 0.9

    @property
    def whole(self) -> bool:
        """Whether loads are whole numbers."""
        return self.axis != "rate"


@dataclass(frozen=True, slots=True)
class Probe:
    """One run at a load, and what came of it; `why` is a sentence for people."""

    load: float
    outcome: Outcome
    why: str = ""


@dataclass(frozen=True, slots=True)
class Try:
    """Run this load next."""

    load: float
    why: str


@dataclass(frozen=True, slots=True)
class End:
    """What can be said. An answer has all four figures; a bound has the one end that is known; "none" may have neither.

    `load` is the knee: the load that every second run carries (of nodes: the fewest that do), `low` to `high` hold it
    with `confidence`. `carried` is the hardest load that most of its runs met, `refused` the easiest that most did not.
    """

    status: Status
    why: str
    load: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    carried: float | None = None
    refused: float | None = None


def next_step(wanted: Wanted, probes: Sequence[Probe]) -> Try | End:
    """The next load to try, or the end of the search."""
    return _Search(wanted, probes).next_step()


def conclude(wanted: Wanted, probes: Sequence[Probe], why: str) -> End:
    """What is known when the search must end here, for the reason given."""
    return _Search(wanted, probes).concluded(why)


class _Search:
    """One look at the probes. `x` is a load's logarithm, turned so that larger is harder."""

    def __init__(self, wanted: Wanted, probes: Sequence[Probe]) -> None:
        self._wanted = wanted
        self._probes = probes
        self._sign = -1 if wanted.axis == "nodes" else 1
        limits = sorted((self._x(wanted.least), self._x(wanted.most)))
        self._easiest, self._hardest = limits
        self._trials = [Trial(self._x(p.load), p.outcome == "met") for p in probes if p.outcome in CONCLUSIVE]
        self._low, self._high = self._bracket()

    def next_step(self) -> Try | End:
        """See the function."""
        step = self._wished()
        if isinstance(step, Try) and len(self._probes) >= self._wanted.max_runs:
            return self.concluded(f"all {self._wanted.max_runs} runs are used up")
        return step

    def _wished(self) -> Try | End:
        """The same without heed of how many runs there may be."""
        last = self._probes[-1] if self._probes else None
        if last is not None and last.outcome not in CONCLUSIVE:
            if self._in_vain(last.load) < _TRIES:
                return self._try(self._x(last.load), "once more, since that run says nothing of the system")
            if last.outcome == "broken":
                return self.concluded(f"no valid run at {self.shown(last.load)}: {last.why}", answerable=False)
            if self._sign < 0:  # neither more nodes nor fewer are less work for the generator
                return self.concluded(self._saturated("at this load"), answerable=False)
        if self._low is None or self._high is None or not self._close(self._low, self._high):
            return self._narrow()
        return self._repeat(self._low, self._high)

    def concluded(self, why: str, *, answerable: bool = True) -> End:
        """What is known now."""
        carried, refused = self._carried(), self._refused()
        ends = {"carried": carried, "refused": refused}
        if not answerable:
            return End("none", why, **ends)
        if self._low is not None and self._high is not None and self._close(self._low, self._high):
            return self._answer(why)
        if self._low is None and self._high is None:
            return End("none", why, **ends)
        known_x = (self._low, self._high)
        low, high = (None if x is None else self._load(x) for x in (known_x if self._sign > 0 else known_x[::-1]))
        return End("bound", why, low=low, high=high, **ends)

    def shown(self, load: float) -> str:
        """A load as people read it."""
        return shown(self._wanted.axis, load)

    # Narrowing

    def _narrow(self) -> Try | End:
        """Double, halve or bisect."""
        low, high, ceiling = self._low, self._high, self._ceiling()
        if low is None:
            return self._easier(high, ceiling)
        upper = min((x for x in (high, ceiling) if x is not None), default=None)
        if upper is None:
            if low >= self._hardest:
                return self._all_carried()
            return self._try(min(low + math.log(2), self._hardest), "twice as hard, since that was carried")
        if upper <= low or self._close(low, upper):
            return self.concluded(self._saturated(f"at {self.shown(self._load(upper))}"))
        return self._try((low + upper) / 2, "half way between what was carried and what was not")

    def _easier(self, high: float | None, ceiling: float | None) -> Try | End:
        """Nothing was carried yet."""
        tried = [x for x in (high, ceiling) if x is not None]
        if not tried:
            return self._try(self._x(self._wanted.start), "where the search begins")
        if min(tried) <= self._easiest:
            if high is None:
                return self.concluded(self._saturated("even at the least load"))
            return self.concluded(f"not even {self.shown(self._load(self._easiest))} is carried")
        return self._try(max(min(tried) - math.log(2), self._easiest), "half as hard, since that was too much")

    def _all_carried(self) -> End:
        if self._sign < 0 and self._wanted.least <= 1:
            one = self._wanted.least
            return End("answer", "a single node is enough", one, one, one, None, carried=one)
        limit = self.shown(self._load(self._hardest))
        if self._sign < 0:
            return self.concluded(f"{limit} carry it, and fewer are not to be had with this file and objective")
        return self.concluded(f"{limit} is carried, and no harder load was to be tried")

    def _saturated(self, where: str) -> str:
        return f"the load generator is saturated {where}: what lies beyond cannot be measured here"

    # Repeating

    def _repeat(self, low: float, high: float) -> Try | End:
        """Runs at both ends, then at the middle of what is believed."""
        ceiling = self._ceiling()
        runs = {x: sum(trial.x == x for trial in self._trials) for x in (low, high)}
        x = min((low, high), key=lambda end: runs[end])
        if runs[x] < self._wanted.repeats:
            why = "again, at an end of what is left"
        elif self._narrow_enough():
            return self._answer("the interval is as narrow as asked")
        else:
            x, why = self._belief.quantile(0.5), "in the middle of what is left, since outcomes disagree"
            x = min(max(x, self._easiest), self._hardest)
        if ceiling is not None and x >= ceiling:
            where = f"at {self.shown(self._load(ceiling))}, where the knee seems to lie"
            bound = self._load(low)
            return End("bound", self._saturated(where), low=bound, carried=self._carried(), refused=self._refused())
        return self._try(x, why)

    def _narrow_enough(self) -> bool:
        low, high = self._interval()
        if self._wanted.whole and high - low <= 1:
            return True
        return high / low <= (1 + self._wanted.precision) ** 2 * (1 + 1e-9)

    def _answer(self, why: str) -> End:
        low, high = self._interval()
        load = self._rounded(self._of(self._belief.quantile(0.5)))
        confidence = self._wanted.confidence
        return End("answer", why, load, low, high, confidence, self._carried(), self._refused())

    def _interval(self) -> tuple[float, float]:
        """The loads between which the knee lies: of clients the lower whole numbers, of nodes the higher ones."""
        low, high = sorted(self._of(x) for x in self._belief.interval(self._wanted.confidence))
        if self._wanted.whole:
            return self._rounded(low), self._rounded(high)
        return _floor(low), _ceil(high)

    def _rounded(self, load: float) -> float:
        """The knee as a load that can be run: the most clients that are carried, the fewest nodes that carry."""
        match self._wanted.axis:
            case "rate":
                return float(f"{load:.{_DIGITS}g}")
            case "clients":
                return max(self._wanted.least, math.floor(load))
            case "nodes":
                return max(self._wanted.least, math.ceil(load))

    # What the probes say

    def _bracket(self) -> tuple[float | None, float | None]:
        """The hardest load carried and the easiest one not, while narrowing: once they are close they stay."""
        low: float | None = None
        high: float | None = None
        for trial in self._trials:
            if low is not None and high is not None and self._close(low, high):
                break
            if trial.carried:
                low = trial.x if low is None else max(low, trial.x)
            else:
                high = trial.x if high is None else min(high, trial.x)
        return low, high

    def _ceiling(self) -> float | None:
        """The easiest load at which the generator gave out, twice in a row."""
        loads = {p.load for p in self._probes if p.outcome == "generator"}
        return min((self._x(load) for load in loads if self._in_vain(load) >= _TRIES), default=None)

    def _in_vain(self, load: float) -> int:
        """How many runs at a load said nothing of the system, since the last one that did."""
        count = 0
        for probe in self._probes:
            if probe.load == load:
                count = 0 if probe.outcome in CONCLUSIVE else count + 1
        return count

    def _carried(self) -> float | None:
        return self._extreme(carried=True)

    def _refused(self) -> float | None:
        return self._extreme(carried=False)

    def _extreme(self, *, carried: bool) -> float | None:
        """The hardest load that most of its runs carried, or the easiest that most did not."""
        balance: dict[float, int] = {}
        for trial in self._trials:
            balance[trial.x] = balance.get(trial.x, 0) + (1 if trial.carried else -1)
        found = [x for x, sum_ in balance.items() if (sum_ > 0) == carried]
        return self._load((max if carried else min)(found)) if found else None

    @cached_property
    def _belief(self) -> Knee:
        """Asked for once there are loads on both sides of the knee."""
        return knee(self._trials, self._low or 0.0, self._high or 0.0)

    # Loads and their logarithms

    def _x(self, load: float) -> float:
        return self._sign * math.log(load)

    def _of(self, x: float) -> float:
        return math.exp(self._sign * x)

    def _load(self, x: float) -> float:
        """The load that can be run next to x, within the limits."""
        load = self._of(x)
        load = round(load) if self._wanted.whole else float(f"{load:.{_DIGITS}g}")
        return min(max(load, self._wanted.least), self._wanted.most)

    def _close(self, low: float, high: float) -> bool:
        """Whether nothing need be tried between two loads, or nothing can be."""
        if high - low <= math.log1p(self._wanted.precision) + 1e-9:
            return True
        middle = self._load((low + high) / 2)
        return middle in (self._load(low), self._load(high))

    def _try(self, x: float, why: str) -> Try:
        return Try(self._load(x), why)


def shown(axis: Axis, load: float) -> str:
    """A load as people read it: `120 msg/s`, `2,000 clients`, `3 nodes`."""
    if axis == "rate":
        return f"{plain(load)} msg/s"
    what = axis if load != 1 else axis[:-1]
    return f"{load:,.0f} {what}"


def plain(rate: float) -> str:
    """A rate in four digits, never in exponent form."""
    return f"{float(f'{rate:.4g}'):,.10g}"


def _floor(load: float) -> float:
    return _to_digits(load, math.floor)


def _ceil(load: float) -> float:
    return _to_digits(load, math.ceil)


def _to_digits(load: float, rounding: Callable[[float], int]) -> float:
    """A load to a few digits, rounded away from the other end of its interval."""
    size = 10.0 ** (math.floor(math.log10(load)) - _DIGITS + 1)
    return float(f"{rounding(round(load / size, 6)) * size:.{_DIGITS}g}")
