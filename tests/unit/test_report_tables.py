"""The tables of the report: what they say of losses, of evidence, of the generator and of caches."""

import pytest

from fanlab.report import cachetables, facts, losstables, tables, trusttables, words
from support.sample_report import quiet_series, sample_cache, sample_manifest, sample_summary


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def row(table, label):
    (found,) = [[cell.text for cell in row] for row in table.rows if row[0].text.startswith(label)]
    return found


def test_each_hop_and_cause_has_its_meaning_its_share_and_a_loss_to_look_at():
    assert texts(losstables.kinds(sample_summary()))[1] == [
        "node → socket",
        "node crash in flight",
        "the node died with it on the way",
        "20",
        "1.87 %",
        "--client 21 --seq 101 --publisher ticker",
    ]


def test_hops_stand_along_the_way_and_the_unknown_one_last_and_only_if_it_took_any():
    summary = sample_summary()
    _, by_hop, *_ = losstables.losses(summary)
    assert [cells[0] for cells in texts(by_hop)] == [words.hop(hop) for hop in words.HOPS]
    summary["loss"]["by_hop"]["unknown"] = 3
    _, by_hop, *_ = losstables.losses(summary)
    assert texts(by_hop)[-1][:2] == ["hop unknown", "3"]


def test_without_a_loss_it_is_said():
    kinds, *_ = losstables.losses(sample_summary(quiet_series()))
    assert kinds.note == "Nothing was lost on any hop."
    assert kinds.rows == ()


def test_what_the_attribution_lacks_stands_beside_it():
    summary = sample_summary()
    summary["evidence"]["coarse"] = [f"node-{n} keeps no journal" for n in range(8)]
    note = losstables.kinds(summary).note
    assert "node-5 keeps no journal" in note
    assert "And 2 more reservations" in note
    assert "node-0 keeps no journal" in trusttables.evidence(summary).note


def test_duplicates_by_cause_the_most_first():
    summary = sample_summary()
    assert losstables.duplicates(summary).rows == ()
    summary["ledger"]["duplicated"] = 4
    summary["duplicates"]["by_cause"] = {"unexplained": 0, "replay": 1, "publish_retried": 3}
    assert texts(losstables.duplicates(summary)) == [["publish retried", "3", "75.0 %"], ["replay", "1", "25.0 %"]]
    assert "4 duplicated" in facts.answer(summary)


def test_the_generator_s_bias_is_shown_against_what_it_biases():
    health = trusttables.health(sample_summary(), sample_manifest())
    assert row(health, "bias of the latency, p99")[1:] == ["0.33 ms, 6.57 % of p99", "50.0 ms", "within"]
    assert row(health, "CPU stolen") == ["CPU stolen by other machines", "–", "10.0 %", "not measured"]
    assert "n = 1,840" in health.note


def test_past_its_limit_a_figure_is_over_and_one_that_is_needed_may_not_lack():
    summary = sample_summary()
    summary["generator"] |= {"bias_p99_ms": 51.0, "steal": 0.2, "cpu": None, "bias_n": 0, "bias_ms": None}
    health = trusttables.health(summary, sample_manifest())
    assert row(health, "bias of the latency, p99")[3] == "OVER"
    assert row(health, "CPU stolen")[3] == "OVER"
    (cpu,) = [cells for cells in health.rows if cells[0].text == "busiest process, CPU"]
    assert (cpu[3].text, cpu[3].tone) == ("not measured", "bad")
    (bias,) = [cells for cells in health.rows if cells[0].text == "bias of the latency, p50"]
    assert (bias[3].text, bias[3].tone) == ("not measured", "muted")
    assert "No probes" in health.note


@pytest.mark.parametrize(
    ("clock", "line", "bound"),
    [
        ({"basis": "one-boot", "offset_ms": 0.0, "bound_ms": 0.0}, "one clock: offset 0 ± 0 ms", "± 0 ms"),
        (
            {"basis": "exchange", "offset_ms": -12.5, "bound_ms": 0.21},
            "several clocks: offset -12.5 ms put right, ± 0.21 ms",
            "± 0.21 ms",
        ),
        ({"basis": "unknown", "offset_ms": None, "bound_ms": None}, "clocks not compared: ± unknown", "± unknown"),
    ],
)
def test_the_clocks_bound_stands_with_every_one_way_figure(clock, line, bound):
    summary = sample_summary() | {"clock": clock}
    assert line in tables.latency(summary).note
    assert line in trusttables.health(summary, sample_manifest()).note
    notes = [figure.note for figure in facts.key_figures(summary) if figure.label in ("Latency p50", "Slowest")]
    assert all(note.endswith(f"clock {bound}") for note in notes)


ONE_BOOT = {"basis": "one-boot", "offset_ms": 0.0, "bound_ms": 0.0}
EXCHANGED = {"basis": "exchange", "offset_ms": -12.5, "bound_ms": 0.21}
UNKNOWN = {"basis": "unknown", "offset_ms": None, "bound_ms": None}


