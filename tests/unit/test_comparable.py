"""What can be compared, what the counts of two runs say, and the gates that follow from a baseline."""

import copy
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fanlab.analysis.baseline import (
    FaultCount,
    baseline_from_json,
    identity,
    make_baseline,
    parts_of,
)
from fanlab.analysis.comparable import apart, count_findings, other_means, other_parts, unfit
from fanlab.comparing import ALONE, compare_pairs, compare_runs, refuse, refuse_other_scenarios, summed, with_baseline
from fanlab.errors import MeasurementError, ScenarioError
from fanlab.report import comparison
from fanlab.report.summary import make_summary
from fanlab.scenario.gates import evaluate, parse_gate
from support.accounts import make_account, make_manifest, make_scenario

GOLDEN = Path(__file__).parent.parent / "golden"
HOST = {"machine": "x86_64", "processor": "one", "cores": 2}


def made(scenario=None, **changes):
    """The baseline of the run made by hand; `changes` are of its fields."""
    account, manifest = make_account(), make_manifest(scenario, host=HOST, workers=1, fanlab_version="0.1.0")
    return replace(make_baseline(account, make_summary(account, manifest), manifest, "before"), **changes)


def peaceful(**counts):
    """The same without faults, and with other counts (`ledger__lost=1`)."""
    told = {name.replace("__", "."): count for name, count in counts.items()}
    return made(faulty=False, by_fault={}, counts={**made().counts, "loss.outside_faults": 0, **told})


def worse(a, b):
    return [found.what for found in count_findings(a, b) if found.verdict == "worse"]


def test_a_baseline_survives_its_file():
    kept = made()
    assert baseline_from_json(json.loads(json.dumps(kept.to_json()))) == kept
    assert kept.by_fault == {"crash node-2 @2s": FaultCount(90, 2, 50 * 50 + 40 * 40)}
    with pytest.raises(ValueError, match="of version 3"):
        baseline_from_json(kept.to_json() | {"baseline_version": 3})


def test_a_client_that_lost_a_single_message_to_a_fault_was_hit():
    account, manifest = make_account(), make_manifest()
    losses = account.losses[np.argsort(account.losses["client"], kind="stable")][:51]  # 50 of client 1, one of client 3
    account = replace(account, losses=losses)
    assert make_baseline(account, make_summary(make_account(), manifest), manifest).by_fault == {
        "crash node-2 @2s": FaultCount(51, 2, 50 * 50 + 1)
    }


def test_a_run_that_does_not_say_so_had_one_worker():
    account, manifest = make_account(), make_manifest()
    del manifest["workers"]
    assert make_baseline(account, make_summary(account, manifest), manifest).workers == 1


def test_digests_are_of_the_texts_themselves():
    digest = parts_of({"channels": ["größe"], "topology": {}})["channels"]
    assert digest == hashlib.sha256('["größe"]'.encode()).hexdigest()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"gates": ["lost == 0"], "question": "Another?", "expect": "x", "limits": {"cpu": 1}, "name": "other"}, []),
        ({"topology": {"nodes": {"kind": "ws-node", "count": 2, "env": {"A": "b"}}}}, []),
        ({"topology": {"nodes": {"count": 3}}}, ["another scenario: topology differ"]),
        ({"faults": []}, ["another scenario: faults differ"]),
        ({"seed": 6}, ["another load: seed differ"]),
        (
            {"publishers": [{"name": "ticker", "channel": "news", "rate": "90/s"}], "phases": {"measure": "5s"}},
            ["another load: phases, publishers differ"],
        ),
        ({"clients": [{"group": "readers", "count": 5, "channels": ["news"]}], "faults": []},
         ["another load: clients differ", "another scenario: faults differ"]),
    ],
)  # fmt: skip
def test_what_another_question_is(changes, why):
    parts = [parts_of(make_scenario(**each).model_dump(mode="json")) for each in ({}, changes)]
    assert other_parts(*parts) == why
    assert (identity(made()) == identity(made(make_scenario(**changes)))) is not bool(why)


