from dataclasses import replace

import pytest

from fanlab.analysis.names import names_of
from fanlab.analysis.recovery import bite_ns, recoveries, recovery_summary
from support.accounts import at, crash, empty_account, make_account, make_manifest, outages

NAMES = names_of(make_manifest())
CRASH = "crash node-2 @2s"


def of(**changes):
    return recovery_summary(make_account(**changes), NAMES)


def test_times_count_from_the_first_sign_of_the_fault():
    # Client 1's connection broke at 2.005 s, 5 ms before the probe confirmed the crash.
    found = of()["by_fault"][CRASH]
    assert found == {
        "clients": 2,
        "never_back": 0,
        "detected_p50": 5.0,
        "detected_max": 10.0,
        "reconnected_p50": 445.0,
        "reconnected_max": 490.0,
        "subscribed_p50": 455.0,
        "all_back": 500.0,
        "first_message_p50": 465.0,
        "first_message_max": 510.0,
        "max": 510.0,
    }


def test_one_fault_alone_is_also_the_whole():
    found = of()
    whole = {key: value for key, value in found.items() if not key.startswith("by_")}
    assert whole == found["by_fault"][CRASH]


def test_by_the_node_that_clients_were_on_and_by_their_group():
    found = of()
    assert found["by_node"]["node-2"] == found["by_fault"][CRASH] == found["by_group"]["readers"]
    assert found["by_node"]["node-1"]["clients"] == 0
    assert found["by_node"]["node-1"]["max"] is None
    first, second = outages()
    moved = of(outages=[first, replace(second, node=0)])
    assert [moved["by_node"][node]["clients"] for node in ("node-1", "node-2")] == [1, 1]


@pytest.mark.parametrize(
    ("confirmed", "started", "bit"),
    [(2.01, 2.5, 2.01), (2.01, 2.005, 2.005), (2.01, 1.0, 2.0)],
    ids=["confirmed first", "noticed first", "never before it was requested"],
)
def test_when_a_fault_bit(confirmed, started, bit):
    outage = replace(outages()[0], start_ns=at(started))
    assert bite_ns(crash(confirmed_ns=at(confirmed)), [outage]) == at(bit)


@pytest.mark.parametrize(
    ("ended", "started", "bit"),
    [(4.0, 4.1, 4.0), (4.0, 3.99, 3.99), (4.0, 2.5, 3.8), (None, 2.5, 2.01), (None, 2.005, 2.005)],
    ids=["told first", "noticed first", "noticed long before", "killed nobody", "killed nobody, noticed first"],
)
def test_a_limit_bit_when_the_kernel_killed_for_it(ended, started, bit):
    limit = crash(kind="memory-limit", confirmed_ns=at(2.01), ended_ns=None if ended is None else at(ended))
    assert bite_ns(limit, [replace(outages()[0], start_ns=at(started))]) == at(bit)


def test_a_fault_whose_request_left_no_record_bit_when_it_was_confirmed_from_the_first_ns_of_the_clock_on():
    assert bite_ns(crash(requested_ns=None, confirmed_ns=0), []) == 0


def test_figures_are_told_to_the_microsecond():
    first, second = outages()
    found = of(outages=[first, replace(second, start_ns=second.start_ns + 456)])
    assert found["detected_max"] == 10.0


def test_a_fault_that_was_never_confirmed_has_no_recovery():
    found = of(faults=[crash(confirmed_ns=None)])["by_fault"][CRASH]
    assert found["clients"] == 0
    assert found["max"] is None


def test_a_client_that_never_came_back_leaves_no_maximum():
    first, second = outages()
    gone = replace(second, reopened_ns=None, resubscribed_ns=None, first_message_ns=None)
    found = of(outages=[first, gone])
    assert found["never_back"] == 1
    assert found["all_back"] is None
    assert found["max"] is None
    assert found["reconnected_p50"] is None, "the median of 490 ms and never is never"
    assert found["detected_max"] == 10.0
    third = replace(first, client=0)
    assert of(outages=[first, gone, third])["reconnected_p50"] == 490.0


def test_a_client_that_came_back_to_silence_counts_as_served_when_subscribed():
    found = of(outages=[replace(outage, first_message_ns=None) for outage in outages()])
    assert found["first_message_p50"] is None
    assert found["max"] == found["all_back"] == 500.0


def test_a_client_hit_twice_counts_once_from_its_first_outage_to_its_last_return():
    first, _ = outages()
    again = replace(first, start_ns=at(3.0), reopened_ns=at(3.1), resubscribed_ns=at(3.2), first_message_ns=at(3.3))
    found = of(outages=[again, first])
    assert found["clients"] == 1
    assert found["detected_max"] == 0.0
    assert found["all_back"] == pytest.approx(1195.0)


def test_outages_of_no_fault_count_for_none():
    found = of(outages=[replace(outage, fault=None) for outage in outages()])
    assert found["clients"] == 0
    assert found["by_fault"][CRASH]["clients"] == 0


def test_rows_for_the_charts_say_the_same():
    (row,) = recoveries(make_account(), NAMES)
    assert (row.fault, row.clients) == (CRASH, 2)
    assert (row.detected_ms, row.reconnected_ms, row.first_message_ms, row.all_back_ms) == (5.0, 445.0, 465.0, 500.0)


def test_no_faults_no_figures():
    found = recovery_summary(empty_account(), NAMES)
    assert found["by_fault"] == {}
    assert found["clients"] == 0
    assert found["max"] is None


def test_faults_of_one_name_are_told_apart():
    planned = make_manifest()["faults"][0]
    names = names_of(make_manifest(faults=[planned, {**planned, "id": 1}]))
    assert [names.fault(crash(id=id_)) for id_ in (0, 1)] == [CRASH, f"{CRASH} #1"]
