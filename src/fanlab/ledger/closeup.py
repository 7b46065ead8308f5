"""All that a run's journals say about one number's messages and one client: raw, and no more than that.

What was decided about a message stands in the account alone. This is what a story of it is told from: one pass over
the stripes and the nodes' journals, in which everything that concerns others is passed over.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.histogram import Ints
from fanlab.ledger.journals import stripe_paths
from fanlab.ledger.linkjournal import NAME as LINK
from fanlab.ledger.linkjournal import read_behind, with_nodes
from fanlab.ledger.records import (
    DELIVERY_DTYPE,
    INTENT_DTYPE,
    MARK_LENGTH,
    OUTCOME_DTYPE,
    Token,
    encode_token,
)
from fanlab.ledger.stripe import Kind, StripeReader, json_lines
from fanlab.ledger.witness import Witness, read_witness
from fanlab.rundir import RunDir
from fanlab.scenario.plan import Plan

_RECORDS = {
    Kind.INTENTS: INTENT_DTYPE,
    Kind.OUTCOMES: OUTCOME_DTYPE,
    Kind.DELIVERIES: DELIVERY_DTYPE,
}


@dataclass(slots=True)
class CloseUp:
    """Records of number `seq` on any stream, and the events of `client`. Lines are as written, sorted by `t`."""

    client: int
    seq: int
    intents: NDArray[Any]
    outcomes: NDArray[Any]
    deliveries: NDArray[Any]  # to all clients, by time
    last_seq: Ints  # by stream: the highest number that its publisher meant to send; 0: none
    events: list[dict[str, Any]] = field(default_factory=list)
    witness: Witness | None = None
    nodes: dict[int, list[dict[str, Any]]] = field(default_factory=dict)  # by node index, of those that keep a journal
    redis: list[dict[str, Any]] | None = None  # None: Redis was not watched

    def copies(self, stream: int) -> list[int]:
        """When the witness had each copy of the stream's message, in Redis' order."""
        if self.witness is None:
            return []
        records = self.witness.records
        mine = (records["seq"] == self.seq) & (records["stream"] == stream)
        return [int(t) for t in records["recv_ns"][mine]]


def close_up(rundir: RunDir, plan: Plan, run_tag: int | None, client: int, seq: int) -> CloseUp:
    """Read it. What is torn, corrupt or of another run is passed over: the account counts it."""
    found: dict[Kind, list[NDArray[Any]]] = {kind: [] for kind in _RECORDS}
    last_seq = np.zeros(len(plan.streams), np.int64)
    events: list[dict[str, Any]] = []
    for path in stripe_paths(rundir):
        for frame in StripeReader(path):
            if frame.kind in _RECORDS:
                dtype = _RECORDS[frame.kind]
                records = np.frombuffer(frame.payload, dtype, len(frame.payload) // dtype.itemsize)
                if frame.kind is Kind.INTENTS:
                    known = records[records["stream"] < len(plan.streams)]
                    np.maximum.at(last_seq, known["stream"], known["seq"])
                found[frame.kind].append(records[records["seq"] == seq])
            elif frame.kind is Kind.EVENTS:
                events += [line for line in json_lines(frame) if line.get("client") == client]
    records_of = {kind: np.concatenate([np.zeros(0, _RECORDS[kind]), *parts]) for kind, parts in found.items()}
    deliveries = records_of[Kind.DELIVERIES]
    marks = {_mark(run_tag, stream.index, seq).encode() for stream in plan.streams}
    paths = {node.index: rundir.journal / f"{node.id}.jsonl" for node in plan.nodes}
    watched, witness = rundir.journal / "redis.jsonl", read_witness(rundir.witness)
    behind = read_behind(rundir.journal / LINK)
    return CloseUp(
        client=client,
        seq=seq,
        intents=records_of[Kind.INTENTS],
        outcomes=records_of[Kind.OUTCOMES],
        deliveries=deliveries[np.argsort(deliveries["recv_ns"], kind="stable")],
        last_seq=last_seq,
        events=sorted(events, key=_time),
        witness=witness,
        nodes={index: sorted(_lines(path, marks), key=_time) for index, path in paths.items() if path.is_file()},
        redis=sorted(with_nodes(_lines(watched, None), behind), key=_time) if watched.is_file() else None,
    )


def mark_of(line: dict[str, Any]) -> tuple[int, int] | None:
    """(stream, seq) of a line's mark; None where it has none."""
    mark = line.get("mark")
    try:
        return (int(mark[7:11], 16), int(mark[11:MARK_LENGTH], 16)) if isinstance(mark, str) else None
    except ValueError:
        return None


def _mark(run_tag: int | None, stream: int, seq: int) -> str:
    """What the lines of a node's journal quote of a message."""
    return encode_token(Token(run_tag or 0, stream, seq, 0, 0))[:MARK_LENGTH].decode()


def _lines(path: Path, marks: set[bytes] | None) -> Iterator[dict[str, Any]]:
    """The JSON objects with a time in a file of lines; with `marks`, without the lines of other messages."""
    with path.open("rb") as file:
        for text in file:
            if marks is not None and b'"mark"' in text and not any(mark in text for mark in marks):
                continue
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and isinstance(line.get("t"), int) and _whole(line):
                yield line


def _whole(line: dict[str, Any]) -> bool:
    """Whether a gap has its bounds; other fields are only quoted."""
    return line.get("ev") != "gap" or (isinstance(line.get("from"), int) and isinstance(line.get("to"), int))


def _time(line: dict[str, Any]) -> int:
    return int(line["t"])
