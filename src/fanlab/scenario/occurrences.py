"""When a fault comes, and comes again. Pure and seeded: the same file breaks at the same times."""

from collections.abc import Iterator
from itertools import count

from fanlab.scenario.faults import Fault
from fanlab.seed import rng

MOST = 200  # of one fault


def occurrences_ns(fault: Fault, number: int, *, seed: int, end_ns: int) -> tuple[int, ...]:
    """Times from time 0 at which fault `number` of a scenario begins, in order; all but the first before the end."""
    if fault.repeat is None or fault.lasts_ns is None or fault.repeat.every_ns <= fault.lasts_ns:
        return (fault.at_ns,)
    most = fault.repeat.times or MOST
    found: list[int] = []
    for at_ns in _beginnings_ns(fault, number, seed):
        if len(found) >= most or (found and at_ns >= end_ns):
            break
        found.append(at_ns)
    return tuple(found)


def _beginnings_ns(fault: Fault, number: int, seed: int) -> Iterator[int]:
    repeat, lasts_ns = fault.repeat, fault.lasts_ns or 0
    if repeat is None or not repeat.random:
        every_ns = 0 if repeat is None else repeat.every_ns
        yield from (fault.at_ns + turn * every_ns for turn in count())
    else:
        draws, at_ns = rng(seed, "repeat", number), fault.at_ns
        while True:
            yield at_ns
            at_ns += lasts_ns + 1 + round(draws.expovariate(1 / (repeat.every_ns - lasts_ns)))
