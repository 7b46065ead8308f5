"""report.html as a document: what it says, in which order, and what it can never be made to do."""

import re
from html.parser import HTMLParser

import pytest

from fanlab.report import html
from fanlab.report.charts import draw_all
from support.hostile import NAMES, hostile_report
from support.sample_report import (
    empty_series,
    quiet_series,
    sample_manifest,
    sample_report,
    sample_series,
    sample_summary,
)

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Document(HTMLParser):
    """Tags, attributes, ids, visible text, and whether every tag is closed by its own."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.ids, self.words, self.open, self.strays = [], [], [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for key, value in attrs if key == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.strays.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).replace("\N{NO-BREAK SPACE}", " ").split())


@pytest.fixture(scope="module")
def charts(tmp_path_factory):
    return draw_all(sample_series(), {}, tmp_path_factory.mktemp("charts"))


@pytest.fixture(scope="module")
def page(charts):
    summary, manifest, series = sample_report()
    return html.render(summary, manifest, series, charts)


def test_the_document_is_well_formed_and_its_ids_are_its_own(page):
    document = Document(page)
    assert document.open == []
    assert document.strays == []
    assert len(document.ids) == len(set(document.ids))
    targets = {value[1:] for key, value in document.attributes if key == "href" and value.startswith("#")}
    assert targets <= set(document.ids)
    assert document.tags.count("h1") == 1


def test_verdict_and_gates_come_first_then_the_answer_then_the_heatmap(page):
    text = Document(page).text
    order = ["Every gate holds", "latency.p99 < 50ms", "1,069 of 28,800 deliveries owed were lost (3.71 %)",
             "All back after", "Where messages were lost, and why",
             "Who lost what, when", "By hop and cause", "By node", "Predicted", "Rate offered", "Losses over time",
             "Latency over time", "Percentile spectrum", "Latency by node", "Latency by hop", "Recovery by fault",
             "CPU, memory, buffers", "busiest process",
             "bias of the latency, p50", "Clocks: one clock: offset 0 ± 0 ms",
             "witness: what Redis sent", "fanlab run scenarios/quickstart.yaml --seed 7",
             "The scenario as it was run"]  # fmt: skip
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_the_figures_are_those_of_the_summary(page):
    summary, manifest, _ = sample_report()
    text = Document(page).text
    for words in (
        "28,800",
        "27,731",
        "resubscribe gap 280",
        "5.02 ms",
        "+31.5 %",
        "1.62 s",
        "n = 27,731",
        "n = 60 clients",
    ):
        assert words in text, words
    assert manifest["scenario_sha256"] in text
    assert manifest["redis"]["version"] in text
    assert manifest["clock"]["boot_id"] in text
    assert all(gate["expr"] in text for gate in summary["gates"])


def test_a_percentile_without_enough_samples_is_a_dash_with_its_reason(page):
    text = Document(page).text
    assert "900 0.35 ms 0.6 ms 0.8 ms 1.4 ms – 6.3 ms" in text
    assert "n is too small" in text


def test_it_fetches_nothing_and_runs_nothing(page):
    document = Document(page)
    assert "http:" not in page
    assert "https:" not in page
    assert "script" not in document.tags
    assert "//" not in re.sub(r'data:image/png;base64,[^"]+', "", page)
    assert not [key for key, _ in document.attributes if key.startswith("on")]
    links = [value for key, value in document.attributes if key in ("href", "src", "xlink:href")]
    assert all(value.startswith(("#", "data:")) for value in links)
    (policy,) = [value for key, value in document.attributes if key == "content" and "default-src" in value]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_it_is_small_and_always_the_same(page, charts):
    summary, manifest, series = sample_report()
    assert len(page.encode()) < 1_500_000
    assert html.render(summary, manifest, series, charts) == page


def test_charts_are_described_for_who_cannot_see_them(page):
    document = Document(page)
    described = [value for key, value in document.attributes if key == "aria-label" and "Heatmap of losses" in value]
    assert len(described) == 1
    assert document.tags.count("th") == sum(key == "scope" for key, _ in document.attributes)


def test_hostile_text_stays_text(charts):
    summary, manifest = hostile_report()
    page = html.render(summary, manifest, sample_series(), charts)
    document = Document(page)
    assert document.open == []
    assert document.strays == []
    assert "script" not in document.tags
    assert document.tags.count("title") == 1
    assert document.tags.count("style") == 1
    assert "b" not in document.tags
    assert not [key for key, _ in document.attributes if key.startswith("on")]
    assert not set(page) & set("\x00\x1b\x07\u202e")
    assert "<script>alert(1)</script>" in document.text
    assert "{{ 7*7 }}" in document.text
    assert len(page.encode()) < 1_500_000


def test_a_result_of_a_thousand_nodes_stays_small(charts):
    summary, manifest, series = sample_report()
    summary["loss"] = summary["loss"] | {"by_node": {f"node-{i}": i for i in range(1000)}}
    summary["loss"]["by_fault"] = summary["loss"]["by_fault"] * 1000
    manifest["scenario"] = manifest["scenario"] | {"channels": ["c" * 60] * 100_000}
    page = html.render(summary, manifest, series, charts)
    assert len(page.encode()) < 1_500_000
    assert "and 800 more rows" in page
    assert "the whole of it is in manifest.json" in page


def test_a_partial_run_says_so_first(tmp_path):
    series = empty_series()
    summary = sample_summary(quiet_series()) | {"partial": True, "verdict": "invalid", "reasons": ["it was cut short"]}
    for block in ("ledger", "latency_ms"):
        summary[block] = {key: 0 if key != "p50" else None for key in summary[block]}
    summary["latency_ms"] |= dict.fromkeys(("p50", "p90", "p95", "p99", "p999", "max"))
    page = html.render(summary, sample_manifest("aborted"), series, draw_all(series, summary, tmp_path))
    text = Document(page).text.split("fanlab report", 1)[1]
    assert text.index("Partial") < text.index("Invalid") < text.index("it was cut short")
    assert "status: aborted" in text
    assert "complete up to 8.600 s" in text
    assert "no deliveries, n = 0" in text


def test_a_failed_gate_is_named_with_its_margin(charts):
    summary, manifest, series = sample_report()
    summary |= {"verdict": "fail", "reasons": ["gate failed: latency.p99 < 5ms"]}
    summary["gates"] = [{"expr": "latency.p99 < 5ms", "actual": 5.02, "ok": False},
                        {"expr": "loss.ratio <= 1%", "actual": None, "ok": False}]  # fmt: skip
    text = Document(html.render(summary, manifest, series, charts)).text
    assert "2 of 2 gates failed" in text
    assert "FAIL latency.p99 < 5ms 5.02 ms −0.02 ms" in text
    assert "FAIL loss.ratio <= 1% – –" in text


def test_no_hostile_name_is_forgotten_in_these_tests():
    assert len(NAMES) == len(set(NAMES)) >= 12