def test_a_key_with_a_default_that_a_later_version_adds_makes_no_other_scenario():
    faults = [{"kind": "latency", "target": "all", "at": "1s", "latency": "5ms", "direction": "both"}]
    resolved = make_scenario(faults=faults, publishers=[{"name": "p", "channel": "news", "rate": "9/s"}])
    now = resolved.model_dump(mode="json")
    before = copy.deepcopy(now)
    for keys in (
        *(("readers",), ("evidence", "probes"), ("topology", "redis", "cpus"), ("topology", "nodes", 0, "journal")),
        *(("clients", 0, "reconnect", "jitter"), ("publishers", 0, "objects"), ("faults", 0, "jitter_ns")),
    ):
        part = before
        for key in keys[:-1]:
            part = part[key]
        del part[keys[-1]]
    assert other_parts(parts_of(before), parts_of(now)) == []
    for keys, value in (
        *((("readers",), [1]), (("topology", "redis", "cpus"), 1), (("clients", 0, "reconnect", "jitter"), 0.9)),
        *((("publishers", 0, "rate", "kind"), "poisson"), (("faults", 0, "kind"), "bandwidth")),
        *((("publishers", 0, "objects"), 3), (("added",), 1), (("topology", "nodes", 0, "added"), 1)),
    ):
        other = copy.deepcopy(now)
        part = other
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value
        assert len(other_parts(parts_of(other), parts_of(now))) == 1, keys


def test_a_baseline_of_the_past_is_still_compared():
    """Its file is what an earlier fanlab wrote; it is never written anew, unless VERSION is raised."""
    kept = baseline_from_json(json.loads((GOLDEN / "baseline.json").read_text(encoding="utf-8")))
    found = compare_runs(kept, made())
    assert found.worse == []
    lacking = replace(kept, counts={name: n for name, n in kept.counts.items() if name != "ledger.disagreed"})
    found = compare_runs(lacking, made())
    (odd,) = [one for one in found.counts if one.verdict == "inconclusive"]
    assert (odd.what, odd.a, odd.b, odd.gate) == ("ledger.disagreed", None, 0, "")
    assert any(note.startswith("ledger.disagreed: one of the two has no such count") for note in found.notes)
    assert with_baseline({"verdict": "pass", "reasons": [], "gates": []}, found)["verdict"] == "pass"
    assert compare_runs(made(), lacking).verdict == "inconclusive"


def test_other_scenarios_are_refused_before_they_run():
    one, other = (make_scenario(**each).model_dump(mode="json") for each in ({}, {"seed": 9}))
    refuse_other_scenarios(one, one, names=("a", "b"))
    with pytest.raises(ScenarioError, match="b: cannot be compared with a: another load: seed differ"):
        refuse_other_scenarios(one, other, names=("a", "b"))


def test_what_is_no_result_is_refused():
    assert unfit(made()) == ""
    for broken, said in ((made(partial=True), "all its phases"), (made(verdict="invalid"), "is invalid")):
        for pair in ((broken, made()), (made(), broken)):
            with pytest.raises(MeasurementError, match=said):
                refuse(*pair)
    with pytest.raises(ScenarioError, match="another backend: process and docker"):
        refuse(made(), made(backend="docker"))
    assert other_means(made(), made()) == []


def test_latency_needs_the_same_machine_counts_do_not():
    assert apart(made(), made()) == []
    assert apart(made(), made(host={**HOST, "cores": 8, "processor": "two"}, workers=2)) == [
        "another processor: one and two",
        "another number of cores: 2 and 8",
        "another number of load workers: 1 and 2",
    ]
    found = compare_runs(made(), made(host={**HOST, "cores": 8}))
    assert found.counts
    assert "another number of cores: 2 and 8" in found.notes


def test_the_same_run_is_no_worse_but_for_its_latency_nobody_knows():
    found = compare_runs(made(), made())
    assert (found.worse, found.verdict, found.notes) == ([], "inconclusive", [ALONE])


