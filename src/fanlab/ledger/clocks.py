"""By how much another process's clock differs from ours, and how surely: exchanges of time stamps. Pure.

We send at t0 (our clock), it receives at t1 and answers at t2 (its clock), we receive at t3. With o = its clock − ours,
and two ways of unknown length, neither below 0:

    t1 = t0 + way + o   so  o <= t1 − t0
    t3 = t2 − o + back  so  o >= t2 − t3

The middle of these is the estimate of Cristian (1989) and NTP (RFC 5905), ((t1 − t0) + (t2 − t3)) / 2; half the
distance, half of the round trip, bounds its error however unequal the ways are. Of several exchanges the one with the
shortest round trip is the best. Clocks drift, so it is done before, during and after a run: what holds at each of these
moments, and in between if the rates are steady, lies in the least interval that holds them all.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from fanlab.clock import NS_PER_S

Moment = Literal["before", "during", "after"]
Basis = Literal["one-boot", "exchange", "unknown"]
MOMENTS: tuple[Moment, ...] = ("before", "during", "after")


class Exchange(NamedTuple):
    """One exchange's four stamps in ns: t0 and t3 on our clock, t1 and t2 on the other."""

    t0: int
    t1: int
    t2: int
    t3: int

    @property
    def round_trip_ns(self) -> int:
        """Time on the way, both ways."""
        return (self.t3 - self.t0) - (self.t2 - self.t1)

    @property
    def span(self) -> "Span":
        """Where the offset lies, whatever each way took."""
        return Span(self.t2 - self.t3, self.t1 - self.t0)


class Span(NamedTuple):
    """An interval that surely holds an offset, both ends included, in ns. Empty (low > high): the stamps contradict."""

    low_ns: int
    high_ns: int

    @property
    def offset_ns(self) -> float:
        """The estimate: its middle."""
        return (self.low_ns + self.high_ns) / 2

    @property
    def bound_ns(self) -> float:
        """How far the truth can be from the estimate, at most."""
        return (self.high_ns - self.low_ns) / 2

    @property
    def farthest_ns(self) -> int:
        """How far the offset can be from 0."""
        return max(abs(self.low_ns), abs(self.high_ns))

    @property
    def turned(self) -> "Span":
        """The offset the other way round."""
        return Span(-self.high_ns, -self.low_ns)


@dataclass(frozen=True, slots=True)
class ClockAccount:
    """What times from different processes of a run mean to one another.

    one-boot   all journals name one boot, whose processes share CLOCK_MONOTONIC: nothing to correct, 0 ± 0
    exchange   they do not, and the offset was measured: `span` holds client clock − publisher clock
    unknown    neither

    What is of the harness' own boot has its clock, and needs no exchange: so have nodes' journals and faults.
    """

    basis: Basis = "unknown"
    span: Span | None = None
    exchanges: int = 0
    drift_ppm: float | None = None  # the fastest that an offset moved, estimate to estimate; None: not measured
    contradictions: tuple[str, ...] = ()  # sentences: what cannot be if clocks are what they are taken for
    clients: Span | None = None  # with `exchange`: client clock − the harness'
    publishers: Span | None = None  # with `exchange`: publisher clock − the harness'
    apart_ns: int = 0  # by how much a publisher's time of an instant and anybody else's differ at most


def best(exchanges: Sequence[Exchange]) -> Exchange:
    """The exchange with the shortest round trip. Raises ValueError where there is none."""
    return min(exchanges, key=lambda exchange: exchange.round_trip_ns)


def hull(spans: Iterable[Span]) -> Span:
    """The least interval that holds all of them. Raises ValueError where there is none."""
    held = list(spans)
    return Span(min(span.low_ns for span in held), max(span.high_ns for span in held))


def drift_ppm(exchanges: Sequence[Exchange]) -> float | None:
    """How fast the estimate moved between the first and the last, in µs per s. None for less than two moments."""
    if len(exchanges) < 2 or exchanges[-1].t0 == exchanges[0].t0:  # noqa: PLR2004 - two ends make a line
        return None
    moved_ns = exchanges[-1].span.offset_ns - exchanges[0].span.offset_ns
    return moved_ns / (exchanges[-1].t0 - exchanges[0].t0) * 1e6


def clock_account(clock: Mapping[str, Any], journals: Iterable[Mapping[str, Any]]) -> ClockAccount:
    """The clocks of a run, from the manifest's `clock` and the headers of its stripes (role, worker, boot_id)."""
    headers = list(journals)
    told: dict[str, list[Exchange]] = {}
    for line in clock.get("exchanges") or ():
        told.setdefault(str(line["unit"]), []).append(Exchange(*(int(line[name]) for name in Exchange._fields)))
    count = sum(len(exchanges) for exchanges in told.values())
    drifts = [drift for exchanges in told.values() if (drift := drift_ppm(exchanges)) is not None]
    drift = max(drifts, key=abs, default=None)
    lies = [_sentence(unit, one) for unit, exchanges in told.items() for one in exchanges if one.round_trip_ns < 0]
    boots = {header.get("boot_id") for header in headers} | {clock.get("boot_id")}
    if len(boots - {None}) == 1:
        lies += [
            f"{_sentence(unit, one)}, though both run on one boot"
            for unit, exchanges in told.items()
            for one in exchanges
            if one.round_trip_ns >= 0 and not one.span.low_ns <= 0 <= one.span.high_ns
        ]
        return ClockAccount("one-boot", Span(0, 0), count, None, tuple(lies))
    spans = {unit: hull(one.span for one in exchanges) for unit, exchanges in told.items()}
    of_harness = clock.get("boot_id")
    for header in headers:
        if of_harness is not None and header.get("boot_id") == of_harness:
            spans[unit_of(header)] = Span(0, 0)
    clients, publishers = (
        [spans.get(unit_of(header)) for header in headers if header.get("role") == role]
        for role in ("clients", "publishers")
    )
    known_clients, known_publishers = ([span for span in of if span is not None] for of in (clients, publishers))
    if lies or not known_clients or not known_publishers or None in clients or None in publishers:
        return ClockAccount("unknown", None, count, drift, tuple(lies))
    theirs, ours = hull(known_clients), hull(known_publishers)
    return ClockAccount(
        "exchange",
        Span(theirs.low_ns - ours.high_ns, theirs.high_ns - ours.low_ns),
        count,
        drift,
        clients=theirs,
        publishers=ours,
        apart_ns=theirs.farthest_ns + ours.farthest_ns,
    )


def unit_of(header: Mapping[str, Any]) -> str:
    """An engine's name, as samples.csv and the manifest have it: `load-1/clients`."""
    return f"load-{header.get('worker')}/{header.get('role')}"


def _sentence(unit: str, exchange: Exchange) -> str:
    span, at_s = exchange.span, exchange.t0 / NS_PER_S
    if exchange.round_trip_ns < 0:
        return f"{unit} answered {-exchange.round_trip_ns / 1e6:.3f} ms before it was asked, at {at_s:.3f} s"
    return f"the clock of {unit} differs by {span.offset_ns / 1e6:.3f} ± {span.bound_ns / 1e6:.3f} ms, at {at_s:.3f} s"
