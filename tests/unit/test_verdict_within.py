"""What is just within a limit, or of the scenario's own making, is no finding; and what is just beyond it is one."""

from dataclasses import replace

import numpy as np
import pytest

from fanlab.analysis import verdict as module
from fanlab.analysis.case import Case
from fanlab.analysis.lossparts import parts_of_the_losses
from fanlab.analysis.verdict import judge
from fanlab.clock import NS_PER_MS
from fanlab.ledger.cached import CacheAccount
from fanlab.ledger.clocks import ClockAccount, Span
from fanlab.ledger.histogram import Histogram
from fanlab.ledger.latency import LatencyTable
from fanlab.ledger.probes import ProbeDelays
from fanlab.ledger.result import Tally
from fanlab.scenario.gates import GateResult
from support.accounts import BOOT, at, crash, make_account, make_manifest, make_scenario
from support.verdicts import (
    GOOD_GATE,
    SOUND,
    by_client,
    early_deliveries,
    groups,
    one_loss_otherwise,
    publishers,
    with_cache,
)

# The checker that must find nothing, changes of the account, changes of the manifest.
JUST_WITHIN = {
    "as many slots as the ends of the phase may cut off": (
        "publishing_fell_short",
        {"publishers": publishers(planned=998)},
        {},
    ),
    "no slot at all, which is for another checker to say": (
        "publishing_fell_short",
        {"publishers": publishers(planned=0)},
        {},
    ),
    "half of what was owed is indeterminate": (
        "too_little_known",
        {"measure": Tally(published=1000, owed=4000, delivered=1910, lost=90, indeterminate=2000)},
        {},
    ),
    "nothing was owed, and nothing is indeterminate": ("too_little_known", {"measure": Tally(published=1000)}, {}),
    "half of what was owed to the caches is indeterminate": (
        "caches_unmeasured",
        {"caches": with_cache(refreshed=0, missed=0, indeterminate=40, node="node-1")},
        {},
    ),
    "nothing was owed to the caches": ("caches_unmeasured", {"caches": CacheAccount(updates=0, nodes={})}, {}),
    "schedule lag": ("generator_saturated", {"schedule_lag_p99_ms": 50.0}, {}),
    "loop lag": ("generator_saturated", {"loop_lag_p99_ms": 100.0}, {}),
    "cpu": ("generator_saturated", {"generator_cpu": 0.9}, {}),
    "late to each message": (
        "generator_saturated",
        {"probes": ProbeDelays([Histogram.of([10 * NS_PER_MS] * 200)])},
        {},
    ),
    "steal": ("generator_saturated", {"steal": 0.1}, {}),
    "one in a hundred arrived before it was sent": (
        "clocks_differ",
        {"latency": LatencyTable(overall=Histogram.of([-5 * NS_PER_MS] + [NS_PER_MS] * 99))},
        {},
    ),
    "nothing arrived, so nothing did too early": ("clocks_differ", {"latency": LatencyTable.empty(0)}, {}),
    "two boots, whose clocks were compared before and after": (
        "clocks_differ",
        {
            "evidence": replace(SOUND, boot_ids=[BOOT, "other"]),
            "clock": ClockAccount("exchange", Span(-5, 5)),
            "latency": early_deliveries()["latency"],
        },
        {
            "clock": {
                "boot_id": BOOT,
                "exchanges": [{"unit": "load-2/clients", "moment": moment} for moment in ("before", "after")],
            }
        },
    ),
    "one boot, whose clock is one though it was compared": (
        "clocks_differ",
        {"evidence": replace(SOUND, boot_ids=[BOOT]), "clock": ClockAccount("exchange", Span(-5, 5))},
        {"clock": {"boot_id": BOOT, "exchanges": [{"unit": "load-2/clients", "moment": "before"}]}},
    ),
    "two boots of a run that was given up, so that nobody compared them after it": (
        "clocks_differ",
        {
            "evidence": replace(SOUND, boot_ids=[BOOT, "other"]),
            "clock": ClockAccount("exchange", Span(-5, 5)),
            "partial": True,
        },
        {"clock": {"boot_id": BOOT, "exchanges": [{"unit": "load-2/clients", "moment": "before"}]}},
    ),
}


