"""Losses and what they are held against, as small arrays: each column is one value for all of them, or a list."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.breaks import BREAK_DTYPE, Kind
from fanlab.ledger.causes import Facts, Hop
from fanlab.ledger.connection import End, Place
from fanlab.ledger.drops import Drops
from fanlab.ledger.lost import Losses, World
from fanlab.ledger.messages import Messages
from fanlab.ledger.nodejournal import NodeJournal
from fanlab.ledger.own import OwnDoing
from fanlab.ledger.records import Status
from fanlab.ledger.redisjournal import RedisJournal
from fanlab.ledger.result import FaultAccount
from fanlab.ledger.whereabouts import Traffic, Whereabouts
from fanlab.ledger.windows import NEVER, SUB_DTYPE

S: Final = 1_000_000_000
SENT, DONE = 100 * S, 100 * S + 10  # of a loss, where the test does not say otherwise
NODES: Final = ("node-1", "node-2", "node-3")


def columns(count: int, defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Each column as an array of its own."""
    assert given.keys() <= defaults.keys()
    return {name: np.array(np.broadcast_to(np.array(one), count)) for name, one in (defaults | given).items()}


def losses_of(count: int = 1, **given: Any) -> Losses:
    """Of client 0, of the first message."""
    defaults = {
        "client": 0, "channel": 0, "stream": 0, "seq": 1, "message": 0, "sent_ns": SENT, "done_ns": DONE,
        "status": int(Status.OK), "next_sent_ns": NEVER,
    }  # fmt: skip
    return Losses(**columns(count, defaults, given))


def place_at(count: int = 1, **given: Any) -> Place:
    """On node 0, live, for good."""
    defaults = {
        "node": 0, "asked_ns": S, "confirmed_ns": 2 * S, "closed_ns": NEVER, "away": False, "joining": False,
        "live": True,
    }  # fmt: skip
    return Place(**columns(count, defaults, given))


def seen_as(count: int = 1, **given: Any) -> Whereabouts:
    """Nothing is known."""
    defaults = {
        "had": False, "missed": False, "uncounted": False, "all_counted": False, "alike": False, "before_ns": -1,
        "after_ns": NEVER,
    }  # fmt: skip
    return Whereabouts(**columns(count, defaults, given))


def end_as(count: int = 1, **given: Any) -> End:
    """Nothing ended."""
    defaults = {
        "fault": -1, "kind": "", "last": False, "troubled": False, "gone": False, "in_hand": False, "hung": False,
        "starved": False, "link": False, "held": -1, "held_all": False,
    }  # fmt: skip
    return End(**columns(count, defaults, given))


def facts_as(count: int = 1, **given: Any) -> Facts:
    """Of live clients on node 0, of whose losses nothing is known."""
    defaults: dict[str, Any] = {one.name: -1 if one.name.endswith("_fault") else False for one in fields(Facts)}
    return Facts(**columns(count, defaults | {"node": 0, "hop": int(Hop.UNKNOWN), "live": True}, given))


def fault(
    kind: str,
    target: str,
    requested: int | None,
    healed: int | None = None,
    *,
    confirmed: int | None = None,
    healing: int | None = None,
    **settings: Any,
) -> FaultAccount:
    """A fault that bit when it was requested and healed when that was asked for, unless told otherwise."""
    bit = requested if confirmed is None else confirmed
    healing = healed if healing is None else healing
    return FaultAccount(0, kind, target, requested, bit, healing, healed, settings=settings)


def break_row(
    from_ns: int, to_ns: int, kind: int, *, node: int = 0, channel: int = 0, sure: tuple[int, int] | None = None,
    listed: bool = False, orderly: bool = False, lost: int | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    """A row of breaks.BREAK_DTYPE: the node noticed a gap at its end, unless told otherwise."""
    lost_ns = (from_ns if kind == Kind.DEAF else to_ns) if lost is None else lost
    return (node, channel, from_ns, to_ns, *(sure or (from_ns, to_ns)), int(kind), lost_ns, listed, orderly)


def messages_at(sent_ns: Sequence[int], receivers: Sequence[int] | None = None) -> Messages:
    """One stream of messages, each done 10 ns after it was sent."""
    sent = np.array(sent_ns, np.int64)
    count = len(sent)
    replied = np.full(count, -1) if receivers is None else np.array(receivers, np.int64)
    return Messages(np.array([0, count]), sent, sent, sent + (DONE - SENT), np.zeros(count, np.uint8), replied)


def world_with(
    *,
    subs: Sequence[tuple[int, ...]] = (),
    faults: Sequence[FaultAccount] = (),
    injected: int | None = None,
    breaks: Sequence[tuple[Any, ...]] = (),
    journals: Sequence[int] = (),
    redis: RedisJournal | None = None,
    messages: Messages | None = None,
    handed: Sequence[tuple[int, int]] = (),
    heard: dict[int, dict[int, int]] | None = None,
    uncounted_witness: bool = False,
    drops: Drops | None = None,
    too_slow: Sequence[tuple[int, int]] = (),
    without_answer: Sequence[tuple[int, int]] = (),
    own: OwnDoing | None = None,
    **more: Any,
) -> World:
    """Three nodes, of which `journals` keep one; four clients, each with nowhere to go but the node it was on."""
    messages = messages or messages_at([SENT])
    table = np.zeros((len(NODES), len(messages.status)), np.bool_)
    for node, message in handed:
        table[node, message] = True
    told = {node: np.zeros(len(messages.status), np.int64) for node in journals}
    for node, times in (heard or {}).items():
        for message, t_ns in times.items():
            told[node][message] = t_ns
    traffic = Traffic(
        messages=messages,
        channel=np.zeros(len(messages.status), np.int64),
        handed=table,
        heard=told,
        journals={node: NodeJournal() for node in journals},
        redis=redis,
        uncounted_witness=uncounted_witness,
    )
    given: dict[str, Any] = {
        "outages": [], "node_names": NODES, "choice": np.full(4, -1), "choices": [], "lateness_ns": 0, "partial": False
    } | more  # fmt: skip
    return World(
        subs=np.array(list(subs), SUB_DTYPE),
        faults=list(faults),
        injected=len(faults) if injected is None else injected,
        breaks=np.array(list(breaks), BREAK_DTYPE),
        drops=drops or Drops(np.zeros((0, 6), np.int64), np.zeros((0, 2), np.int64)),
        traffic=traffic,
        too_slow=np.array(list(too_slow), np.int64).reshape(-1, 2),
        without_answer=np.array(list(without_answer), np.int64).reshape(-1, 2),
        own=own or OwnDoing(np.full(4, -1), {}, frozenset()),
        **given,
    )
