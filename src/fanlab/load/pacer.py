"""When each message of an open-loop publisher is meant to be sent. Pure: time goes in, time comes out, nobody sleeps.

A rate is a chain of straight segments. Slot k is due at the instant at which the integral of the rate passes
k + phase, so ramps and steps need no special case, and nothing is due while the rate is zero. Poisson arrivals and
bursts have rules of their own.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from random import Random
from typing import TYPE_CHECKING

from fanlab.clock import NS_PER_S

if TYPE_CHECKING:  # engines start in half the time without pydantic, and a rate is told by its kind
    from fanlab.scenario.model import AnyRate, BurstRate, ConstantRate, RampRate, StepRate

_NEVER_S = 3e9  # a century: a rate so near to zero that it is none


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time in which the rate runs in a straight line; the last one has no end and a steady rate."""

    start_ns: int
    length_ns: int | None
    from_per_s: float
    to_per_s: float

    def integral(self, until_ns: int) -> Fraction:
        """Messages due from the segment's start until `until_ns` after it, exactly."""
        time_s = Fraction(until_ns, NS_PER_S)
        total = Fraction(self.from_per_s) * time_s
        if self.length_ns:
            slope = (Fraction(self.to_per_s) - Fraction(self.from_per_s)) / Fraction(self.length_ns, NS_PER_S)
            total += slope * time_s * time_s / 2
        return total

    def when_s(self, messages: float) -> float:
        """Seconds into the segment at which its integral reaches `messages`: the root of r0·t + a·t² = n, stably."""
        if messages <= 0:
            return 0.0
        curve = (self.to_per_s - self.from_per_s) / (2 * self.length_ns / NS_PER_S) if self.length_ns else 0.0
        return 2 * messages / (self.from_per_s + math.sqrt(max(0.0, self.from_per_s**2 + 4 * curve * messages)))


def segments(rate: "ConstantRate | RampRate | StepRate") -> tuple[Segment, ...]:
    """The rate as a chain of segments from 0 on."""
    if rate.kind == "constant":
        return (Segment(0, None, rate.rate_per_s, rate.rate_per_s),)
    if rate.kind == "ramp":
        steady = Segment(rate.over_ns, None, rate.to_per_s, rate.to_per_s)
        return (Segment(0, rate.over_ns, rate.from_per_s, rate.to_per_s), steady) if rate.over_ns else (steady,)
    steps = sorted(rate.steps, key=lambda step: step.at_ns)
    ends = [step.at_ns for step in steps[1:]]
    return tuple(
        Segment(step.at_ns, end - step.at_ns if end is not None else None, step.rate_per_s, step.rate_per_s)
        for step, end in zip(steps, [*ends, None], strict=True)
    )


def offsets_ns(rate: "AnyRate", rng: Random, *, phase: float = 0.0) -> Iterator[int]:
    """Intended send times in ns since publishing began, never falling; endless unless the rate ends at zero.

    `phase` (0 ≤ phase < 1) puts the first slot that share of a period later, so that several publishers interleave.
    `rng` is drawn from for Poisson arrivals only, which have no phase.
    """
    if rate.kind == "poisson":
        return _poisson(rate.rate_per_s, rng)
    if rate.kind == "burst":
        return _bursts(rate, phase)
    return _along(segments(rate), phase)


def expected_count(rate: "AnyRate", from_ns: int, until_ns: int) -> float:
    """Messages due on average in [from_ns, until_ns) since publishing began: what predictions are made of."""
    if rate.kind == "poisson":
        return rate.rate_per_s * (until_ns - from_ns) / NS_PER_S
    if rate.kind == "burst":
        return rate.size * (until_ns - from_ns) / rate.every_ns
    total = Fraction(0)
    for segment in segments(rate):
        last = until_ns if segment.length_ns is None else min(until_ns, segment.start_ns + segment.length_ns)
        first = max(from_ns, segment.start_ns)
        if first < last:
            total += segment.integral(last - segment.start_ns) - segment.integral(first - segment.start_ns)
    return float(total)


def _along(chain: tuple[Segment, ...], phase: float) -> Iterator[int]:
    before = Fraction(0)  # the integral up to this segment
    shift = Fraction(phase)
    for segment in chain:
        k = max(0, math.ceil(before - shift))
        if segment.length_ns is None:
            if segment.from_per_s <= 0:
                return
            slots: Iterator[int] = count(k)
        else:
            after = before + segment.integral(segment.length_ns)
            # Half-open: a slot on the edge belongs to what follows, so that it is not due as the rate falls to zero.
            slots = iter(range(k, max(k, math.ceil(after - shift))))
        offset = float(shift - before)
        for slot in slots:
            due_s = segment.when_s(slot + offset)
            if due_s > _NEVER_S:
                return
            due_ns = segment.start_ns + round(due_s * NS_PER_S)
            yield due_ns if segment.length_ns is None else min(due_ns, segment.start_ns + segment.length_ns)
        if segment.length_ns is not None:
            before += segment.integral(segment.length_ns)


def _poisson(rate_per_s: float, rng: Random) -> Iterator[int]:
    now_s = 0.0
    while rate_per_s > 0:
        now_s += rng.expovariate(rate_per_s)
        if now_s > _NEVER_S:
            return
        yield round(now_s * NS_PER_S)


def _bursts(rate: "BurstRate", phase: float) -> Iterator[int]:
    if rate.every_ns <= 0:
        return
    first = round(phase * rate.every_ns)
    for k in count():
        for _ in range(rate.size):
            yield first + k * rate.every_ns
