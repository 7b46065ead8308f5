"""The report's sentences say what summary.json says, and no more."""

import json

import pytest

from fanlab.report import facts, markdown, overtime
from fanlab.report.summary import make_summary
from support.accounts import make_account, make_manifest


@pytest.fixture
def summary():
    return make_summary(make_account(), make_manifest())


def test_a_loss_by_a_fault_of_the_scenario_is_explained(summary):
    assert "90; every loss is explained." in facts.answer(summary)


def test_a_loss_by_a_system_that_fails_on_its_own_is_told_apart(summary):
    summary["loss"]["outside_faults"] = 30
    assert "every loss is explained, 30 by no fault of the scenario." in facts.answer(summary)


def test_the_unexplained_are_named_once(summary):
    summary["loss"] |= {"outside_faults": 4, "unexplained": 4}
    assert "; 4 without an explanation." in facts.answer(summary)


def test_a_run_that_failed_without_a_failed_gate_does_not_speak_of_gates():
    exits = [{"unit": "node-1", "t_s": 3.21, "status": -9}]
    summary = make_summary(make_account(), make_manifest(unplanned_exits=exits))
    said = facts.verdict(summary, make_manifest())
    assert (said.word, said.line) == ("Fail", "the measurement is valid and the system failed")
    assert said.reasons == ("node-1 ended by itself at 3.21 s (status -9): see nodes/node-1.log",)


@pytest.mark.parametrize(
    ("verdict", "gates", "word", "line"),
    [
        ("pass", [True], "Pass (simulated)", "simulated: nothing was measured; every gate holds"),
        ("pass", [], "Pass (simulated)", "simulated: nothing was measured; no gate was asked for"),
        ("fail", [True, False], "Fail (simulated)", "simulated: nothing was measured; 1 of 2 gates failed"),
        ("fail", [True], "Fail (simulated)", "simulated: nothing was measured"),
        ("invalid", [True], "Invalid (simulated)", "simulated: nothing was measured"),
    ],
)
def test_a_simulated_run_is_never_told_as_a_measurement(summary, verdict, gates, word, line):
    told = [{"expr": "lost == 0", "actual": 0, "ok": ok} for ok in gates]
    summary |= {"backend": "simulate", "verdict": verdict, "gates": told}
    said = facts.verdict(summary, make_manifest())
    assert (said.word, said.line) == (word, line)
    shown = markdown.render(summary, make_manifest())
    assert shown.startswith(f"# by-hand: {word}\n")
    assert "measurement is valid" not in shown


def test_figures_kept_over_time_say_of_which_backend_they_are(summary):
    summary["backend"] = "simulate"
    results = [(summary, make_manifest())]
    assert all('backend="simulate"' in line for line in overtime.openmetrics(results).splitlines() if line[0] != "#")
    assert all("simulate backend" in entry["extra"] for entry in json.loads(overtime.benchmark_json(results)))
