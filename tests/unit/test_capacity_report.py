"""The report of a capacity search, from documents made by hand."""

import json
import re
from pathlib import Path

import pytest

from fanlab.capacity.search import End
from fanlab.report.capacity.model import Section
from fanlab.report.capacity.write import write_capacity
from fanlab.report.figures.style import Drawing
from fanlab.report.tables import Cell, Table
from support.capacity_documents import ANSWER, LOADS, a_document

ENDS = {
    "answer": ANSWER,
    "bound": End("bound", "the load generator is saturated", low=100, carried=100),
    "none": End("none", "no valid run"),
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("probes", [0, 1, len(LOADS)])
def test_every_end_can_be_shown(name: str, probes: int, tmp_path: Path) -> None:
    document = a_document(ENDS[name], probes=probes)
    assert write_capacity(tmp_path, document) == document
    assert json.loads((tmp_path / "capacity.json").read_text(encoding="utf-8")) == document
    page = (tmp_path / "capacity.html").read_text(encoding="utf-8")
    said = (tmp_path / "capacity.md").read_text(encoding="utf-8")
    for text in (page, said):
        assert document["headline"].split(" (", maxsplit=1)[0].split("; ", maxsplit=1)[0] in text
        assert "Assumptions" in text
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", page), "it fetches nothing"
    assert (tmp_path / "charts" / "p99.png").exists() == (probes > 0)


def test_it_names_what_saturates_and_prices_and_sizes(tmp_path: Path) -> None:
    write_capacity(tmp_path, a_document(ANSWER))
    page = (tmp_path / "capacity.html").read_text(encoding="utf-8")
    said = (tmp_path / "capacity.md").read_text(encoding="utf-8")
    assert "Node-1&#39;s core: 97%." in page
    assert "| interval, lower end | 110 | 4 | 2 | 440 | 2 | 220 |" in said
    assert "Cost of a million deliveries, EUR" in page
    assert "because of &lt;b&gt;1&lt;/b&gt;" in page
    assert "<b>" not in page + said


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>$$ | `x`"
    write_capacity(tmp_path, a_document(ANSWER, scenario=evil, question=evil, slo=evil, headline=evil))
    page = (tmp_path / "capacity.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "<script" not in page
    assert not re.search(r"(?<!\\)<", (tmp_path / "capacity.md").read_text(encoding="utf-8"))


def test_models_have_a_place_of_their_own(tmp_path: Path) -> None:
    fit = Section(
        key="model",
        title="Scaling over nodes",
        lead="Eight nodes carry 5.1 times as much as one.",
        data={"kappa": 0.01},
        tables=[Table("The fit", (("Term", False), ("Value", True)), ((Cell("kappa"), Cell("0.01")),))],
        drawings=[Drawing("scaling", "Scaling", "", "", None, missing="too few nodes")],
        assumptions=["The law holds."],
    )
    found = write_capacity(tmp_path, a_document(ANSWER), [fit])
    assert (found["model"], found["forecast"]) == ({"kappa": 0.01}, None)
    for name in ("capacity.html", "capacity.md"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        for words in (fit.title, fit.lead, "The fit", "The law holds."):
            assert words in text
    assert 'href="#model"' in (tmp_path / "capacity.html").read_text(encoding="utf-8")


def test_the_charts_hold_the_probes(tmp_path: Path) -> None:
    write_capacity(tmp_path, a_document(ANSWER))
    rows = (tmp_path / "charts" / "p99.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "load,outcome,published_per_s,owed_per_s,delivered_per_s,p50_ms,p99_ms,lost"
    assert len(rows) == 1 + sum(p99 is not None for _, _, p99 in LOADS)
    assert len((tmp_path / "charts" / "throughput.csv").read_text(encoding="utf-8").splitlines()) == 1 + len(LOADS)


def test_nodes_and_one_node(tmp_path: Path) -> None:
    alone = End("answer", "a single node is enough", 1, 1, 1, None, carried=1)
    document = a_document(alone, axis="nodes", probes=0)
    write_capacity(tmp_path, document)
    assert "1 node carries the load" in (tmp_path / "capacity.md").read_text(encoding="utf-8")
