"""What a fault should have cost, from how long it lasted: planned rate × measured outage × subscribers.

It never looks at a loss, so it is a second opinion on the ledger's count. It differs from the plan's prediction, which
knows the back-off but not how long the clients were really away.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fanlab.analysis.names import Names
from fanlab.clock import NS_PER_S
from fanlab.ledger.result import Account, Outage

Span = tuple[int, int]
OpenSpan = tuple[int, int | None]  # None: no end before the run's


def messages_due(rate: Mapping[str, Any], from_ns: int, until_ns: int) -> float:
    """Messages due on average in [from, until) ns since publishing began, by a rate as the manifest has it.

    Raises KeyError for a kind of rate that it does not know.
    """
    from_s, until_s = from_ns / NS_PER_S, until_ns / NS_PER_S
    match rate["kind"]:
        case "constant" | "poisson":
            return float(rate["rate_per_s"] * (until_s - from_s))
        case "burst":
            return float(rate["size"] * (until_ns - from_ns) / rate["every_ns"])
        case "ramp":
            return _ramp(rate, until_s) - _ramp(rate, from_s)
        case "step":
            steps = sorted(rate["steps"], key=lambda step: step["at_ns"])
            ends = [step["at_ns"] for step in steps[1:]] + [until_ns]
            spans = [(max(from_ns, step["at_ns"]), min(until_ns, end)) for step, end in zip(steps, ends, strict=True)]
            return float(
                sum(
                    step["rate_per_s"] * max(0, last - first) / NS_PER_S
                    for step, (first, last) in zip(steps, spans, strict=True)
                )
            )
    raise KeyError(f"no such kind of rate: {rate['kind']!r}")


def loss_by_outage(account: Account, manifest: Mapping[str, Any], names: Names) -> list[float | None]:
    """For each fault of the account, the (message, client) pairs due in its outages, within the measure phase.

    None where no client's connection broke: then how long it was owed and not served cannot be seen from outages (a
    fault of Redis, or a pause that nobody noticed).
    """
    scenario = manifest["scenario"]
    phases = scenario["phases"]
    began_ns = account.zero_ns - phases["warm_up_ns"]
    measure = (account.zero_ns, account.zero_ns + phases["measure_ns"])
    rates: dict[str, list[Mapping[str, Any]]] = {}
    for stream in names.plan.streams:
        rates.setdefault(stream.channel, []).append(scenario["publishers"][stream.config]["rate"])
    totals: list[float | None] = [None] * len(account.faults)
    for fault, outages in _by_fault_and_client(account.outages).items():
        total = 0.0
        for client, spans in outages.items():
            group = names.group_of(client)
            due_rates = [rate for channel in (group.channels if group else ()) for rate in rates.get(channel, ())]
            for start_ns, end_ns in _merged(spans, measure):
                total += sum(messages_due(rate, start_ns - began_ns, end_ns - began_ns) for rate in due_rates)
        totals[fault] = total
    return totals


def _ramp(rate: Mapping[str, Any], at_s: float) -> float:
    """Messages due from 0 until `at_s`: a trapezium, then a rectangle."""
    over_s = rate["over_ns"] / NS_PER_S
    start, end = rate["from_per_s"], rate["to_per_s"]
    rising_s = min(at_s, over_s)
    slope = (end - start) / over_s if over_s else 0.0
    return float(start * rising_s + slope * rising_s**2 / 2 + end * max(0.0, at_s - over_s))


def _by_fault_and_client(outages: Iterable[Outage]) -> dict[int, dict[int, list[OpenSpan]]]:
    found: dict[int, dict[int, list[OpenSpan]]] = {}
    for outage in outages:
        if outage.fault is not None:
            spans = found.setdefault(outage.fault, {}).setdefault(outage.client, [])
            spans.append((outage.start_ns, outage.resubscribed_ns))
    return found


def _merged(spans: Iterable[OpenSpan], within: Span) -> list[Span]:
    """The spans cut to `within`, overlaps counted once; an open end is the end of `within`."""
    cut = sorted((max(start, within[0]), min(within[1] if end is None else end, within[1])) for start, end in spans)
    merged: list[Span] = []
    for start, end in cut:
        if start >= end:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
