from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from fanlab.analysis.expected import loss_by_outage, messages_due
from fanlab.analysis.names import names_of
from fanlab.clock import NS_PER_S
from fanlab.load.pacer import expected_count
from fanlab.scenario.model import Rate
from fanlab.seed import rng as seeded
from support.accounts import at, make_account, make_manifest, outages

RATES = [
    {"kind": "constant", "rate": "100/s"},
    {"kind": "poisson", "rate": "7/s"},
    {"kind": "ramp", "from": "10/s", "to": "110/s", "over": "4s"},
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
