"""What saturated: planted samples, and the part that must be named."""

import pytest

from fanlab.analysis.build import Sample
from fanlab.analysis.saturation import Saturation, saturation
from fanlab.clock import NS_PER_S
from fanlab.scenario.model import Scenario
from support.accounts import make_manifest, make_scenario

QUIET = {"redis": 0.1, "node-1": 0.2, "node-2": 0.15, "load-1/clients": 0.3, "load-1/publishers": 0.1, "witness": 0.05}


def found(
    *,
    busy: float = 0.4,
    held_back: float | None = None,
    scenario: Scenario | None = None,
    hops: dict[str, float] | None = None,
    **cpu: float,
) -> Saturation:
    """What is said of a run of 10 s with two nodes whose processes used so much of a core."""
    used = QUIET | {name.replace("__", "/").replace("_", "-"): value for name, value in cpu.items()}
    samples = [Sample(half / 2, "cpu", unit, value) for half in range(-2, 40) for unit, value in used.items()]
    samples += [Sample(half / 2, "busy", "machine", busy) for half in range(1, 20)]
    if held_back is not None:
        samples += [Sample(half / 2, "throttled", "redis", held_back) for half in range(1, 20)]
    samples = [sample._replace(value=0.99) if not 0 < sample.t_s <= 10 else sample for sample in samples]
    manifest = make_manifest(scenario, host={"cores": 4}, faults=[])
    hops_ms = {hop: {"p50": (hops or {}).get(hop)} for hop in ("schedule", "redis", "node", "client")}
    return saturation(samples, manifest, {"hops_ms": hops_ms})


def limited(*, nodes: float | None = None, redis: float | None = None) -> Scenario:
    scenario = make_scenario()
    groups = [group.model_copy(update={"cpus": nodes}) for group in scenario.topology.nodes]
    shared = scenario.topology.redis.model_copy(update={"cpus": redis})
    topology = scenario.topology.model_copy(update={"nodes": groups, "redis": shared})
    return scenario.model_copy(update={"topology": topology})


@pytest.mark.parametrize(
    ("cpu", "name", "kind"),
    [
        ({"redis": 0.97}, "redis", "redis"),
        ({"node_2": 0.93}, "node-2", "node"),
        ({"node_2__worker": 0.93}, "node-2", "node"),
        ({"load_1__clients": 0.95}, "load-1/clients", "generator"),
        ({"busy": 0.98, "node_1": 0.7, "node_2": 0.8, "redis": 0.6}, "machine", "machine"),
    ],
)
def test_the_part_that_was_busy_is_named(cpu: dict[str, float], name: str, kind: str) -> None:
    said = found(**cpu)
    assert said.named is not None
    assert (said.named.name, said.named.kind) == (name, kind)
    assert said.next is not None
    assert said.next.name != name


def test_a_machine_that_others_keep_busy_is_told_and_not_named() -> None:
    said = found(busy=0.98, node_1=0.9)
    assert said.named is not None
    assert said.named.name == "node-1"
    assert "machine" not in [part.name for part in said.parts]
    assert "Others kept this machine busy (98% of all cores)" in said.sentence
    assert found(node_1=0.9).caveat is None


def test_what_is_next_in_line() -> None:
    said = found(node_1=0.95, redis=0.7)
    assert said.next is not None
    assert (said.next.name, said.next.use) == ("redis", pytest.approx(0.7))
    assert "Node-1's core: 95% (0.95 of one core)" in said.sentence
    assert "Next in line: Redis' core" in said.sentence


def test_nothing_was_busy_and_something_waits() -> None:
    said = found(hops={"node": 900.0, "redis": 2.0})
    assert said.named is None
    assert said.sentence.startswith("Nothing that was measured was busy")
    assert "inside the nodes" in said.sentence


def test_a_saturated_generator_is_no_answer() -> None:
    assert "more than can be measured here" in found(load_1__publishers=0.9).sentence


def test_a_limit_is_the_whole_of_a_unit() -> None:
    said = found(scenario=limited(nodes=0.2), node_2=0.05, node_1=0.19)
    assert said.named is not None
    assert (said.named.name, said.named.use) == ("node-1", pytest.approx(0.95))
    assert said.named.figures == "0.19 of 0.2 cores that it may use"


def test_a_limit_of_redis() -> None:
    said = found(scenario=limited(redis=0.2), redis=0.2)
    assert said.named is not None
    assert said.named.kind == "redis"


def test_a_limit_that_the_kernel_enforces_all_the_time_is_used_up() -> None:
    said = found(scenario=limited(redis=0.2), redis=0.12, held_back=0.95)
    assert said.named is not None
    assert (said.named.kind, said.named.use) == ("redis", pytest.approx(0.95))
    assert said.named.figures == "0.12 of 0.2 cores that it may use, used up in 95% of the kernel's periods"
    assert found(scenario=limited(redis=0.2), redis=0.12, held_back=0.4).named is None
    assert found(redis=0.12, held_back=0.95).named is None, "a limit that is not the unit's own is none of it"


def test_more_cores_than_one_do_not_help_one_thread() -> None:
    said = found(scenario=limited(nodes=4.0), node_1=0.97)
    assert said.named is not None
    assert (said.named.name, said.named.use) == ("node-1", pytest.approx(0.97))


@pytest.mark.parametrize(("for_s", "named"), [(0, True), (10, True), (5, False)])
def test_a_link_whose_bandwidth_is_limited_throughout(for_s: int, named: bool) -> None:
    settings = {"link": "clients", "bytes_per_s": 13_000, "direction": "both"}
    fault = {"id": 0, "kind": "bandwidth", "target": "node-1", "at_ns": 0, "for_ns": for_s * NS_PER_S}
    manifest = make_manifest(faults=[{**fault, "settings": settings}])
    blocks = {hop: {"p50": None} for hop in ("schedule", "redis", "node", "client")}
    said = saturation([], manifest, {"hops_ms": blocks})
    assert (said.named is not None) == named
    if said.named is not None:
        assert said.named.words == "node-1's link to its clients"
        assert said.named.use == pytest.approx(100 * 128 / 13_000)


def test_a_run_without_samples() -> None:
    blocks = {hop: {"p50": None} for hop in ("schedule", "redis", "node", "client")}
    said = saturation([], make_manifest(faults=[]), {"hops_ms": blocks})
    assert (said.parts, said.named, said.next) == ((), None, None)
    assert said.sentence
