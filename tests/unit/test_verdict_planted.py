"""Every invalidating checker is seen to find its fault: each planted in a sound run, and told in one sentence."""

from dataclasses import replace

import numpy as np
import pytest

from fanlab.analysis import verdict as module
from fanlab.analysis.verdict import INVALIDATING, judge
from fanlab.clock import NS_PER_MS
from fanlab.ledger.causes import Cause
from fanlab.ledger.clocks import ClockAccount, Span
from fanlab.ledger.histogram import Histogram
from fanlab.ledger.odd import ODD_DTYPE, Odd, odd_rows
from fanlab.ledger.probes import ProbeDelays
from fanlab.ledger.result import Tally
from support.accounts import BOOT, caches, crash, make_account, make_manifest
from support.verdicts import (
    GOOD_GATE,
    SOUND,
    by_client,
    early_deliveries,
    groups,
    one_loss_otherwise,
    phases,
    publishers,
    reading,
    with_cache,
)


def clients(**changes):
    return {"count": 4, "connected": 4, "reconnects": 2, "never_returned": 0, **changes}


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


def own_losses():
    losses = make_account().losses
    losses["cause"][:3] = Cause.GENERATOR_FAULT
    return {"losses": losses}


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
    "no probe measured anything": (
        "bias_unmeasured",
        {"probes": ProbeDelays()},
        {},
        ["no probe measured anything, though clients of group 'readers' got up to 1000", "evidence.probes: 0"],
    ),
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
