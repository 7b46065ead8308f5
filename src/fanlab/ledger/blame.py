"""From what is missing to LOSS_DTYPE rows with causes: gathers what `causes` decides on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.causes import Losses, World, explain, facts_of
from fanlab.ledger.faultlog import fault_of_outage
from fanlab.ledger.histogram import Ints
from fanlab.ledger.journals import Journals
from fanlab.ledger.messages import Messages
from fanlab.ledger.missing import Debts
from fanlab.ledger.pairs import Pairs
from fanlab.ledger.received import Bools
from fanlab.ledger.result import LOSS_DTYPE, UNDECIDED_DTYPE, FaultAccount, Outage
from fanlab.ledger.windows import NEVER, Windows
from fanlab.scenario.plan import Plan


def blamed(outages: Sequence[Outage], faults: Sequence[FaultAccount], plan: Plan) -> list[Outage]:
    """The outages, each with the fault that it goes back to."""
    names = {node.index: node.id for node in plan.nodes}
    return [
        replace(outage, fault=fault_of_outage(faults, names.get(outage.node, ""), outage.start_ns))
        for outage in outages
    ]


def world_of(
    manifest: Mapping[str, Any],
    plan: Plan,
    journals: Journals,
    windows: Windows,
    outages: Sequence[Outage],
    *,
    faults: Sequence[FaultAccount],
    heard: Mapping[int, Bools],
    partial: bool,
) -> World:
    """All that a loss is held against. `outages` carry their faults already; `heard` is as in World."""
    configs = manifest["scenario"]["clients"]
    choice = np.full(sum(group.count for group in plan.groups), -1)
    for group in plan.groups:
        if configs[group.index]["failover"] != "sticky":
            choice[group.first_client : group.first_client + group.count] = group.index
    channels = {name: index for index, name in enumerate(plan.channels)}
    gaps = [
        (node, channels[channel], from_ns, to_ns)
        for node, journal in journals.nodes.items()
        for channel, from_ns, to_ns in journal.gaps
        if channel in channels
    ]
    drops = [np.insert(journal.drops, 0, node, axis=1) for node, journal in journals.nodes.items()]
    return World(
        subs=windows.subs,
        outages=outages,
        faults=faults,
        node_names=tuple(node.id for node in plan.nodes),
        choice=choice,
        choices=[group.nodes for group in plan.groups],
        gaps=np.array(gaps, np.int64).reshape(-1, 4),
        drops=np.concatenate([np.zeros((0, 5), np.int64), *drops]),
        heard=heard,
        partial=partial,
    )


def undecided_rows(owed: Debts, pairs: Pairs, messages: Messages) -> NDArray[Any]:
    """An UNDECIDED_DTYPE row for each run of what is indeterminate."""
    pair, first, last = owed.undecided
    stream = pairs.stream[pair]
    rows = np.zeros(len(pair), UNDECIDED_DTYPE)
    rows["client"], rows["stream"] = pairs.client[pair], stream
    rows["first"], rows["last"] = first - messages.base[stream] + 1, last - messages.base[stream] + 1
    return rows[np.lexsort((rows["first"], rows["stream"], rows["client"]))]


def loss_rows(owed: Debts, pairs: Pairs, messages: Messages, world: World) -> NDArray[Any]:
    """A LOSS_DTYPE row for each loss, with its cause and fault; sorted by intended time, then client and stream."""
    at, window = owed.message, pairs.window[owed.pair]
    stream = pairs.stream[owed.pair]
    following: Ints = (
        np.where(owed.next_message >= 0, messages.sent_ns[np.maximum(owed.next_message, 0)], NEVER)
        if len(at)
        else np.zeros(0, np.int64)
    )
    losses = Losses(
        client=window["client"].astype(np.int64),
        channel=window["channel"].astype(np.int64),
        stream=stream,
        seq=at - messages.base[stream] + 1,
        message=at,
        sent_ns=messages.sent_ns[at],
        done_ns=messages.done_ns[at],
        status=messages.status[at],
        receivers=messages.receivers[at],
        next_sent_ns=following,
    )
    facts = facts_of(losses, world)
    cause, fault = explain(facts)
    rows = np.zeros(len(at), LOSS_DTYPE)
    rows["intended_ns"] = messages.intended_ns[at]
    rows["client"], rows["seq"], rows["stream"] = losses.client, losses.seq, stream
    rows["node"], rows["cause"], rows["fault"] = facts.node, cause, fault
    return rows[np.lexsort((rows["stream"], rows["client"], rows["intended_ns"]))]
