"""The plants: for each cause of a loss, how it is brought about, and what is then true of a loss by when it was sent.

Each is planted by the real thing: a signal to the node, a command to Redis, a server with that fault. Borders between
two truths (a message on its way when a node dies) are `EDGE_S` wide, and there both are accepted.
"""

import os
import signal
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from observe import Actor, Observed, Stage
from redis.asyncio import Redis

from fanlab import clock
from fanlab.clock import NS_PER_S
from fanlab.ledger.causes import Cause
from fanlab.ledger.records import DELIVERY_DTYPE
from fanlab.ledger.result import FaultAccount
from fanlab.ledger.stripe import Kind
from fanlab.rundir import RunDir
from fanlab.topology.backend import Need

EDGE_S = 0.06
FOREVER_S = 1e9
_DOWN_S = 1.2
CUT_OFF_S = 0.4
_BACK_OFF_S = 0.4  # of a client that has to try again, at most, with the time to connect
_HEADER_BYTES = 12  # of a stripe's frame: magic, kind, zero, length, CRC


class Slot(NamedTuple):
    """Where and when a plant acts."""

    node: str
    group: str
    at_s: float


class Band(NamedTuple):
    """Losses published within these seconds from time 0 can have these causes and no others."""

    from_s: float
    to_s: float
    causes: frozenset[Cause]
    by_itself: bool = False  # they go back to no fault


Bands = Callable[[Slot, Observed], Sequence[Band]]


@dataclass(frozen=True, slots=True)
class Plant:
    """One cause and how to bring it about."""

    name: str  # the label of its Cause, or the kind of its fault
    bands: Bands
    lasts_s: float = 1.0  # until everything but what stays for good is over
    kind: str = "websockets"
    env: Callable[[Slot], Mapping[str, str]] = lambda _: {}
    clients: Mapping[str, Any] = field(default_factory=dict)
    redis: Mapping[str, str] = field(default_factory=dict)
    faults: Callable[[Slot], Sequence[Mapping[str, Any]]] = lambda _: ()
    actors: Callable[[Slot], Sequence[Actor]] = lambda _: ()
    wide: bool = False  # it touches the clients of every node
    moves: bool = False  # its clients may go to the control node, too
    bulky: bool = False  # its clients have a channel of large messages, so that buffers fill
    for_good: bool = False  # whatever cuts its node off from Redis first does so for good
    mar: Callable[[RunDir], set[tuple[int, ...]]] | None = None  # damages the evidence; what that costs
    again: bool = False  # its fault comes more than once
    by_redis: bool = False  # its fault is one of Redis, and touches its own node alone
    more: Callable[[Slot], Sequence[Mapping[str, Any]]] = lambda _: ()  # groups of clients beside its own
    need: Need | None = None  # a mechanism that not every machine has
    shows: Cause | None = None  # that some of its losses must have; None: the one that it is named after
    harmless: bool = False  # it costs nothing: there is to be no loss at all

    def shown_by(self, cause: Cause) -> bool:
        """Whether a loss by this cause shows that it was planted."""
        return cause is self.shows if self.shows is not None else cause.label == self.name

    def faults_of(self, slot: Slot, seen: Observed) -> list[int]:
        """The injected faults that its losses may go back to: indexes into the account's faults; -1: none."""
        if not self.faults(slot) and not self.for_good:
            return [-1]
        targets = {"redis"} if self.wide or self.for_good or self.by_redis else {slot.node}
        mine = [index for index, fault in enumerate(seen.account.faults) if fault.target in targets]
        return (mine if self.again else mine[:1]) or [-1]


def only(*causes: Cause, before_s: float = EDGE_S, until_s: float) -> Bands:
    """These causes from the plant's time until `until_s` after it, with an edge before it for what was on its way."""
    return lambda slot, _: [Band(slot.at_s - before_s, slot.at_s + until_s, frozenset(causes))]


def fault_at(slot: Slot, seen: Observed) -> FaultAccount:
    """The injected fault on the slot's node."""
    (fault,) = [fault for fault in seen.account.faults if fault.target == slot.node]
    return fault


def seconds(t_ns: int | None, seen: Observed) -> float:
    return FOREVER_S if t_ns is None else (t_ns - seen.account.zero_ns) / NS_PER_S


def _death(after: Cause, *, frozen_s: float = 0.0, at_home: Cause | None = None) -> Bands:
    """A node dies: first what was on its way to it, then `at_home` while it is down, if that tells, then `after`."""

    def bands(slot: Slot, seen: Observed) -> Sequence[Band]:
        fault = fault_at(slot, seen)
        dead_s, back_s = seconds(fault.requested_ns, seen), seconds(fault.heal_confirmed_ns, seen)
        started_s = seconds(fault.heal_requested_ns, seen)  # clients may find it before the probe does
        frozen_at_s = min(slot.at_s, dead_s) - frozen_s  # the kill may be late on a busy machine
        in_flight = Band(frozen_at_s - EDGE_S, dead_s + EDGE_S, frozenset({Cause.NODE_CRASH_IN_FLIGHT}))
        if at_home is None:
            return [in_flight, Band(dead_s - EDGE_S, FOREVER_S, frozenset({after}))]
        return [
            in_flight,
            Band(dead_s - EDGE_S, back_s + _BACK_OFF_S, frozenset({at_home})),
            Band(started_s, FOREVER_S, frozenset({after})),
        ]

    return bands


