"""Which fault the end of a client's connection goes back to."""

import numpy as np
import pytest

from fanlab.ledger.ends import among, fault_of_end, fault_of_outage
from fanlab.ledger.faultlog import AFTERMATH_NS
from support.losses import NODES, S, fault

T = 50 * S


def blamed(*faults, node=0, t=T, given_up=False, of=fault_of_end):
    """The index of the fault of one end."""
    return int(of(faults, NODES, np.array([node]), np.array([t]), np.array([given_up]))[0])


def outage(*faults, **more):
    return blamed(*faults, of=fault_of_outage, **more)


ENDERS = [
    fault("crash", "node-1", 10, 20),
    fault("restart", "node-1", 10, 20),
    fault("pause", "node-1", 10, 20),
    fault("cpu-throttle", "node-1", 10, 20),
    fault("memory-limit", "node-1", 10, 20),
    fault("reconnect-storm", "node-1", 10, 20),
    *(fault(kind, "node-1", 10, 20, link="clients") for kind in ("partition", "half-open", "latency", "bandwidth")),
]


@pytest.mark.parametrize("given_up", [True, False])
@pytest.mark.parametrize("one", ENDERS, ids=lambda one: one.kind)
def test_a_connection_that_ends_while_its_node_or_its_link_is_at_fault_or_just_over(one, given_up):
    for t, found in ((9, -1), (10, 0), (20 + AFTERMATH_NS, 0), (21 + AFTERMATH_NS, -1)):
        assert blamed(one, t=t, given_up=given_up) == outage(one, t=t, given_up=given_up) == found
    assert blamed(one, node=1, t=15, given_up=given_up) == outage(one, node=1, t=15, given_up=given_up) == -1


def test_of_several_the_last_one():
    assert blamed(fault("crash", "node-1", 30), fault("crash", "node-1", 40), fault("crash", "node-1", 20)) == 1
    assert blamed(fault("crash", "node-1", None), fault("crash", "node-1", 20), fault("crash", "node-1", T + 1)) == 1


CUTS = ["crash", "stop", "restart", "reconnect-storm", "connection-reset", "half-open", "partition"]
SLOWS = ["pause", "cpu-throttle", "memory-limit", "slow-clients", "latency", "bandwidth", "slicing"]


@pytest.mark.parametrize("slow", SLOWS)
@pytest.mark.parametrize("cut", CUTS)
def test_what_broke_off_was_cut_and_what_was_given_up_was_slowed(cut, slow):
    for cut_ns, slow_ns in ((20, 30), (30, 20)):
        faults = fault(cut, "node-1", cut_ns, link="clients"), fault(slow, "node-1", slow_ns, link="clients")
        for of in (blamed, outage):
            assert of(*faults) == 0
            if cut not in {"half-open", "partition"}:  # which do both
                assert of(*faults, given_up=True) == 1


def test_a_limit_on_the_way_to_redis_ends_no_connection_but_may_have_a_node_send_its_clients_away():
    for kind in ("partition", "half-open", "connection-reset", "bandwidth"):
        one = fault(kind, "node-1", 10, link="redis")
        assert (blamed(one), outage(one), outage(one, node=1)) == (-1, 0, -1)


def test_an_outage_goes_back_to_its_nodes_own_fault_before_any_of_redis():
    of_redis, own = fault("redis-restart", "redis", 40), fault("pause", "node-1", 10)
    assert outage(of_redis, own) == 1
    assert outage(of_redis, own, node=1) == 0
    assert blamed(of_redis) == -1
    assert outage(of_redis, own, node=9) == 0


def test_what_keeps_a_node_from_redis_stands_above_settings_of_redis():
    setting = [fault("redis-maxclients", "redis", 40), fault("redis-output-buffer", "redis", 41)]
    assert outage(*setting) == 1
    assert outage(*setting, fault("redis-kill-pubsub", "redis", 10)) == 2
    assert outage(*setting, fault("latency", "node-1", 10, link="redis")) == 2
    assert outage(*setting, fault("latency", "node-2", 10, link="redis")) == 1


def test_of_what_keeps_a_node_from_redis_the_last_one():
    link, kill = fault("connection-reset", "node-1", 30, link="redis"), fault("redis-kill-pubsub", "redis", 20)
    assert outage(link, kill) == outage(link, fault("redis-kill-pubsub", "redis", 29)) == 0
    assert outage(link, fault("redis-kill-pubsub", "redis", 30)) == 1
    assert outage(fault("redis-kill-pubsub", "redis", 31), link) == 0


def test_without_faults_none():
    assert (blamed(), outage()) == (-1, -1)
    none = np.zeros(0, np.int64)
    assert fault_of_outage(ENDERS, NODES, none, none, none.astype(np.bool_)).tolist() == []


def test_many_at_once():
    faults = [fault("crash", "node-1", 10, 20), fault("pause", "node-2", 10, 20)]
    node, t = np.array([0, 1, 2, 0]), np.array([15, 15, 15, T])
    assert fault_of_end(faults, NODES, node, t, np.array([False, True, False, False])).tolist() == [0, 1, -1, -1]


@pytest.mark.parametrize("rows", [[], [(1, 5)], [(0, 5), (2, 7)], [(0, 7), (2, 5), (1, 4)]])
def test_which_pairs_are_among_others(rows):
    client, t = np.array([0, 1, 2, 0]), np.array([5, 5, 5, 7])
    found = among(np.array(rows, np.int64).reshape(-1, 2), client, t)
    assert found.tolist() == [pair in rows for pair in zip(client.tolist(), t.tolist(), strict=True)]
