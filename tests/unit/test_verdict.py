"""Every checker is seen to find its fault, and to find nothing in a sound run."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fanlab.analysis import verdict as module
from fanlab.analysis.case import Case
from fanlab.analysis.lossparts import parts_of_the_losses
from fanlab.analysis.verdict import FAILING, INVALIDATING, judge
from fanlab.clock import NS_PER_MS
from fanlab.ledger.cached import CacheAccount, MissCause
from fanlab.ledger.causes import Cause
from fanlab.ledger.clocks import ClockAccount, Span
from fanlab.ledger.histogram import Histogram
from fanlab.ledger.latency import LatencyTable
from fanlab.ledger.odd import ODD_DTYPE, Odd, odd_rows
from fanlab.ledger.probes import ProbeDelays
from fanlab.ledger.result import Evidence, Tally
from fanlab.scenario.gates import GateResult
from support.accounts import BOOT, at, caches, crash, empty_account, make_account, make_manifest, make_scenario

GOOD_GATE = GateResult("loss.unexplained == 0", 0, True)
SOUND = Evidence(stripes=2, publisher_journal=True, boot_ids=[BOOT])


def phases(**changes):
    return {**make_manifest()["phases"], **changes}


def clients(**changes):
    return {"count": 4, "connected": 4, "reconnects": 2, "never_returned": 0, **changes}


def publishers(**changes):
    return {**make_account().publishers, **changes}


def by_client(**changes):
    return {**make_account().by_client, **changes}


def one_loss_otherwise(**fields):
    """The losses, the last one with fields replaced."""
    rows = make_account().losses
    for name, value in fields.items():
        rows[name][-1] = value
    return rows


def late():
    """Client 2 was owed 5 messages fewer than the other three."""
    return {
        "measure": Tally(published=1000, owed=3995, delivered=3905, lost=90),
        "by_client": by_client(owed=np.array([1000, 1000, 995, 1000]), delivered=np.array([1000, 950, 995, 960])),
    }


def deaf_group():
    """Clients 2 and 3 are a group of their own, and were owed nothing."""
    return {
        "measure": Tally(published=1000, owed=2000, delivered=1910, lost=90),
        "by_client": by_client(owed=np.array([1000, 1000, 0, 0]), delivered=np.array([1000, 910, 0, 0])),
    }


def groups(**second):
    """A scenario with two groups of two."""
    pair = {"count": 2, "channels": ["news"]}
    return make_manifest(make_scenario(clients=[{"group": "early", **pair}, {"group": "late", **pair, **second}]))


def early_deliveries():
    latency = LatencyTable(overall=Histogram.of(np.array([-5_000_000] * 2 + [10**6] * 98)))
    return {"latency": latency}


def own_losses():
    losses = make_account().losses
    losses["cause"][:3] = Cause.GENERATOR_FAULT
    return {"losses": losses}


def with_cache(*, node: str = "node-2", also: str | None = None, **changes: int) -> CacheAccount:
    """The caches by hand, with other figures for one node, or two."""
    made = caches()
    nodes = {
        name: replace(one, tally=replace(one.tally, **changes)) if name in (node, also) else one
        for name, one in made.nodes.items()
    }
    if changes.get("missed") == 0:
        return replace(made, nodes=nodes, misses=made.misses[:0])
    return replace(made, nodes=nodes)


def reading(rate: str) -> dict[str, Any]:
    """The scenario with a reader; the caches by hand have 200 reads."""
    return make_manifest(make_scenario(readers=[{"name": "apps", "channel": "news", "rate": rate}]))["scenario"]


# The checker that must find it, changes of the account, changes of the manifest, what the sentence must say.
PLANTED = {
    "aborted": ("not_complete", {}, {"status": "aborted"}, ["partial", "interrupted"]),
    "cut short": ("not_complete", {"partial": True}, {}, ["partial"]),
    "silence": (
        "nothing_published",
        {"measure": Tally(owed=4000, delivered=3910, lost=90)},
        {},
        ["nothing was published"],
    ),
    "a publisher that never began": (
        "publishing_fell_short",
        {"publishers": publishers(planned=997)},
        {},
        ["997 of about 1000 slots"],
    ),
    "publishes without a reply": (
        "too_little_known",
        {
            "measure": Tally(published=1000, owed=4000, delivered=1900, lost=90, indeterminate=2010),
            "by_client": by_client(delivered=np.array([475, 475, 475, 475])),
            "publishers": publishers(timed_out=600),
        },
        {},
        ["of 4000 deliveries owed 2010 are indeterminate", "600 publishes"],
    ),
    "nobody owed": (
        "nothing_owed",
        {"measure": Tally(published=1000)},
        {},
        ["nothing was tested", "`ledger.owed == 0`"],
    ),
    "identity": (
        "identity_fails",
        {"measure": Tally(published=1000, owed=4000, delivered=3910, lost=90, indeterminate=1)},
        {},
        ["measure", "owed 4000, delivered 3910 + lost 90 + indeterminate 1"],
    ),
    "identity of the warm-up": (
        "identity_fails",
        {"warm_up": Tally(published=100, owed=400, delivered=401)},
        {},
        ["warm-up", "owed 400"],
    ),
    "a negative term": (
        "identity_fails",
        {"warm_up": Tally(published=100, owed=400, delivered=401, lost=-1)},
        {},
        ["negative", "lost -1"],
    ),
    "a loss and a duplicate cancel": (
        "identity_fails",
        {"losses": make_account().losses[:-1]},
        {},
        ["lists 89 losses and counts 90"],
    ),
    "clients and total differ": (
        "identity_fails",
        {"by_client": by_client(delivered=np.array([1000, 950, 1000, 961]))},
        {},
        ["delivered is 3911 over the clients and 3910 in all"],
    ),
    "a loss of no hop": (
        "identity_fails",
        {"losses": one_loss_otherwise(hop=9)},
        {},
        ["lost is 89 over the hops and 90 in all"],
    ),
    "a loss of no cause": (
        "identity_fails",
        {"losses": one_loss_otherwise(cause=99)},
        {},
        ["lost is 89 over the causes and 90 in all"],
    ),
    "a loss of no node": (
        "identity_fails",
        {"losses": one_loss_otherwise(node=2)},
        {},
        ["lost is 89 over the nodes and 90 in all"],
    ),
    "a loss of no channel": (
        "identity_fails",
        {"losses": one_loss_otherwise(stream=1)},
        {},
        ["lost is 89 over the channels and 90 in all"],
    ),
    "a loss of no client": (
        "identity_fails",
        {"losses": one_loss_otherwise(client=4)},
        {},
        ["lost is 89 over the clients and 90 in all"],
    ),
    "a loss of no fault": (
        "identity_fails",
        {"losses": one_loss_otherwise(fault=1)},
        {},
        ["lost is 89 over the faults and none and 90 in all"],
    ),
    "a loss of less than no fault": (
        "identity_fails",
        {"losses": one_loss_otherwise(fault=-2)},
        {},
        ["lost is 89 over the faults and none and 90 in all"],
    ),
    "a loss of another client": (
        "identity_fails",
        {"losses": one_loss_otherwise(client=0)},
        {},
        ["client 0 has 1 losses listed and 0 counted"],
    ),
    "a loss of another fault": (
        "identity_fails",
        {"losses": one_loss_otherwise(fault=-1)},
        {},
        ["the fault crash node-2 @2s cost 90 and has 89 losses listed"],
    ),
    "a loss at no time": (
        "identity_fails",
        {"lost": make_account().lost[:0]},
        {},
        ["lost is 0 over the bins of time and 90 in all"],
    ),
    "a copy that is not listed": (
        "identity_fails",
        {"measure": replace(make_account().measure, duplicated=1)},
        {},
        ["lists 0 deliveries as duplicated and counts 1"],
    ),
    "a corrupted delivery that is not counted": (
        "identity_fails",
        {"odd": odd_rows(Odd.CORRUPTED, np.zeros(2, ODD_DTYPE))},
        {},
        ["lists 2 deliveries as corrupted and counts 0"],
    ),
    "clients not started": ("clients_missing", {"clients": clients(count=3)}, {}, ["only 3 of 4", "spawn_rate"]),
    "clients not connected": (
        "clients_missing",
        {"clients": clients(connected=3)},
        {},
        ["1 of 4 clients never connected"],
    ),
    "a client came late": (
        "clients_missing",
        late(),
        {},
        ["1 of 4 clients of group 'readers'", "warm_up longer"],
    ),
    "all clients came late": (
        "clients_missing",
        {
            "measure": Tally(published=1000, owed=3600, delivered=3510, lost=90),
            "by_client": by_client(owed=np.full(4, 900), delivered=np.array([900, 850, 900, 860])),
        },
        {},
        ["4 of 4 clients of group 'readers'", "warm_up longer"],
    ),
    "a whole group stayed away": ("clients_missing", deaf_group(), groups(), ["group 'late'", "none of its 2"]),
    "latecomers stayed away": ("clients_missing", deaf_group(), groups(join="2s"), ["group 'late'"]),
    "slots unsent": (
        "slots_unsent",
        {"publishers": publishers(unsent=12)},
        {},
        ["12 of 1100", "use --workers 2"],
    ),
    "one slot unsent, by a run that does not say how many workers it had": (
        "slots_unsent",
        {"publishers": publishers(unsent=1)},
        {"workers": None},
        ["1 of 1100", "use --workers 2"],
    ),
    "fault not injected": (
        "faults_without_effect",
        {"faults": []},
        {},
        ["crash node-2 @2s was never injected"],
    ),
    "fault only planned": (
        "faults_without_effect",
        {"faults": [crash(requested_ns=None, confirmed_ns=None)]},
        {"fault_failures": [{"fault": 0, "why": "no such process"}]},
        ["crash node-2 @2s was never injected (no such process)"],
    ),
    "fault without effect": (
        "faults_without_effect",
        {"faults": [crash(confirmed_ns=None, heal_requested_ns=None, heal_confirmed_ns=None)]},
        {},
        ["crash node-2 @2s did not take hold"],
    ),
    "fault not healed": (
        "faults_without_effect",
        {"faults": [crash(heal_confirmed_ns=None)]},
        {"fault_failures": [{"fault": 0, "why": "did not heal within 30 s"}]},
        ["crash node-2 @2s was to heal after 2s", "did not heal within 30 s"],
    ),
    "fault from nowhere": (
        "faults_without_effect",
        {},
        {"faults": []},
        ["crash node-2 was injected but is not in the manifest"],
    ),
    "schedule lag": (
        "generator_saturated",
        {"schedule_lag_p99_ms": 50.1},
        {"workers": 2},
        ["schedule lag p99 50.1 ms, limit 50 ms", "use --workers 3, or lower the rate"],
    ),
    "schedule lag unknown": ("generator_saturated", {"schedule_lag_p99_ms": None}, {}, ["schedule lag was not"]),
    "schedule lag is no number": ("generator_saturated", {"schedule_lag_p99_ms": float("nan")}, {}, ["schedule lag"]),
    "loop lag": ("generator_saturated", {"loop_lag_p99_ms": 101.0}, {}, ["event loop lag p99 101.0 ms, limit 100 ms"]),
    "loop lag unknown": ("generator_saturated", {"loop_lag_p99_ms": None}, {}, ["event loop lag was not measured"]),
    "cpu": ("generator_saturated", {"generator_cpu": 0.97}, {}, ["97% of a core, limit 90%"]),
    "cpu unknown": ("generator_saturated", {"generator_cpu": None}, {}, ["CPU was not measured"]),
    "late to each message": (
        "generator_saturated",
        {"probes": ProbeDelays([Histogram.of([NS_PER_MS] * 197 + [61 * NS_PER_MS] * 3)])},
        {},
        ["later than the kernel had them, p99 61.0 ms, limit 10 ms: use --workers"],
    ),
    "kept from its CPU": (
        "generator_saturated",
        {"loop_lag_p99_ms": 101.0, "cpu_wait": 0.34},
        {},
        ["loop lag p99 101.0 ms", "others had its CPU for 34% of the time: free a core for it"],
    ),
    "kept from its CPU for a fifth of the time": (
        "generator_saturated",
        {"loop_lag_p99_ms": 101.0, "cpu_wait": 0.2},
        {},
        ["others had its CPU for 20% of the time"],
    ),
    "steal": ("generator_saturated", {"steal": 0.25}, {}, ["took 25% of this machine's CPU, limit 10%", "run again"]),
    "losses of its own": ("generator_saturated", own_losses(), {}, ["3 of 90 losses are the generator's own doing"]),
    "corrupt": ("journals_damaged", {"evidence": replace(SOUND, corrupt=2)}, {}, ["2 journal frames are corrupt"]),
    "torn": ("journals_damaged", {"evidence": replace(SOUND, torn=2)}, {}, ["2 journal records are torn", "explain 1"]),
    "another count": (
        "checkers_differ",
        {},
        {"crosscheck": {"agrees": False, "counts": 2, "messages": 7}},
        ["2 counts and 7 messages", "a bug"],
    ),
    "unclosed": ("journals_damaged", {"evidence": replace(SOUND, unclosed=1)}, {}, ["1 of 2 journals", "died"]),
    "no publisher journal": (
        "journals_damaged",
        {"evidence": replace(SOUND, publisher_journal=False)},
        {},
        ["no publisher journal"],
    ),
    "a node's journal is missing": (
        "journals_damaged",
        {},
        {"journaling_nodes": ["node-1", "node-2", "node-3"]},
        ["node-3 should keep a journal and left none"],
    ),
    "contradiction": (
        "journals_damaged",
        {"evidence": replace(SOUND, contradictions=3)},
        {},
        ["3 deliveries are of messages whose publish is known to have failed"],
    ),
    "drain cut short": (
        "drain_cut_short",
        {},
        {"phases": phases(drain_ended_by="deadline")},
        ["deadline of 30s", "raise phases.drain.deadline"],
    ),
    "drain unknown": ("drain_cut_short", {}, {"phases": phases(drain_ended_by=None)}, ["how the drain ended"]),
    "two boots": (
        "clocks_differ",
        {"evidence": replace(SOUND, boot_ids=[BOOT, "other"])},
        {},
        ["2 boots, whose clocks cannot be compared"],
    ),
    "another boot than the manifest's": (
        "clocks_differ",
        {"evidence": replace(SOUND, boot_ids=["other"])},
        {},
        ["2 boots"],
    ),
    "two boots, whose clocks were compared before the run only": (
        "clocks_differ",
        {"evidence": replace(SOUND, boot_ids=[BOOT, "other"]), "clock": ClockAccount("exchange", Span(-5, 5))},
        {"clock": {"boot_id": BOOT, "exchanges": [{"unit": "load-2/clients", "moment": "before"}]}},
        ["the clock of load-2/clients was not compared after the run"],
    ),
    "two boots, whose clocks were compared too late": (
        "clocks_differ",
        {"evidence": replace(SOUND, boot_ids=[BOOT, "other"]), "clock": ClockAccount("exchange", Span(-5, 5))},
        {"clock": {"boot_id": BOOT, "exchanges": [{"unit": "load-2/clients", "moment": "during"}]}},
        ["load-2/clients was not compared after and before the run"],
    ),
    "clocks that contradict themselves": (
        "clocks_differ",
        {"clock": ClockAccount("one-boot", Span(0, 0), 1, None, ("the clock of load-1/clients differs by 5 ms",))},
        {},
        ["cannot be trusted: the clock of load-1/clients differs by 5 ms;"],
    ),
    "a cache's identity": (
        "cache_identity_fails",
        {"caches": with_cache(owed=41)},
        {},
        ["cache of node-2 does not balance: owed 41, refreshed 37 + missed 3"],
    ),
    "a miss without a row": (
        "cache_identity_fails",
        {"caches": replace(caches(), misses=caches().misses[:2])},
        {},
        ["lists 2 missed updates and counts 3"],
    ),
    "a stale read without a row": (
        "cache_identity_fails",
        {"caches": replace(caches(), stale=caches().stale[:24])},
        {},
        ["lists 24 stale reads and counts 25"],
    ),
    "a wrong entry without a row": (
        "cache_identity_fails",
        {"caches": replace(caches(), wrong=caches().wrong[:0])},
        {},
        ["lists 0 entries that stay wrong and counts 2"],
    ),
    "readers that hardly read": (
        "caches_unmeasured",
        {},
        {"scenario": reading("30/s")},
        ["200 of about 300 reads", "nodes/load-readers.log"],
    ),
    "readers and no cache": (
        "caches_unmeasured",
        {"caches": None},
        {"scenario": reading("30/s")},
        ["0 of about 300 reads"],
    ),
    "caches that nobody knows": (
        "caches_unmeasured",
        {"caches": with_cache(refreshed=0, missed=0, indeterminate=40, node="node-1", also="node-2")},
        {},
        ["of 80 updates owed to the nodes' caches 80 are indeterminate", "add `readers`"],
    ),
    "arrived before it was sent": ("clocks_differ", early_deliveries(), {}, ["2 of 100 deliveries arrived before"]),
}

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
}


@pytest.mark.parametrize("case", JUST_WITHIN)
def test_what_is_just_within_its_limit_is_no_finding(case):
    name, account, manifest = JUST_WITHIN[case]
    checkers = [getattr(module, name)]
    assert judge(make_account(**account), make_manifest() | manifest, [], invalidating=checkers).reasons == ()


def test_readers_that_read_what_was_planned_are_no_finding():
    found = judge(make_account(), make_manifest() | {"scenario": reading("20/s")}, [GOOD_GATE])
    assert (found.verdict, found.reasons) == ("pass", ())


@pytest.mark.parametrize(("reads", "few"), [(176, False), (175, True)])
def test_two_readers_may_miss_a_tenth_of_their_reads_and_two_each_at_the_ends(reads, few):
    each = {"channel": "news", "rate": "10/s"}
    scenario = make_scenario(readers=[{"name": "apps", **each}, {"name": "desks", **each}])
    account = make_account(caches=with_cache(reads=reads - 100))  # node-1 was read 100 times
    found = judge(account, make_manifest(scenario), [], invalidating=[module.caches_unmeasured])
    assert [f"{reads} of about 200 reads" in reason for reason in found.reasons] == [True] * few


def missed_for(cause: MissCause) -> CacheAccount:
    """The caches, with two of the three misses for another cause."""
    made = caches()
    made.misses["cause"][:2] = cause
    return made


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        (missed_for(MissCause.UNEXPLAINED), "cache.by_cause.unexplained", "missed 2 updates for no known cause"),
        (missed_for(MissCause.NOT_TAKEN), "cache.by_cause.not_taken", "missed 2 updates that their nodes had received"),
        (with_cache(stale_reads_withheld=4), "cache.stale_reads_withheld", "4 reads got an older value"),
    ],
)
def test_a_cache_without_an_excuse_fails_the_run_unless_a_gate_speaks_of_it(changed, field, words):
    found = judge(make_account(caches=changed), make_manifest(), [GOOD_GATE])
    assert found.verdict == "fail"
    assert len(found.reasons) == 1
    assert words in found.reasons[0]
    waived = judge(make_account(caches=changed), make_manifest(), [GOOD_GATE, GateResult(f"{field} >= 0", 2, True)])
    assert waived.verdict == "pass"


def test_a_sound_run_passes_without_a_reason():
    found = judge(make_account(), make_manifest(), [GOOD_GATE])
    assert (found.verdict, found.reasons) == ("pass", ())


@pytest.mark.parametrize("case", PLANTED)
def test_each_checker_finds_its_fault(case):
    name, account, manifest, words = PLANTED[case]
    checker = getattr(module, name)
    assert checker in INVALIDATING
    found = judge(make_account(**account), make_manifest() | manifest, [GOOD_GATE], invalidating=[checker])
    assert found.verdict == "invalid"
    assert len(found.reasons) == 1, "one fault, one sentence"
    for word in words:
        assert word in found.reasons[0]
    whole = judge(make_account(**account), make_manifest() | manifest, [GOOD_GATE])
    assert whole.verdict == "invalid"
    assert found.reasons[0] in whole.reasons


def test_no_checker_has_never_been_seen_to_find_something():
    assert {name for name, *_ in PLANTED.values()} == {checker.__name__ for checker in INVALIDATING}


def test_a_gate_that_is_not_met_fails_the_run():
    found = judge(make_account(), make_manifest(), [GOOD_GATE, GateResult("latency_ms.p99 < 5ms", 19.81, False)])
    assert found.verdict == "fail"
    assert found.reasons == ("gate not met: latency_ms.p99 < 5ms (it is 19.81 ms)",)


def test_a_gate_on_an_unknown_figure_says_so():
    found = judge(make_account(), make_manifest(), [GateResult("recovery_ms.max < 3s", None, False)])
    assert found.reasons == ("gate not met: recovery_ms.max < 3s (it is not known)",)


def test_a_node_that_ended_by_itself_fails_the_run_whatever_the_gates_are():
    exits = [{"unit": "node-1", "t_s": 3.21, "status": -9}, {"unit": "redis", "t_s": None, "status": 1}]
    found = judge(make_account(), make_manifest(unplanned_exits=exits), [GOOD_GATE])
    assert found.verdict == "fail"
    assert found.reasons == (
        "node-1 ended by itself at 3.21 s (status -9): see nodes/node-1.log",
        "redis ended by itself (status 1): see nodes/redis.log",
    )


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


def test_invalid_is_worse_than_failed_and_both_reasons_stand():
    found = judge(make_account(generator_cpu=0.97), make_manifest(), [GateResult("latency_ms.p99 < 5ms", 19.81, False)])
    assert found.verdict == "invalid"
    assert ["saturated" in reason for reason in found.reasons] == [True, False]


def test_the_empty_run_is_invalid():
    found = judge(empty_account(), make_manifest(status="aborted"), [GOOD_GATE])
    assert found.verdict == "invalid"
    assert not [reason for reason in found.reasons if "could not be made" in reason]


def test_an_empty_run_that_claims_to_be_complete_is_invalid():
    found = judge(replace(empty_account(), partial=False), make_manifest(faults=[]), [])
    assert found.verdict == "invalid"
    assert any("nothing was published" in reason for reason in found.reasons)
    assert any("nothing was tested" in reason for reason in found.reasons)


@pytest.mark.parametrize("kind", ["invalidating", "failing"])
def test_a_checker_that_raises_makes_the_run_invalid(kind):
    def broken(_case):
        raise ZeroDivisionError("division by zero")
        yield  # pragma: no cover

    checkers = {"invalidating": INVALIDATING, "failing": FAILING}
    checkers[kind] = (*checkers[kind], broken)
    found = judge(make_account(), make_manifest(), [GOOD_GATE], **checkers)
    assert found.verdict == "invalid"
    assert found.reasons == (
        "the check broken could not be made (ZeroDivisionError: division by zero): please report it",
    )


def test_a_manifest_without_a_plan_is_invalid_not_a_crash():
    manifest = make_manifest()
    del manifest["plan"]
    assert judge(make_account(), manifest, []).verdict == "invalid"


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


def test_a_drain_that_never_was_is_part_of_being_partial():
    found = judge(make_account(end_ns=at(5)), make_manifest(status="aborted", phases=phases(drain_ended_by=None)), [])
    assert len(found.reasons) == 1
    assert found.verdict == "invalid"


def test_a_run_that_was_cut_short_is_told_so_and_given_no_advice_on_what_it_did_not_reach():
    nothing = make_account(measure=Tally(), partial=True)
    found = judge(nothing, make_manifest() | {"status": "aborted"}, [])
    assert found.verdict == "invalid"
    assert "interrupted" in found.reasons[0]
    assert not [reason for reason in found.reasons if "was published" in reason or "was owed" in reason]


def test_a_run_that_was_cut_short_is_not_held_to_its_gates_but_a_node_that_ended_is_told():
    exits = [{"unit": "node-1", "t_s": 3.21, "status": -9}]
    gate = GateResult("latency_ms.p99 < 5ms", 19.81, False)
    found = judge(make_account(partial=True), make_manifest(unplanned_exits=exits), [gate])
    assert found.reasons == (
        "the run is partial (its journals are cut short): run it again to the end",
        "node-1 ended by itself at 3.21 s (status -9): see nodes/node-1.log",
    )


def test_of_clients_whose_losses_do_not_add_up_one_is_named():
    case = Case(make_account(losses=one_loss_otherwise(client=0)), make_manifest(), [])
    assert list(parts_of_the_losses(case)) == [
        "client 0 has 1 losses listed and 0 counted; this is a bug in fanlab, please report it"
    ]