def _crash(for_: str | None) -> Callable[[Slot], Sequence[Mapping[str, Any]]]:
    def faults(slot: Slot) -> Sequence[Mapping[str, Any]]:
        healing = {} if for_ is None else {"for": for_}
        return [{"kind": "crash", "target": slot.node, "at": f"{slot.at_s:g}s", **healing}]

    return faults


def _forbid_publishing(slot: Slot) -> Sequence[Actor]:
    async def act(stage: Stage) -> None:
        async with Redis.from_url(stage.redis_url) as connection:
            await stage.at(slot.at_s)
            await connection.execute_command("ACL", "SETUSER", "default", "-publish")
            await stage.at(slot.at_s + 0.5)
            await connection.execute_command("ACL", "SETUSER", "default", "+publish")

    return [act]


def _cut_off(slot: Slot) -> Sequence[Actor]:
    """CLIENT KILL of this one node's subscription, again and again for a while: it comes back within milliseconds."""

    async def act(stage: Stage) -> None:
        killed = 0
        async with Redis.from_url(stage.redis_url, decode_responses=True) as connection:
            await stage.at(slot.at_s)
            while clock.now_ns() < stage.zero_ns + round((slot.at_s + CUT_OFF_S) * NS_PER_S):
                for one in await connection.client_list():
                    if one["name"] == slot.node:
                        killed += await connection.client_kill_filter(_id=one["id"])
        assert killed, f"Redis lists no connection of {slot.node}"

    return [act]


def _freeze(before_s: float) -> Callable[[Slot], Sequence[Actor]]:
    """SIGSTOP to the node, unknown to fanlab, so long before the slot's own time."""

    def actors(slot: Slot) -> Sequence[Actor]:
        async def act(stage: Stage) -> None:
            await stage.at(slot.at_s - before_s)
            os.kill(stage.pids()[slot.node], signal.SIGSTOP)

        return [act]

    return actors


