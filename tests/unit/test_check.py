"""Cross-checks beyond the malformed files: the bounds from both sides, and what must not be complained about."""

from typing import Any

import pytest

from fanlab.ledger.records import TOKEN_LENGTH
from fanlab.scenario.check import check, planned_messages
from fanlab.scenario.findings import MIN_PAYLOAD_BYTES
from fanlab.scenario.model import BurstRate, ConstantRate, PoissonRate, RampRate, Scenario, Step, StepRate

S = 1_000_000_000


def found(**changes: Any) -> list[str]:
    """Dotted keys of every finding about a small sound scenario with some parts exchanged."""
    data: dict[str, Any] = {
        "name": "t",
        "question": "?",
        "topology": {"nodes": {"count": 3}},
        "channels": ["news"],
        "clients": [{"group": "g", "count": 6, "channels": ["news"]}],
        "publishers": [{"name": "p", "channel": "news", "rate": "10/s"}],
        "phases": {"warm_up": "1s", "measure": "10s"},
    }
    scenario = Scenario.model_validate(data | changes)
    return [".".join(map(str, finding.keys)) for finding in check(scenario, ["websockets"])]


def group(**changes: Any) -> list[dict[str, Any]]:
    return [{"group": "g", "count": 6, "channels": ["news"], **changes}]


def groups(count: int) -> list[dict[str, Any]]:
    return [{"group": f"g{number}", "count": 1, "channels": ["news"]} for number in range(count)]


def publisher(**changes: Any) -> list[dict[str, Any]]:
    return [{"name": "p", "channel": "news", "rate": "10/s", **changes}]


def test_a_sound_scenario_has_no_findings() -> None:
    assert found() == []


def test_the_least_payload_is_the_marker() -> None:
    assert MIN_PAYLOAD_BYTES == TOKEN_LENGTH


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"publishers": publisher(payload=47)}, []),
        ({"publishers": publisher(payload=46)}, ["publishers.0.payload"]),
        ({"publishers": publisher(payload="1MiB")}, []),
        ({"publishers": publisher(payload=2**20 + 1)}, ["publishers.0.payload"]),
        ({"publishers": publisher(timeout=0)}, ["publishers.0.timeout"]),
        ({"publishers": publisher(rate={"kind": "ramp", "from": "0/s", "to": "1/s", "over": "5s"})}, []),
        (
            {"publishers": publisher(rate={"kind": "ramp", "from": "0/s", "to": "0/s", "over": "5s"})},
            ["publishers.0.rate"],
        ),
        ({"publishers": publisher(rate={"kind": "poisson", "rate": "0/s"})}, ["publishers.0.rate"]),
        (
            {"publishers": publisher(rate={"kind": "step", "steps": [{"at": 0, "rate": "0/s"}]})},
            ["publishers.0.rate"],
        ),
        (
            {
                "publishers": publisher(
                    rate={"kind": "step", "steps": [{"at": 0, "rate": "0/s"}, {"at": "60s", "rate": "5/s"}]}
                )
            },
            ["publishers.0.rate"],  # it would begin after the end
        ),
        ({"clients": group(join="9999ms")}, []),
        ({"clients": group(join="10s")}, ["clients.0.join"]),
        ({"clients": group(nodes=[])}, ["clients.0.nodes"]),
        ({"clients": group(nodes=["node-1", "node-1"])}, ["clients.0.nodes.1"]),
        ({"clients": group(nodes=["node-3"])}, []),
        ({"clients": group(nodes=["node-03"])}, ["clients.0.nodes.0"]),
        ({"clients": group(nodes=["node-4"])}, ["clients.0.nodes.0"]),
        ({"clients": group(channels=["news", "news"])}, ["clients.0.channels.1"]),
        ({"clients": group(reconnect={"initial": "1s", "max": "1s"})}, []),
        ({"clients": group(reconnect={"initial": 0})}, ["clients.0.reconnect.initial"]),
        ({"clients": group(ping_interval=0, ping_timeout=0)}, ["clients.0.ping_interval", "clients.0.ping_timeout"]),
        ({"clients": group(count=100_000)}, []),
        ({"clients": group(count=100_001)}, ["clients"]),
        ({"clients": []}, ["clients"]),
        ({"clients": groups(500)}, []),
        ({"clients": groups(501)}, ["clients"]),
        ({"clients": group(spawn_rate="1/h")}, []),
        ({"clients": group(spawn_rate="0.005/h")}, ["clients.0.spawn_rate"]),
        ({"clients": group(spawn_rate="1e-300/h", join="1s")}, ["clients.0.spawn_rate"]),
        ({"topology": {"nodes": [{"count": 600}, {"count": 500}]}}, ["topology.nodes"]),
        ({"topology": {"nodes": [{"count": 1}, {"kind": "other"}]}}, ["topology.nodes.1.kind"]),
        ({"publishers": publisher(rate="4545k/s")}, []),
        ({"publishers": publisher(rate="4546k/s")}, ["publishers"]),
        ({"phases": {"measure": "10s", "drain": {"quiet": "1s", "deadline": "1s"}}}, []),
        ({"phases": {"measure": "10s", "drain": {"quiet": 0}}}, ["phases.drain.quiet"]),
        ({"gates": ["loss.by_node.node-3 == 0", "loss.by_channel.news == 0"]}, []),
        ({"gates": ["loss.by_channel.jobs == 0"]}, ["gates.0"]),
        ({"gates": ["lost(node-3) == 0", "latency.p99(channel=news) < 1s", "lost(group=g) == 0"]}, []),
        ({"gates": ["lost(node=node-4) == 0", "lost(channel=nwes) == 0", "lost(group=h) == 0"]},
         ["gates.0", "gates.1", "gates.2"]),
        ({"gates": ["lost(node=none) == 0", "recovery(node=none) < 1s"]}, ["gates.1"]),
        ({"gates": ["lost(fault=crash node-2 @2s) == 0"]}, ["gates.0"]),
        ({"gates": ["lost(fault=crash node-2 @2s) == 0", "recovery(fault=crash node-2 @3s) < 1s"],
          "faults": [{"kind": "crash", "target": "node-2", "at": "2s"}]}, ["gates.1"]),
    ],
)  # fmt: skip
def test_bounds(changes: dict[str, Any], keys: list[str]) -> None:
    assert found(**changes) == keys


