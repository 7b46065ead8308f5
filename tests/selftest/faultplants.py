"""Plants for kinds of faults rather than causes: each injected by fanlab itself, alone.

What is true of a loss follows from when it was sent, as in `plants`; that of a node which the kernel killed, from when
the harness saw its process end.
"""

import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from observe import Actor, Observed, Stage
from plants import CUT_OFF_S, EDGE_S, FOREVER_S, SOON, Band, Plant, Slot, fault_at, only, seconds
from redis.asyncio import Redis

from fanlab import clock
from fanlab.clock import NS_PER_S
from fanlab.ledger.causes import Cause
from fanlab.topology.backend import Need

_BACK_OFF_S = 0.4  # of a client that has to try again, at most, with the time to connect
_LAG_S = 2.0
_BACK_S = 1.5  # of a node whose back-off has grown to its longest
_PATIENCE_S = 0.3  # of a client that hears nothing, at least
_PINGING = {"ping_interval": "200ms", "ping_timeout": "300ms"}
_AWAY = {"reconnect": {"initial": "300ms", "factor": 1, "max": "300ms", "jitter": 0}, "failover": "sticky"}
_IMPATIENT = {"REDIS_TIMEOUT_MS": "400", "REDIS_PING_MS": "100", "REDIS_RETRY_MS": "50"}


def _injected(kind: str, for_s: float | None, *, of_redis: bool = False, **settings: Any) -> Any:
    def faults(slot: Slot) -> Sequence[Mapping[str, Any]]:
        target = {} if of_redis else {"target": slot.node}
        lasts = {} if for_s is None else {"for": f"{for_s:g}s"}
        return [{"kind": kind, **target, "at": f"{slot.at_s:g}s", **lasts, **settings}]

    return faults


def _gone(slot: Slot, seen: Observed) -> Sequence[Band]:
    """The node's process ends, and is started again; its clients may go nowhere else."""
    fault = fault_at(slot, seen)
    ends = [end["t_s"] for end in seen.manifest["expected_exits"] if end["unit"] == slot.node]
    asked_s = seconds(fault.requested_ns, seen)
    dead_s = ends[0] if ends and fault.kind == "memory-limit" else asked_s
    started_s, back_s = seconds(fault.heal_requested_ns, seen), seconds(fault.heal_confirmed_ns, seen)
    slow_s = min(asked_s, dead_s - EDGE_S)  # without memory it lags before it dies, with messages in hand
    return [
        Band(slow_s, dead_s + EDGE_S, frozenset({Cause.NODE_CRASH_IN_FLIGHT})),
        Band(dead_s - EDGE_S, back_s + _BACK_OFF_S, frozenset({Cause.NODE_DOWN})),
        Band(started_s, back_s + _BACK_OFF_S, frozenset({Cause.CLIENT_RECONNECTING})),
    ]


def _late_clients(slot: Slot) -> Sequence[Mapping[str, Any]]:
    """More clients for the node while its memory is limited: each needs some pages."""
    late = {"group": f"{slot.group}-late", "count": 60, "spawn_rate": "200/s", "join": f"{slot.at_s + 0.3:g}s"}
    return [{**late, "channels": ["news"], "nodes": [slot.node], **SOON}]


def _redis_waits(slot: Slot, seen: Observed) -> Sequence[Band]:
    """Redis does not answer for so long that the node gives it up; it is back soon after Redis is."""
    (fault,) = [fault for fault in seen.account.faults if fault.target == "redis"]
    over_s = seconds(fault.heal_confirmed_ns, seen)
    return [Band(slot.at_s - 0.5, over_s + _BACK_S, frozenset({Cause.RESUBSCRIBE_GAP}))]


def _lag(slot: Slot) -> Sequence[Actor]:
    """SIGSTOP to the node, unknown to fanlab, and SIGCONT: what comes meanwhile is more than any socket takes."""

    async def act(stage: Stage) -> None:
        await stage.at(slot.at_s + CUT_OFF_S)
        pid = stage.pids()[slot.node]
        os.kill(pid, signal.SIGSTOP)
        await stage.at(slot.at_s + CUT_OFF_S + _LAG_S)
        os.kill(pid, signal.SIGCONT)

    return [act]


def _cut_off_once(slot: Slot) -> Sequence[Actor]:
    """CLIENT KILL of this one node's subscription, by a connection that was there before nobody was let in."""

    async def act(stage: Stage) -> None:
        async with Redis.from_url(stage.redis_url, decode_responses=True) as connection:
            await connection.ping()
            await stage.at(slot.at_s + CUT_OFF_S)
            (node,) = [one for one in await connection.client_list(_type="pubsub") if one["name"] == slot.node]
            assert await connection.client_kill_filter(_id=node["id"])
            assert clock.now_ns() < stage.zero_ns + round((slot.at_s + 1) * NS_PER_S), "too late for the fault"

    return [act]


