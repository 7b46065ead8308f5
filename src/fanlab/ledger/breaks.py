"""When each node was without a subscription at Redis: by its own journal, else by what Redis listed.

A node that keeps a journal is asked for its gaps, and for what it says of its connection and its channels:

    gap                                          a gap, as wide as it says
    subscribed, and again subscribed             renewed in silence: what came between is not known, a gap up to there
    redis down, later subscribed, and no gap     a gap
    redis down, never subscribed again           deaf from there on
    unsubscribed, or not yet subscribed          deaf until subscribed

Of one that keeps none, Redis' list of subscribers tells when its connection went and when the next one subscribed. A
connection that Redis still lists when the next one comes was given up by the node alone: the link was silent. What
ended with the node's process is no break: its clients went with it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanlab.clock import NS_PER_MS
from fanlab.ledger.faultlog import IN_FLIGHT_NS, REDIS, window_ns
from fanlab.ledger.harm import Harm, harm_of, kinds_that
from fanlab.ledger.histogram import Ints
from fanlab.ledger.lookups import around
from fanlab.ledger.nodejournal import NodeJournal, RedisLine
from fanlab.ledger.received import Bools
from fanlab.ledger.redisjournal import RedisJournal
from fanlab.ledger.result import FaultAccount
from fanlab.ledger.windows import NEVER

POLL_NS: Final = 100 * NS_PER_MS  # Redis' log and list are read this late at most
ENDS_NODES: Final = kinds_that(Harm.ENDS)
_BREAKS: Final = (  # what may have cost a node its connection to Redis
    Harm.ENDS
    | Harm.FREEZES
    | Harm.STARVES
    | Harm.CUTS_REDIS
    | Harm.DRAGS_REDIS
    | Harm.STOPS_PUBLISHING
    | Harm.DROPS_SUBSCRIBERS
)


class Kind(IntEnum):
    """What kind of break."""

    GAP = 0  # renewed
    KILLED = 1  # Redis closed the connection for its output buffer
    SILENT = 2  # the link went silent; Redis knew nothing of it
    DEAF = 3  # never renewed, or told to nobody


# One break of one channel on one node, in ns. A message that the node did not have, published in [from, to], was lost
# to it; surely so in [sure_from, sure_to]. By `lost_ns` at the latest it had begun.
BREAK_DTYPE = np.dtype([
    ("node", "<i8"), ("channel", "<i8"), ("from_ns", "<i8"), ("to_ns", "<i8"), ("sure_from", "<i8"),
    ("sure_to", "<i8"), ("kind", "u1"), ("lost_ns", "<i8"), ("listed", "?"), ("orderly", "?"),
])  # fmt: skip


class _Break(NamedTuple):
    node: int
    channel: int
    from_ns: int
    to_ns: int
    sure_from: int
    sure_to: int
    kind: Kind
    lost_ns: int
    listed: bool  # by Redis' list; False: by the node's journal
    orderly: bool = False  # the node left the channel itself: all that Redis counted it for before has come


@dataclass(frozen=True, slots=True)
class _Known:
    """What helps to tell one kind of break from another."""

    faults: Sequence[FaultAccount]
    node_names: Sequence[str]
    kills: Mapping[int, Sequence[int]]  # by node: when Redis closed its connection for its buffer

    def doing(self, target: str, harm: Harm, from_ns: int, to_ns: int) -> bool:
        """Whether a fault that does such harm was under way at any time in [from_ns, to_ns]."""
        return any(
            fault.target == target
            and bool(harm_of(fault) & harm)
            and (window := window_ns(fault)) is not None
            and window[0] <= to_ns
            and window[1] >= from_ns
            for fault in self.faults
        )

    def killed(self, node: int, from_ns: int, to_ns: int) -> bool:
        """Whether Redis closed the node's connection for its buffer in [from_ns, to_ns]."""
        return any(from_ns - POLL_NS <= t_ns <= to_ns + POLL_NS for t_ns in self.kills.get(node, ()))

    def died(self, node: int, from_ns: int, to_ns: int) -> bool:
        """Whether the node's process ended in [from_ns, to_ns], by a fault or by itself."""
        return self.doing(self.node_names[node], Harm.ENDS, from_ns, to_ns)


