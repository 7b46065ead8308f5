"""The story of one message and one client: what was decided, why, and what led there. Pure.

What became of the pair is read from the account, never worked out anew; the moments round it are the journals' own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fanlab.analysis.names import names_of
from fanlab.ledger.closeup import CloseUp
from fanlab.ledger.result import Account
from fanlab.report.case import Others, Outcome, at_work, case_of, others_of
from fanlab.report.endings import chain_of, ending_of
from fanlab.report.moments import Scene, moments
from fanlab.report.summary import clock_block


@dataclass(frozen=True, slots=True)
class Story:
    """One message, one client. `t_s` of moments are seconds from time 0; `ending` are sentences."""

    publisher: str
    channel: str
    seq: int
    client: int
    group: str  # `readers:3`
    node: str
    outcome: Outcome
    hop: str | None
    cause: str | None
    why: str | None
    fault: str | None
    chain: tuple[str, ...]  # from the fault to the loss
    latency_ms: float | None
    copies: int
    moments: tuple[tuple[float, str, str], ...]  # (t_s, who, what)
    others: Others
    ending: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "publisher": self.publisher,
            "channel": self.channel,
            "seq": self.seq,
            "client": self.client,
            "group": self.group,
            "node": self.node,
            "outcome": self.outcome,
            "hop": self.hop,
            "cause": self.cause,
            "why": self.why,
            "fault": self.fault,
            "chain": list(self.chain),
            "latency_ms": self.latency_ms,
            "copies": self.copies,
            "others": self.others._asdict(),
            "moments": [{"t_s": t_s, "who": who, "what": what} for t_s, who, what in self.moments],
            "ending": list(self.ending),
        }


def tell(manifest: Mapping[str, Any], account: Account, seen: CloseUp, stream: int) -> Story:
    """The story of number `seen.seq` of a stream, which its publisher must have meant to send, for `seen.client`."""
    case = case_of(names_of(manifest), account, seen, stream)
    fault, hop, cause, others = case.fault, case.hop, case.cause, others_of(case)
    scene = Scene(
        plan=case.names.plan,
        stream=case.stream,
        node=case.node,
        intended_ns=case.intended_ns,
        sent_ns=case.sent_ns,
        done_ns=case.done_ns,
        faults=[(case.names.fault(one), one) for one in ([fault] if fault else at_work(case))],
        clock=clock_block(account),
    )
    told = moments(seen, scene)
    chain = chain_of(case, told)
    group = case.names.group_of(seen.client)
    return Story(
        publisher=case.stream.publisher,
        channel=case.stream.channel,
        seq=seen.seq,
        client=seen.client,
        group="" if group is None else f"{group.name}:{seen.client - group.first_client}",
        node=case.node_id,
        outcome=case.outcome,
        hop=None if hop is None else hop.label,
        cause=None if cause is None else cause.label,
        why=case.why or None,
        fault=None if fault is None else case.names.fault(fault),
        chain=chain,
        latency_ms=case.latency_ms,
        copies=len(case.deliveries),
        moments=tuple((round(case.seconds(moment.t_ns), 6), moment.who, moment.what) for moment in told),
        others=others,
        ending=tuple(ending_of(case, chain, others)),
    )