@pytest.mark.parametrize(
    "count",
    ["loss.outside_faults", "loss.unexplained", "ledger.duplicated", "ledger.reordered", "ledger.unexpected",
     "ledger.disagreed", "ledger.corrupted", "ledger.indeterminate", "publishers.unsent", "publishers.failed",
     "publishers.timed_out", "clients.never_returned"],
)  # fmt: skip
def test_a_single_one_more_is_worse(count):
    more = {count.replace(".", "__"): 1}
    assert worse(peaceful(), peaceful(**more)) == [count]
    assert worse(peaceful(**more), peaceful()) == []
    faulty = made(counts={**made().counts, count: 1})
    assert worse(made(counts={**made().counts, count: 0}), faulty) == [count], "with faults, too, where there was none"


@pytest.mark.parametrize("count", ["publishers.planned", "clients.count", "ledger.published", "ledger.owed"])
def test_what_follows_from_the_seed_must_be_equal(count):
    for by in (-1, 1):
        assert worse(peaceful(), peaceful(**{count.replace(".", "__"): peaceful().counts[count] + by})) == [count]


def test_what_is_owed_with_faults_or_late_clients_is_not_compared():
    other = {**made().counts, "ledger.owed": 1, "ledger.published": 1}
    assert worse(made(), made(counts=other)) == []
    assert worse(made(faulty=False, late=True), made(faulty=False, late=True, counts=other)) == []