def breaks_of(
    channels: Mapping[str, int],
    journals: Mapping[int, NodeJournal],
    redis: RedisJournal | None,
    faults: Sequence[FaultAccount],
    node_names: Sequence[str],
) -> NDArray[Any]:
    """All breaks, sorted by node, channel and time. Nodes without a journal are judged by what Redis listed."""
    kills: dict[int, list[int]] = {}
    for kill in redis.buffer_kills if redis is not None else ():
        if kill.node is not None:
            kills.setdefault(kill.node, []).append(kill.t)
    known = _Known(faults, node_names, kills)
    rows: list[_Break] = []
    for node, journal in journals.items():
        rows += _journaled(node, journal, channels, known)
    for node in sorted(set(range(len(node_names))) - journals.keys()):
        listed = [] if redis is None else list(_listed(node, redis, known))
        rows += (one._replace(channel=channel) for one in listed for channel in channels.values())
    table = np.array(rows, BREAK_DTYPE)
    return table[np.lexsort((table["from_ns"], table["channel"], table["node"]))]


def _journaled(node: int, journal: NodeJournal, channels: Mapping[str, int], known: _Known) -> Iterator[_Break]:
    for name, from_ns, to_ns in journal.gaps:
        if name in channels:
            noticed = [line for line in journal.redis if line.state == "down" and from_ns <= line.t <= to_ns]
            kind = _kind(node, noticed, from_ns, to_ns, known)
            lost_ns = noticed[0].t if noticed else to_ns
            yield _Break(node, channels[name], *(from_ns, to_ns) * 2, kind, lost_ns, listed=False)
    lines: list[tuple[int, str, str | None]] = [(t, "start", None) for t in journal.starts]
    lines += [(line.t, "down", None) for line in journal.redis if line.state == "down"]
    lines += [(line.t, line.state, line.channel) for line in journal.subscriptions]
    lines.sort(key=lambda line: line[0])  # a stable sort: those of one time stay in this order
    of_channel = {name: [line[:2] for line in lines if line[2] in (None, name)] for name in channels}
    for name, channel in channels.items():
        told = [(from_ns, to_ns) for of, from_ns, to_ns in journal.gaps if of == name]
        if not any(state in ("subscribed", "unsubscribed") for _, state in of_channel[name]):
            continue  # it may subscribe by a pattern, or say nothing of its subscriptions
        for from_ns, to_ns, kind, orderly in _unsubscribed(of_channel[name]):
            if not any(start <= to_ns and from_ns <= end for start, end in told):
                if kind is Kind.GAP and known.killed(node, from_ns, to_ns):
                    kind = Kind.KILLED  # noqa: PLW2901 - the same break, better known
                yield _Break(node, channel, *(from_ns, to_ns) * 2, kind, from_ns, listed=False, orderly=orderly)


def _unsubscribed(lines: Sequence[tuple[int, str]]) -> Iterator[tuple[int, int, Kind, bool]]:
    """When a channel was not subscribed, from one node's lines that bear on it, in order: (from, to, kind, orderly)."""
    since: int | None = None  # not subscribed since then
    on = broke = orderly = False
    for t_ns, state in lines:
        match state:
            case "subscribed":
                if since is not None:
                    yield since, t_ns, Kind.GAP if broke else Kind.DEAF, orderly
                elif on:
                    yield t_ns, t_ns, Kind.GAP, False
                since, on = None, True
            case "start":
                since, on, broke, orderly = t_ns, False, False, False
            case "down" if on:
                since, on, broke, orderly = t_ns, False, True, False
            case "unsubscribed" if since is None:  # else it left what it had lost before
                since, on, broke, orderly = t_ns, False, False, True
    if since is not None:
        yield since, NEVER, Kind.DEAF, orderly


def _kind(node: int, noticed: Sequence[RedisLine], from_ns: int, to_ns: int, known: _Known) -> Kind:
    """Of a gap in a node's journal; `noticed` are its lines of that time on the loss of its connection."""
    if known.killed(node, from_ns, to_ns):
        return Kind.KILLED
    name = known.node_names[node]
    if known.doing(name, Harm.HUSHES_REDIS, from_ns, to_ns):
        return Kind.SILENT
    if known.doing(name, _BREAKS, from_ns, to_ns) or known.doing(REDIS, _BREAKS, from_ns, to_ns):
        return Kind.GAP
    if any(line.why == "timeout" for line in noticed):
        return Kind.SILENT
    late = any(line.why is None and line.t - from_ns > IN_FLIGHT_NS for line in noticed[:1])
    return Kind.SILENT if late else Kind.GAP