def _kept_out(slot: Slot, seen: Observed) -> Sequence[Band]:
    """What the cut itself took goes back to no fault, what came after it to the one that kept the node out."""
    (fault,) = [fault for fault in seen.account.faults if fault.target == "redis"]
    cut_s, over_s = slot.at_s + CUT_OFF_S, seconds(fault.heal_confirmed_ns, seen)
    gap = frozenset({Cause.RESUBSCRIBE_GAP})
    return [
        Band(cut_s - EDGE_S, cut_s + 2 * EDGE_S, gap, by_itself=True),
        Band(cut_s - EDGE_S, over_s + _BACK_S, gap),
    ]


def _out_of_reach(slot: Slot, seen: Observed) -> Sequence[Band]:
    """Nothing passes to the clients, who give up, and are not served again before it is over."""
    over_s = seconds(fault_at(slot, seen).heal_confirmed_ns, seen)
    return [
        Band(slot.at_s - EDGE_S, over_s + EDGE_S, frozenset({Cause.PARTITION})),
        Band(slot.at_s + _PATIENCE_S, over_s + _BACK_OFF_S, frozenset({Cause.CLIENT_RECONNECTING})),
    ]


def _half_gone(slot: Slot, _: Observed) -> Sequence[Band]:
    """The node thinks that its clients have gone, and leaves the channel; they learn of it by their pings."""
    returned_s = slot.at_s + 1.5
    lost = frozenset({Cause.PARTITION, Cause.NO_SUBSCRIBER})
    return [
        Band(slot.at_s - EDGE_S, returned_s, lost),
        Band(slot.at_s + _PATIENCE_S, returned_s, frozenset({Cause.CLIENT_RECONNECTING})),
    ]


def _reset(slot: Slot, seen: Observed) -> Sequence[Band]:
    """What was on its way when connections were reset, and what came until clients were back."""
    done_s = seconds(fault_at(slot, seen).confirmed_ns, seen)
    on_its_way = frozenset({Cause.PARTITION, Cause.NOT_OPEN, Cause.WRITE_ERROR, Cause.NO_SUBSCRIBER})
    return [
        Band(slot.at_s - EDGE_S, done_s + EDGE_S, on_its_way),
        Band(slot.at_s - EDGE_S, done_s + 0.3 + _BACK_OFF_S, frozenset({Cause.CLIENT_RECONNECTING})),
    ]


def _too_slow(slot: Slot, _: Observed) -> Sequence[Band]:
    """The node drops what does not fit, closes the connection, skips the client meanwhile; and that comes back.

    Who is told late of the close is still there when the node has nobody to be subscribed for.
    """
    return [
        Band(slot.at_s - 2.0, slot.at_s + 4.0, frozenset({Cause.SLOW_CLIENT_DROP, Cause.NOT_OPEN})),
        Band(slot.at_s, slot.at_s + 5.0, frozenset({Cause.CLIENT_RECONNECTING, Cause.NO_SUBSCRIBER})),
    ]


def _nothing(_: Slot, __: Observed) -> Sequence[Band]:
    return ()


