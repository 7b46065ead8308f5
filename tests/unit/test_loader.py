"""From a file to scenarios: defaults, matrix, --set, --seed, origins; and nothing but ScenarioError on any input."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanlab import resources
from fanlab.errors import Problem, ScenarioError
from fanlab.scenario import loader
from fanlab.scenario.document import parse, plain
from fanlab.scenario.loader import Loaded, canonical, load, load_text
from fanlab.scenario.model import BurstRate, ConstantRate, PoissonRate, RampRate
from fanlab.scenario.shape import values

QUICKSTART = (resources.folder("scenarios") / "quickstart.yaml").read_text(encoding="utf-8")
BUNDLED = sorted(resources.folder("scenarios").glob("*.yaml"))
KINDS = ("websockets", "ws-node")  # that the bundled scenarios name


@pytest.fixture(autouse=True, scope="module")
def _kinds() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader.resources, "node_folders", lambda: {kind: Path("nodes") / kind for kind in KINDS})
        yield


def one(text: str = QUICKSTART, overrides: Sequence[str] = (), seed: int | None = None) -> Loaded:
    (loaded,) = load_text(text, "f.yaml", overrides=overrides, seed=seed)
    return loaded


def refused(text: str = QUICKSTART, overrides: Sequence[str] = ()) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        load_text(text, "f.yaml", overrides=overrides)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_bundled_scenarios_load_and_say_where_each_value_is_from(path: Path) -> None:
    for loaded in load(path):
        assert loaded.scenario.name == path.stem
        assert set(loaded.origins) == {value.path for value in values(loaded.scenario)}
        assert loaded.sha256 == hashlib.sha256(canonical(loaded.scenario)).hexdigest()


def test_set_takes_names_indexes_lists_and_mappings() -> None:
    scenario = one(
        overrides=[
            "clients.readers.count=5",
            "clients.0.spawn_rate=7/s",
            "topology.nodes.count=4",
            "topology.nodes.0.env.MAX_BUFFER=1000",
            "topology.redis.config={maxmemory: 10mb, save: ''}",
            "publishers.ticker.rate=2k/s",
            "faults.0.at=3s",
            "faults.0.target=[node-1, node-4]",
            "channels=[news, b]",
            "gates=[]",
            "phases.drain.quiet=700ms",
            "clients.readers.nodes=[node-1]",
        ]
    ).scenario
    assert scenario.clients[0].count == 5
    assert scenario.clients[0].spawn_rate_per_s == 7
    assert scenario.topology.nodes[0].count == 4
    assert scenario.topology.nodes[0].env == {"MAX_BUFFER": "1000"}
    assert scenario.topology.redis.config == {"maxmemory": "10mb", "save": ""}
    assert scenario.publishers[0].rate == ConstantRate(rate="2k/s")  # type: ignore[arg-type]
    assert scenario.faults[0].at_ns == 3_000_000_000
    assert scenario.faults[0].target == ["node-1", "node-4"]  # type: ignore[union-attr]
    assert scenario.channels == ["news", "b"]
    assert scenario.gates == []
    assert scenario.phases.drain.quiet_ns == 700_000_000
    assert scenario.clients[0].nodes == ["node-1"]


def test_set_reaches_into_short_forms_and_makes_what_is_missing() -> None:
    poisson = one(overrides=["publishers.ticker.rate.kind=poisson"]).scenario.publishers[0].rate
    assert isinstance(poisson, PoissonRate)
    assert poisson.rate_per_s == 50
    burst = one(overrides=["publishers.ticker.rate={kind: burst, size: 3, every: 1s}"]).scenario.publishers[0].rate
    assert isinstance(burst, BurstRate)
    assert one(overrides=["limits.cpu=0.5"]).scenario.limits.cpu == 0.5


def test_later_sets_win_and_see_earlier_ones() -> None:
    loaded = one(
        overrides=[
            "clients.readers.count=5",
            "clients.readers.count=6",
            "clients=[{group: others, count: 9, channels: [news]}]",
            "clients.others.count=10",
        ]
    )
    assert [(group.group, group.count) for group in loaded.scenario.clients] == [("others", 10)]


def test_null_gives_an_optional_value_back_its_default() -> None:
    assert one(overrides=["faults.0.for=null"]).scenario.faults[0].for_ns is None  # type: ignore[union-attr]
    assert one(overrides=["faults.0.for="]).scenario.faults[0].for_ns is None  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("seed", "--set 'seed': write it as path=value, as in clients.readers.count=5"),
        ("=5", "--set '=5': write it as path=value, as in clients.readers.count=5"),
        ("sede=5", "--set 'sede=5': a scenario has no key 'sede'; did you mean 'seed'?"),
        ("matrix.seed=5", "--set 'matrix.seed=5': a scenario has no key 'matrix'"),
        ("clients.5.count=5", "--set 'clients.5.count=5': clients has no entry 5; the last one is 0"),
        (
            "clients.reader.count=5",
            "--set 'clients.reader.count=5': clients has no entry called 'reader'; did you mean 'readers'?",
        ),
        ("name.first=5", "--set 'name.first=5': name is a single value; nothing stands below it"),
        ("channels.news=x", "--set 'channels.news=x': channels is a list; say which entry by its number, from 0"),
        ("seed=x", "--set 'seed=x': seed: must be a whole number; it is 'x'"),
        ("seed=[", "--set 'seed=[': a value is missing here"),
        ("seed=!x 1", "--set 'seed=!x 1': the tag !x means nothing here; write the plain value"),
        (
            "faults.0.target=node-9",
            "--set 'faults.0.target=node-9': faults.0.target: there is no node 'node-9'; there are node-1 … node-3",
        ),
        (
            "clients.readers.reconnect.max=1ms",
            (
                "--set 'clients.readers.reconnect.max=1ms': clients.readers.reconnect.max:"
                " must be at least `initial`, which is 500ms"
            ),
        ),
    ],
)
def test_a_bad_set_names_itself(override: str, problem: str) -> None:
    assert refused(overrides=[override]) == [problem]


def test_problems_of_file_and_command_line_come_together() -> None:
    found = refused(QUICKSTART.replace("seed: 7", "sede: 7"), ["x=1", "clients.readers.channels=[nws]"])
    assert [problem.partition(" ")[0] for problem in found] == ["f.yaml:8:1:", "--set", "--set"]


def test_defaults_complete_entries_but_do_not_overrule_them() -> None:
    text = QUICKSTART.replace("    spawn_rate: 100/s\n", "") + (
        "defaults:\n"
        "  clients: {spawn_rate: 33/s, count: 1, reconnect: {jitter: 0.5, max: 9s}}\n"
        "  publishers: {rate: 10/s, payload: 256B}\n"
        "  faults: {for: 1s}\n"
    )
    loaded = one(text)
    group = loaded.scenario.clients[0]
    assert (group.spawn_rate_per_s, group.count) == (33, 60)
    assert (group.reconnect.jitter, group.reconnect.max_ns) == (0.2, 4_000_000_000)
    assert loaded.scenario.publishers[0].payload_bytes == 128
    assert str(loaded.origins["clients.readers.spawn_rate"]) == "f.yaml:30"


def test_defaults_of_another_kind_are_left_out() -> None:
    text = (
        QUICKSTART.replace("faults:\n", "faults:\n  - {kind: redis-kill-pubsub, at: 6s}\n").replace(
            "rate: 50/s,", "rate: {kind: ramp, from: 1/s, to: 9/s, over: 2s},"
        )
        + "defaults:\n  faults: {for: 1s}\n  publishers: {rate: 10/s}\n"
    )
    rate = one(text).scenario.publishers[0].rate
    assert isinstance(rate, RampRate)


def test_a_kind_can_come_from_the_defaults() -> None:
    text = QUICKSTART.replace("rate: 50/s,", "rate: {rate: 50/s},")
    rate = one(text + "defaults:\n  publishers: {rate: {kind: poisson}}\n").scenario.publishers[0].rate
    assert isinstance(rate, PoissonRate)


def test_a_wrong_default_is_reported_once_for_all_entries() -> None:
    text = QUICKSTART.replace("publishers:", "  - {group: more, count: 1, channels: [news]}\npublishers:")
    found = refused(text + "defaults:\n  clients: {ping_timeout: soon}\n")
    assert found == [
        "f.yaml:32:27: clients.readers.ping_timeout: 'soon' is no duration; write it with a unit, as 250ms, 1.5s or 2m"
    ]


MATRIX = QUICKSTART + "matrix:\n  topology.nodes.count: [2, 3]\n  clients.readers.failover: [sticky, round-robin]\n"


def test_a_matrix_is_a_product_in_the_order_written() -> None:
    loaded = load_text(MATRIX, "f.yaml", overrides=["clients.readers.count=8"])
    assert [tuple(each.cell.values()) for each in loaded] == [
        (2, "sticky"),
        (2, "round-robin"),
        (3, "sticky"),
        (3, "round-robin"),
    ]
    assert list(loaded[0].cell) == ["topology.nodes.count", "clients.readers.failover"]
    assert [(each.scenario.topology.nodes[0].count, each.scenario.clients[0].failover) for each in loaded] == [
        tuple(each.cell.values()) for each in loaded
    ]
    assert {each.scenario.clients[0].count for each in loaded} == {8}
    assert len({each.sha256 for each in loaded}) == 4
    assert str(loaded[0].origins["topology.nodes.count"]) == "matrix f.yaml:31"


def test_a_set_decides_an_axis() -> None:
    loaded = load_text(MATRIX, "f.yaml", overrides=["topology.nodes.count=5"])
    assert [each.cell for each in loaded] == [
        {"clients.readers.failover": "sticky"},
        {"clients.readers.failover": "round-robin"},
    ]
    assert {each.scenario.topology.nodes[0].count for each in loaded} == {5}
    assert len(load_text(MATRIX, "f.yaml", overrides=["topology={nodes: {count: 4}}"])) == 2


def test_a_matrix_may_hold_mappings_and_lists() -> None:
    text = QUICKSTART + "matrix:\n  publishers.ticker.rate: [5/s, {kind: poisson, rate: 5/s}]\n  faults: [[]]\n"
    kinds = [each.scenario.publishers[0].rate.kind for each in load_text(text, "f.yaml")]
    assert kinds == ["constant", "poisson"]


def test_a_cell_that_does_not_work_is_found() -> None:
    found = refused(QUICKSTART + "matrix:\n  topology.nodes.count: [3, 1]\n")
    assert found == ["f.yaml:26:27: faults.0.target: there is no node 'node-2'; node-1 is the only one"]


def test_seed_and_its_origin() -> None:
    assert one(seed=11).scenario.seed == 11
    assert one(overrides=["seed=5"], seed=11).scenario.seed == 11
    assert str(one(seed=11).origins["seed"]) == "--seed"
    with pytest.raises(ScenarioError, match="must be at least 0"):
        one(seed=-1)


def test_origins() -> None:
    origins = one(overrides=["clients.readers.count=5"]).origins
    assert str(origins["clients.readers.count"]) == "--set"
    assert str(origins["clients.readers.group"]) == "f.yaml:13"
    assert str(origins["clients.readers.ping_timeout"]) == "default"
    assert str(origins["publishers.ticker.rate.rate"]) == "f.yaml:20"


def test_the_hash_is_of_the_meaning_not_of_the_writing() -> None:
    other = QUICKSTART.replace("measure: 8s", "measure: 8000ms").replace(
        "nodes: {kind: websockets, count: 3}", "nodes: [{count: 3}]"
    )
    assert one(other).sha256 == one().sha256
    assert one(overrides=["seed=8"]).sha256 != one().sha256


def test_names_may_hold_dots() -> None:
    text = QUICKSTART.replace("group: readers", "group: eu.west.readers")
    assert one(text, ["clients.eu.west.readers.count=3"]).scenario.clients[0].count == 3


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("", "is a directory"),
        ("none.yaml", "does not exist"),
        ("quikstart.yaml", "does not exist; did you mean"),
        ("\0", "cannot be read"),
        ("pipe", "is no regular file"),
        ("large.yaml", "is larger than 256 kB"),
    ],
)
def test_what_is_no_file(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / "quickstart.yaml").write_text("x")
    (tmp_path / "large.yaml").write_bytes(b"#" * 300_000)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ScenarioError, match=what):
        load(tmp_path / name)


def test_a_json_scenario_is_one() -> None:
    assert one(json.dumps(plain(parse(QUICKSTART, "f").root))).sha256 == one().sha256


def anything(text: str, overrides: Sequence[str] = ()) -> None:
    """It loads, or it is refused in lines that a terminal can show; anything else is an exception, and fails."""
    problems: Sequence[Problem] | None = None
    try:
        load_text(text, "f.yaml", overrides=overrides)
    except ScenarioError as error:
        problems = error.problems
    assert problems is None or (problems and all(str(problem).isprintable() for problem in problems))


@given(st.binary(max_size=300))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    with pytest.raises(ScenarioError):
        load(path)


LINES = QUICKSTART.splitlines(keepends=True)
SNIPPETS = [
    "{", "}", "[", "]", ":", ": ", "- ", "&a ", "*a", "!!int ", "<<: ", "'", '"', "|\n", "\n", "  ", "\t", "#", "null",
    "true", "-1", "0", "1e999", ".nan", "99999999999999", "0x10",
    "node-1", "news", "all", "kind: ", "\x1b", "é", "\x85",
    "[]", "{}", "? ", "5ms", "5/s", "9999999h", "1e300/s", "1e400/s", "1e300", "1e400kB", "matrix: {a: [1]}\n",
    "defaults: {clients: 5}\n",
]  # fmt: skip


@settings(max_examples=300)
@given(st.data())
def test_any_mutation_of_a_scenario(data: st.DataObject) -> None:
    text = QUICKSTART
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.sampled_from([0, 0, 1, 2, 5, 20]))
        text = text[:at] + data.draw(st.sampled_from(SNIPPETS) | st.sampled_from(LINES)) + text[at + gone :]
    anything(text)


PATHS = [
    "name", "seed", "topology", "topology.nodes", "topology.nodes.count", "topology.nodes.0", "topology.redis.config",
    "channels", "channels.0", "clients", "clients.readers", "clients.0.reconnect", "clients.0.reconnect.initial",
    "clients.readers.nodes", "publishers", "publishers.0.rate", "publishers.ticker.rate.rate",
    "publishers.0.rate.steps",
    "publishers.0.payload", "phases", "phases.measure", "phases.drain", "faults", "faults.0", "faults.0.target",
    "faults.0.for", "gates", "gates.0", "limits", "limits.cpu", "defaults", "", ".", "..", "clients..count",
]  # fmt: skip
YAML_VALUES = [
    "", "null", "0", "-1", "1.5", "true", "x", "[]", "[a]", "[[1]]", "{}", "{a: 1}", "{kind: step}", "5s", "0s", "5/s",
    "1e300/s", "[{}]", "[null]", "{kind: [1]}", "[{kind: {}}]", "{kind: step, steps: [{at: 0, rate: 1/s}]}", "&a [*a]",
    "{group: a}", "node-1", "1000h", ".inf", "1e15", "999999999999999999", "[{kind: crash, at: 0, target: []}]",
]  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(YAML_VALUES)), min_size=1, max_size=3))
def test_any_set(pairs: list[tuple[str, str]]) -> None:
    anything(QUICKSTART, [f"{path}={value}" for path, value in pairs])


@settings(max_examples=150)
@given(st.sampled_from(PATHS), st.lists(st.sampled_from([v for v in YAML_VALUES if v]), min_size=1, max_size=3))
def test_any_matrix(path: str, tried: list[str]) -> None:
    anything(QUICKSTART + f'matrix:\n  "{path}": [{", ".join(tried)}]\n')
