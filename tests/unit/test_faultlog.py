"""The injected faults as manifest and stamps have them, and what goes back to them."""

import pytest

from fanlab.ledger.faultlog import fault_accounts, window_ns
from fanlab.ledger.result import FaultAccount
from fanlab.ledger.windows import NEVER


def stamp(what, t, id_=0, **more):
    return {"stamp": what, "id": id_, "kind": "pause", "target": "node-1", "t": t, **more}


def test_faults_are_those_of_the_manifest_with_their_stamps_and_predictions():
    manifest = {
        "faults": [
            {"id": 1, "kind": "crash", "target": "node-2", "for_ns": None},
            {"id": 0, "kind": "pause", "target": "node-1", "for_ns": 5},
        ],
        "predictions": [{"fault": 7, "predicted": 1.0}, {"fault": 0, "predicted": 2.5}],
    }
    times = ("requested", "confirmed", "heal_requested", "heal_confirmed")
    stamps = [stamp(what, 10 + at) for at, what in enumerate(times)]
    assert fault_accounts(manifest, stamps) == [
        FaultAccount(0, "pause", "node-1", 10, 11, 12, 13, heals=True, predicted=2.5),
        FaultAccount(1, "crash", "node-2", heals=False),
    ]


def test_a_fault_has_its_settings():
    planned = {"id": 0, "kind": "partition", "target": "node-1", "for_ns": 5, "settings": {"link": "clients"}}
    (found,) = fault_accounts({"faults": [planned]}, [])
    assert found.settings == {"link": "clients"}


EXIT = {"unit": "node-1", "t_s": 1.25, "status": -9, "fault": 0}


@pytest.mark.parametrize(
    ("exits", "zero_ns", "ended"),
    [
        ([EXIT], 7, 1_250_000_007),
        ([EXIT], 0, 1_250_000_000),
        ([{**EXIT, "t_s": 0.0}], 7, 7),
        ([{**EXIT, "t_s": None}], 7, None),
        ([EXIT], None, None),
        ([{**EXIT, "fault": 9}], 7, None),
        ([], 7, None),
    ],
)
def test_when_a_fault_ended_its_target(exits, zero_ns, ended):
    planned = [{"id": id_, "kind": "memory-limit", "target": "node-1", "for_ns": 5} for id_ in (0, 1)]
    manifest = {"faults": planned, "expected_exits": exits, "phases": {"zero_ns": zero_ns}}
    assert [one.ended_ns for one in fault_accounts(manifest, [])] == [ended, None]
    without_phases = manifest | {"phases": None}
    assert [one.ended_ns for one in fault_accounts(without_phases, [])] == [None, None]


def test_a_fault_that_heals_at_once_heals():
    assert fault_accounts({"faults": [{"id": 0, "kind": "kill", "target": "redis", "for_ns": 0}]}, []) == [
        FaultAccount(0, "kill", "redis", heals=True)
    ]


def test_a_stamp_of_a_fault_that_the_manifest_does_not_name_tells_of_one():
    stamps = [stamp("requested", 10, id_=3), stamp("confirmed", 11, id_=3), stamp("requested", 5, id_=2)]
    assert fault_accounts({}, stamps) == [
        FaultAccount(2, "pause", "node-1", 5),
        FaultAccount(3, "pause", "node-1", 10, 11),
    ]


@pytest.mark.parametrize("lacking", ["id", "kind", "target", "t", "stamp"])
def test_a_stamp_cut_short_tells_of_nothing(lacking):
    cut = stamp("requested", 10)
    del cut[lacking]
    assert fault_accounts({}, [cut]) == []


def test_a_stamp_of_another_sort_tells_of_nothing():
    assert fault_accounts({}, [stamp("measured", 10)]) == []


def test_a_fault_holds_from_its_request_until_it_was_seen_healed():
    assert window_ns(FaultAccount(0, "pause", "node-1", 10, 11, 12, 13)) == (10, 13)
    assert window_ns(FaultAccount(0, "pause", "node-1", 10, 11, 12)) == (10, NEVER)
    assert window_ns(FaultAccount(0, "pause", "node-1", 10, 11, 12, 0)) == (10, 0)
    assert window_ns(FaultAccount(0, "pause", "node-1")) is None