_OF_NODES_AND_REDIS = (
    Plant(
        "restart",
        _gone,
        lasts_s=1.5,
        clients=SOON,
        faults=_injected("restart", None),
        shows=Cause.NODE_DOWN,
    ),
    Plant(
        "memory-limit",
        _gone,
        lasts_s=4.0,
        clients=SOON,
        more=_late_clients,
        faults=_injected("memory-limit", 3, limit="1MB"),
        shows=Cause.NODE_DOWN,
        need=Need.MEMORY_LIMIT,
    ),
    Plant(
        "cpu-throttle",
        only(Cause.OUTPUT_BUFFER_KILL, before_s=0.5, until_s=FOREVER_S),
        lasts_s=5.0,
        clients={"count": 12},
        redis={"client-output-buffer-limit": "pubsub 1mb 0 0"},
        faults=_injected("cpu-throttle", 4, cores=0.01),
        bulky=True,
        shows=Cause.OUTPUT_BUFFER_KILL,
        need=Need.CPU_LIMIT,
    ),
    Plant(
        "redis-pause",
        _redis_waits,
        lasts_s=3.0,
        env=lambda _: _IMPATIENT,
        faults=_injected("redis-pause", 1.5, of_redis=True),
        by_redis=True,
        shows=Cause.RESUBSCRIBE_GAP,
    ),
    Plant(
        "redis-client-pause",
        _redis_waits,
        lasts_s=3.0,
        env=lambda _: _IMPATIENT,
        faults=_injected("redis-client-pause", 1.5, of_redis=True, mode="all"),
        by_redis=True,
        shows=Cause.RESUBSCRIBE_GAP,
    ),
    Plant(
        "redis-output-buffer",
        only(Cause.OUTPUT_BUFFER_KILL, until_s=CUT_OFF_S + _LAG_S + _BACK_S),
        lasts_s=4.0,
        faults=_injected("redis-output-buffer", 3, of_redis=True, limit="1MB"),
        actors=_lag,
        bulky=True,
        by_redis=True,
        shows=Cause.OUTPUT_BUFFER_KILL,
    ),
    Plant(
        "redis-maxclients",
        _kept_out,
        lasts_s=3.0,
        faults=_injected("redis-maxclients", 1.5, of_redis=True),
        actors=_cut_off_once,
        by_redis=True,
        shows=Cause.RESUBSCRIBE_GAP,
    ),
)
_TO_CLIENTS = (
    Plant(
        "partition from clients",
        _out_of_reach,
        lasts_s=2.5,
        clients={**SOON, **_PINGING},
        faults=_injected("partition", 1.2, link="clients", mode="drop"),
        shows=Cause.PARTITION,
    ),
    Plant(
        "half-open to clients",
        _half_gone,
        lasts_s=2.5,
        clients={**SOON, **_PINGING},
        faults=_injected("half-open", 1.2, link="clients", gone="node"),
        shows=Cause.NO_SUBSCRIBER,
    ),
    Plant(
        "connection-reset of clients",
        _reset,
        lasts_s=1.5,
        clients=_AWAY,
        faults=_injected("connection-reset", None, link="clients"),
        shows=Cause.CLIENT_RECONNECTING,
    ),
    Plant(
        "reconnect-storm",
        _reset,
        lasts_s=1.5,
        clients=_AWAY,
        faults=_injected("reconnect-storm", None),
        shows=Cause.CLIENT_RECONNECTING,
    ),
    Plant(
        "slow-clients",
        _too_slow,
        lasts_s=5.0,
        env=lambda _: {"CLIENT_BUFFER_BYTES": "262144"},
        faults=_injected("slow-clients", 3, per_second="50kB"),
        bulky=True,
        shows=Cause.SLOW_CLIENT_DROP,
    ),
    Plant(
        "latency to clients", _nothing, faults=_injected("latency", 0.8, link="clients", latency="200ms"), harmless=True
    ),
    Plant("slicing to clients", _nothing, faults=_injected("slicing", 0.8, link="clients", size="16B"), harmless=True),
)
_TO_REDIS = (
    Plant(
        "partition from Redis",
        only(Cause.PARTITION, until_s=1.2 + _BACK_S),
        lasts_s=3.0,
        env=lambda _: _IMPATIENT,
        faults=_injected("partition", 1.2, link="redis", mode="drop"),
        shows=Cause.PARTITION,
    ),
    Plant(
        "half-open to Redis",
        only(Cause.PARTITION, until_s=1.2 + _BACK_S),
        lasts_s=3.0,
        env=lambda _: _IMPATIENT,
        faults=_injected("half-open", 1.2, link="redis", gone="peer"),
        shows=Cause.PARTITION,
    ),
    Plant(
        "connection-reset of Redis",
        only(Cause.RESUBSCRIBE_GAP, until_s=1.0 + _BACK_S),
        lasts_s=2.5,
        faults=_injected("connection-reset", None, link="redis", repeat={"every": "120ms", "times": 8}),
        again=True,
        shows=Cause.RESUBSCRIBE_GAP,
    ),
    Plant(
        "bandwidth to Redis",
        only(Cause.OUTPUT_BUFFER_KILL, before_s=0.5, until_s=FOREVER_S),
        lasts_s=5.0,
        redis={"client-output-buffer-limit": "pubsub 1mb 0 0"},
        faults=_injected("bandwidth", 3, link="redis", per_second="100kB"),
        bulky=True,
        shows=Cause.OUTPUT_BUFFER_KILL,
    ),
    Plant("latency to Redis", _nothing, faults=_injected("latency", 0.8, link="redis", latency="200ms"), harmless=True),
)
_ALL = (*_OF_NODES_AND_REDIS, *_TO_CLIENTS, *_TO_REDIS)
FAULT_PLANTS: Mapping[str, Plant] = {plant.name: plant for plant in _ALL}
