"""Network faults against a link that only takes notes: which toxics, on which way, and what a probe asks."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from fanlab.errors import EnvironmentFailure, HarnessError
from fanlab.faults.catalogue import FAULTS, LINK_OF
from fanlab.faults.fault import Explaining, Fault, Means
from fanlab.faults.inject import made
from fanlab.faults.laying import Links, wanted
from fanlab.faults.timeline import PlannedFault, resolve
from fanlab.link.client import LinkClient
from fanlab.link.state import DirectionBytes, ProxyState, ToxicState
from fanlab.rundir import RunDir
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import make_plan
from fanlab.topology.backend import Backend, NodeEndpoint

NOTHING = DirectionBytes(0, 0, 0)
QUIET = ProxyState("127.0.0.1:1", "127.0.0.1:2", True, 3, 0, 3, {}, NOTHING, NOTHING, ())


@dataclass
class NotingLink:
    """A link that does nothing but remember."""

    now: ProxyState = QUIET
    put_on: list[tuple[str, str, str, float, Mapping[str, Any]]] = field(default_factory=list)
    proxies: list[tuple[str, str]] = field(default_factory=list)
    hit: int = 2
    touched: int = 100
    ended: int = 3

    async def proxy(self, name: str, upstream: str) -> str:
        self.proxies.append((name, upstream))
        return f"0.0.0.0:{5000 + len(self.proxies)}"

    async def add(
        self, proxy: str, name: str, type_: str, *, stream: str, toxicity: float, attributes: Mapping[str, Any]
    ) -> int:
        self.put_on.append((proxy, type_, stream, toxicity, attributes))
        toxic = ToxicState(name, type_, stream, toxicity, attributes, self.hit, self.touched)
        self.now = replace(self.now, toxics=(*self.now.toxics, toxic))
        return self.hit

    async def remove(self, proxy: str, name: str) -> None:
        assert proxy == self.put_on[0][0]
        left = tuple(toxic for toxic in self.now.toxics if toxic.name != name)
        assert len(left) < len(self.now.toxics)
        self.now = replace(self.now, toxics=left)

    async def reset(self, proxy: str, share: float) -> int:
        self.put_on.append((proxy, "reset", "", share, {}))
        self.now = replace(self.now, closed={"reset": self.now.closed.get("reset", 0) + self.ended})
        return self.hit

    async def state(self) -> dict[str, ProxyState]:
        return {f"node-1/{link}": self.now for link in ("clients", "redis")}


class Answering:
    """As much of a backend as network faults ask for."""

    async def probe(self, unit: str) -> bool:
        return unit == "node-1"

    def host_of(self, unit: str) -> str:
        return f"host-of-{unit}"


def planned(fault: dict[str, Any]) -> PlannedFault:
    scenario = Scenario.model_validate(
        {
            "name": "t",
            "question": "?",
            "topology": {"nodes": {"count": 1}},
            "channels": ["news"],
            "publishers": [{"name": "p", "channel": "news", "rate": "1/s"}],
            "faults": [{"at": "1s", "target": "node-1", **fault}],
        }
    )
    (found,) = resolve(scenario, make_plan(scenario))
    return found


def on(link: NotingLink, fault: dict[str, Any]) -> Fault:
    return made(planned(fault), Means(cast("Backend", Answering()), "redis://r", cast("LinkClient", link)))


PARTITION = {"kind": "partition", "for": "1s"}


@pytest.mark.parametrize(
    ("fault", "toxics"),
    [
        (PARTITION, [("clients", "hold", "both", 1.0, {})]),
        ({**PARTITION, "direction": "to-node", "mode": "drop"}, [("clients", "drop", "upstream", 1.0, {})]),
        ({**PARTITION, "direction": "to-node", "link": "redis"}, [("redis", "hold", "downstream", 1.0, {})]),
        ({**PARTITION, "direction": "from-node", "link": "redis"}, [("redis", "hold", "upstream", 1.0, {})]),
        (
            {"kind": "latency", "latency": "1500us", "jitter": "1ms", "direction": "from-node", "share": 0.5},
            [("clients", "latency", "downstream", 0.5, {"latency_ms": 1.5, "jitter_ms": 1.0})],
        ),
        (
            {"kind": "bandwidth", "per_second": "64kB", "link": "redis", "direction": "to-node"},
            [("redis", "bandwidth", "downstream", 1.0, {"rate_bytes_per_s": 64_000})],
        ),
        (
            {"kind": "slicing", "size": "11B", "delay": "2ms", "direction": "from-node"},
            [
                (
                    "clients",
                    "slicer",
                    "downstream",
                    1.0,
                    {"average_size_bytes": 11, "size_variation_bytes": 5, "delay_us": 2000.0},
                )
            ],
        ),
        ({"kind": "half-open"}, [("redis", "half_open", "upstream", 1.0, {})]),
        ({"kind": "half-open", "gone": "node"}, [("redis", "half_open", "downstream", 1.0, {})]),
        ({"kind": "half-open", "link": "clients"}, [("clients", "half_open", "downstream", 1.0, {})]),
        ({"kind": "half-open", "link": "clients", "gone": "node"}, [("clients", "half_open", "upstream", 1.0, {})]),
        (
            {"kind": "slow-clients", "share": 0.25},
            [("clients", "bandwidth", "downstream", 0.25, {"rate_bytes_per_s": 1000})],
        ),
        ({"kind": "connection-reset", "link": "redis"}, [("redis", "reset", "", 1.0, {})]),
        ({"kind": "reconnect-storm", "share": 0.5}, [("clients", "reset", "", 0.5, {})]),
    ],
)
def test_what_a_fault_does_to_which_way_of_which_link(fault: dict[str, Any], toxics: list[Any]) -> None:
    link = NotingLink()
    asyncio.run(on(link, fault).inject())
    assert link.put_on == [(f"node-1/{which}", *rest) for which, *rest in toxics]
    assert wanted([planned(fault)]) == {("node-1", toxics[0][0])}


async def test_a_toxic_that_has_hold_of_nothing_has_not_bitten() -> None:
    link = NotingLink(hit=0)
    fault = on(link, PARTITION)
    assert not await fault.has_bitten()
    await fault.inject()
    assert not await fault.has_bitten()
    link.now = replace(link.now, toxics=tuple(replace(toxic, hit=1) for toxic in link.now.toxics))
    assert await fault.has_bitten()
    link.now = replace(link.now, toxics=())
    assert not await fault.has_bitten()


async def test_it_has_healed_when_nothing_is_held_any_more() -> None:
    link = NotingLink()
    fault = on(link, {"kind": "latency", "latency": "5ms", "for": "1s"})
    await fault.inject()
    assert not await fault.has_healed()
    await fault.heal()
    assert await fault.has_healed()
    link.now = replace(link.now, down=DirectionBytes(10, 1, 0))
    assert not await fault.has_healed()


async def test_a_partition_through_which_something_came_is_none() -> None:
    link = NotingLink()
    fault = on(link, {**PARTITION, "direction": "to-node"})
    await fault.inject()
    assert await fault.has_bitten()
    link.now = replace(link.now, down=DirectionBytes(7, 0, 0))  # the other way is open
    link.now = replace(link.now, up=DirectionBytes(1, 0, 0))
    with pytest.raises(EnvironmentFailure, match="1 bytes came through the partition"):
        await fault.heal()
    assert link.now.toxics == ()


async def test_and_where_it_hits_a_share_others_go_on() -> None:
    link = NotingLink()
    fault = on(link, {**PARTITION, "share": 0.5})
    await fault.inject()
    assert await fault.has_bitten()
    link.now = replace(link.now, up=DirectionBytes(1, 0, 0))
    await fault.heal()
    assert await fault.has_healed()


async def test_a_reset_needs_connections_and_heals_when_there_are_as_many_again() -> None:
    link = NotingLink(hit=0)
    with pytest.raises(EnvironmentFailure, match="no connection on node-1/clients"):
        await on(link, {"kind": "connection-reset"}).inject()
    link.hit, link.ended = 3, 2
    link.now = replace(QUIET, closed={"reset": 1})
    fault = on(link, {"kind": "connection-reset"})
    assert not await fault.has_bitten()
    await fault.inject()
    assert not await fault.has_bitten()  # of three, two have ended
    link.now = replace(QUIET, closed={"reset": 4})
    assert await fault.has_bitten()
    await fault.heal()
    link.now = replace(QUIET, open=2)
    assert not await fault.has_healed()
    link.now = QUIET
    assert await fault.has_healed()


async def test_without_a_link_a_network_fault_is_fanlabs_own_mistake() -> None:
    with pytest.raises(HarnessError, match="no link was laid for node-1/clients"):
        await made(planned(PARTITION), Means(cast("Backend", Answering()), "redis://r")).inject()


def test_each_network_fault_is_one_that_can_be_done() -> None:
    assert set(LINK_OF) < set(FAULTS)


async def test_only_the_links_that_faults_name_are_led_through_the_proxy(tmp_path: Path) -> None:
    laid = frozenset({("node-1", "redis"), ("node-2", "clients")})
    links = Links(cast("Backend", Answering()), RunDir(tmp_path), laid, seed=1)
    link = NotingLink()
    links.client = cast("LinkClient", link)
    assert await links.redis_url("node-2", "redis://r:1/0") == "redis://r:1/0"
    assert await links.redis_url("node-1", "redis://me:secret@r:1/0") == "redis://me:secret@host-of-link:5001/0"
    assert link.proxies == [("node-1/redis", "r:1")]
    first = NodeEndpoint("node-1", 0, "ws://n1:8/ws", "http://n1:8", "json", journals=True)
    second = NodeEndpoint("node-2", 1, "ws://n2:8/ws?a=b", "http://n2:8", "json", journals=True)
    assert await links.before(first) == first
    assert await links.before(second) == replace(second, ws_url="ws://host-of-link:5002/ws?a=b")
    assert link.proxies[1:] == [("node-2/clients", "n2:8")]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "latency", "latency": "500ms"},
        {"kind": "bandwidth", "per_second": "900MB"},
        {"kind": "slicing", "size": "11B"},
        {"kind": "slow-clients", "per_second": "900MB"},
    ],
)
async def test_where_nothing_is_sent_nothing_is_late(fault: dict[str, Any]) -> None:
    link = NotingLink(touched=0)
    made_of_it = on(link, fault)
    await made_of_it.inject()
    assert not await made_of_it.has_bitten()
    assert isinstance(made_of_it, Explaining)
    assert made_of_it.lacks() == "nothing was sent over node-1/clients that it could have touched"
    link.now = replace(link.now, toxics=tuple(replace(toxic, touched=1) for toxic in link.now.toxics))
    assert await made_of_it.has_bitten()
