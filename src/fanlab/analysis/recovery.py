"""How long each fault cost the clients it hit. Pure: from the account's outages and faults.

The clock of a fault starts when it bit: at its confirmed stamp, or at the first connection that it broke if a client
noticed before the probe did (SIGTERM closes connections first and ends the process later), yet never before it was
requested. A limit bites when the kernel kills for it. A fault that was never confirmed has no recovery.

A client that a fault hit more than once counts once: from its first outage to its return from the last.

"Never" is a value too, later than any other: a median is None where half of the clients never came to it, a maximum
where one did not. So a gate on a maximum cannot pass because the slowest client is missing.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypedDict

from fanlab.analysis.names import Names
from fanlab.analysis.series import Recovery
from fanlab.clock import NS_PER_MS
from fanlab.ledger.harm import as_it_struck
from fanlab.ledger.result import Account, FaultAccount, Outage

_NEVER = math.inf


class RecoveryBlock(TypedDict):
    """Milliseconds since a fault bit, over the clients that it hit. None: the client in question never came to it."""

    clients: int
    never_back: int
    detected_p50: float | None
    detected_max: float | None
    reconnected_p50: float | None
    reconnected_max: float | None
    subscribed_p50: float | None
    all_back: float | None
    first_message_p50: float | None
    first_message_max: float | None
    max: float | None


class RecoverySummary(RecoveryBlock):
    """The same over all faults together, and fault by fault; over all faults, by node and by group."""

    by_fault: dict[str, RecoveryBlock]
    by_node: dict[str, RecoveryBlock]  # that the client was on when the fault took its connection
    by_group: dict[str, RecoveryBlock]  # of the client


@dataclass(frozen=True, slots=True)
class Return:
    """One client's way back from one fault, in ms since it bit; infinite: never."""

    client: int
    detected_ms: float
    reconnected_ms: float
    subscribed_ms: float
    first_message_ms: float
    node: int = -1  # that it was on

    @property
    def served_ms(self) -> float:
        """Its first message again; its subscription where no message followed before the end."""
        return self.first_message_ms if self.first_message_ms < _NEVER else self.subscribed_ms


def bite_ns(fault: FaultAccount, outages: Iterable[Outage]) -> int | None:
    """When `fault` bit, given the outages that are its doing; None if it was never confirmed."""
    struck = as_it_struck(fault)
    if struck.confirmed_ns is None:
        return None
    seen = min((outage.start_ns for outage in outages), default=struck.confirmed_ns)
    return max(min(struck.confirmed_ns, seen), struck.requested_ns or 0)


def returns(account: Account) -> list[list[Return]]:
    """For each fault of the account, in its order, the clients it hit."""
    hit: dict[int, dict[int, list[Outage]]] = defaultdict(lambda: defaultdict(list))
    for outage in account.outages:
        if outage.fault is not None:
            hit[outage.fault][outage.client].append(outage)
    found: list[list[Return]] = []
    for index, fault in enumerate(account.faults):
        start_ns = bite_ns(fault, (outage for outages in hit[index].values() for outage in outages))
        found.append(
            [_return(client, outages, start_ns) for client, outages in sorted(hit[index].items())]
            if start_ns is not None
            else []
        )
    return found


def recovery_summary(account: Account, names: Names) -> RecoverySummary:
    """`recovery_ms` of summary.json."""
    by_fault = returns(account)
    pooled = [one for hit in by_fault for one in hit]
    blocks = {names.fault(fault): _block(hit) for fault, hit in zip(account.faults, by_fault, strict=True)}
    groups = {one.client: group.name for one in pooled if (group := names.group_of(one.client)) is not None}
    return {
        **_block(pooled),
        "by_fault": blocks,
        "by_node": {node.id: _block([one for one in pooled if one.node == node.index]) for node in names.plan.nodes},
        "by_group": {
            group.name: _block([one for one in pooled if groups.get(one.client) == group.name])
            for group in names.plan.groups
        },
    }


def recoveries(account: Account, names: Names) -> list[Recovery]:
    """A row per fault for the charts."""
    rows: list[Recovery] = []
    for fault, hit in zip(account.faults, returns(account), strict=True):
        block = _block(hit)
        rows.append(
            Recovery(
                fault=names.fault(fault),
                clients=block["clients"],
                detected_ms=block["detected_p50"],
                reconnected_ms=block["reconnected_p50"],
                first_message_ms=block["first_message_p50"],
                all_back_ms=block["all_back"],
            )
        )
    return rows


def _return(client: int, outages: Sequence[Outage], start_ns: int) -> Return:
    ordered = sorted(outages, key=lambda outage: outage.start_ns)
    last = ordered[-1]

    def after(t_ns: int | None) -> float:
        return _NEVER if t_ns is None else max(0.0, (t_ns - start_ns) / NS_PER_MS)

    return Return(
        client=client,
        detected_ms=after(ordered[0].start_ns),
        reconnected_ms=after(last.reopened_ns),
        subscribed_ms=after(last.resubscribed_ns),
        first_message_ms=after(last.first_message_ns),
        node=ordered[0].node,
    )


def _block(hit: Sequence[Return]) -> RecoveryBlock:
    def figure(fold: Callable[[list[float]], float], of: Callable[[Return], float]) -> float | None:
        value = fold([of(one) for one in hit]) if hit else _NEVER
        return round(value, 3) if value < _NEVER else None

    return {
        "clients": len(hit),
        "never_back": sum(one.subscribed_ms == _NEVER for one in hit),
        "detected_p50": figure(median, lambda one: one.detected_ms),
        "detected_max": figure(max, lambda one: one.detected_ms),
        "reconnected_p50": figure(median, lambda one: one.reconnected_ms),
        "reconnected_max": figure(max, lambda one: one.reconnected_ms),
        "subscribed_p50": figure(median, lambda one: one.subscribed_ms),
        "all_back": figure(max, lambda one: one.subscribed_ms),
        "first_message_p50": figure(median, lambda one: one.first_message_ms),
        "first_message_max": figure(max, lambda one: one.first_message_ms),
        "max": figure(max, lambda one: one.served_ms),
    }
