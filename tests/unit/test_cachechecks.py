"""What the verdict asks of the nodes' caches, and what a gate of the scenario waives."""

import pytest

from fanlab.analysis import verdict as module
from fanlab.analysis.verdict import judge
from fanlab.ledger.cached import CacheAccount, MissCause
from fanlab.scenario.gates import GateResult
from support.accounts import caches, make_account, make_manifest, make_scenario
from support.verdicts import GOOD_GATE, reading, with_cache


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
