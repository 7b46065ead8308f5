from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from fanlab.analysis.expected import loss_by_outage, messages_due
from fanlab.analysis.names import names_of
from fanlab.clock import NS_PER_S
from fanlab.load.pacer import expected_count
from fanlab.scenario.model import Rate
from fanlab.seed import rng as seeded
from support.accounts import at, make_account, make_manifest, make_scenario, outages

RATES = [
    {"kind": "constant", "rate": "100/s"},
    {"kind": "poisson", "rate": "7/s"},
    {"kind": "ramp", "from": "10/s", "to": "110/s", "over": "4s"},
    {"kind": "ramp", "from": "10/s", "to": "110/s", "over": "0s"},
    {"kind": "step", "steps": [{"at": "0s", "rate": "5/s"}, {"at": "2s", "rate": "50/s"}, {"at": "3s", "rate": "0/s"}]},
    {"kind": "burst", "size": 20, "every": "500ms"},
]


def of(**changes):
    manifest = make_manifest()
    return loss_by_outage(make_account(**changes), manifest, names_of(manifest))


@pytest.mark.parametrize("rate", RATES, ids=[rate["kind"] for rate in RATES])
def test_agrees_with_the_pacer_on_any_interval(rate):
    model = TypeAdapter(Rate).validate_python(rate)
    dumped = model.model_dump(mode="json")
    rng = seeded(1, "intervals")
    for _ in range(50):
        first, last = sorted(rng.randrange(6 * NS_PER_S) for _ in range(2))
        assert messages_due(dumped, first, last) == pytest.approx(expected_count(model, first, last), abs=1e-6)


def test_a_step_to_come_owes_nothing_yet():
    steps = [{"at_ns": 0, "rate_per_s": 5.0}, {"at_ns": 2 * NS_PER_S, "rate_per_s": 1000.0}]
    assert messages_due({"kind": "step", "steps": steps}, 0, NS_PER_S) == 5.0


def test_an_unknown_rate_is_an_error():
    with pytest.raises(KeyError, match="sawtooth"):
        messages_due({"kind": "sawtooth"}, 0, 1)


def test_rate_times_outage_summed_over_clients():
    # 100/s × (0.5 s of client 1 + 0.4 s of client 3): what the losses are, without having looked at them.
    assert of() == [pytest.approx(90.0)]


def test_only_the_measure_phase_counts_and_an_open_outage_ends_with_it():
    early, late = outages()
    early = replace(early, start_ns=at(-0.5), resubscribed_ns=at(0.25))
    late = replace(late, start_ns=at(9.0), resubscribed_ns=None)
    assert of(outages=[early, late]) == [pytest.approx(25 + 100)]


def test_overlapping_outages_of_a_client_count_once():
    first, _ = outages()
    assert of(outages=[first, replace(first, start_ns=at(2.2))]) == [pytest.approx(50.0)]


def test_no_outage_no_estimate():
    assert of(outages=[]) == [None]
    assert of(outages=[replace(outage, fault=None) for outage in outages()]) == [None]


def test_a_rate_that_changes_is_taken_as_it_was_during_the_outage():
    # Publishing began 1 s before time 0: at 2 s, just before the outages, it slowed down to a tenth.
    rate = {"kind": "step", "steps": [{"at": "0s", "rate": "100/s"}, {"at": "3s", "rate": "10/s"}]}
    publishers = [{"name": "ticker", "channel": "news", "rate": rate}]
    manifest = make_manifest(make_scenario(publishers=publishers))
    assert loss_by_outage(make_account(), manifest, names_of(manifest)) == [pytest.approx(9.0)]


def test_an_outage_before_measuring_does_not_hide_a_later_one():
    first, _ = outages()
    assert of(outages=[replace(first, start_ns=at(-0.5), resubscribed_ns=at(-0.25)), first]) == [pytest.approx(50.0)]


def test_a_client_that_the_plan_does_not_know_is_owed_nothing():
    first, _ = outages()
    assert of(outages=[replace(first, client=4)]) == [0.0]