def crash(target: Any, at: str, **more: Any) -> dict[str, Any]:
    return {"kind": "crash", "target": target, "at": at, **more}


@pytest.mark.parametrize(
    ("faults", "keys"),
    [
        ([crash("node-1", "1s", **{"for": "1s"}), crash("node-1", "2s")], []),  # half-open
        ([crash("node-1", "1s", **{"for": "1001ms"}), crash("node-1", "2s")], ["faults.1.at"]),
        ([crash("node-1", "1s"), crash("node-2", "1s")], []),
        ([crash("node-1", "1s"), crash("node-1", "9s")], ["faults.1.at"]),  # it is gone for good
        ([crash("node-1", "9s"), crash("node-1", "1s")], ["faults.0.at"]),  # in order of time, not of writing
        ([crash(["node-1", "node-2"], "1s"), crash(["node-2", "node-3"], "2s")], ["faults.1.at"]),
        ([crash("all", "1s"), crash("node-3", "1s")], ["faults.1.at"]),
        ([crash("one", "1s"), crash("one", "2s")], ["faults.1.at"]),
        ([crash("one", "1s", **{"for": "500ms"}), crash("one", "2s")], []),
        ([crash("node-1", "1s"), {"kind": "redis-restart", "at": "1s"}], []),
        ([{"kind": "redis-restart", "at": "1s"}, {"kind": "redis-kill-pubsub", "at": "1500ms"}], ["faults.1.at"]),
        ([{"kind": "redis-restart", "at": "1s"}, {"kind": "redis-kill-pubsub", "at": "2s"}], []),
        ([{"kind": "redis-restart", "at": "1s", "for": 0}], ["faults.0.for"]),
        ([{"kind": "redis-kill-pubsub", "at": "10s"}], ["faults.0.at"]),
        ([crash([], "1s")], ["faults.0.target"]),
        ([crash(["node-1", "all"], "1s")], ["faults.0.target.1"]),
        ([crash(["node-1", "node-1"], "1s")], ["faults.0.target.1"]),
        ([crash("node-1", f"{index}ms", **{"for": "1ms"}) for index in range(201)], ["faults"]),
        ([crash("node-1", "1s", repeat={"every": "1s"})], ["faults.0.repeat"]),  # to the end, and again?
        ([crash("node-1", "1s", **{"for": "1s"}, repeat={"every": "1s"})], ["faults.0.repeat.every"]),
        ([crash("node-1", "1s", **{"for": "1s"}, repeat={"every": "2s", "times": 5})], []),
        ([crash("node-1", "1s", **{"for": "1s"}, repeat={"every": "2s", "times": 6})], ["faults.0.repeat.times"]),
        ([crash("node-1", "1s", **{"for": "1s"}, repeat={"every": "2s", "random": True, "times": 6})], []),
        (
            [
                crash("node-1", "1s", **{"for": "1s"}, repeat={"every": "2s"}),
                crash("node-1", "4500ms", **{"for": "1s"}),
            ],
            ["faults.0.repeat"],
        ),
        ([crash("all", "1s", stagger="4s")], []),
        ([crash("all", "1s", stagger="5s")], ["faults.0.stagger"]),
        ([crash("all", "1s", stagger="2s", **{"for": "1s"}), crash("node-1", "5500ms")], ["faults.1.at"]),
        ([crash("node-1", "1s"), {"kind": "cpu-throttle", "target": "node-1", "at": "2s", "cores": 0.5}], []),
        ([{"kind": "redis-pause", "at": "1s"}, {"kind": "redis-maxclients", "at": "1s", "for": "1s"}], []),
        (
            [{"kind": "redis-restart", "at": "1s"}, {"kind": "redis-maxclients", "at": "1500ms", "for": "1s"}],
            ["faults.1.at"],
        ),
    ],
)
def test_faults(faults: list[dict[str, Any]], keys: list[str]) -> None:
    assert found(faults=faults) == keys


