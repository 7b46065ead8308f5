"""The parts of a capacity search beside the search itself: its objective, outcomes, journal, prices and result."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fanlab.analysis.cost import Prices, per_million
from fanlab.analysis.steady import Steadiness
from fanlab.capacity.journal import Journal
from fanlab.capacity.outcome import judged
from fanlab.capacity.prices import read_prices
from fanlab.capacity.result import headline, make_result
from fanlab.capacity.search import End, Try, Wanted, next_step
from fanlab.capacity.session import Job
from fanlab.capacity.slo import parse_slo
from fanlab.errors import EnvironmentFailure, MeasurementError, ScenarioError
from fanlab.report.summary import make_summary
from fanlab.scenario.loader import load
from support.accounts import crash, make_account, make_manifest, make_scenario
from support.simulated import scenario_text

STEADY = Steadiness(steady=True, why="neither latency nor what is owed grows")
RATE = Wanted("rate", start=100, least=1, most=10_000)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("latency.p99 < 100ms", ["latency_ms.p99"]),
        ("latency.p99 < 100ms and loss.ratio == 0", ["latency_ms.p99", "loss.ratio"]),
        ("  ledger.lost == 0  AND latency.max < 1s ", ["ledger.lost", "latency_ms.max"]),
        ("loss.by_node.and-1 == 0 and ledger.lost == 0", ["loss.by_node.and-1", "ledger.lost"]),
    ],
)
def test_an_objective_is_gates_joined_by_and(text: str, fields: list[str]) -> None:
    assert [gate.field for gate in parse_slo(text)] == fields


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("latency.p98 < 100ms and loss.ratio == 0", ["--slo:1:1: "]),
        ("latency.p99 < 100ms and los.ratio == 0", ["--slo:1:25: "]),
        ("latency.p99 < 5kg and ledger.lost == x", ["--slo:1:1: ", "--slo:1:23: "]),
        ("ledger.lost == 0 and ", ["--slo:1:22: a gate is missing"]),
        ("and ledger.lost == 0", ["--slo:1:1: a gate is missing"]),
        ("", ["--slo:1:1: a gate is missing"]),
        (
            "ledger.lost == 0 and latency.p50 < 1ms else abort",
            ["--slo:1:22: an objective is judged when a run has ended"],
        ),
    ],
)
def test_errors_point_into_the_option(text: str, places: list[str]) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_slo(text)
    told = str(caught.value).splitlines()
    assert len(told) == len(places)
    for line, place in zip(told, places, strict=True):
        assert line.startswith(place)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("latency.p99(channel=nwes) < 100ms", "--slo:1:1: no channel 'nwes' is listed"),
        ("ledger.lost == 0 and lost(node=node-3) == 0", "--slo:1:22: there is no node 'node-3'"),
        ("lost(group=readrs) == 0", "--slo:1:1: there is no group of clients 'readrs'"),
        ("lost(fault=x) == 0", "--slo:1:1: there is no fault 'x'"),
    ],
)
def test_an_objective_about_nothing_is_refused(text: str, told: str) -> None:
    scenario = make_scenario()
    parse_slo("lost(node=node-2) == 0 and latency.p99(channel=news) < 1s", scenario)
    with pytest.raises(ScenarioError, match=re.escape(told)):
        parse_slo(text, scenario)


def outcome(slo: str = "ledger.lost <= 90", steady: Steadiness = STEADY, **changes: Any) -> tuple[str, str]:
    manifest = make_manifest(**changes.pop("manifest", {}))
    account = make_account(**changes)
    found = judged(account, manifest, make_summary(account, manifest), parse_slo(slo), steady)
    return found.outcome, found.why


def test_a_run_that_meets_the_objective() -> None:
    assert outcome() == ("met", STEADY.why)


def test_the_files_own_gates_decide_nothing() -> None:
    scenario = make_scenario(gates=["ledger.lost == 0"])
    assert outcome(manifest={"scenario": scenario})[0] == "met"


@pytest.mark.parametrize(
    ("changes", "wanted", "words"),
    [
        ({"slo": "ledger.lost == 0"}, "missed", "ledger.lost == 0: it is 90"),
        ({"slo": "ledger.lost <= 90 and latency.p50 < 1ms"}, "missed", "latency.p50 < 1ms: it is"),
        ({"steady": Steadiness(steady=False, why="it falls behind")}, "unsteady", "it falls behind"),
        ({"schedule_lag_p99_ms": 400.0, "slo": "ledger.lost == 0"}, "generator", "schedule lag"),
        ({"generator_cpu": 0.99}, "generator", "saturated"),
        ({"manifest": {"status": "running"}}, "broken", "partial"),
        ({"faults": [crash(confirmed_ns=None)]}, "broken", "did not take hold"),
    ],
)
def test_what_speaks_against_a_load(changes: dict[str, Any], wanted: str, words: str) -> None:
    found, why = outcome(**changes)
    assert found == wanted
    assert words in why


def test_what_has_no_value_is_no_miss() -> None:
    """Unless another gate is missed, or the run was unsteady: those say something of the load."""
    unknown = "cache.refresh_ms.p99 < 1s"
    found, why = outcome(unknown)
    assert (found, why.split(":")[0]) == ("broken", unknown)
    assert "too few samples" in why
    assert outcome(f"{unknown} and ledger.lost == 0")[0] == "missed"
    assert outcome(unknown, steady=Steadiness(steady=False, why="it falls behind"))[0] == "unsteady"


def test_a_drain_that_never_ended_is_a_backlog() -> None:
    phases = make_manifest()["phases"] | {"drain_ended_by": "deadline"}
    assert outcome(manifest={"phases": phases})[0] == "unsteady"


def test_a_node_that_died_by_itself_is_a_miss() -> None:
    deaths = [{"unit": "node-1", "t_s": 1.0, "status": -9}]
    assert outcome(manifest={"unplanned_exits": deaths}) == (
        "missed",
        "node-1 ended by itself at 1.00 s (status -9): see nodes/node-1.log",
    )


MET = {"outcome": "met", "why": "good"}


def test_a_journal_is_taken_up_again(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    first = Journal(folder, {"axis": "rate", "slo": "x"})
    assert first.begin(100, "where the search begins") == folder / "runs/001"
    first.end(100, "where the search begins", MET)
    first.begin(200, "twice as hard")  # and then it was killed
    again = Journal(folder, {"axis": "rate", "slo": "x"})
    assert [(probe.load, probe.outcome) for probe in again.probes] == [(100, "met")]
    assert again.begin(200, "twice as hard") == folder / "runs/003"


def test_what_was_broken_in_an_earlier_session_is_tried_anew(tmp_path: Path) -> None:
    """Two runs without Redis end a search; when Redis is back, the same command goes on."""
    folder, broken = tmp_path / "search", {"outcome": "broken", "why": "Redis was not there"}
    first = Journal(folder, {})
    for _ in range(2):
        first.begin(100, "")
        first.end(100, "", broken)
    assert isinstance(next_step(RATE, first.probes), End)
    again = Journal(folder, {})
    assert next_step(RATE, again.probes) == Try(100, "where the search begins")
    assert len(again.records) == 2
    for _ in range(2):
        again.begin(100, "")
        again.end(100, "", broken)
    assert isinstance(next_step(RATE, again.probes), End)


@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("fanlab.capacity.session.host", "host"),
        ("fanlab.capacity.session.__version__", "fanlab"),
        ("fanlab.capacity.session.code_digest", "nodes_sha256"),
    ],
)
def test_another_machine_fanlab_or_node_makes_another_search(
    part: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "made.yaml"
    path.write_text(scenario_text(), encoding="utf-8")
    job = Job(path, load(path)[0], RATE, "lost == 0", parse_slo("lost == 0"), tmp_path / "search")
    Journal(job.out, job.identity())
    Journal(job.out, job.identity())
    other = "0.0" if part.endswith("__version__") else lambda *_: {"cores": 640}
    monkeypatch.setattr(part, other)
    with pytest.raises(ScenarioError, match=f"holds another search: {key} was"):
        Journal(job.out, job.identity())


def test_a_journal_whose_last_line_was_cut_short(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    first = Journal(folder, {})
    first.begin(100, "")
    first.end(100, "", MET)
    path = folder / "probes.jsonl"
    path.write_bytes(path.read_bytes() + b'{"ev": "begin", "num')
    again = Journal(folder, {})
    again.begin(200, "")
    assert [json.loads(line)["ev"] for line in path.read_text().splitlines()] == ["begin", "end", "begin"]


def test_another_search_is_refused_with_what_differs(tmp_path: Path) -> None:
    Journal(tmp_path / "search", {"axis": "rate", "slo": "x", "precision": 0.1})
    with pytest.raises(ScenarioError) as caught:
        Journal(tmp_path / "search", {"axis": "nodes", "slo": "x", "precision": 0.2})
    assert "axis was 'rate' and is 'nodes'; precision was 0.1 and is 0.2" in str(caught.value)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(EnvironmentFailure, match="something else"):
        Journal(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("line", ["{}", "[]", "nonsense", '{"ev": "end", "load": 1}'])
def test_a_journal_that_is_damaged(line: str, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    Journal(folder, {})
    (folder / "probes.jsonl").write_text(line + "\n")
    with pytest.raises(MeasurementError, match=r"probes\.jsonl:1 is no probe"):
        Journal(folder, {})


def test_prices(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("currency: EUR\nnode_per_hour: 0.36\negress_per_gb: 0.1\n")
    prices = read_prices(path)
    assert prices == Prices("EUR", 0.36, 0.0, 0.1)
    cost = per_million(prices, nodes=2, deliveries_per_s=1000, bytes_per_delivery=500)
    assert cost.nodes == pytest.approx(0.2)  # 0.72 an hour, 3.6 million deliveries in it
    assert cost.egress == pytest.approx(0.05)  # half a GB
    assert cost.total == pytest.approx(0.25)
    cost = per_million(Prices("EUR", 0.36, 0.18, 0.1), nodes=2, deliveries_per_s=1000, bytes_per_delivery=500)
    assert cost.redis == pytest.approx(0.05)
    assert cost.total == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2]", "takes a mapping"),
        ("a: [", "is no YAML"),
        ("node_per_hour: 1", "currency: takes a short text"),
        ("{currency: EUR, node_per_hour: -1}", "node_per_hour: takes a number"),
        ("{currency: EUR, redis_per_hour: true}", "redis_per_hour: takes a number"),
        ("{currency: EUR, egress_per_gb: .inf}", "egress_per_gb: takes a number"),
        ("{currency: EUR, node_per_houre: 1}", "node_per_houre: unknown key"),
    ],
)
def test_prices_that_are_none(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=words):
        read_prices(path)
    with pytest.raises(ScenarioError, match="cannot be read"):
        read_prices(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("wanted", "end", "said"),
    [
        (
            RATE,
            End("answer", "", 308, 290, 336, 0.9, 300, 330),
            "The system carries 308 msg/s (90% interval: 290 to 336 msg/s).",
        ),
        (RATE, End("bound", "the most", low=450), "No answer, but a bound: at least 450 msg/s; the most."),
        (
            RATE,
            End("bound", "cut", low=2, high=4),
            "No answer, but a bound: 2 msg/s is carried and 4 msg/s is not; cut.",
        ),
        (RATE, End("none", "broken"), "No answer: broken."),
        (
            replace(RATE, axis="nodes"),
            End("answer", "", 3, 3, 4, 0.9),
            "3 nodes are the fewest that carry the load (90% interval: 3 to 4 nodes).",
        ),
        (replace(RATE, axis="nodes"), End("answer", "it is enough", 1, 1, 1), "1 node carries the load; it is enough."),
        (
            replace(RATE, axis="nodes"),
            End("bound", "cut", low=2, high=4),
            "No answer, but a bound: 2 nodes are too few and 4 nodes are enough; cut.",
        ),
    ],
)
def test_headlines(wanted: Wanted, end: End, said: str) -> None:
    assert headline(wanted, end) == said


def a_record(load: float, outcome_: str, run: str) -> dict[str, Any]:
    rates = {"published_per_s": load, "owed_per_s": 4 * load, "delivered_per_s": 4 * load}
    said = {"sentence": f"what saturates at {load}"}
    return {"load": load, "outcome": outcome_, "why": "", "run": run, "p99_ms": 5.0, "saturation": said, **rates}


def result(end: End, records: list[dict[str, Any]], prices: Prices | None = None) -> dict[str, Any]:
    scenario = make_scenario()
    return make_result(scenario, RATE, end, records, slo="ledger.lost == 0", backend="process", prices=prices)


def test_the_result_sizes_and_prices_what_was_measured() -> None:
    records = [
        a_record(100, "met", "runs/001"),
        a_record(200, "missed", "runs/002"),
        a_record(400, "missed", "runs/003"),
    ]
    found = result(End("answer", "", 150, 100, 200, 0.9, 100, 200), records, Prices("EUR", 0.36))
    assert found["saturation"]["sentence"] == "what saturates at 200"
    assert found["saturated_in"] == "runs/002"
    low, knee, high = found["sizing"]
    assert (low["level"], knee["level"], high["level"]) == ("low", "load", "high")
    assert (knee["deliveries_per_s"], knee["messages_per_s"], knee["nodes"]) == (600, 150, 2)
    assert knee["deliveries_per_s_per_node"] == 300
    assert found["cost"][1]["total"] == pytest.approx(2 * 0.36 / (600 * 3600 / 1e6))
    assert found["prices"]["currency"] == "EUR"
    assert any("Costs are those of full load" in each for each in found["assumptions"])


def test_without_an_answer_nothing_is_sized() -> None:
    found = result(End("bound", "", low=100, carried=100), [a_record(100, "met", "runs/001")], Prices("EUR", 1))
    assert (found["sizing"], found["cost"], found["saturation"]) == ([], [], None)


def test_what_saturates_a_bound_is_the_generators() -> None:
    records = [a_record(100, "met", "runs/001"), a_record(200, "generator", "runs/002")]
    assert result(End("bound", "", low=100, carried=100), records)["saturated_in"] == "runs/002"


def test_a_miss_on_the_easy_side_of_the_knee_is_not_asked_what_saturates() -> None:
    outcomes = ((100, "met"), (110, "missed"), (120, "met"), (200, "missed"), (400, "missed"))
    records = [a_record(load, outcome_, f"runs/{load}") for load, outcome_ in outcomes]
    found = result(End("answer", "", 150, 100, 200, 0.9, 120, 110), records)
    assert found["saturated_in"] == "runs/200"
