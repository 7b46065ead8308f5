"""`fanlab gate`: a run judged again, offline, by its own gates or by others. Nothing in the run directory changes."""

from collections.abc import Mapping, Sequence
from typing import Any

from fanlab.analysis.names import NOWHERE, Names, names_of
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


def _named(names: Names) -> Mapping[Kind, Sequence[str]]:
    plan = names.plan
    return {
        "node": [*(node.id for node in plan.nodes), NOWHERE],
        "channel": plan.channels,
        "group": [group.name for group in plan.groups],
        "fault": list(names.faults.values()),
    }
