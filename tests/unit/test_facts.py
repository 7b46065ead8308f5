"""The report's sentences say what summary.json says, and no more."""

import pytest

from fanlab.report import facts
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
