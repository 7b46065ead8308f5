"""What a node says of itself: `journal/<node id>.jsonl`, as nodes/PROTOCOL.md has it. A witness, and not a judge."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.causes import DROPS
from fanlab.ledger.lines import json_objects
from fanlab.ledger.records import MARK_LENGTH, TOKEN_PREFIX

DOWN_WHYS: Final = ("closed", "timeout", "refused")  # why a node has no connection to Redis


class RedisLine(NamedTuple):
    """What became of the node's connection to Redis at `t` (ns)."""

    t: int
    state: Literal["up", "down"]
    why: str | None = None  # one of DOWN_WHYS; None where the node does not say


class SubscriptionLine(NamedTuple):
    """Redis confirmed a subscription, or that it is over, at `t` (ns)."""

    t: int
    channel: str
    state: Literal["subscribed", "unsubscribed"]


def _rows(columns: int) -> NDArray[np.int64]:
    return np.zeros((0, columns), np.int64)


@dataclass(slots=True)
class NodeJournal:
    """A node's journal. All times ns."""

    messages: NDArray[np.int64] = field(default_factory=lambda: _rows(4))  # rows (stream, seq, received, done)
    # rows (stream, seq, t, place of the reason in causes.DROPS)
    drops: NDArray[np.int64] = field(default_factory=lambda: _rows(4))
    dropped: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # by row of `drops`: how many
    # rows (row of `drops`, client): whom a drop concerned, where it says so
    who: NDArray[np.int64] = field(default_factory=lambda: _rows(2))
    gaps: list[tuple[str, int, int]] = field(default_factory=list)  # (channel, from, to)
    torn: int = 0  # lines that are none
    taken: NDArray[np.int64] = field(default_factory=lambda: _rows(3))  # by its cache: rows (stream, seq, t)
    redis: list[RedisLine] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)  # orderly ends
    subscriptions: list[SubscriptionLine] = field(default_factory=list)


def read_node_journal(path: Path, run_tag: int | None) -> NodeJournal:
    """A node's journal. Lines cut short by its death, and foreign ones, are counted; other runs' messages left out."""
    messages: list[tuple[int, int, int, int]] = []
    drops: list[tuple[int, int, int, int, int]] = []
    who: list[tuple[int, int]] = []
    taken: list[tuple[int, int, int]] = []
    lines, torn = json_objects(path)
    journal = NodeJournal()
    for line in lines:
        try:
            match line.get("ev"):
                case "msg":
                    if mark := _mark(line.get("mark"), run_tag):
                        messages.append((*mark, int(line["t"]), int(line["done"])))
                case "drop":
                    if line["why"] in DROPS and (mark := _mark(line.get("mark"), run_tag)):
                        clients = [(len(drops), int(client)) for client in line.get("who", ())]
                        drops.append((*mark, int(line["t"]), DROPS.index(line["why"]), int(line["n"])))
                        who += clients
                case "cache":
                    if mark := _mark(line.get("mark"), run_tag):
                        taken.append((*mark, int(line["t"])))
                case event:
                    _note(journal, event, line)
        except (KeyError, TypeError, ValueError):
            torn += 1
    rows = np.array(drops, np.int64).reshape(-1, 5)
    journal.messages = np.array(messages, np.int64).reshape(-1, 4)
    journal.drops, journal.dropped = rows[:, :4], rows[:, 4]
    journal.who = np.array(who, np.int64).reshape(-1, 2)
    journal.taken = np.array(taken, np.int64).reshape(-1, 3)
    journal.torn = torn
    return journal


def _note(journal: NodeJournal, event: object, line: Mapping[str, Any]) -> None:
    """A rare line. Unknown ones are left alone: a node may journal more than we read."""
    match event:
        case "gap":
            journal.gaps.append((line["ch"], int(line["from"]), int(line["to"])))
        case "start":
            journal.starts.append(int(line["t"]))
        case "stop":
            journal.stops.append(int(line["t"]))
        case "redis":
            why = line.get("why")
            if (state := line["state"]) not in ("up", "down"):
                raise ValueError(state)
            journal.redis.append(RedisLine(int(line["t"]), state, why if why in DOWN_WHYS else None))
        case "subscribed" | "unsubscribed" as state_:
            journal.subscriptions.append(SubscriptionLine(int(line["t"]), str(line["ch"]), state_))


def _mark(text: object, run_tag: int | None) -> tuple[int, int] | None:
    """(stream, seq) of a token's leading part; None where it is no mark, or another run's."""
    if not isinstance(text, str) or len(text) < MARK_LENGTH or not text.startswith(TOKEN_PREFIX.decode()):
        return None
    run, stream, seq = int(text[3:7], 16), int(text[7:11], 16), int(text[11:19], 16)
    return (stream, seq) if run_tag in (None, run) else None
