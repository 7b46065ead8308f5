"""What an attribution lacks: a sentence for each kind of evidence that was missing where it would have mattered."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.causes import CLOSING, SLOW, WRITE_FAILED, Cause, Facts, Hop
from fanlab.ledger.lost import World
from fanlab.ledger.received import Bools


def coarse(world: World, facts: Facts, cause: NDArray[Any], hop: NDArray[Any]) -> list[str]:
    """Sentences on the losses of live clients; where the client was away, its own journal tells all."""
    live, unknown = facts.live & ~facts.failed, facts.live & ~facts.failed & (hop == Hop.UNKNOWN)
    black = ~np.isin(facts.node, list(world.traffic.heard))
    return [
        *_black_boxes(world, facts, live & black, unknown),
        *_unlisted(world, live & black, unknown),
        *_unlogged(world, cause),
        *_unnamed(world, facts, cause),
        *_killed(world, facts, unknown & ~black),
    ]


def _black_boxes(world: World, facts: Facts, concerned: Bools, unknown: Bools) -> Iterator[str]:
    for node in np.unique(facts.node[concerned]).tolist():
        of_node = concerned & (facts.node == node)
        missing = int(np.count_nonzero(of_node & unknown))
        where = f"of {missing} of them nobody can tell" if missing else "that was enough for all of them"
        yield (
            f"{world.node_names[node]} keeps no journal: where its {_losses(of_node)} happened is known from Redis and"
            f" from its other clients only, and {where}"
        )


def _unlisted(world: World, concerned: Bools, unknown: Bools) -> Iterator[str]:
    if not (concerned & unknown).any():
        return
    if world.traffic.redis is None or not len(world.traffic.redis.watched):
        yield (
            "Redis' subscribers were not watched: when a node without a journal was cut off is known from the counts"
            f" that Redis replied only ({_losses(concerned)})"
        )
    if world.traffic.uncounted_witness:
        yield (
            "the witness left no journal, though Redis may have counted it: its counts of receivers are one too high,"
            f" and prove less ({_losses(concerned)})"
        )


def _unlogged(world: World, cause: NDArray[Any]) -> Iterator[str]:
    redis, cut = world.traffic.redis, cause == Cause.RESUBSCRIBE_GAP
    if cut.any() and redis is not None and len(redis.watched) and not redis.log:
        yield (
            "Redis' log was not read, for it is not a Redis of fanlab's own: that it closed a node's connection for its"
            f" output buffer would be told as a gap ({_losses(cut)})"
        )


def _unnamed(world: World, facts: Facts, cause: NDArray[Any]) -> Iterator[str]:
    causes = {SLOW: Cause.SLOW_CLIENT_DROP, CLOSING: Cause.NOT_OPEN, WRITE_FAILED: Cause.WRITE_ERROR}
    named = np.isin(np.arange(len(world.drops.lines)), world.drops.who[:, 0])
    for node in np.unique(world.drops.lines[~named, 0]).tolist():
        reasons = np.unique(world.drops.lines[~named & (world.drops.lines[:, 0] == node), 4]).tolist()
        charged = (facts.node == node) & np.isin(cause, [causes[reason] for reason in reasons])
        charged &= facts.dropped_slow | facts.dropped_closing | facts.dropped_write
        if charged.any():
            yield (
                f"{world.node_names[node]} does not say which clients its drops concern: they are put down to as many"
                f" as it counts, by number ({_losses(charged)})"
            )


def _killed(world: World, facts: Facts, concerned: Bools) -> Iterator[str]:
    for node in np.unique(facts.node[concerned & facts.node_died]).tolist():
        yield (
            f"{world.node_names[node]} died with the last lines of its journal: whether it had what was on its way is"
            f" not known ({_losses(concerned & facts.node_died & (facts.node == node))})"
        )


def _losses(chosen: Bools) -> str:
    count = int(np.count_nonzero(chosen))
    return f"{count} loss" if count == 1 else f"{count} losses"
