"""Counts that are kept up are those that a walk over all clients finds."""

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from fanlab.clock import NS_PER_S
from fanlab.load.census import Census
from fanlab.load.config import Backoff, ClientsConfig
from fanlab.load.protocols import protocol
from fanlab.load.subscriber import IllegalMove, Outcome, State, Subscriber

CHANNELS = ("news", "jobs", "news:eu")
NODES = 3
GROUPS = tuple(
    ClientsConfig(
        name, 10, first, 100.0, CHANNELS[:channels], tuple(range(NODES)), "least-connections",
        Backoff(NS_PER_S, 1.0, NS_PER_S, 0.0), NS_PER_S, NS_PER_S, join_ns=None,
    )
    for name, first, channels in (("a", 0, 3), ("b", 10, 1))
)  # fmt: skip


def moves(one: Subscriber, random: Random) -> list[Callable[[], Outcome]]:
    said = b'{"type":"subscribed","channel":"%s"}' % random.choice(CHANNELS).encode()
    return [
        lambda: one.start(1),
        lambda: one.opened(1),
        lambda: one.refused(1, "no"),
        lambda: one.frame(1, said),
        lambda: one.frame(1, said),
        lambda: one.frame(1, said),
        lambda: one.lost(1, 1006, ""),
        lambda: one.retry(1),
        lambda: one.leave(1) if random.random() < 0.02 else Outcome(),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_a_walk_over_all_clients_finds_the_same(seed: int) -> None:
    random = Random(seed)  # noqa: S311 - a seeded choice
    census = Census(GROUPS[0])
    clients = [
        Subscriber(number, GROUPS[number // 10], [protocol("json")] * NODES, 7, Counter()) for number in range(20)
    ]
    most = 0
    for _ in range(3000):
        one = random.choice(clients)
        try:
            outcome = random.choice(moves(one, random))()
        except IllegalMove:
            continue
        census.see(one, outcome)
        here = [one for one in clients if one.state not in (State.NEW, State.CLOSING, State.LEFT)]
        connected = [one for one in here if one.state is State.SUBSCRIBED]
        assert census.clients == len(here)
        assert census.connected == len(connected)
        apart = [one for one in here if one not in connected and (one.ever_subscribed or one.attempt)]
        assert census.reconnecting == len(apart)
        assert +census.entitled == Counter(channel for one in here for channel in one.entitled)
        assert census.served == {one.node for one in connected if one.group is GROUPS[0]}
        most = max(most, len(connected))
    assert most >= 3, "the walk came by"
