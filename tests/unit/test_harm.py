"""What faults can do, by kind, target and link."""

from dataclasses import replace

import pytest

from fanlab.faults.catalogue import FAULTS
from fanlab.ledger.breaks import ENDS_NODES
from fanlab.ledger.harm import (
    ENDS_CONNECTIONS,
    KINDS,
    OF_CLIENTS,
    SLOWS,
    TOLD_NS,
    Harm,
    as_it_struck,
    doing,
    harm_of,
    hits_all,
    hushed,
    parting,
)
from fanlab.ledger.result import FaultAccount
from support.losses import S, fault


def harm(kind, target="node-1", **settings):
    return harm_of(fault(kind, target, S, **settings))


def test_every_kind_that_can_be_injected_is_known():
    assert FAULTS.keys() <= KINDS


@pytest.mark.parametrize("kind", ["crash", "stop", "restart"])
def test_what_ends_a_node(kind):
    assert harm(kind) is Harm.ENDS
    assert kind in ENDS_NODES


def test_nothing_else_ends_a_node():
    assert set(ENDS_NODES) == {"crash", "stop", "restart"}


@pytest.mark.parametrize(
    ("kind", "does"),
    [
        ("pause", Harm.FREEZES),
        ("cpu-throttle", Harm.STARVES),
        ("memory-limit", Harm.STARVES),
        ("slow-clients", Harm.DRAGS_CLIENTS),
        ("reconnect-storm", Harm.CUTS_CLIENTS),
        ("never heard of", Harm.STARVES),
        ("redis-restart", Harm.STARVES),  # which is none of a node's
    ],
)
def test_faults_of_a_node(kind, does):
    assert harm(kind) is does


@pytest.mark.parametrize(
    ("kind", "does"),
    [
        ("redis-restart", Harm.STOPS_PUBLISHING | Harm.DROPS_SUBSCRIBERS),
        ("redis-pause", Harm.STOPS_PUBLISHING),
        ("redis-client-pause", Harm.STOPS_PUBLISHING),
        ("redis-kill-pubsub", Harm.DROPS_SUBSCRIBERS),
        ("redis-output-buffer", Harm.SHRINKS_BUFFERS),
        ("redis-maxclients", Harm.SHUTS_THE_DOOR),
        ("never heard of", Harm.STOPS_PUBLISHING | Harm.DROPS_SUBSCRIBERS),
        ("crash", Harm.STOPS_PUBLISHING | Harm.DROPS_SUBSCRIBERS),
    ],
)
def test_faults_of_redis(kind, does):
    assert harm(kind, "redis") == does


@pytest.mark.parametrize(
    ("kind", "clients", "redis"),
    [
        ("partition", Harm.HUSHES_CLIENTS, Harm.HUSHES_REDIS),
        ("half-open", Harm.CUTS_CLIENTS | Harm.HUSHES_CLIENTS, Harm.CUTS_REDIS | Harm.HUSHES_REDIS),
        ("connection-reset", Harm.CUTS_CLIENTS, Harm.CUTS_REDIS),
        ("latency", Harm.DRAGS_CLIENTS, Harm.DRAGS_REDIS),
        ("bandwidth", Harm.DRAGS_CLIENTS, Harm.DRAGS_REDIS),
        ("slicing", Harm.DRAGS_CLIENTS, Harm.DRAGS_REDIS),
    ],
)
def test_faults_of_a_link_do_to_it_what_they_do(kind, clients, redis):
    assert harm(kind, link="clients") == clients
    assert harm(kind, link="redis") == redis
    assert harm(kind) == redis


def test_what_cuts_a_node_off_from_redis_alone_ends_no_clients_connection():
    for kind in ("partition", "half-open", "connection-reset", "latency"):
        assert not harm(kind, link="redis") & ENDS_CONNECTIONS
        assert harm(kind, link="clients") & OF_CLIENTS & ENDS_CONNECTIONS


def test_what_lets_a_clients_buffer_fill():
    slow = [
        kind for kind in ("crash", "pause", "cpu-throttle", "slow-clients", "reconnect-storm") if harm(kind) & SLOWS
    ]
    assert slow == ["pause", "cpu-throttle", "slow-clients"]


def requested(faults):
    return [one.requested_ns for one in faults]