@pytest.mark.parametrize(("nodes", "keys"), [(20, []), (21, ["faults"])])
def test_faults_on_many_nodes_are_as_many_faults(nodes: int, keys: list[str]) -> None:
    faults = [crash("all", f"{index * 2}ms", **{"for": "1ms"}) for index in range(100)]
    assert found(faults=faults, topology={"nodes": {"count": nodes}}) == keys
    named = [fault | {"target": [f"node-{n + 1}" for n in range(nodes)]} for fault in faults]
    assert found(faults=named, topology={"nodes": {"count": nodes}}) == keys


@pytest.mark.parametrize(
    ("rate", "messages"),
    [
        (ConstantRate(rate="5/s"), 50),
        (PoissonRate(kind="poisson", rate="5/s"), 50),
        (RampRate.model_validate({"kind": "ramp", "from": "0/s", "to": "10/s", "over": "5s"}), 25 + 50),
        (RampRate.model_validate({"kind": "ramp", "from": "0/s", "to": "10/s", "over": "20s"}), 25),
        (StepRate(kind="step", steps=[Step(at="0s", rate="1/s"), Step(at="4s", rate="2/s")]), 4 + 12),
        (StepRate(kind="step", steps=[Step(at="0s", rate="1/s"), Step(at="40s", rate="2/s")]), 10),
        (BurstRate(kind="burst", size=3, every="4s"), 9),
    ],
)
def test_planned_messages(rate: Any, messages: float) -> None:
    assert planned_messages(rate, 10 * S) == pytest.approx(messages)


def with_readers(**changes: Any) -> dict[str, Any]:
    return {
        "publishers": publisher(objects=4),
        "readers": [{"name": "apps", "channel": "news", "rate": "10/s", **changes}],
    }


def test_readers_need_nodes_with_a_cache() -> None:
    data = {
        "name": "t",
        "question": "?",
        "topology": {"nodes": [{"kind": "plain", "count": 2}, {"kind": "websockets"}]},
        "channels": ["news"],
        "clients": group(),
        "phases": {"warm_up": "1s", "measure": "10s"},
    }

    def of(**changes: Any) -> list[tuple[str, str]]:
        scenario = Scenario.model_validate(data | with_readers(**changes))
        found = check(scenario, ["plain", "websockets"], {"websockets"})
        return [(".".join(map(str, each.keys)), each.what) for each in found]

    ((keys, what),) = of()
    assert keys == "readers.0"
    assert what.startswith("node-1 is of kind 'plain', which has no cache to read")
    assert of(nodes=["node-3"]) == []
    ((keys, what),) = of(nodes=["node-3", "node-2"])
    assert keys == "readers.0.nodes.1"
    assert "name those that have one" not in what


def test_objects_of_publishers_may_not_share_their_ids() -> None:
    both = [*publisher(objects=2, count=2), *publisher(name="p-1", objects=2)]
    assert found(publishers=both) == ["publishers.1.name"]
    assert found(publishers=[*publisher(objects=2, count=2), *publisher(name="p-1")]) == []


