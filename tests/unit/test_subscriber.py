"""A client's life as a table: every move that is not in it raises and changes nothing."""

from collections import Counter
from itertools import product
from typing import Any

import pytest

from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.load.config import Backoff, ClientsConfig
from fanlab.load.protocols import protocol
from fanlab.load.subscriber import (
    MOVES,
    Close,
    Connect,
    IllegalMove,
    Input,
    Send,
    State,
    Subscriber,
    Wait,
    backoff_ns,
    next_node,
)
from fanlab.seed import rng

BACKOFF = Backoff(initial_ns=500 * NS_PER_MS, factor=2.0, max_ns=4 * NS_PER_S, jitter=0.0)


def group(**changes: Any) -> ClientsConfig:
    fields: dict[str, Any] = {
        "name": "g",
        "count": 6,
        "first_client": 10,
        "spawn_rate_per_s": 100.0,
        "channels": ("news", "jobs"),
        "nodes": (0, 1, 2),
        "failover": "round-robin",
        "backoff": BACKOFF,
        "ping_interval_ns": NS_PER_S,
        "ping_timeout_ns": NS_PER_S,
        "join_ns": None,
    }
    return ClientsConfig(**{**fields, **changes})


def subscriber(client: int = 10, connections: dict[int, int] | None = None, **changes: Any) -> Subscriber:
    return Subscriber(client, group(**changes), [protocol("json")] * 3, 7, connections or {})


def confirm(channel: str) -> bytes:
    return b'{"type": "subscribed", "channel": "%s"}' % channel.encode()


def subscribed(**changes: Any) -> Subscriber:
    client = subscriber(**changes)
    client.start(1)
    client.opened(2)
    for channel in client.group.channels:
        client.frame(3, confirm(channel))
    assert client.state is State.SUBSCRIBED
    return client


def test_a_life_without_trouble() -> None:
    client = subscriber(11)
    born = client.start(1)
    assert born.actions == (Connect(1),)  # client k of the group starts on node k mod N
    assert born.events == ({"t": 1, "ev": "connecting", "client": 11, "node": 1, "attempt": 0},)
    opened = client.opened(2)
    assert opened.actions == (Send(b'{"type": "subscribe", "channels": ["news", "jobs"]}'),)
    assert [(event["ev"], event.get("channel")) for event in opened.events] == [
        ("open", None),
        ("subscribing", "news"),
        ("subscribing", "jobs"),
    ]
    assert client.frame(3, confirm("jobs")).events[0]["ev"] == "subscribed"
    assert client.state is State.SUBSCRIBING
    client.frame(4, confirm("news"))
    assert client.state is State.SUBSCRIBED
    assert client.entitled == {"news", "jobs"}
    left = client.leave(5)
    assert left.actions == (Close(),)
    assert [event["ev"] for event in left.events] == ["left"]
    assert not client.entitled
    closed = client.lost(6, 1000, "")
    assert closed.actions == ()
    assert closed.events[0]["own"] is True
    assert client.state is State.LEFT


def test_a_lost_client_goes_round_until_it_is_subscribed_again() -> None:
    client = subscribed()
    lost = client.lost(10, 1006, "")
    assert lost.events == (
        {"t": 10, "ev": "closed", "client": 10, "node": 0, "code": 1006, "reason": "", "own": False},
    )
    assert lost.actions == (Wait(500 * NS_PER_MS),)
    assert client.entitled == {"news", "jobs"}  # being disconnected is how loss happens, not an excuse
    again = client.retry(11)
    assert again.actions == (Connect(1),)
    assert again.events[0]["attempt"] == 1
    assert client.refused(12, "ConnectionRefusedError").actions == (Wait(1000 * NS_PER_MS),)
    assert client.retry(13).actions == (Connect(2),)
    client.opened(14)
    assert client.lost(15, 1006, "").actions == (Wait(2000 * NS_PER_MS),)  # open is not yet subscribed
    assert client.retry(16).actions == (Connect(0),)
    client.opened(17)
    client.frame(18, confirm("news"))
    client.frame(18, confirm("jobs"))
    assert client.lost(19, 1006, "").actions == (Wait(500 * NS_PER_MS),)  # it has been subscribed: from the start


def test_confirmations_of_the_unasked_and_the_repeated_are_not_journaled() -> None:
    client = subscribed()
    assert client.frame(9, confirm("news")).events == ()
    assert client.frame(9, confirm("other")).events == ()
    assert client.frame(9, b'{"type": "pong"}').events == ()
    assert client.frame(9, b"not json").events == ()
    assert client.frame(9, b"[1]").events == ()
    assert client.state is State.SUBSCRIBED


