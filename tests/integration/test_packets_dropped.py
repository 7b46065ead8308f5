"""Faults of packets by the real kernel, in network namespaces of the test's own: they bite, heal and leave nothing."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from fanlab import clock
from fanlab.errors import EnvironmentFailure
from fanlab.faults.packet_latency import PacketLatency
from fanlab.faults.packet_partition import PacketPartition
from fanlab.topology import netem, packetfilter
from fanlab.topology.netns import Namespace, throwaway
from support.joined import Joined, joined, leftovers

pytestmark = pytest.mark.system

LATENCY_NS = 60 * clock.NS_PER_MS


@pytest.fixture
def wire() -> Iterator[Joined]:
    """Skips, visibly, where packets cannot be dropped."""
    if (why := packetfilter.refusal()) is not None:
        pytest.skip(f"packets cannot be dropped here: {why} (as root, with iptables and iproute2)")
    with joined() as wire:
        yield wire


async def until(probe: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await probe():
            pass


@pytest.mark.parametrize("link", ["redis", "clients"])
@pytest.mark.parametrize("direction", ["both", "to-node", "from-node"])
async def test_what_is_said_during_a_partition_is_heard_after_it(wire: Joined, link: str, direction: str) -> None:
    fault = PacketPartition(wire.target(link=link, direction=direction, mode="hold"))
    with wire.talking(link) as talk:
        talk.send("before")
        assert await talk.heard() == "before"
        await fault.inject()
        talk.send("during")
        hearing = asyncio.ensure_future(talk.heard())
        await until(fault.has_bitten)
        assert not hearing.done(), "an answer takes both ways"
        assert not await fault.has_healed()
        await fault.heal()
        await until(fault.has_healed)
        assert await hearing == "during"
    assert leftovers(wire.node) == leftovers(wire.peer) == []


async def test_a_partition_of_one_link_leaves_the_other_alone(wire: Joined) -> None:
    fault = PacketPartition(wire.target(link="clients", mode="hold"))
    await fault.inject()
    with wire.talking("redis") as talk:
        talk.send("heard")
        assert await talk.heard() == "heard"
    assert not await fault.has_bitten()
    await fault.heal()


async def test_rules_that_somebody_has_taken_away_are_a_partition_no_more(wire: Joined) -> None:
    """Planted: the check that it held is by TCP's own count, and not by the rules."""
    fault = PacketPartition(wire.target(link="redis", mode="hold"))
    with wire.talking("redis") as talk:
        await fault.inject()
        talk.send("through")
        await until(fault.has_bitten)
        wire.node.run(["iptables", "-F", fault.chain])
        assert await talk.heard() == "through"
        with pytest.raises(EnvironmentFailure, match="bytes came through the partition"):
            await fault.heal()
    assert leftovers(wire.node) == []


async def test_nothing_to_drop_is_no_partition(wire: Joined) -> None:
    fault = PacketPartition(wire.target(link="redis", mode="hold"))
    await fault.inject()
    for _ in range(5):
        assert not await fault.has_bitten()
    await fault.heal()
    await until(fault.has_healed)


@pytest.mark.parametrize("link", ["redis", "clients"])
@pytest.mark.parametrize(("direction", "ways"), [("both", 2), ("to-node", 1), ("from-node", 1)])
async def test_a_delay_is_there_and_gone(wire: Joined, link: str, direction: str, ways: int) -> None:
    if (why := netem.refusal()) is not None:
        pytest.skip(f"{why} (a kernel with CONFIG_NET_SCH_NETEM: `modprobe sch_netem`, or another kernel)")
    settings = {"link": link, "direction": direction, "latency_ns": LATENCY_NS}
    fault = PacketLatency(wire.target(**settings))
    with wire.talking(link) as talk:
        await fault.inject()
        await until(fault.has_bitten)
        began_ns = clock.now_ns()
        talk.send("later")
        assert await talk.heard() == "later"
        assert clock.now_ns() - began_ns >= ways * LATENCY_NS
        await fault.heal()
        await until(fault.has_healed)
    assert leftovers(wire.node) == leftovers(wire.peer) == []


async def test_the_other_link_is_not_delayed(wire: Joined) -> None:
    if (why := netem.refusal()) is not None:
        pytest.skip(f"{why} (a kernel with CONFIG_NET_SCH_NETEM: `modprobe sch_netem`, or another kernel)")
    fault = PacketLatency(wire.target(link="clients", latency_ns=LATENCY_NS))
    with wire.talking("clients"):
        await fault.inject()
        passed = netem.delayed(wire.node.run(netem.SHOW))[0]
        with wire.talking("redis") as talk:
            talk.send("at once")
            assert await talk.heard() == "at once"
        assert netem.delayed(wire.node.run(netem.SHOW))[0] == passed
        await fault.heal()
    assert leftovers(wire.node) == []


def test_a_kernel_without_netem_is_told_apart_from_one_with_it() -> None:
    if packetfilter.refusal() is not None:
        pytest.skip("it takes root")
    with throwaway() as space:
        try:
            space.run(["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"])
            lacking = False
        except EnvironmentFailure:
            lacking = True
    why = netem.refusal()
    assert (why is not None) is lacking
    assert why is None or ("this kernel has no netem" in why and "use `by: link`" in why)


def test_a_namespace_is_gone_with_its_process_and_never_this_machines(wire: Joined) -> None:
    with pytest.raises(EnvironmentFailure, match="no network of its own"):
        Namespace.of(os.getpid())
    del wire
    with throwaway() as space:
        assert Path(f"/proc/{space.pid}/ns/net").exists()
        assert space.lasts
    assert not space.lasts
    with pytest.raises(EnvironmentFailure, match="has ended, and its network with it"):
        space.run(["ip", "link"])
    with pytest.raises(EnvironmentFailure, match="has ended, and its network with it"):
        space.read("tcp")
    with pytest.raises(EnvironmentFailure, match="is not to be seen"):
        Namespace.of(space.pid)


def test_a_process_that_was_given_an_old_number_is_not_entered(wire: Joined) -> None:
    stale = Namespace(wire.peer.pid, wire.node.inode)
    with pytest.raises(EnvironmentFailure, match="has ended"):
        stale.run(["ip", "link"])
    assert not stale.lasts


def test_what_a_program_complains_of_is_quoted(wire: Joined) -> None:
    with pytest.raises(EnvironmentFailure, match=r"ip says: .*nosuch"):
        wire.node.run(["ip", "link", "show", "nosuch"])
