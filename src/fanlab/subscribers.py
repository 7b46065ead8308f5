"""Redis' subscribers as they come, change and go: CLIENT LIST and log lines in, rows for redis.jsonl out. Pure.

The rows (t in monotonic ns; what changed did so within (before, t], and before is 0 where nobody had looked):

    {"t", "before", "ev": "subscriber", "id", "name", "addr", "node", "sub", "psub"}   new, or with other counts
    {"t", "before", "ev": "gone", "id", "node"}                                        listed no more
    {"t", "ev": "buffer_kill", "id", "name", "addr", "node", "omem"}                   from Redis' log
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.ledger.witnessname import WITNESS_NAME

Row = dict[str, Any]

# `1:M 22 Nov 2026 23:30:05.057 # Client id=4 addr=… … scheduled to be closed ASAP for overcoming of output buffer
# limits.` # So say Redis 7.0 and 8.2 and Valkey 8; `closed for …` where Redis can do it at once.
_KILLED: Final = re.compile(
    r"^\d+:\w (?P<day>\d{1,2}) (?P<month>[A-Z][a-z]{2}) (?P<year>\d{4}) "
    r"(?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d)\.(?P<ms>\d{3}) "
    r".*?[Cc]lient (?P<client>id=\d+ .*?) (?:scheduled to be )?closed\b.*\boutput buffer limits?\b"
)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Listed(NamedTuple):
    """A line of CLIENT LIST TYPE pubsub."""

    id: int
    addr: str
    name: str
    sub: int
    psub: int


class Killed(NamedTuple):
    """A line of Redis' log: a client was closed because its output buffer had passed its limit."""

    wall_ns: tuple[int, ...]  # since the epoch, by this machine's time zone; two where a clock was set back
    id: int
    addr: str
    name: str
    omem: int


def parse_listed(line: str) -> Listed:
    """One entry. Raises KeyError or ValueError for a line that is none."""
    client = dict(part.partition("=")[::2] for part in line.split(" "))
    return Listed(int(client["id"]), client["addr"], client.get("name", ""), int(client["sub"]), int(client["psub"]))


def parse_killed(line: str) -> Killed | None:
    """A line of Redis' log; None where it is about something else."""
    found = _KILLED.match(line)
    if found is None or found["month"] not in _MONTHS:
        return None
    client = dict(part.partition("=")[::2] for part in found["client"].split(" "))
    try:
        return Killed(_wall_ns(found), int(client["id"]), client["addr"], client.get("name", ""), int(client["omem"]))
    except (KeyError, ValueError):
        return None


def _wall_ns(found: re.Match[str]) -> tuple[int, ...]:
    day = (int(found["year"]), _MONTHS.index(found["month"]) + 1, int(found["day"]))
    local = [datetime(*day, int(found["h"]), int(found["m"]), int(found["s"]), fold=fold) for fold in (0, 1)]  # noqa: DTZ001 - Redis writes local time
    return tuple(sorted({round(time.timestamp()) * NS_PER_S + int(found["ms"]) * NS_PER_MS for time in local}))


def on_our_clock(wall_ns: Iterable[int], offset_ns: int, after_ns: int, until_ns: int) -> int:
    """A log line's time in monotonic ns, held within (after, until], when it was written for certain.

    So a Redis in another time zone, or a wall clock that was set meanwhile, costs no more than the time between two
    looks at the log.
    """
    times = [min(max(wall - offset_ns, after_ns), until_ns) for wall in wall_ns]
    inside = [at for at in times if after_ns < at < until_ns]
    return inside[0] if inside else max(times, default=until_ns)


@dataclass(slots=True)
class Subscribers:
    """Who was listed last. Ids begin anew with each Redis process, so an address tells two of one id apart."""

    nodes: frozenset[str]
    _listed: dict[tuple[int, str], Listed] = field(default_factory=dict)
    _node_of: dict[tuple[int, str], str | None] = field(default_factory=dict)  # those that are gone, too

    def unknown(self, listed: Iterable[Listed]) -> list[Listed]:
        """Those of which nobody knows yet whose they are, and whose name does not say it."""
        told = self.nodes | {WITNESS_NAME}
        return [each for each in listed if each[:2] not in self._node_of and each.name not in told]

    def seen(self, t_ns: int, before_ns: int, listed: Iterable[Listed], owners: Mapping[int, str]) -> list[Row]:
        """A new list; `owners` has the nodes' ids by id of those that were `unknown`. Returns what changed."""
        now = {each[:2]: each for each in listed}
        rows: list[Row] = []
        for key, old in self._listed.items():
            if key not in now:
                rows.append({"t": t_ns, "before": before_ns, "ev": "gone", "id": old.id, "node": self._node_of[key]})
        for key, each in now.items():
            self._node_of.setdefault(key, each.name if each.name in self.nodes else owners.get(each.id))
            if self._listed.get(key) != each:
                rows.append({"t": t_ns, "before": before_ns, "ev": "subscriber", **self._who(each), **_counts(each)})
        self._listed = now
        return rows

    def killed(self, t_ns: int, killed: Killed) -> Row:
        """The row of a log line."""
        return {"t": t_ns, "ev": "buffer_kill", **self._who(killed), "omem": killed.omem}

    def _who(self, client: Listed | Killed) -> Row:
        known = self._node_of.get((client.id, client.addr))
        node = known or (client.name if client.name in self.nodes else None)
        return {"id": client.id, "name": client.name, "addr": client.addr, "node": node}


def _counts(each: Listed) -> Row:
    return {"sub": each.sub, "psub": each.psub}