def test_where_clocks_are_not_one_each_hop_says_how_exact_it_is():
    def bounds(clock):
        table = tables.latency(sample_summary() | {"clock": clock})
        assert all(len(cells) == len(table.columns) for cells in table.rows)
        return [cells[-1] for cells in texts(table)] if table.columns[-1][0] == "Clock" else None

    assert bounds(ONE_BOOT) is None
    assert bounds(EXCHANGED) == ["± 0.21 ms", "± 0 ms", "± 0.21 ms", "± 0 ms", "± 0.21 ms"]
    assert bounds(UNKNOWN) == ["± unknown", "± 0 ms", "± unknown", "± 0 ms", "± unknown"]


@pytest.mark.parametrize(
    ("clock", "told"), [(ONE_BOOT, ""), (EXCHANGED, " (clock ± 0.21 ms)"), (UNKNOWN, " (clock ± unknown)")]
)
def test_the_answer_says_how_exact_its_latencies_are(clock, told):
    summary = sample_summary()
    plain = facts.answer(summary | {"clock": ONE_BOOT})
    latencies = plain[plain.index(", half within") :].partition(". ")[0].rstrip(".")
    assert facts.answer(summary | {"clock": clock}) == plain.replace(latencies, latencies + told)


def test_the_caches_times_are_of_clocks_that_nobody_compares():
    summary = sample_summary() | {"cache": sample_cache()}
    assert "±" not in cachetables.cache_nodes(summary | {"clock": ONE_BOOT}).note
    for clock in (EXCHANGED, UNKNOWN):
        assert cachetables.cache_nodes(summary | {"clock": clock}).note.endswith("all these times are ± unknown.")


@pytest.mark.parametrize(
    ("raw_ms", "clock", "told"),
    [
        (3, ONE_BOOT, "3 ms"),
        (3, UNKNOWN, "3 ms ± unknown"),
        (3, EXCHANGED, "15.5 ms ± 0.21 ms"),
        (-12.25, EXCHANGED | {"bound_ms": 0.25}, "at most 0.5 ms"),
        (-12.24, EXCHANGED | {"bound_ms": 0.25}, "0.26 ms ± 0.25 ms"),
        (-13, EXCHANGED, "at most 0 ms"),
        (3, {"basis": "exchange", "offset_ms": None, "bound_ms": None}, "3 ms ± unknown"),
    ],
)
def test_how_late_something_was_between_two_clocks(raw_ms, clock, told):
    assert words.after(raw_ms, clock) == told


def test_who_testifies():
    summary = sample_summary()
    kept = dict(texts(trusttables.evidence(summary)))
    assert kept["witness: what Redis sent, and in which order"] == "kept"
    assert kept["nodes' journals: had it, handed it out, dropped it"] == "node-1, node-2 and node-3"
    summary["evidence"] |= {
        "witness": False,
        "redis_watch": False,
        "redis_log": False,
        "node_journals": [],
        "foreign": 2,
    }
    summary["evidence"]["crosscheck"] = "differs"
    kept = dict(texts(trusttables.evidence(summary)))
    assert kept["witness: what Redis sent, and in which order"] == "none"
    assert kept["Redis' own list of subscribers"] == "not watched"
    assert kept["Redis' log: whom it cut off"] == "not watched"
    assert kept["nodes' journals: had it, handed it out, dropped it"] == "none"
    assert kept["messages of another run: somebody else publishes here"] == "2"
    assert kept["second checker, in SQL"] == "DIFFERS"


def test_caches_are_shown_where_there_are_any():
    summary = sample_summary()
    assert cachetables.caches(summary) == []
    assert cachetables.cache_nodes(summary) is None
    summary["cache"] = sample_cache()
    totals, by_hop, by_cause = cachetables.caches(summary)
    assert row(totals, "entries wrong for good")[1] == "2"
    assert texts(by_hop) == [["Redis → node", "4"], ["node → cache", "1"]]
    assert texts(by_cause) == [["resubscribe gap", "4"], ["not taken", "1"]]
    nodes = cachetables.cache_nodes(summary)
    assert row(nodes, "node-3")[:6] == ["node-3", "30", "5", "2", "400", "61"]
    assert "812 ms in the middle, 1.73 s at most, n = 61" in nodes.note
    assert [figure.value for figure in facts.key_figures(summary) if figure.label == "Wrong for good"] == ["2"]


def test_no_cause_of_the_ledger_lacks_its_words():
    from fanlab.ledger.causes import Cause, Hop

    assert set(words.CAUSES) == {cause.label for cause in Cause}
    assert {*words.HOPS, words.UNKNOWN_HOP} == {hop.label for hop in Hop}


def test_a_figure_below_the_bound_says_why_it_is_missing():
    clock = {"basis": "exchange", "offset_ms": 0.0, "bound_ms": 9.0}
    latency = sample_summary()["latency_ms"] | {"n": 5000, "p50": None}
    summary = sample_summary() | {"clock": clock, "latency_ms": latency}
    [p50] = [figure.note for figure in facts.key_figures(summary) if figure.label == "Latency p50"]
    assert p50 == "not above what clocks differ by, n = 5,000, clock ± 9 ms"
    assert "not above what the clocks differ by" in tables.latency(summary).note
    assert "not above" not in tables.latency(sample_summary()).note


def test_workers_on_other_hosts_are_named():
    manifest = sample_manifest() | {"remote_workers": [{"unit": "load-2", "host": "b", "address": "10.0.0.2"}]}
    run, *_ = tables.reproduction(sample_summary(), manifest)
    assert ["load-2 on", "b, 10.0.0.2"] in [[cell.text for cell in row] for row in run.rows]
