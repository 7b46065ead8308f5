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


def said_of(
    *samples: tuple[str, str, float], scenario: Scenario | None = None, cores: int | None = 4, faults: object = ()
) -> Saturation:
    """From one sample each, in the middle of the measure phase."""
    manifest = make_manifest(scenario, host={"cores": cores} if cores else {}, faults=list(faults))  # type: ignore[call-overload]
    blocks = {hop: {"p50": None} for hop in ("schedule", "redis", "node", "client")}
    return saturation([Sample(5.0, *sample) for sample in samples], manifest, {"hops_ms": blocks})


def test_whole_sentences() -> None:
    assert said_of(("cpu", "node-1", 0.9), ("cpu", "redis", 0.5)).sentence == (
        "Node-1's core: 90% (0.90 of one core). Next in line: Redis' core, 50% (0.50 of one core)."
    )
    assert said_of(("cpu", "witness", 0.9), ("cpu", "redis", 0.5)).sentence == (
        "The load generator (witness): 90% (0.90 of one core). So the load is more than can be measured here."
        " Next in line: Redis' core, 50% (0.50 of one core)."
    )
    assert said_of(("cpu", "redis", 0.5)).sentence == (
        "Nothing that was measured was busy, so something waits for what is no CPU."
        " The busiest part: Redis' core, 50% (0.50 of one core)."
    )
    machine = said_of(("cpu", "redis", 0.5), ("cpu", "node-1", 0.5), ("busy", "machine", 0.9), cores=2)
    assert machine.sentence == (
        "The machine as a whole, which nodes, Redis and the generator share: 90% (1.80 of 2 cores, 1.00 of them by this"
        " run). Next in line: Redis' core, 50% (0.50 of one core)."
    )


def test_busy_begins_at_85_per_cent() -> None:
    for use, named in ((0.85, True), (0.849, False)):
        assert (said_of(("cpu", "redis", use)).named is not None) is named
        caveat = said_of(("busy", "machine", use), ("cpu", "redis", 0.1)).caveat
        assert (caveat is not None) is named
    assert said_of(("cpu", "redis", 0.1)).caveat is None, "nobody knows of the machine"
    ours = said_of(("busy", "machine", 0.9), *((("cpu", name, 1.0)) for name in ("redis", "node-1", "node-2")))
    assert ours.caveat is None
    assert "machine" in [part.name for part in ours.parts]


@pytest.mark.parametrize(("busy", "cores", "shown"), [(0.5, 4, True), (0.5001, 4, False), (0.5, None, False)])
def test_a_machine_is_a_part_where_half_of_its_work_is_the_runs(busy: float, cores: int | None, shown: bool) -> None:
    parts = said_of(("busy", "machine", busy), ("cpu", "redis", 0.5), ("cpu", "node-1", 0.5), cores=cores).parts
    assert [part.figures for part in parts if part.kind == "machine"] == (
        ["2.00 of 4 cores, 1.00 of them by this run"] if shown else []
    )


def test_a_sample_counts_if_it_is_of_the_measure_phase() -> None:
    """It speaks of the half second before it: of a phase of 10 s those from 0.25 to 10.25 s do, both included."""
    samples = [
        Sample(at, "cpu", "redis", value) for at, value in ((0.24, 9.0), (0.25, 0.2), (10.25, 0.4), (10.26, 9.0))
    ]
    blocks = {hop: {"p50": None} for hop in ("schedule", "redis", "node", "client")}
    (part,) = saturation(samples, make_manifest(faults=[]), {"hops_ms": blocks}).parts
    assert part.use == pytest.approx(0.3)


def test_figures_of_a_limit() -> None:
    def figures(limit: float, *cpu: tuple[str, float], held_back: float | None = None) -> list[str]:
        samples = [("cpu", unit, value) for unit, value in cpu]
        samples += [("throttled", "node-2", held_back)] if held_back is not None else []
        return [part.figures for part in said_of(*samples, scenario=limited(nodes=limit)).parts]

    assert figures(1.0, ("node-2", 0.9)) == ["0.9 of 1 core that it may use"]
    assert figures(2.0, ("node-2", 0.9), ("node-2/pool/worker", 0.9)) == ["1.8 of 2 cores that it may use"]
    assert figures(2.0, ("node-2", 0.1), ("node-2/pool/worker", 0.95)) == ["0.95 of one core"]
    assert figures(0.2, ("node-2", 0.12), held_back=0.4) == ["0.12 of 0.2 cores that it may use"]
    assert figures(0.2, ("node-2", 0.1), held_back=0.5) == ["0.1 of 0.2 cores that it may use"]
    assert figures(0.2, ("node-2", 0.1), held_back=0.51) == [
        "0.1 of 0.2 cores that it may use, used up in 51% of the kernel's periods"
    ]


def bandwidth(link: str, **changes: object) -> dict[str, object]:
    settings = {"link": link, "bytes_per_s": 40_000, "direction": "both"}
    fault = {"id": 0, "kind": "bandwidth", "target": "node-1", "at_ns": 0, "for_ns": 0, "settings": settings}
    return {**fault, **changes}


def test_figures_of_a_link() -> None:
    scenario = make_scenario(
        channels=["a", "b", "quiet"],
        clients=[
            {"group": "one", "count": 2, "channels": ["a", "quiet"]}, {"group": "other", "count": 2, "channels": ["b"]},
        ],
        publishers=[
            {"name": "p", "channel": "a", "rate": "100/s", "payload": "128B"},
            {"name": "q", "channel": "b", "rate": "50/s", "payload": "128B"},
        ],
        faults=[],
    )  # fmt: skip
    faults = [bandwidth("clients", kind="latency"), bandwidth("clients"), bandwidth("redis", target="node-2")]
    parts = said_of(scenario=scenario, faults=faults).parts
    assert [(part.name, part.figures) for part in parts] == [
        ("node-2's link to Redis", "19.2 of 40 kB/s of payload on a connection, at least"),
        ("node-1's link to its clients", "12.8 of 40 kB/s of payload on a connection, at least"),
    ]
    assert [part.use for part in parts] == [pytest.approx(0.48, rel=1e-9), pytest.approx(0.32, rel=1e-9)]
    nobody = scenario.model_copy(update={"clients": []})
    (part,) = said_of(scenario=nobody, faults=[bandwidth("clients")]).parts
    assert part.use == 0