@pytest.mark.parametrize(
    ("payload", "keys"), [(78, ["publishers.0.payload"]), (79, []), (46, ["publishers.0.payload"])]
)
def test_the_least_object(payload: int, keys: list[str]) -> None:
    assert found(publishers=publisher(objects=1, payload=payload)) == keys


def limited(**fault: Any) -> dict[str, Any]:
    """Of three nodes the last has limits of its own."""
    nodes = [{"count": 2}, {"cpus": 0.5, "memory": "64MB"}]
    kind = "cpu-throttle" if "cores" in fault else "memory-limit"
    return {"topology": {"nodes": nodes}, "faults": [{"kind": kind, "at": "1s", "target": "node-3", **fault}]}


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        (limited(cores=0.49), []),
        (limited(cores=0.5), ["faults.0.cores"]),
        (limited(cores=4.0, target="node-2"), []),
        (limited(cores=4.0, target=["node-1", "node-3"]), ["faults.0.cores"]),
        (limited(cores=4.0, target="one"), ["faults.0.cores"]),
        (limited(limit="63MB"), []),
        (limited(limit="64MB"), ["faults.0.limit"]),
        (limited(limit="2000MB", target="all"), ["faults.0.limit"]),
        (limited(limit="2000MB", target="node-1"), []),
    ],
)
def test_a_limit_is_below_the_one_that_the_node_has_already(changes: dict[str, Any], keys: list[str]) -> None:
    assert found(**changes) == keys


@pytest.mark.parametrize(("cores", "good"), [(0.01, True), (0.001, False)])
def test_the_kernel_s_least_quota_is_the_least_throttle(cores: float, *, good: bool) -> None:
    if good:
        assert found(**limited(cores=cores)) == []
    else:
        with pytest.raises(ValueError, match=r"greater than or equal to 0\.01"):
            found(**limited(cores=cores))


def cut(**changes: Any) -> dict[str, Any]:
    return {"kind": "partition", "target": "node-1", "at": "1s", "for": "2s", "by": "packets", **changes}


def slow(**changes: Any) -> dict[str, Any]:
    return {**cut(kind="latency", latency="20ms"), **changes}


@pytest.mark.parametrize(
    ("fault", "keys"),
    [
        (cut(), []),
        (slow(), []),
        (cut(**{"for": "25s"}), []),
        (cut(**{"for": "25001ms"}), ["faults.0.for"]),
        (cut(**{"for": "25001ms"}, by="link"), []),
        (slow(**{"for": "60s"}), []),
        (cut(mode="drop"), ["faults.0.mode"]),
        (cut(mode="drop", by="link"), []),
        (cut(share=0.5), ["faults.0.share"]),
        (slow(share=0.5), ["faults.0.share"]),
        (slow(jitter="20ms"), []),
        (slow(jitter="21ms"), ["faults.0.jitter"]),
        (slow(jitter="21ms", by="link"), []),
    ],
)
def test_what_packets_can_be_asked_for(fault: dict[str, Any], keys: list[str]) -> None:
    assert found(faults=[fault]) == keys


@pytest.mark.parametrize(
    ("one", "two", "keys"),
    [
        (cut(), cut(link="redis"), []),  # cut off from everybody
        (cut(), slow(), ["faults.1.at"]),  # whether it delays is seen by what it lets through
        (cut(), slow(link="redis"), []),
        (slow(), slow(link="redis"), ["faults.1.at"]),
        (cut(), {"kind": "crash", "target": "node-1", "at": "2s"}, ["faults.1.at"]),
        (cut(by="link"), {"kind": "crash", "target": "node-1", "at": "2s"}, []),
        (cut(), {"kind": "crash", "target": "node-1", "at": "4s"}, []),
        (cut(), {"kind": "crash", "target": "node-2", "at": "2s"}, []),
        (cut(), slow(by="link", at="5s"), ["faults.0.by"]),
        (slow(by="link"), cut(at="5s"), ["faults.1.by"]),
        (cut(), slow(by="link", at="5s", target="node-2"), []),
        (cut(), slow(by="link", at="5s", target="one"), ["faults.0.by"]),
        (cut(), slow(by="link", at="5s", link="redis"), []),
        (cut(), {"kind": "reconnect-storm", "at": "5s"}, ["faults.0.by"]),
        (cut(link="redis"), {"kind": "reconnect-storm", "at": "5s"}, []),
    ],
)
def test_what_packets_and_other_faults_are_to_one_another(
    one: dict[str, Any], two: dict[str, Any], keys: list[str]
) -> None:
    assert found(faults=[one, two]) == keys