@pytest.mark.parametrize("case", JUST_WITHIN)
def test_what_is_just_within_its_limit_is_no_finding(case):
    name, account, manifest = JUST_WITHIN[case]
    checkers = [getattr(module, name)]
    assert judge(make_account(**account), make_manifest() | manifest, [], invalidating=checkers).reasons == ()


def test_a_schedules_own_making_is_no_shortfall():
    rate = {"kind": "poisson", "rate": "100/s"}
    scenario = make_scenario(publishers=[{"name": "ticker", "channel": "news", "rate": rate}])
    few = make_account(publishers=publishers(planned=820))
    checkers = [module.publishing_fell_short]
    assert not judge(few, make_manifest(scenario), [], invalidating=checkers).reasons
    assert judge(few, make_manifest(), [], invalidating=checkers).reasons


@pytest.mark.parametrize(
    ("rates", "planned", "short"),
    [
        (["60/s", "40/s"], 996, False),
        (["60/s", "40/s"], 995, True),
        ([{"kind": "poisson", "rate": "50/s"}] * 2, 807, False),
        ([{"kind": "poisson", "rate": "50/s"}] * 2, 806, True),
    ],
    ids=["two at each publisher's ends", "one more", "six deviations of both together", "one more than those"],
)
def test_what_all_publishers_owe_and_may_fall_short_of_is_added_up(rates, planned, short):
    each = [{"name": f"ticker-{k}", "channel": "news", "rate": rate} for k, rate in enumerate(rates)]
    account = make_account(publishers=publishers(planned=planned))
    manifest = make_manifest(make_scenario(publishers=each))
    found = judge(account, manifest, [], invalidating=[module.publishing_fell_short])
    assert [f"{planned} of about 1000 slots" in reason for reason in found.reasons] == [True] * short


def test_slots_are_due_over_the_whole_measure_phase():
    slow = [{"name": "ticker", "channel": "news", "rate": "1/s"}]
    scenario = make_scenario(publishers=slow, phases={"warm_up": "1s", "measure": "11.5s"})
    account = make_account(publishers=publishers(planned=1))
    (reason,) = judge(account, make_manifest(scenario), [], invalidating=[module.publishing_fell_short]).reasons
    assert "came to 1 of about 12 slots" in reason


def test_nobody_listening_may_be_the_question():
    account = make_account(measure=Tally(published=1000))
    asked = [GateResult("ledger.owed == 0", 0, True)]
    assert not judge(account, make_manifest(), asked, invalidating=[module.nothing_owed]).reasons


@pytest.mark.parametrize("expr", ["ledger.owed >= 0", "ledger.owed == 00.5"])
def test_another_gate_on_what_was_owed_does_not_make_nothing_the_question(expr):
    account = make_account(measure=Tally(published=1000))
    assert judge(account, make_manifest(), [GateResult(expr, 0, True)], invalidating=[module.nothing_owed]).reasons


def test_latecomers_may_be_owed_less_than_each_other():
    account = make_account(
        by_client=by_client(owed=np.array([1000, 1000, 800, 790])),
    )
    assert not judge(account, groups(join="2s"), [], invalidating=[module.clients_missing]).reasons
    assert judge(account, groups(), [], invalidating=[module.clients_missing]).reasons


def test_a_group_on_a_channel_without_publisher_need_not_be_owed_anything():
    scenario = make_scenario(
        channels=["news", "jobs"],
        clients=[
            {"group": "readers", "count": 2, "channels": ["news"]},
            {"group": "idle", "count": 2, "channels": ["jobs"]},
        ],
    )
    account = make_account(by_client=by_client(owed=np.array([1000, 1000, 0, 0])))
    assert not judge(account, make_manifest(scenario), [], invalidating=[module.clients_missing]).reasons


