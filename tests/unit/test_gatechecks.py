"""A gate about a node, channel, group or fault that the scenario does not have: what is said, what is suggested."""

import dataclasses

import pytest

from fanlab.analysis.names import names_of
from fanlab.faults.timeline import resolve
from fanlab.scenario.check import check
from fanlab.scenario.plan import make_plan
from support.accounts import make_manifest, make_scenario


@pytest.mark.parametrize(
    ("gate", "what", "suggestion"),
    [
        ("lost(node=node-3) == 0", "there is no node 'node-3'", None),
        ("lost(channel=nwes) == 0", "no channel 'nwes'", "news"),
        ("lost(group=raeders) == 0", "there is no group of clients 'raeders'", "readers"),
        ("lost(fault=crash node-2 @3s) == 0", "this scenario's are 'crash node-2 @2s'", "crash node-2 @2s"),
        ("lost(fault=redis-pause @3s) == 0", "this scenario's are 'crash node-2 @2s'", None),
    ],
)
def test_what_is_said(gate: str, what: str, suggestion: str | None) -> None:
    (finding,) = check(make_scenario(gates=[gate]), ["websockets"])
    assert finding.keys == ("gates", 0)
    assert what in finding.what
    assert finding.suggestion == suggestion


def test_without_faults_there_is_no_fault() -> None:
    (finding,) = check(make_scenario(gates=["lost(fault=crash node-2 @2s) == 0"], faults=[]), ["websockets"])
    assert finding.what.endswith("the scenario has none")


def test_faults_are_named_as_in_the_summary() -> None:
    """Chosen by the seed, coming again, and two of one name."""
    faults = [
        {"kind": "crash", "target": "one", "at": "1s", "for": "100ms", "repeat": {"every": "2s", "times": 3}},
        {"kind": "redis-kill-pubsub", "at": "4s"},
        {"kind": "redis-kill-pubsub", "at": "4s"},
    ]
    scenario = make_scenario(faults=faults)
    planned = [dataclasses.asdict(fault) for fault in resolve(scenario, make_plan(scenario))]
    names = names_of(make_manifest(scenario, faults=planned)).faults.values()
    assert len(names) == 5
    gated = make_scenario(faults=faults, gates=[f'lost(fault="{name}") >= 0' for name in names])
    assert [finding for finding in check(gated, ["websockets"]) if finding.keys[0] == "gates"] == []
