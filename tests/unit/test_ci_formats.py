"""What CI systems read: JUnit by a real parser, GitHub's commands and summary, OpenMetrics, benchmark JSON."""

import json
import re
import xml.etree.ElementTree as ET
from itertools import groupby
from typing import Any

import pytest

from fanlab.report import github, junit, overtime
from support.hostile import hostile_report
from support.sample_report import sample_manifest, sample_summary

# The Ant/Jenkins schema, as far as it goes: which attributes and children each element may have, which it must.
ELEMENTS = {
    "testsuites": ({"name", "tests", "failures", "errors", "time"}, {"name"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname", "id", "package"},
        {"name", "tests", "failures", "errors"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, {"name", "value"}, set()),
    "testcase": (
        {"classname", "name", "time", "status", "assertions"},
        {"classname", "name"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": ({"message", "type"}, {"type"}, set()),
    "error": ({"message", "type"}, {"type"}, set()),
}


def follows_the_schema(element: ET.Element) -> None:
    may, must, children = ELEMENTS[element.tag]
    assert must <= set(element.attrib) <= may, element.tag
    for attribute in ("tests", "failures", "errors", "skipped"):
        assert element.get(attribute, "0").isdigit()
    assert "properties" not in [child.tag for child in element][1:], "properties come first"
    for child in element:
        assert child.tag in children
        follows_the_schema(child)


def failed(**changes: Any) -> dict[str, Any]:
    summary = sample_summary()
    summary["gates"][-1] |= {"ok": False, "actual": 61.0}
    return summary | {"verdict": "fail", "reasons": ["gate not met: latency.p99 < 50ms (it is 61 ms)"], **changes}


def parsed(*results: tuple[dict[str, Any], dict[str, Any]]) -> Any:
    junitparser = pytest.importorskip("junitparser")
    return junitparser.JUnitXml.fromstring(junit.render(results).encode())


def test_junit_is_read_by_a_real_parser() -> None:
    (suite,) = parsed((failed(), sample_manifest()))
    assert (suite.name, suite.tests, suite.failures, suite.errors) == ("quickstart", 4, 1, 0)
    assert [case.name for case in suite] == [
        junit.THE_RUN,
        "loss.unexplained == 0",
        "ledger.duplicated == 0",
        "latency.p99 < 50ms",
    ]
    assert [len(case.result) for case in suite] == [0, 0, 0, 1]
    (told,) = list(suite)[-1].result
    assert told.message == "gate not met: latency.p99 < 50ms"
    assert told.text == "it is 61.0 ms, margin −11.0 ms (−22.0 %)"


def test_an_invalid_run_is_an_error_in_every_case() -> None:
    (suite,) = parsed((failed(verdict="invalid", reasons=["the generator was saturated"]), sample_manifest()))
    assert (suite.tests, suite.failures, suite.errors) == (4, 0, 4)
    assert next(iter(suite)).result[0].message == "the generator was saturated"


def test_a_node_that_ended_by_itself_is_a_failure_of_the_run() -> None:
    (suite,) = parsed(
        (sample_summary() | {"verdict": "fail", "reasons": ["node-1 ended by itself"]}, sample_manifest())
    )
    assert (suite.failures, next(iter(suite)).result[0].message) == (1, "node-1 ended by itself")


def test_junit_of_several_runs_has_a_suite_for_each() -> None:
    cells = [sample_manifest() | {"matrix_cell": {"topology.nodes.count": count}} for count in (2, 3)]
    found = parsed(*((sample_summary(), manifest) for manifest in cells))
    assert [suite.name for suite in found] == [f"quickstart (topology.nodes.count={count})" for count in (2, 3)]


@pytest.mark.parametrize("hostile", [False, True])
def test_junit_follows_the_schema(hostile: bool) -> None:
    result = hostile_report() if hostile else (failed(), sample_manifest())
    text = junit.render([result])
    follows_the_schema(ET.fromstring(text.encode()))  # noqa: S314 - our own
    assert not re.search("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text), "what XML cannot hold"


def test_annotations_point_at_the_gates_that_failed() -> None:
    places = [{"file": "a,b.yaml", "line": 25}, {"file": "a,b.yaml", "line": 26}, {"file": "a,b.yaml", "line": 27}]
    (line,) = github.annotations(failed(), sample_manifest() | {"gate_places": places})
    where, what = line.split("::", 2)[1:]
    assert where == "error file=a%2Cb.yaml,line=27,title=quickstart"
    assert what == "gate not met: latency.p99 < 50ms: it is 61.0 ms, margin −11.0 ms (−22.0 %25)"


def test_annotations_without_a_place_name_the_scenario() -> None:
    manifest = sample_manifest() | {"scenario_source": "quickstart.yaml"}
    (line,) = github.annotations(failed(), manifest)
    assert line.startswith("::error file=quickstart.yaml,title=quickstart::")
    assert github.annotations(sample_summary(), manifest) == []
    (line,) = github.annotations(
        failed(verdict="invalid", reasons=["too\nlittle"]), manifest | {"scenario_source": None}
    )
    assert line == "::error title=quickstart::too little"


def test_annotations_are_single_lines_and_not_too_many() -> None:
    summary, manifest = hostile_report()
    lines = github.annotations(summary | {"verdict": "fail"}, manifest)
    assert lines
    assert all(line.isprintable() and line.startswith("::error ") for line in lines)
    many = failed(gates=[{"expr": f"ledger.lost < {number}", "actual": 9999, "ok": False} for number in range(5000)])
    lines = github.annotations(many, sample_manifest())
    assert len(lines) == 10
    assert lines[-1].endswith("… and 4991 more: see the step summary")


@pytest.mark.parametrize("runs", [1, 3])
def test_the_step_summary_is_under_100_kb_whatever_there_is(runs: int) -> None:
    summary, manifest = hostile_report()
    long = "ä" * 200
    summary["gates"] = [{"expr": f"loss.by_channel.{long}{n} == 0", "actual": n + 1, "ok": False} for n in range(5000)]
    summary |= {"verdict": "fail", "reasons": [f"gate not met: {long} {number}" for number in range(5000)]}
    text = github.step_summary([(summary, manifest)] * runs)
    assert 10_000 < len(text.encode()) < 100_000
    assert text.count("# ") >= runs


def test_openmetrics() -> None:
    lines = overtime.openmetrics([(failed(), sample_manifest())]).splitlines()
    assert lines[-1] == "# EOF"
    assert 'fanlab_run_passed{scenario="quickstart",backend="process"} 0' in lines
    assert 'fanlab_ledger{scenario="quickstart",backend="process",term="lost"} 1069' in lines
    assert 'fanlab_gate_passed{scenario="quickstart",backend="process",gate="latency.p99 < 50ms"} 0' in lines
    assert any(
        line.startswith('fanlab_latency_seconds{scenario="quickstart",backend="process",quantile="0.99"} 0.005')
        for line in lines
    )
    series = [line.rsplit(" ", 1)[0] for line in lines if not line.startswith("#")]
    assert len(series) == len(set(series))
    types = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert [name for name, _ in groupby(one.split("{")[0] for one in series)] == types


def test_openmetrics_of_hostile_names_keeps_its_lines() -> None:
    for line in overtime.openmetrics([hostile_report()] * 2).splitlines():
        assert re.fullmatch(r'# (TYPE \w+ gauge|EOF)|\w+\{(\w+="([^"\\\n]|\\.)*",?)+\} -?[\d.e+-]+', line), line


def test_benchmark_json() -> None:
    entries = json.loads(overtime.benchmark_json([(sample_summary(), sample_manifest())]))
    assert [(entry["name"], entry["unit"]) for entry in entries] == [
        ("quickstart: latency p50", "ms"),
        ("quickstart: latency p99", "ms"),
        ("quickstart: lost", "%"),
        ("quickstart: recovery", "ms"),
    ]
    assert all(isinstance(entry["value"], int | float) for entry in entries)
    assert "range" in entries[0]
    nothing = sample_summary()
    nothing["latency_ms"] = dict.fromkeys(nothing["latency_ms"]) | {"n": 0}
    assert len(json.loads(overtime.benchmark_json([(nothing, sample_manifest())]))) == 2
