"""Two runs held against each other: whether that makes sense, and what their counts say. Pure.

Counts that follow from the scenario and its seed must be equal. What must not happen may not happen once more often
than before. What a fault costs varies from run to run: it is compared with an interval, which is told. Latency is not
judged from one run each: `compare` does it from pairs.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from fanlab.analysis.baseline import CACHE_COUNTS, Baseline

Verdict = Literal["same", "better", "no worse", "worse", "inconclusive"]

_LOAD: Final = ("clients", "publishers", "readers", "channels", "phases", "seed")
_SAME: Final = ("publishers.planned", "clients.count")
_SAME_IN_PEACE: Final = ("ledger.published", "ledger.owed")  # with faults, what failed to be published is not owed
_NONE_MORE: Final = (
    *("loss.outside_faults", "loss.unexplained", "ledger.indeterminate", "ledger.duplicated", "ledger.reordered"),
    *("ledger.unexpected", "ledger.disagreed", "ledger.corrupted"),
    *("publishers.unsent", "publishers.failed", "publishers.timed_out", "clients.never_returned"),
)
# What a fault may make happen in any number: a baseline that had some of it says how much is usual.
_VARY_WITH_FAULTS: Final = frozenset(
    {
        *("ledger.indeterminate", "ledger.duplicated", "ledger.reordered", "ledger.disagreed"),
        *("publishers.failed", "publishers.timed_out", "clients.never_returned"),
        *("cache.missed", "cache.wrong_for_good", "cache.reads_failed"),
        *("cache.stale_reads_lost", "cache.stale_reads_withheld"),
    }
)
_STALE: Final = "cache.stale_reads"  # a read that comes while the refresh is under way is one, with nothing wrong
_OF_CACHES: Final = tuple(f"cache.{term}" for term in CACHE_COUNTS)
_MISSING: Final = "one of the two has no such count"
_Z: Final = 2.58  # 99 %
_LEAST_SHARE: Final = 0.2  # what all clients share, such as how long a restart takes, is in no spread over clients


@dataclass(frozen=True, slots=True)
class Finding:
    """One count of both, and what to make of it. `gate` says the same of B alone; `basis` why that is the limit."""

    what: str
    a: float | None
    b: float | None
    verdict: Verdict
    basis: str
    gate: str

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"what": self.what, "a": self.a, "b": self.b, "verdict": self.verdict, "basis": self.basis}


def unfit(run: Baseline) -> str:
    """Why nothing can be compared with a run; empty if it can."""
    if run.partial:
        return f"{run.name} did not go through all its phases"
    if run.verdict == "invalid":
        return f"{run.name} is invalid: its measurement cannot be trusted"
    return ""


def other_parts(a: Mapping[str, str], b: Mapping[str, str]) -> list[str]:
    """Why two scenarios, by the digests of their parts, do not ask one question; empty if they do."""
    other = [key for key in sorted({*a, *b}) if a.get(key) != b.get(key)]
    load = [key for key in other if key in _LOAD]
    rest = [key for key in other if key not in _LOAD]
    found = [f"another load: {', '.join(load)} differ"] if load else []
    return [*found, f"another scenario: {', '.join(rest)} differ"] if rest else found


def other_means(a: Baseline, b: Baseline) -> list[str]:
    """What else keeps the counts of two runs from being compared."""
    return [f"another backend: {a.backend} and {b.backend}"] if a.backend != b.backend else []


def apart(a: Baseline, b: Baseline) -> list[str]:
    """Why the latencies of two runs cannot be compared, though their counts can."""
    found = []
    for key, what in (("machine", "machine"), ("processor", "processor"), ("cores", "number of cores")):
        mine, theirs = a.host.get(key), b.host.get(key)
        if mine != theirs:
            found.append(f"another {what}: {mine} and {theirs}")
    if a.workers != b.workers:
        found.append(f"another number of load workers: {a.workers} and {b.workers}")
    return found


def count_findings(a: Baseline, b: Baseline) -> list[Finding]:
    """What the counts of two comparable runs say of B."""
    same = _SAME if a.faulty or a.late else (*_SAME, *_SAME_IN_PEACE)
    caches = [name for name in _OF_CACHES if name in a.counts or name in b.counts]
    found = [_found(_same, name, a, b) for name in same]
    found += [_found(_none_more, name, a, b) for name in (*_NONE_MORE, *caches)]
    return [*found, *_by_fault(a, b)]


def missing(a: Baseline, b: Baseline) -> list[str]:
    """Which counts one of the two lacks, and what to do."""
    names = [one.what for one in count_findings(a, b) if one.basis == _MISSING]
    if not names:
        return []
    return [f"{', '.join(names)}: one of the two has no such count; if it is an older baseline, save it anew"]


def _found(judge: Callable[[str, int, int, Baseline], Finding], name: str, a: Baseline, b: Baseline) -> Finding:
    """What a judge says; of a count that one of the two lacks nobody can tell."""
    mine, theirs = a.counts.get(name), b.counts.get(name)
    if mine is None or theirs is None:
        return Finding(name, mine, theirs, "inconclusive", _MISSING, "")
    return judge(name, mine, theirs, a)


def _same(name: str, mine: int, theirs: int, _: Baseline) -> Finding:
    verdict: Verdict = "same" if mine == theirs else "worse"
    return Finding(name, mine, theirs, verdict, "follows from the scenario and its seed", f"{name} == {mine}")


def _none_more(name: str, mine: int, theirs: int, a: Baseline) -> Finding:
    most, basis = mine, "may not happen more often"
    if a.faulty and mine and name in _VARY_WITH_FAULTS:
        most = mine + math.ceil(max(3 * math.sqrt(mine), mine / 2))
        basis = f"varies with the faults: up to {most} is usual (half as many more, or three roots)"
    elif name == _STALE:
        most = mine + math.ceil(max(3 * math.sqrt(2 * mine + 2), mine / 2))
        basis = f"some reads come too early: up to {most} is usual (half as many more, or three standard errors)"
    return Finding(name, mine, theirs, _at_most(mine, theirs, most), basis, f"{name} <= {most}")


def _by_fault(a: Baseline, b: Baseline) -> Iterator[Finding]:
    for name, mine in a.by_fault.items():
        theirs = b.by_fault.get(name)
        if theirs is None:
            yield Finding(f"lost to {name}", mine.lost, None, "inconclusive", "it did not happen", "")
            continue
        spread = _variance(mine.lost, mine.clients, mine.squares) + _variance(
            theirs.lost, theirs.clients, theirs.squares
        )
        room = _Z * math.sqrt(spread) + max(mine.clients, theirs.clients)
        most = mine.lost + math.ceil(max(room, _LEAST_SHARE * mine.lost))
        basis = (
            f"varies: up to {most} is usual (2.58 standard errors over the clients hit and a message for each, or"
            f" {_LEAST_SHARE:.0%})"
        )
        gate = f'lost(fault="{name}") <= {most}'
        yield Finding(f"lost to {name}", mine.lost, theirs.lost, _at_most(mine.lost, theirs.lost, most), basis, gate)


def _variance(total: int, clients: int, squares: int) -> float:
    """Of the sum over so many clients, each a draw of its own."""
    if clients < 2:  # noqa: PLR2004 - one draw has no spread
        return 0.0
    return clients * max(0.0, squares - total * total / clients) / (clients - 1)


def _at_most(mine: int, theirs: int, most: int) -> Verdict:
    if theirs > most:
        return "worse"
    return "same" if theirs == mine else "better" if theirs < mine else "no worse"
