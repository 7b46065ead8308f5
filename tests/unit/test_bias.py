"""When it counts against a run that its probes measured nothing. Three clients are probed, a fourth joins late."""

from typing import Any

import numpy as np
import pytest

from fanlab.analysis.bias import bias_unmeasured
from fanlab.analysis.case import Case
from fanlab.ledger.histogram import Histogram
from fanlab.ledger.probes import ProbeDelays
from support.accounts import at, make_account, make_manifest, make_scenario

BINS = 27  # of half a second, from 1 s before time 0 to 12.5 s


def clients(*joins: str | None) -> list[dict[str, Any]]:
    """A group of two for each, which joins then."""
    return [
        {"group": f"group-{k}", "count": 2, "channels": ["news"], **({"join": join} if join else {})}
        for k, join in enumerate(joins)
    ]


def told(
    *,
    received: dict[int, int] | None = None,
    each: tuple[int, ...] = (0, 20, 0, 0),
    joins: tuple[str | None, ...] = (None, "2s"),
    probes: int | None = None,
    host: dict[str, str] | None = None,
    measured: ProbeDelays | None = None,
) -> list[str]:
    """What is said of a run in which `received` deliveries came, by bin, and clients got `each`; nobody probed any."""
    over_time = np.zeros(BINS, np.int64)
    for bin_, count in ({10: 20} if received is None else received).items():
        over_time[bin_] = count
    scenario = make_scenario(clients=clients(*joins), **({} if probes is None else {"evidence": {"probes": probes}}))
    account = make_account(
        delivered=over_time,
        by_client={"owed": np.array(each), "delivered": np.array(each), "lost": np.zeros(4, np.int64)},
        probes=measured or ProbeDelays(),
        start_ns=at(-1),
        end_ns=at(12.5),
    )
    manifest = make_manifest(scenario) | ({} if host is None else {"host": host})
    return list(bias_unmeasured(Case(account, manifest, [])))


def test_nothing_measured_though_there_was_enough_to_hear() -> None:
    (sentence,) = told()
    assert sentence.startswith(
        "no probe measured anything, though clients of group 'group-0' got up to 20 messages each: how much of"
    )
    assert sentence.endswith("or do without with evidence.probes: 0")
    assert told(host={"system": "Linux"})


@pytest.mark.parametrize(
    "more",
    [
        {"probes": 0},
        {"measured": ProbeDelays([Histogram.of([5])], [Histogram.of([5])])},
        {"host": {"system": "Darwin"}},  # which stamps nothing
        {"joins": ("1s", "2s")},  # probes come with a group that connects at the start
        {"each": (19, 19, 1000, 0)},
        {"each": (0, 0, 0, 0)},
    ],
)
def test_nothing_to_measure_or_nobody_to_do_it(more: dict[str, Any]) -> None:
    assert told(**more) == []


def test_the_probed_group_is_the_first_that_connects_at_the_start() -> None:
    (sentence,) = told(joins=("1s", None), each=(0, 0, 0, 20))
    assert "group 'group-1'" in sentence
    assert told(joins=("1s", None), each=(20, 20, 0, 0)) == []


@pytest.mark.parametrize(
    ("received", "found"),
    [
        ({10: 19}, False),
        ({10: 10, 12: 10}, True),
        ({6: 20}, True),  # from 2 s on
        ({5: 20}, False),
        ({22: 20}, True),  # until 2 s before the end
        ({23: 20}, False),
        ({0: 1000, 5: 1000, 23: 1000, 26: 1000}, False),
    ],
)
def test_what_came_while_probes_may_have_been_on_their_way_or_had_no_time_to_tell_counts_for_nothing(
    received: dict[int, int], found: bool
) -> None:
    assert bool(told(received=received)) is found


@pytest.mark.parametrize("end_s", [0.5, 2, 3.9])
def test_a_short_run_is_not_held_against_them(end_s: float) -> None:
    bins = round((end_s + 1) * 2)
    account = make_account(
        probes=ProbeDelays(), start_ns=at(-1), end_ns=at(end_s), delivered=np.full(bins, 1000, np.int64)
    )
    assert list(bias_unmeasured(Case(account, make_manifest(), []))) == []


def test_bins_that_the_margins_cut_count_for_nothing() -> None:
    for bin_s, edge, found in ((0.8, 2, False), (0.8, 3, True), (0.8, 11, True), (0.8, 12, False)):
        over_time = np.zeros(16, np.int64)
        over_time[edge] = 20
        account = make_account(
            probes=ProbeDelays(), start_ns=at(0), end_ns=at(12), bin_ns=round(bin_s * 1e9), delivered=over_time
        )
        assert bool(list(bias_unmeasured(Case(account, make_manifest(), [])))) is found, edge
