"""What Redis said of its subscribers: `journal/redis.jsonl`, kept by fanlab.rediswatch, as plain rows.

Redis is polled, so that a change is known to lie within (before, t]; before is 0 where nobody had looked. Times in ns.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.lines import json_objects
from fanlab.ledger.linkjournal import NAME, read_behind, with_nodes


class Subscriber(NamedTuple):
    """A connection that subscribes, as seen for the first time or with other counts; it changed within (before, t]."""

    t: int
    before: int
    id: int  # CLIENT ID: never used again by this Redis process, but a restarted one begins anew
    name: str
    addr: str
    node: int | None  # index; None: no node's
    sub: int  # channels
    psub: int  # patterns


class Gone(NamedTuple):
    """A connection that is listed no more: it ended, or gave up its last subscription, within (before, t]."""

    t: int
    before: int
    id: int
    node: int | None


class BufferKill(NamedTuple):
    """Redis closed a subscriber whose output buffer had passed its limit, at `t` give or take its log's millisecond."""

    t: int
    id: int
    name: str
    addr: str
    node: int | None
    omem: int  # bytes in the buffer


@dataclass(frozen=True, slots=True)
class RedisJournal:
    """Everything, each in order of time."""

    subscribers: tuple[Subscriber, ...]
    gone: tuple[Gone, ...]
    buffer_kills: tuple[BufferKill, ...]
    watched: NDArray[np.int64]  # rows (from, until): in these, each change is in the rows
    torn: int = 0  # lines that are none
    log: bool = False  # its log was followed, too: `buffer_kills` are all that there were

    def subscribed(self, node: int) -> NDArray[np.int64]:
        """Rows (surely_from, maybe_from, surely_until, maybe_until) of a node's connections while they subscribe.

        It surely was subscribed to something within [surely_from, surely_until] (empty for one that was listed once),
        and surely was not outside of (maybe_from, maybe_until), as far as Redis was watched. The end of one that was
        never seen to go is `watched`'s.
        """
        return np.array(list(self._spans(node)), np.int64).reshape(-1, 4)

    def _spans(self, node: int) -> Iterator[tuple[int, int, int, int]]:
        last = int(self.watched[-1, 1]) if len(self.watched) else 0
        seen: set[tuple[int, Gone | None]] = set()
        for row in self.subscribers:
            end = next((gone for gone in self.gone if gone.id == row.id and gone.t > row.t), None)
            if row.node != node or (row.id, end) in seen:
                continue
            seen.add((row.id, end))
            yield (row.t, row.before, end.before, end.t) if end else (row.t, row.before, max(last, row.t), last)


def read_redis_journal(path: Path, node_indexes: Mapping[str, int]) -> RedisJournal | None:
    """The journal; None where there is none. Lines that are none are counted, never fatal.

    Connections that came through the link, whose journal lies beside this one, are those of the nodes behind it.
    """
    if not path.is_file():
        return None
    lines, torn = json_objects(path)
    lines = list(with_nodes(lines, read_behind(path.with_name(NAME))))
    subscribers: list[Subscriber] = []
    gone: list[Gone] = []
    kills: list[BufferKill] = []
    watched: list[tuple[int, int]] = []
    since: int | None = None
    last_ns, log = 0, False
    for line in lines:
        try:
            t, node = int(line["t"]), node_indexes.get(line.get("node") or "")
            match line["ev"]:
                case "watch":
                    if since is not None:
                        watched.append((since, int(line.get("before", t))))
                    since = t if line["state"] == "up" else None
                    log |= line.get("log") is True
                case "subscriber":
                    who = int(line["id"]), str(line["name"]), str(line["addr"])
                    subscribers.append(Subscriber(t, int(line["before"]), *who, node, *_counts(line)))
                case "gone":
                    gone.append(Gone(t, int(line["before"]), int(line["id"]), node))
                case "buffer_kill":
                    who = int(line["id"]), str(line["name"]), str(line["addr"])
                    kills.append(BufferKill(t, *who, node, int(line["omem"])))
                case _:
                    torn += 1
            last_ns = max(last_ns, t)
        except (KeyError, TypeError, ValueError, AttributeError):
            torn += 1
    if since is not None:
        watched.append((since, last_ns))
    kills.sort()
    rows = np.array(watched, np.int64).reshape(-1, 2)
    return RedisJournal(tuple(subscribers), tuple(gone), tuple(kills), rows, torn, log)


def _counts(line: Mapping[str, Any]) -> tuple[int, int]:
    return int(line["sub"]), int(line["psub"])
