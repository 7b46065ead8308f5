"""`fanlab gate`: a run judged again, offline, by its own gates or by others. Nothing in the run directory changes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fanlab.analysis.comparable import unfit
from fanlab.analysis.names import NOWHERE, Names, names_of
from fanlab.baselines import found_at, of_run
from fanlab.comparing import compare_runs, refuse_other_questions, with_baseline
from fanlab.ledger.account import account
from fanlab.report.summary import make_summary
from fanlab.rundir import RunDir
from fanlab.scenario.gatefields import Kind
from fanlab.scenario.gatefile import Given, refuse_senseless


def judged(rundir: RunDir, given: Sequence[Given] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The summary and the manifest as they were if the run's gates had been these; None: its own.

    Raises MeasurementError where there is no run, ScenarioError for gates that mean nothing there.
    """
    manifest = rundir.read_manifest()
    found = account(rundir)
    if given is not None:
        refuse_senseless(given, _named(names_of(manifest)))
        manifest = {
            **manifest,
            "scenario": {**manifest["scenario"], "gates": [one.expr for one in given]},
            "gate_places": [
                {"file": one.place.source, "line": one.place.line} if one.place.line else {} for one in given
            ],
        }
    return dict(make_summary(found, manifest)), manifest


def held_against(before: Path, run: Path, summary: dict[str, Any]) -> tuple[dict[str, Any], Sequence[str]]:
    """The summary with the gates that follow from a baseline, and notes; an invalid run stays what it is.

    Raises ScenarioError for a baseline that is none or answers another question, MeasurementError for one that is no
    result.
    """
    mine = of_run(run)
    theirs = found_at(before)
    if unfit(mine):
        refuse_other_questions(theirs, mine)
        return summary, [f"nothing is compared with {theirs.name}: {unfit(mine)}"]
    found = compare_runs(theirs, mine)
    return with_baseline(summary, found), found.notes


def _named(names: Names) -> Mapping[Kind, Sequence[str]]:
    plan = names.plan
    return {
        "node": [*(node.id for node in plan.nodes), NOWHERE],
        "channel": plan.channels,
        "group": [group.name for group in plan.groups],
        "fault": list(names.faults.values()),
    }
