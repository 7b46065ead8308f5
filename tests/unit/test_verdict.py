"""The verdict: checkers folded so that the worst one wins, and nothing found in a sound run."""

from dataclasses import replace

import pytest

from fanlab.analysis.verdict import FAILING, INVALIDATING, judge
from fanlab.ledger.result import Tally
from fanlab.scenario.gates import GateResult
from support.accounts import at, empty_account, make_account, make_manifest
from support.verdicts import GOOD_GATE, phases


def test_a_sound_run_passes_without_a_reason():
    found = judge(make_account(), make_manifest(), [GOOD_GATE])
    assert (found.verdict, found.reasons) == ("pass", ())


def test_a_gate_that_is_not_met_fails_the_run():
    found = judge(make_account(), make_manifest(), [GOOD_GATE, GateResult("latency_ms.p99 < 5ms", 19.81, False)])
    assert found.verdict == "fail"
    assert found.reasons == ("gate not met: latency_ms.p99 < 5ms (it is 19.81 ms)",)


def test_a_gate_on_an_unknown_figure_says_so():
    found = judge(make_account(), make_manifest(), [GateResult("recovery_ms.max < 3s", None, False)])
    assert found.reasons == ("gate not met: recovery_ms.max < 3s (it is not known)",)


def test_a_node_that_ended_by_itself_fails_the_run_whatever_the_gates_are():
    exits = [{"unit": "node-1", "t_s": 3.21, "status": -9}, {"unit": "redis", "t_s": None, "status": 1}]
    found = judge(make_account(), make_manifest(unplanned_exits=exits), [GOOD_GATE])
    assert found.verdict == "fail"
    assert found.reasons == (
        "node-1 ended by itself at 3.21 s (status -9): see nodes/node-1.log",
        "redis ended by itself (status 1): see nodes/redis.log",
    )


def test_a_run_that_a_gate_stopped_fails_for_that_reason_alone():
    stop = {"expr": "latency.p99 < 50ms else abort", "t_s": 3.25, "actual": 65.5}
    manifest = make_manifest(status="stopped", stopped=stop)
    found = judge(make_account(partial=True), manifest, [GateResult("latency_ms.p99 < 5ms", 19.81, False)])
    assert found.verdict == "fail"
    assert found.reasons == ("stopped at 3.2 s by the gate latency.p99 < 50ms else abort (it was 65.5 ms by then)",)


def test_a_run_that_a_gate_stopped_and_whose_journals_are_cut_short_is_invalid():
    stop = {"expr": "latency.p99 < 50ms else abort", "t_s": 3.25, "actual": 65.5}
    evidence = replace(make_account().evidence, unclosed=1)
    found = judge(make_account(partial=True, evidence=evidence), make_manifest(status="stopped", stopped=stop), [])
    assert found.verdict == "invalid"
    assert found.reasons[0].startswith("the run is partial (it was stopped by a gate, and its journals are cut short)")


def test_invalid_is_worse_than_failed_and_both_reasons_stand():
    found = judge(make_account(generator_cpu=0.97), make_manifest(), [GateResult("latency_ms.p99 < 5ms", 19.81, False)])
    assert found.verdict == "invalid"
    assert ["saturated" in reason for reason in found.reasons] == [True, False]


def test_the_empty_run_is_invalid():
    found = judge(empty_account(), make_manifest(status="aborted"), [GOOD_GATE])
    assert found.verdict == "invalid"
    assert not [reason for reason in found.reasons if "could not be made" in reason]


def test_an_empty_run_that_claims_to_be_complete_is_invalid():
    found = judge(replace(empty_account(), partial=False), make_manifest(faults=[]), [])
    assert found.verdict == "invalid"
    assert any("nothing was published" in reason for reason in found.reasons)
    assert any("nothing was tested" in reason for reason in found.reasons)


@pytest.mark.parametrize("kind", ["invalidating", "failing"])
def test_a_checker_that_raises_makes_the_run_invalid(kind):
    def broken(_case):
        raise ZeroDivisionError("division by zero")
        yield  # pragma: no cover

    checkers = {"invalidating": INVALIDATING, "failing": FAILING}
    checkers[kind] = (*checkers[kind], broken)
    found = judge(make_account(), make_manifest(), [GOOD_GATE], **checkers)
    assert found.verdict == "invalid"
    assert found.reasons == (
        "the check broken could not be made (ZeroDivisionError: division by zero): please report it",
    )


def test_a_manifest_without_a_plan_is_invalid_not_a_crash():
    manifest = make_manifest()
    del manifest["plan"]
    assert judge(make_account(), manifest, []).verdict == "invalid"


def test_a_drain_that_never_was_is_part_of_being_partial():
    found = judge(make_account(end_ns=at(5)), make_manifest(status="aborted", phases=phases(drain_ended_by=None)), [])
    assert len(found.reasons) == 1
    assert found.verdict == "invalid"


def test_a_run_that_was_cut_short_is_told_so_and_given_no_advice_on_what_it_did_not_reach():
    nothing = make_account(measure=Tally(), partial=True)
    found = judge(nothing, make_manifest() | {"status": "aborted"}, [])
    assert found.verdict == "invalid"
    assert "interrupted" in found.reasons[0]
    assert not [reason for reason in found.reasons if "was published" in reason or "was owed" in reason]


def test_a_run_that_was_cut_short_is_not_held_to_its_gates_but_a_node_that_ended_is_told():
    exits = [{"unit": "node-1", "t_s": 3.21, "status": -9}]
    gate = GateResult("latency_ms.p99 < 5ms", 19.81, False)
    found = judge(make_account(partial=True), make_manifest(unplanned_exits=exits), [gate])
    assert found.reasons == (
        "the run is partial (its journals are cut short): run it again to the end",
        "node-1 ended by itself at 3.21 s (status -9): see nodes/node-1.log",
    )
