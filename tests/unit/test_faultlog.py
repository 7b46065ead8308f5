"""The injected faults as manifest and stamps have them, and what goes back to them."""

import pytest

from fanlab.ledger.faultlog import AFTERMATH_NS, fault_accounts, fault_of_outage, window_ns
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


def fault(target, requested, healed=None):
    return FaultAccount(0, "pause", target, requested, requested, healed, healed)


def test_a_fault_holds_from_its_request_until_it_was_seen_healed():
    assert window_ns(FaultAccount(0, "pause", "node-1", 10, 11, 12, 13)) == (10, 13)
    assert window_ns(FaultAccount(0, "pause", "node-1", 10, 11, 12)) == (10, NEVER)
    assert window_ns(FaultAccount(0, "pause", "node-1", 10, 11, 12, 0)) == (10, 0)
    assert window_ns(FaultAccount(0, "pause", "node-1")) is None


@pytest.mark.parametrize(
    ("start", "of"), [(9, None), (10, 0), (20 + AFTERMATH_NS, 0), (21 + AFTERMATH_NS, None)]
)  # fmt: skip
@pytest.mark.parametrize("target", ["node-1", "redis"])
def test_an_outage_goes_back_to_a_fault_that_was_under_way_or_just_over(target, start, of):
    assert fault_of_outage([fault(target, 10, 20)], "node-1", start) == of
    assert fault_of_outage([fault("node-2", None), fault("node-2", 10, 20)], "node-1", start) is None


def test_an_outage_goes_back_to_its_nodes_last_fault_before_any_of_redis():
    faults = [fault("redis", 30), fault("node-1", 20), fault("node-1", 10), fault("node-1", None), fault("redis", 5)]
    assert fault_of_outage(faults, "node-1", 40) == 1
    assert fault_of_outage(faults, "node-1", 15) == 2
    assert fault_of_outage(faults, "node-1", 7) == 4
    assert fault_of_outage(faults, "node-2", 40) == 0