def _mar_deliveries(rundir: RunDir) -> set[tuple[int, ...]]:
    """Flip a byte in the middle one of a stripe's frames of deliveries; the (client, stream, seq) that it held."""
    path = min(rundir.journal.glob("clients-*.stripe"))
    data = bytearray(path.read_bytes())
    frames, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at + 2 : at + 3] == Kind.DELIVERIES.encode():
            frames.append((at + _HEADER_BYTES, length))
        at += _HEADER_BYTES + length
    start, length = frames[len(frames) // 2]
    held = np.frombuffer(bytes(data[start : start + length]), DELIVERY_DTYPE)
    data[start + length // 2] ^= 1
    assert zlib.crc32(data[start : start + length]) != zlib.crc32(held.tobytes())
    path.write_bytes(data)
    return set(zip(*(held[name].tolist() for name in ("client", "stream", "seq")), strict=True))


def _redis_away(_: Slot, seen: Observed) -> Sequence[Band]:
    (fault,) = [fault for fault in seen.account.faults if fault.target == "redis"]
    dead_s, back_s = seconds(fault.requested_ns, seen), seconds(fault.heal_confirmed_ns, seen)
    started_s = seconds(fault.heal_requested_ns, seen)  # publishers may find it before the probe does
    gap = frozenset({Cause.RESUBSCRIBE_GAP})
    return [
        Band(dead_s - EDGE_S, back_s + 1.0, frozenset({Cause.REDIS_DOWN})),
        Band(dead_s - EDGE_S, dead_s + EDGE_S, gap),
        Band(started_s, back_s + 1.5, gap),
    ]


def _never_answered(slot: Slot, _: Observed) -> Sequence[Band]:
    """Paused, so that its clients go; and who comes back is not answered. An outage without an end is no return."""
    return [
        Band(slot.at_s - EDGE_S, slot.at_s + 1.4, frozenset({Cause.NODE_DOWN})),
        Band(slot.at_s + 0.4, slot.at_s + 1.8, frozenset({Cause.NEVER_RETURNED})),
        Band(slot.at_s + 1.1, FOREVER_S, frozenset({Cause.NEVER_SUBSCRIBED})),
    ]


def _closed_as_slow(slot: Slot, _: Observed) -> Sequence[Band]:
    """The node drops what does not fit, closes the connection, skips the client meanwhile; and that comes back."""
    return [
        Band(slot.at_s - 1.0, slot.at_s + 3.5, frozenset({Cause.SLOW_CLIENT_DROP, Cause.NOT_OPEN})),
        Band(slot.at_s + 1.5, slot.at_s + 5.0, frozenset({Cause.CLIENT_RECONNECTING})),
    ]


SOON = {"reconnect": {"initial": "100ms", "factor": 1, "max": "100ms", "jitter": 0}, "failover": "sticky"}
_AWAY = {"reconnect": {"initial": "300ms", "factor": 1, "max": "300ms", "jitter": 0}}
_LINK = {"REDIS_TIMEOUT_MS": "600", "REDIS_PING_MS": "100", "REDIS_RETRY_MS": "50"}
_STALL = {"LIE": "stall", "CLIENT_BUFFER_BYTES": "262144"}

_ALL = (
    Plant(
        "publish_failed",
        only(Cause.PUBLISH_FAILED, until_s=0.9),
        actors=_forbid_publishing,
        wide=True,
    ),
    Plant(
        "redis_down",
        _redis_away,
        lasts_s=2.5,
        faults=lambda slot: [{"kind": "redis-restart", "at": f"{slot.at_s:g}s", "for": "500ms"}],
        wide=True,
    ),
    Plant(
        "no_subscriber",
        only(Cause.NO_SUBSCRIBER, before_s=FOREVER_S, until_s=FOREVER_S),
        kind="saboteurs/forgets-to-resubscribe",
        actors=_cut_off,
        for_good=True,
    ),
    Plant(
        "node_down",
        _death(Cause.CLIENT_RECONNECTING, at_home=Cause.NODE_DOWN),
        lasts_s=2.5,
        clients=SOON,
        faults=_crash(f"{_DOWN_S:g}s"),
    ),
    Plant(
        "resubscribe_gap",
        only(Cause.RESUBSCRIBE_GAP, until_s=1.0),
        actors=_cut_off,
    ),
    Plant(
        "output_buffer_kill",
        only(Cause.OUTPUT_BUFFER_KILL, before_s=3.0, until_s=5.0),
        lasts_s=4.5,
        redis={"client-output-buffer-limit": "pubsub 2mb 0 0"},
        faults=lambda slot: [{"kind": "pause", "target": slot.node, "at": f"{slot.at_s:g}s", "for": "3s"}],
        bulky=True,
    ),
    Plant(
        "partition",
        only(Cause.PARTITION, before_s=1.7, until_s=3.0),
        lasts_s=3.0,
        kind="saboteurs/cut-link",
        env=lambda slot: {**_LINK, "CUT_AT": f"{slot.at_s:g}", "CUT_FOR": "1.5"},
    ),
    Plant(
        "node_crash_in_flight",
        _death(Cause.CLIENT_RECONNECTING, frozen_s=0.4),
        clients=_AWAY,
        faults=_crash(None),
        actors=_freeze(0.4),
        moves=True,
    ),
    Plant(
        "slow_client_drop",
        only(Cause.SLOW_CLIENT_DROP, before_s=2.0, until_s=4.5),
        lasts_s=4.5,
        kind="saboteurs/lying-proxy",
        env=lambda slot: {
            **_STALL,
            "SLOW_CLIENT": "drop-newest",
            "LIE_STALL_AT": f"{slot.at_s:g}",
            "LIE_STALL_FOR": "3",
        },
        bulky=True,
    ),
    Plant(
        "not_open",
        _closed_as_slow,
        lasts_s=5.0,
        kind="saboteurs/lying-proxy",
        env=lambda slot: {**_STALL, "SLOW_CLIENT": "close", "LIE_STALL_AT": f"{slot.at_s:g}", "LIE_STALL_FOR": "3"},
        bulky=True,
    ),
    Plant(
        "write_error",
        only(Cause.WRITE_ERROR, until_s=FOREVER_S, before_s=FOREVER_S),
        kind="saboteurs/write-fails",
    ),
    Plant(
        "client_reconnecting",
        _death(Cause.CLIENT_RECONNECTING),
        clients=_AWAY,
        faults=_crash(None),
        moves=True,
    ),
    Plant(
        "never_returned",
        _death(Cause.NEVER_RETURNED),
        clients={"failover": "sticky"},
        faults=_crash(None),
    ),
    Plant(
        "never_subscribed",
        _never_answered,
        lasts_s=2.0,
        kind="saboteurs/never-confirms",  # to who comes back; they go because it does not answer their pings
        clients={**SOON, "ping_interval": "200ms", "ping_timeout": "300ms"},
        faults=lambda slot: [{"kind": "pause", "target": slot.node, "at": f"{slot.at_s:g}s", "for": "1200ms"}],
    ),
    Plant(
        "generator_fault",
        lambda _, __: (),
        mar=_mar_deliveries,
    ),
)
PLANTS: Mapping[str, Plant] = {plant.name: plant for plant in _ALL}
assert set(PLANTS) == {cause.label for cause in Cause} - {Cause.UNEXPLAINED.label}