def test_a_group_without_messages_does_not_hide_the_next_one():
    scenario = make_scenario(
        channels=["news", "jobs"],
        clients=[
            {"group": "idle", "count": 2, "channels": ["jobs"]},
            {"group": "readers", "count": 2, "channels": ["news"]},
        ],
    )
    account = make_account(by_client=by_client(owed=np.zeros(4, np.int64)))
    (reason,) = judge(account, make_manifest(scenario), [], invalidating=[module.clients_missing]).reasons
    assert "no client of group 'readers'" in reason


def test_a_group_that_is_due_a_single_message_must_be_owed_it():
    pair = {"count": 2, "channels": ["news"]}
    scenario = make_scenario(
        clients=[{"group": "early", **pair}, {"group": "late", **pair}],
        publishers=[{"name": "ticker", "channel": "news", "rate": "0.1/s"}],
    )
    account = make_account(by_client=by_client(owed=np.array([1, 1, 0, 0])))
    (reason,) = judge(account, make_manifest(scenario), [], invalidating=[module.clients_missing]).reasons
    assert "no client of group 'late'" in reason


def test_a_group_that_joins_after_the_last_message_need_not_be_owed_anything():
    account = make_account(by_client=by_client(owed=np.array([1000, 1000, 0, 0])))
    assert not judge(account, groups(join="9995ms"), [], invalidating=[module.clients_missing]).reasons


def test_a_fault_that_is_to_stay_needs_no_healing():
    fault = crash(heal_requested_ns=None, heal_confirmed_ns=None, heals=False)
    planned = {**make_manifest()["faults"][0], "for_ns": None}
    assert judge(make_account(faults=[fault]), make_manifest(faults=[planned]), []).verdict == "pass"


def test_what_the_system_itself_is_to_mend_may_stay_broken():
    fault = crash(kind="redis-kill-pubsub", target="redis", heal_confirmed_ns=None)
    planned = {**make_manifest()["faults"][0], "kind": "redis-kill-pubsub", "target": "redis", "for_ns": 0}
    assert judge(make_account(faults=[fault]), make_manifest(faults=[planned]), []).verdict == "pass"
    never = replace(fault, confirmed_ns=None)
    assert judge(make_account(faults=[never]), make_manifest(faults=[planned]), []).verdict == "invalid"


def test_a_node_that_was_killed_for_want_of_memory_may_leave_a_torn_record():
    limit = crash(kind="memory-limit")
    for ended_ns, torn in ((at(3), 0), (None, 1)):
        account = make_account(evidence=replace(SOUND, torn=1), faults=[replace(limit, ended_ns=ended_ns)])
        manifest = make_manifest()
        manifest["faults"][0]["kind"] = "memory-limit"
        assert sum("torn" in reason for reason in judge(account, manifest, [GOOD_GATE]).reasons) == torn


def test_one_torn_record_per_kill_is_explained():
    account = make_account(evidence=replace(SOUND, torn=1))
    assert judge(account, make_manifest(), []).verdict == "pass"
    paused = make_manifest()["faults"][0] | {"kind": "pause"}
    by_pause = replace(account, faults=[crash(kind="pause")])
    assert judge(by_pause, make_manifest(faults=[paused]), []).verdict == "invalid"


def test_limits_are_the_scenarios_own():
    scenario = make_scenario(limits={"cpu": 0.3, "schedule_lag_p99": "100us", "loop_lag_p99": "1ms"})
    found = judge(make_account(), make_manifest(scenario), [])
    assert len(found.reasons) == 3
    assert all("saturated" in reason for reason in found.reasons)


def test_of_clients_whose_losses_do_not_add_up_one_is_named():
    case = Case(make_account(losses=one_loss_otherwise(client=0)), make_manifest(), [])
    assert list(parts_of_the_losses(case)) == [
        "client 0 has 1 losses listed and 0 counted; this is a bug in fanlab, please report it"
    ]