@pytest.mark.parametrize("moment", ["new", "connecting", "backing-off", "subscribing"])
def test_leaving_at_any_time(moment: str) -> None:
    client = subscriber()
    if moment != "new":
        client.start(1)
    if moment == "backing-off":
        client.refused(2, "x")
    if moment == "subscribing":
        client.opened(2)
    left = client.leave(3)
    assert [event["ev"] for event in left.events] == ["left"]
    assert client.leave(4).events == ()
    if moment == "connecting":  # the connection under way is closed as soon as it is open
        assert left.actions == ()
        assert client.opened(5).actions == (Close(),)
        assert client.lost(6, 1000, "").events[0]["own"] is True
    elif moment == "subscribing":
        assert left.actions == (Close(),)
        client.lost(6, 1000, "")
    assert client.state is State.LEFT


def test_illegal_moves_raise_and_change_nothing() -> None:
    calls = {
        Input.START: lambda c: c.start(9),
        Input.OPENED: lambda c: c.opened(9),
        Input.REFUSED: lambda c: c.refused(9, "x"),
        Input.CONFIRMED: lambda c: c.frame(9, confirm("news")),
        Input.LOST: lambda c: c.lost(9, 1006, ""),
        Input.RETRY: lambda c: c.retry(9),
        Input.LEAVE: lambda c: c.leave(9),
    }
    illegal = [(state, happened) for state, happened in product(State, Input) if happened not in MOVES[state]]
    assert len(illegal) > 20
    for state, happened in illegal:
        client = subscriber()
        client.state = state
        before = (client.node, client.attempt, set(client.tried), set(client.entitled))
        with pytest.raises(IllegalMove):
            calls[happened](client)
        assert client.state is state
        assert (client.node, client.attempt, client.tried, client.entitled) == before


@pytest.mark.parametrize(
    ("policy", "current", "tried", "connections", "expected"),
    [
        ("sticky", 1, {1}, {}, 1),
        ("round-robin", 1, {1}, {}, 2),
        ("round-robin", 2, {2}, {}, 0),
        ("least-connections", 1, {1}, {0: 5, 1: 0, 2: 4}, 2),  # the dead one has the fewest: it is not asked
        ("least-connections", 1, {1}, {0: 5, 2: 5}, 2),  # a tie goes to the next in turn
        ("least-connections", 2, {1, 2}, {0: 9}, 0),
        ("least-connections", 0, {0, 1, 2}, {1: 3, 2: 1}, 2),  # all have failed: over again
    ],
)
def test_failover(policy: str, current: int, tried: set[int], connections: dict[int, int], expected: int) -> None:
    assert next_node(policy, (0, 1, 2), current, frozenset(tried), connections) == expected


def test_least_connections_finds_the_one_node_alive() -> None:
    client = subscribed(failover="least-connections", connections={2: 50})
    client.lost(5, 1006, "")
    visited = []
    for t in range(6, 12, 2):
        client.retry(t)
        visited.append(client.node)
        client.refused(t + 1, "refused")
    assert set(visited) >= {1, 2}


def test_clients_of_a_dead_node_spread_over_the_others_by_least_connections() -> None:
    connections = Counter({1: 10, 2: 12})  # and node 0 has died with its ten clients
    clients = [subscribed(client=10 + 3 * k, failover="least-connections", connections=connections) for k in range(10)]
    for client in clients:
        client.lost(5, 1006, "")
    for client in clients:
        for action in client.retry(6).actions:
            assert isinstance(action, Connect)
            connections[action.node] += 1  # as the engine counts what it opens
    assert connections == {1: 16, 2: 16}


def test_backoff_grows_to_its_maximum_and_is_seeded() -> None:
    waits = [backoff_ns(BACKOFF, attempt, rng(1)) / NS_PER_MS for attempt in (0, 1, 2, 3, 4, 5000)]
    assert waits == [500, 1000, 2000, 4000, 4000, 4000]
    jittered = Backoff(500 * NS_PER_MS, 2.0, 4 * NS_PER_S, 0.2)
    draws = [backoff_ns(jittered, 0, rng(1, "client", n)) / NS_PER_MS for n in range(200)]
    assert 400 <= min(draws) < 420
    assert 580 < max(draws) <= 600
    assert backoff_ns(jittered, 0, rng(1, "client", 3)) == backoff_ns(jittered, 0, rng(1, "client", 3))
