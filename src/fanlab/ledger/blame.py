"""From what is missing to LOSS_DTYPE rows with causes: gathers what `causes` decides on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlab.clock import NS_PER_S
from fanlab.ledger.breaks import breaks_of
from fanlab.ledger.causes import explain
from fanlab.ledger.coarse import coarse
from fanlab.ledger.drops import Drops
from fanlab.ledger.ends import TOO_SLOW, among, fault_of_outage
from fanlab.ledger.facts import facts_of
from fanlab.ledger.harm import as_it_struck
from fanlab.ledger.histogram import Ints
from fanlab.ledger.journals import Journals, StripeInfo
from fanlab.ledger.lookups import first_of_each
from fanlab.ledger.lost import Losses, World
from fanlab.ledger.messages import Messages
from fanlab.ledger.missing import Debts
from fanlab.ledger.own import own_doing
from fanlab.ledger.pairs import Pairs
from fanlab.ledger.received import Bools
from fanlab.ledger.records import NO_NODE
from fanlab.ledger.result import LOSS_DTYPE, UNDECIDED_DTYPE, FaultAccount, Outage
from fanlab.ledger.whereabouts import Traffic
from fanlab.ledger.windows import NEVER, Windows
from fanlab.scenario.plan import Plan


def blamed(
    outages: Sequence[Outage], faults: Sequence[FaultAccount], plan: Plan, stripes: Sequence[StripeInfo] = ()
) -> list[Outage]:
    """The outages, each with the fault that it goes back to. `stripes` tell how the connections ended."""
    node, client, start_ns = (
        np.array([getattr(outage, name) for outage in outages], np.int64) for name in ("node", "client", "start_ns")
    )
    given_up = among(np.concatenate((_too_slow(stripes), _without_answer(stripes))), client, start_ns)
    struck = [as_it_struck(fault) for fault in faults]
    found = fault_of_outage(struck, [one.id for one in plan.nodes], node, start_ns, given_up)
    return [
        replace(outage, fault=None if fault < 0 else fault)
        for outage, fault in zip(outages, found.tolist(), strict=True)
    ]


def world_of(
    manifest: Mapping[str, Any],
    plan: Plan,
    journals: Journals,
    windows: Windows,
    outages: Sequence[Outage],
    *,
    faults: Sequence[FaultAccount],
    traffic: Traffic,
    lateness_ns: int,
    partial: bool,
) -> World:
    """All that a loss is held against. `outages` carry their faults already."""
    configs = manifest["scenario"]["clients"]
    clients = sum(group.count for group in plan.groups)
    choice, ping_timeout_ns = np.full(clients, -1), np.full(clients, NEVER)
    for group in plan.groups:
        of_group = slice(group.first_client, group.first_client + group.count)
        if configs[group.index]["failover"] != "sticky":
            choice[of_group] = group.index
        ping_timeout_ns[of_group] = configs[group.index].get("ping_timeout_ns", NEVER)
    names = tuple(node.id for node in plan.nodes)
    everything = [*map(as_it_struck, faults), *_deaths(manifest, plan, windows)]
    return World(
        subs=windows.subs,
        outages=outages,
        faults=everything,
        injected=len(faults),
        node_names=names,
        choice=choice,
        choices=[group.nodes for group in plan.groups],
        breaks=breaks_of(
            {name: index for index, name in enumerate(plan.channels)}, journals.nodes, journals.redis, everything, names
        ),
        drops=_drops(journals),
        traffic=traffic,
        too_slow=_too_slow(journals.stripes),
        without_answer=_without_answer(journals.stripes),
        own=own_doing(journals.stripes, ping_timeout_ns, complete=manifest.get("status") == "complete"),
        lateness_ns=lateness_ns,
        partial=partial,
    )


def traffic_of(
    manifest: Mapping[str, Any],
    plan: Plan,
    journals: Journals,
    messages: Messages,
    *,
    handed: Bools,
    received_ns: Mapping[int, Ints],
) -> Traffic:
    """`handed` as Handed.table, `received_ns` by node as hops.node_times has it; receivers are less the witness."""
    channels = {name: index for index, name in enumerate(plan.channels)}
    of_stream = np.array([channels[stream.channel] for stream in plan.streams], np.int64)
    heard: dict[int, Ints] = {}
    for node, journal in journals.nodes.items():
        heard[node] = received_ns[node].copy()
        at = messages.find(journal.drops[:, 0], journal.drops[:, 1])
        at, told_ns = at[at >= 0], journal.drops[at >= 0, 2]
        first = first_of_each(at)
        at, told_ns = at[first], told_ns[first]
        heard[node][at] = np.where(heard[node][at] > 0, heard[node][at], told_ns)
    asked_for = bool((manifest["scenario"].get("evidence") or {}).get("witness"))
    return Traffic(
        messages=messages,
        channel=of_stream[messages.stream],
        handed=handed,
        heard=heard,
        journals=journals.nodes,
        redis=journals.redis,
        uncounted_witness=asked_for and journals.witness is None,
    )


def _too_slow(stripes: Sequence[StripeInfo]) -> NDArray[np.int64]:
    return _rows((one.client, one.t) for info in stripes for one in info.endings if one.code == TOO_SLOW)


def _without_answer(stripes: Sequence[StripeInfo]) -> NDArray[np.int64]:
    return _rows((one.client, one.t) for info in stripes for one in info.endings if one.silent)


def _rows(pairs: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    return np.array(list(pairs), np.int64).reshape(-1, 2)


def _deaths(manifest: Mapping[str, Any], plan: Plan, windows: Windows) -> Iterator[FaultAccount]:
    """What ended by itself, as if it had been killed; a node is back when somebody asks it for a channel."""
    zero_ns = (manifest.get("phases") or {}).get("zero_ns")
    numbers = {node.id: node.index for node in plan.nodes}
    for death in manifest.get("unplanned_exits") or ():
        if zero_ns is None or death.get("t_s") is None:
            continue
        t_ns = zero_ns + round(death["t_s"] * NS_PER_S)
        back = windows.subs["subscribing_ns"][windows.subs["node"] == numbers.get(death["unit"], NO_NODE)]
        back_ns = int(back[back > t_ns].min(initial=NEVER))
        healed_ns = None if back_ns == NEVER else back_ns
        yield FaultAccount(-1, "crash", death["unit"], t_ns, t_ns, healed_ns, healed_ns)


def _drops(journals: Journals) -> Drops:
    lines, who, count = [np.zeros((0, 6), np.int64)], [np.zeros((0, 2), np.int64)], 0
    for node, journal in journals.nodes.items():
        lines.append(np.column_stack((np.full(len(journal.drops), node), journal.drops, journal.dropped)))
        who.append(journal.who + np.array([count, 0]))
        count += len(journal.drops)
    return Drops(np.concatenate(lines), np.concatenate(who))


def undecided_rows(owed: Debts, pairs: Pairs, messages: Messages) -> NDArray[Any]:
    """An UNDECIDED_DTYPE row for each run of what is indeterminate."""
    pair, first, last = owed.undecided
    stream = pairs.stream[pair]
    rows = np.zeros(len(pair), UNDECIDED_DTYPE)
    rows["client"], rows["stream"] = pairs.client[pair], stream
    rows["first"], rows["last"] = first - messages.base[stream] + 1, last - messages.base[stream] + 1
    return rows[np.lexsort((rows["first"], rows["stream"], rows["client"]))]


def loss_rows(owed: Debts, pairs: Pairs, messages: Messages, world: World) -> tuple[NDArray[Any], list[str]]:
    """A LOSS_DTYPE row for each loss, by intended time, client and stream; and what is coarse about them."""
    at, window = owed.message, pairs.window[owed.pair]
    if not len(at):
        return np.zeros(0, LOSS_DTYPE), []
    stream = pairs.stream[owed.pair]
    following = np.where(owed.next_message >= 0, messages.sent_ns[np.maximum(owed.next_message, 0)], NEVER)
    losses = Losses(
        client=window["client"].astype(np.int64),
        channel=window["channel"].astype(np.int64),
        stream=stream,
        seq=at - messages.base[stream] + 1,
        message=at,
        sent_ns=messages.sent_ns[at],
        done_ns=messages.done_ns[at],
        status=messages.status[at],
        next_sent_ns=following,
    )
    facts = facts_of(losses, world)
    cause, fault, hop, decided = explain(facts)
    rows = np.zeros(len(at), LOSS_DTYPE)
    rows["intended_ns"] = messages.intended_ns[at]
    rows["client"], rows["seq"], rows["stream"] = losses.client, losses.seq, stream
    rows["node"], rows["cause"], rows["fault"], rows["hop"] = facts.node, cause, fault, hop
    rows["rule"] = decided
    order = np.lexsort((rows["stream"], rows["client"], rows["intended_ns"]))
    return rows[order], coarse(world, facts, cause, hop)