def _listed(node: int, redis: RedisJournal, known: _Known) -> Iterator[_Break]:
    """Of a black box, for channel 0: what Redis listed says nothing of channels."""
    spans = redis.subscribed(node)
    last_ns = int(redis.watched[-1, 1]) if len(redis.watched) else 0
    kills = set(known.kills.get(node, ()))
    for index, (sure_from, maybe_from, until, maybe_until) in enumerate(spans.tolist()):
        others = np.delete(spans, index, axis=0)
        if ((others[:, 0] < maybe_from) & (others[:, 2] > sure_from)).any():
            yield _Break(node, 0, maybe_from, sure_from, 0, -1, Kind.SILENT, sure_from, listed=True)
        if maybe_until >= last_ns or ((others[:, 0] <= until) & (others[:, 2] > maybe_until)).any():
            continue  # it was never seen to go, or not the last one
        if known.died(node, until, maybe_until + POLL_NS):
            continue
        later = others[others[:, 0] > until]
        following = later[np.argmin(later[:, 0])] if len(later) else (NEVER, last_ns)
        kind = Kind.GAP if len(later) else Kind.DEAF
        if known.killed(node, until, maybe_until):
            kind = Kind.KILLED
            kills -= {t_ns for t_ns in kills if until - POLL_NS <= t_ns <= maybe_until + POLL_NS}
        elif known.doing(known.node_names[node], Harm.HUSHES_REDIS, until, maybe_until):
            kind = Kind.SILENT
        ends = int(following[0]), maybe_until, int(following[1])
        yield _Break(node, 0, until, *ends, kind, maybe_until, listed=True)
    for t_ns in kills:  # its list was not read in time to see the connection
        later = spans[spans[:, 0] > t_ns]
        to_ns = int(later[:, 0].min()) if len(later) else NEVER
        yield _Break(node, 0, t_ns - POLL_NS, to_ns, 0, -1, Kind.KILLED, t_ns, listed=True)


@dataclass(frozen=True, slots=True)
class Way:
    """What a loss is held against breaks by: equally long arrays."""

    node: Ints  # -1: of no node
    channel: Ints
    sent_ns: Ints
    done_ns: Ints
    closed_ns: Ints  # the end of the client's connection
    next_ns: Ints  # when the next message that came over that way was sent; NEVER: none
    patient: Bools  # its node was not reading, so that it may have waited for long
    uncounted: Bools  # Redis did not count its node, whatever the node knew of that yet


@dataclass(frozen=True, slots=True)
class Met:
    """The break that each loss falls into: its row in the table, -1 for none."""

    row: Ints
    ahead: Bools  # it was published before the break, and on its way when that began


def breaks_met(table: NDArray[Any], way: Way, *, patient: bool = False) -> Met:
    """Find it. `patient`: all of them may have waited for long.

    What was published shortly before a break that began on the same connection, with nothing later having come before
    it, was in Redis' buffer or the socket when the subscription went; what a full buffer or a cut link took has waited
    for as long as it may. A node that leaves in order learns a little later than Redis does that it has left.
    """
    if not len(table) or not len(way.node):
        return Met(np.full(len(way.node), -1), np.zeros(len(way.node), np.bool_))
    span = 1 + int(max(table["channel"].max(), way.channel.max()))
    group, from_ns, to_ns = table["node"] * span + table["channel"], table["from_ns"], table["to_ns"]
    before, after = around(group, from_ns, way.node * span + way.channel, way.done_ns)
    inside = (before >= 0) & (way.sent_ns <= to_ns[before])
    waits = table["listed"] & np.isin(table["kind"], (Kind.KILLED, Kind.SILENT))
    ahead = ~inside & (after >= 0) & (way.next_ns >= from_ns[after]) & (from_ns[after] <= way.closed_ns)
    ahead &= way.uncounted | ~table["orderly"][after]
    ahead &= patient | way.patient | waits[after] | (from_ns[after] <= way.done_ns + IN_FLIGHT_NS)
    return Met(np.where(inside, before, np.where(ahead, after, -1)), ahead)