def test_faults_keep_their_places_whatever_is_asked_for():
    faults = [fault("crash", "node-1", 1), fault("pause", "node-1", 2), fault("redis-pause", "redis", 3)]
    assert requested(doing(faults, Harm.FREEZES | Harm.STOPS_PUBLISHING)) == [None, 2, 3]
    assert requested(doing(faults, ~Harm.FREEZES)) == [1, None, 3]
    assert doing(faults, Harm.FREEZES)[1] is faults[1]


@pytest.mark.parametrize(
    ("link", "direction", "held"),
    [
        ("clients", "both", True),
        ("clients", "from-node", True),
        ("clients", "to-node", False),
        ("redis", "both", True),
        ("redis", "to-node", True),
        ("redis", "from-node", False),
    ],
)
@pytest.mark.parametrize("mode", ["hold", "drop"])
def test_a_partition_holds_messages_up_in_their_direction_only(link, direction, held, mode):
    one = fault("partition", "node-1", 1, link=link, direction=direction, mode=mode)
    harm = Harm.HUSHES_CLIENTS if link == "clients" else Harm.HUSHES_REDIS
    other = Harm.HUSHES_REDIS if link == "clients" else Harm.HUSHES_CLIENTS
    assert requested(hushed([one], harm)) == [1 if held else None]
    assert requested(hushed([one], other)) == [None]


@pytest.mark.parametrize("direction", ["both", "to-node", "from-node"])
def test_a_partition_of_packets_takes_acknowledgements_along_whichever_way_it_holds(direction):
    for link, harm in (("clients", Harm.HUSHES_CLIENTS), ("redis", Harm.HUSHES_REDIS)):
        one = fault("partition", "node-1", 1, link=link, direction=direction, mode="hold", by="packets")
        assert requested(hushed([one], harm)) == [1]
        assert requested(hushed([replace(one, kind="latency")], harm)) == [None]


def test_a_partition_that_says_no_more_is_one_between_node_and_redis_both_ways():
    assert requested(hushed([fault("partition", "node-1", 1)], Harm.HUSHES_REDIS)) == [1]


def test_what_closes_one_end_holds_up_no_new_connection():
    faults = [fault("half-open", "node-1", 1, link="clients"), fault("connection-reset", "node-1", 1, link="clients")]
    assert requested(hushed(faults, Harm.HUSHES_CLIENTS)) == [None, None]


def test_what_leaves_the_clients_ends_alone_while_it_lasts():
    kinds = ("half-open", "partition", "connection-reset", "reconnect-storm", "slow-clients", "crash")
    faults = [fault(kind, "node-1", 1, link="clients") for kind in kinds] + [fault("half-open", "node-1", 1)]
    assert requested(parting(faults)) == [1, None, None, None, None, None, None]


@pytest.mark.parametrize(("settings", "all_of_them"), [({}, True), ({"share": 1.0}, True), ({"share": 0.99}, False)])
def test_a_fault_hits_all_connections_of_a_link_or_a_share(settings, all_of_them):
    assert hits_all(fault("partition", "node-1", 1, **settings)) is all_of_them


@pytest.mark.parametrize("kind", ["connection-reset", "reconnect-storm"])
def test_a_reset_is_over_when_it_is_done(kind):
    for healed in (9 * S, None):
        struck = as_it_struck(fault(kind, "node-1", S, healed, confirmed=2 * S))
        assert (struck.requested_ns, struck.heal_requested_ns, struck.heal_confirmed_ns) == (S, 2 * S, 2 * S)
    unseen = FaultAccount(3, kind, "node-1", S)
    assert as_it_struck(unseen) is unseen


def limit(ended_ns, kind="memory-limit", requested_ns=S):
    return FaultAccount(3, kind, "node-1", requested_ns, S + 5, 9 * S, 10 * S, ended_ns=ended_ns)


@pytest.mark.parametrize(
    ("ended", "struck"), [(5 * S, 5 * S - TOLD_NS), (S + 7, S)], ids=["in the end", "at once"]
)  # fmt: skip
def test_a_limit_that_a_node_was_killed_for_is_a_crash_of_that_time(ended, struck):
    assert as_it_struck(limit(ended)) == FaultAccount(
        3, "crash", "node-1", struck, ended, 9 * S, 10 * S, ended_ns=ended
    )


def test_a_limit_that_killed_nobody_and_every_other_fault_stay_what_they_are():
    for one in (limit(None), limit(5 * S, "stop")):
        assert as_it_struck(one) is one
