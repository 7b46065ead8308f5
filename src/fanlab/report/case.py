"""What is known of one message and one client: the account's decision, and the raw records behind it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from fanlab.analysis.latency import one_way_ms
from fanlab.analysis.names import Names
from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.ledger.causes import Cause, Hop, why
from fanlab.ledger.closeup import CloseUp
from fanlab.ledger.faultlog import AFTERMATH_NS, window_ns
from fanlab.ledger.records import NO_NODE, Status
from fanlab.ledger.result import Account, FaultAccount
from fanlab.report import words
from fanlab.report.summary import clock_block
from fanlab.scenario.plan import StreamSpec

Outcome = Literal["delivered", "lost", "indeterminate", "not_owed", "warm_up"]


class Others(NamedTuple):
    """What the other clients got of this message: on the same node, and on all nodes."""

    node_received: int
    node_lost: int
    received: int
    lost: int


@dataclass(frozen=True, slots=True)
class Case:
    """The pair with all that is known of it."""

    account: Account
    names: Names
    seen: CloseUp
    stream: StreamSpec
    intended_ns: int
    sent_ns: int
    done_ns: int
    status: Status | None  # None: the publisher did not live to tell
    loss: Any  # a LOSS_DTYPE row, or None
    deliveries: Any  # to this client, by time
    outcome: Outcome

    @property
    def node(self) -> int | None:
        """The node that the message should have come through, or came through."""
        if self.loss is not None:
            index = int(self.loss["node"])
        elif len(self.deliveries):
            index = int(self.deliveries[0]["node"])
        else:
            on = [e for e in self.seen.events if e["t"] <= self.sent_ns and isinstance(e.get("node"), int)]
            index = int(on[-1]["node"]) if on else NO_NODE
        return index if index < len(self.names.plan.nodes) else None

    @property
    def node_id(self) -> str:
        """That node's name."""
        return "no node" if self.node is None else self.names.plan.nodes[self.node].id

    @property
    def hop(self) -> Hop | None:
        """Where it was lost."""
        return None if self.loss is None else Hop(int(self.loss["hop"]))

    @property
    def cause(self) -> Cause | None:
        """Why it was lost."""
        return None if self.loss is None else Cause(int(self.loss["cause"]))

    @property
    def fault(self) -> FaultAccount | None:
        """What its loss goes back to."""
        at = -1 if self.loss is None else int(self.loss["fault"])
        return self.account.faults[at] if at >= 0 else None

    @property
    def why(self) -> str:
        """The sentence of the rule that decided; empty for what was not lost."""
        return "" if self.loss is None else why(int(self.loss["rule"]))

    @property
    def latency_ms(self) -> float | None:
        """From the time meant to the first receipt, as latency_ms has it; None where the clocks do not tell."""
        raw_ns = int(self.deliveries[0]["recv_ns"]) - self.intended_ns if len(self.deliveries) else None
        return one_way_ms(raw_ns, self.account.clock)

    @property
    def late(self) -> str:
        """The same in words, with how exact it is where clocks are not one."""
        raw_ms = (int(self.deliveries[0]["recv_ns"]) - self.intended_ns) / NS_PER_MS
        return words.after(raw_ms, clock_block(self.account))

    def seconds(self, t_ns: int) -> float:
        """Seconds from time 0."""
        return (t_ns - self.account.zero_ns) / NS_PER_S

    def at(self, t_ns: int) -> str:
        """The same as text."""
        return f"{self.seconds(t_ns):.3f} s".replace("-", "−")


def case_of(names: Names, account: Account, seen: CloseUp, stream: int) -> Case:
    outcomes = seen.outcomes[seen.outcomes["stream"] == stream]
    intents = seen.intents[seen.intents["stream"] == stream]
    sent = int(outcomes["sent_ns"][0]) if len(outcomes) else 0
    intended = int(intents["intended_ns"].min()) if len(intents) else sent
    sent = sent or intended
    mine = (seen.deliveries["client"] == seen.client) & (seen.deliveries["stream"] == stream)
    losses = account.losses
    lost = losses[(losses["client"] == seen.client) & (losses["seq"] == seen.seq) & (losses["stream"] == stream)]
    deliveries = seen.deliveries[mine]
    outcome: Outcome
    if intended < account.zero_ns:
        outcome = "warm_up"
    elif len(lost):
        outcome = "lost"
    elif _undecided(account, seen, stream):
        outcome = "indeterminate"
    else:
        outcome = "delivered" if len(deliveries) else "not_owed"
    return Case(
        account=account,
        names=names,
        seen=seen,
        stream=names.plan.streams[stream],
        intended_ns=intended,
        sent_ns=sent,
        done_ns=max(int(outcomes["done_ns"][0]), sent) if len(outcomes) else sent,
        status=Status(int(outcomes["status"][0])) if len(outcomes) else None,
        loss=lost[0] if len(lost) else None,
        deliveries=deliveries,
        outcome=outcome,
    )


def _undecided(account: Account, seen: CloseUp, stream: int) -> bool:
    rows = account.undecided
    mine = (rows["client"] == seen.client) & (rows["stream"] == stream)
    return bool(np.any(mine & (rows["first"] <= seen.seq) & (seen.seq <= rows["last"])))


def at_work(case: Case) -> Sequence[FaultAccount]:
    """The faults that held when the message was on its way, or had just healed."""
    last = int(case.deliveries[0]["recv_ns"]) if len(case.deliveries) else case.done_ns
    windows = [(fault, window_ns(fault)) for fault in case.account.faults]
    return [
        fault for fault, window in windows
        if window is not None and window[0] <= last and case.sent_ns <= window[1] + AFTERMATH_NS
    ]  # fmt: skip


def others_of(case: Case) -> Others:
    others = (case.seen.deliveries["stream"] == case.stream.index) & (
        case.seen.deliveries["client"] != case.seen.client
    )
    came = case.seen.deliveries[others]
    losses = case.account.losses
    of_message = (losses["stream"] == case.stream.index) & (losses["seq"] == case.seen.seq)
    lost = losses[of_message & (losses["client"] != case.seen.client)]
    node = NO_NODE if case.node is None else case.node
    return Others(
        node_received=len(np.unique(came["client"][came["node"] == node])),
        node_lost=int(np.count_nonzero(lost["node"] == node)),
        received=len(np.unique(came["client"])),
        lost=len(lost),
    )
