"""That the losses add up however they are divided: by hop, cause, node, channel, client, fault, and over time."""

from collections.abc import Iterator

import numpy as np

from fanlab.analysis.case import BUG, Case
from fanlab.ledger.causes import Cause, Hop
from fanlab.ledger.records import NO_NODE


def parts_of_the_losses(case: Case) -> Iterator[str]:
    """Each way of dividing the losses up must come to all of them, and to what was counted apart from them."""
    account, plan = case.account, case.names.plan
    losses, lost = account.losses, account.measure.lost
    faults, clients = len(account.faults), len(account.by_client["lost"])
    known = {
        "hops": np.isin(losses["hop"], list(Hop)),
        "causes": np.isin(losses["cause"], list(Cause)),
        "nodes": (losses["node"] < len(plan.nodes)) | (losses["node"] == NO_NODE),
        "channels": losses["stream"] < len(plan.streams),
        "clients": losses["client"] < clients,
        "faults and none": (losses["fault"] >= -1) & (losses["fault"] < faults),
        "bins of time": np.ones(int(account.lost.sum()), np.bool_),
    }
    for parts, rows in known.items():
        if (over := int(np.count_nonzero(rows))) != lost:
            yield f"lost is {over} over the {parts} and {lost} in all; {BUG}"
    of_client = np.bincount(losses["client"][known["clients"]], minlength=clients)
    for client in np.flatnonzero(of_client != account.by_client["lost"])[:1].tolist():
        listed, counted = int(of_client[client]), int(account.by_client["lost"][client])
        yield f"client {client} has {listed} losses listed and {counted} counted; {BUG}"
    of_fault = np.bincount(losses["fault"][known["faults and none"] & (losses["fault"] >= 0)], minlength=faults)
    for fault, count in zip(account.faults, of_fault.tolist(), strict=True):
        if fault.measured != count:
            yield f"the fault {case.names.fault(fault)} cost {fault.measured} and has {count} losses listed; {BUG}"