@pytest.mark.parametrize(
    ("lost", "verdict"), [(90, "same"), (80, "better"), (100, "no worse"), (118, "no worse"), (119, "worse")]
)
def test_what_a_fault_costs_varies(lost, verdict):
    b = made(by_fault={"crash node-2 @2s": FaultCount(lost, 2, lost * lost // 2)})
    (found,) = [one for one in count_findings(made(), b) if one.what == "lost to crash node-2 @2s"]
    assert found.verdict == verdict
    assert "is usual" in found.basis
    gate = parse_gate(found.gate)
    assert evaluate(gate, {"loss": {"by_fault": [{"fault": "crash node-2 @2s", "measured": lost}]}}).ok is (
        verdict != "worse"
    )


def hit(*lost):
    """What a fault took of each client that it hit."""
    return FaultCount(sum(lost), len(lost), sum(one * one for one in lost))


@pytest.mark.parametrize(
    ("a", "b", "most"),
    [
        (hit(10, 30), hit(20, 20), 40 + 54),  # 2.58 · √(2 · 200) + 2 = 53.6
        (hit(20, 20), hit(10, 30), 40 + 54),
        (hit(10, 30), hit(10, 30), 40 + 75),  # 2.58 · √800 + 2 = 74.97
        (hit(1000, 1000), hit(1000, 1000), 2000 + 400),  # what all share: a fifth
        (hit(40), hit(10, 20, 30), 40 + 48),  # one client has no spread; 2.58 · √300 + 3 = 47.7
        (hit(40), hit(60), 40 + 8),
        (hit(), hit(5), 1),
    ],
)
def test_how_much_more_a_fault_may_take(a, b, most):
    runs = [made(by_fault={"crash": one, "other": hit(1)}) for one in (a, b)]
    (found,) = [one for one in count_findings(*runs) if one.what == "lost to crash"]
    assert found.gate == f'lost(fault="crash") <= {most}'
    assert found.verdict == (
        "same" if a.lost == b.lost else "worse" if b.lost > most else "better" if b.lost < a.lost else "no worse"
    )


def test_a_fault_that_did_not_happen_says_nothing_and_others_are_judged():
    a = made(by_fault={"gone": hit(5), "crash": hit(3, 4)})
    found = [one for one in count_findings(a, made(by_fault={"crash": hit(3, 4)})) if "lost to" in one.what]
    assert [(one.what, one.b, one.verdict) for one in found] == [
        ("lost to gone", None, "inconclusive"),
        ("lost to crash", 7, "same"),
    ]
    assert found[0].basis == "it did not happen"


def test_copies_that_a_fault_makes_vary_where_there_were_some():
    def copies(number):
        return made(counts={**made().counts, "ledger.duplicated": number})

    assert worse(copies(10), copies(20)) == []
    assert worse(copies(10), copies(21)) == ["ledger.duplicated"]
    assert worse(copies(100), copies(150)) == []
    assert worse(copies(100), copies(151)) == ["ledger.duplicated"]
    (found,) = [one for one in count_findings(copies(100), copies(100)) if one.what == "ledger.duplicated"]
    assert found.basis == "varies with the faults: up to 150 is usual (half as many more, or three roots)"
    unsent = [made(counts={**made().counts, "publishers.unsent": number}) for number in (10, 11)]
    assert worse(*unsent) == ["publishers.unsent"], "no fault does that"


CACHED = [
    f"cache.{term}" for term in ("missed", "wrong_for_good", "reads_failed", "stale_reads_lost", "stale_reads_withheld")
]


def uncached():
    counts = {name: count for name, count in peaceful().counts.items() if not name.startswith("cache.")}
    return replace(peaceful(), counts=counts)


def cached(faulty=False, **counts):
    told = {f"cache.{name}": count for name, count in counts.items()}
    none = dict.fromkeys((*CACHED, "cache.stale_reads"), 0)
    return replace(peaceful(), faulty=faulty, counts={**peaceful().counts, **none, **told})


def test_a_baseline_has_the_counts_of_caches():
    account, manifest = make_account(), make_manifest()
    summary = make_summary(account, manifest)
    kept = {name: count for name, count in make_baseline(account, summary, manifest).counts.items() if "cache" in name}
    assert kept == {name: summary["cache"][name.removeprefix("cache.")] for name in (*CACHED, "cache.stale_reads")}
    assert kept["cache.missed"] == 3
    bare = make_account(caches=None)
    assert "cache.missed" not in make_baseline(bare, make_summary(bare, manifest), manifest).counts


@pytest.mark.parametrize("name", CACHED)
def test_a_cache_that_got_worse_is_found(name):
    term = name.removeprefix("cache.")
    assert worse(cached(), cached(**{term: 1})) == [name]
    assert worse(cached(faulty=True, **{term: 10}), cached(faulty=True, **{term: 20})) == []
    assert worse(cached(faulty=True, **{term: 10}), cached(faulty=True, **{term: 21})) == [name]


def test_stale_reads_vary_by_chance():
    assert worse(cached(), cached(stale_reads=5)) == []
    assert worse(cached(), cached(stale_reads=6)) == ["cache.stale_reads"]
    assert worse(cached(stale_reads=1000), cached(stale_reads=1500)) == []
    assert worse(cached(stale_reads=1000), cached(stale_reads=1501)) == ["cache.stale_reads"]
    assert worse(cached(stale_reads=10), cached(stale_reads=25)) == []  # 3 · √22 = 14.07
    assert worse(cached(stale_reads=10), cached(stale_reads=26)) == ["cache.stale_reads"]
    (found,) = [one for one in count_findings(cached(), cached()) if one.what == "cache.stale_reads"]
    assert found.basis == ("some reads come too early: up to 5 is usual (half as many more, or three standard errors)")
    same = [one.verdict for one in count_findings(cached(stale_reads=4), cached(stale_reads=4))]
    assert set(same) == {"same"}


def test_a_cache_that_only_one_has_leaves_it_open():
    for pair in ((uncached(), cached()), (cached(), uncached())):
        odd = [one.what for one in count_findings(*pair) if one.verdict == "inconclusive"]
        assert sorted(odd) == sorted((*CACHED, "cache.stale_reads"))
    assert not [one for one in count_findings(uncached(), uncached()) if "cache" in one.what]


def test_gates_follow_from_a_baseline():
    account, manifest = make_account(), make_manifest()
    summary = dict(make_summary(account, manifest))
    before = made(counts={**made().counts, "loss.outside_faults": 0})
    after = replace(before, counts={**before.counts, "loss.outside_faults": 1})
    held = with_baseline(summary, compare_runs(before, before))
    assert (held["verdict"], held["reasons"]) == (summary["verdict"], summary["reasons"])
    assert {gate["ok"] for gate in held["gates"]} == {True}
    failed = with_baseline(summary, compare_runs(before, after))
    assert failed["verdict"] == "fail"
    assert failed["reasons"] == [
        "worse than the baseline before: loss.outside_faults is 1, and was 0: may not happen more often"
    ]
    assert [gate["expr"] for gate in failed["gates"] if not gate["ok"]] == ["loss.outside_faults <= 0"]
    for gate in failed["gates"]:
        parse_gate(gate["expr"])
    invalid = with_baseline(summary | {"verdict": "invalid"}, compare_runs(before, after))
    assert invalid["verdict"] == "invalid"


def slower(factor):
    latency = {key: value and value * factor for key, value in made().latency_ms.items()}
    return made(latency_ms={**latency, "n": 3910})


def test_pairs_are_judged_by_all_their_counts_and_their_latencies():
    found = compare_pairs([(slower(1), slower(1))] * 6, {"p50": 0.05, "p99": 0.05}, seed=1, names=("a", "b"))
    assert (found.verdict, found.worse, found.notes) == ("no worse", [], [])
    found = compare_pairs([(slower(1), slower(1.2))] * 6, {"p50": 0.05}, seed=1, names=("a", "b"))
    assert found.verdict == "worse"
    assert found.worse[0].startswith("latency p50 is 1.20 times what it was")
    assert "how noisy p99 are here is not known" in found.notes[0]
    lossy = replace(slower(1), counts={**made().counts, "loss.outside_faults": 1})
    pairs = [(slower(1), slower(1))] * 11 + [(slower(1), lossy)]
    found = compare_pairs(pairs, {"p50": 0.05, "p99": 0.05}, seed=1, names=("a", "b"))
    assert (found.verdict, len(found.worse)) == ("worse", 1)
    assert found.to_json()["verdict"] == "worse"


def test_a_figure_that_some_runs_lack_is_not_judged_and_leaves_the_verdict_open():
    slow = made(latency_ms={**made().latency_ms, "p99": 4 * made().latency_ms["p99"]})
    short = made(latency_ms={**made().latency_ms, "p99": None})
    found = compare_pairs([(made(), slow)] * 11 + [(made(), short)], {}, seed=1, names=("a", "b"))
    assert [(one.figure, one.verdict) for one in found.latency] == [("p50", "no worse")]
    assert "latency p99 has no value in some of the runs" in found.notes
    assert found.verdict == "inconclusive"
    assert compare_pairs([(made(), made())] * 12, {}, seed=1, names=("a", "b")).verdict == "no worse"


def test_runs_are_added_up():
    both = summed([made(), made()])
    assert both.counts["ledger.lost"] == 180
    assert both.by_fault["crash node-2 @2s"] == FaultCount(180, 4, 2 * (50 * 50 + 40 * 40))


def test_tables_hold_every_finding_that_says_something():
    found = compare_pairs([(slower(1), slower(1.2))] * 6, {"p50": 0.05}, seed=1, names=("a", "b"))
    assert [row[0].text for row in comparison.latency(found.latency).rows] == ["worse", "worse"]
    shown = comparison.counts(found.counts)
    assert all(len(row) == len(shown.columns) for row in shown.rows)
    assert "publishers.planned" in [row[1].text for row in shown.rows]
    few = compare_pairs([(slower(1), slower(1.2))] * 2, {}, seed=1, names=("a", "b"))
    assert comparison.latency(few.latency).rows[0][3].text == "–"
    listed = comparison.baselines([made(backend="simulate")])
    told = dict(zip((name for name, _ in listed.columns), (cell.text for cell in listed.rows[0]), strict=True))
    assert (told["Name"], told["Backend"]) == ("before", "simulate")
