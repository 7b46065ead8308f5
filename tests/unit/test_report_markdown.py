"""report.md: a golden file, and names that stay names on a forge."""

import os
import re
from pathlib import Path

import pytest

from fanlab.report import markdown
from support.hostile import hostile_report
from support.sample_report import sample_manifest, sample_report, sample_summary

GOLDEN = Path(__file__).parents[1] / "golden" / "report.md"


def test_the_report_of_a_known_run_is_the_golden_one():
    summary, manifest, _ = sample_report()
    text = markdown.render(summary, manifest)
    if os.environ.get("FANLAB_RENEW_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8"), "as meant? FANLAB_RENEW_GOLDEN=1 writes it anew"


def test_every_row_has_as_many_cells_as_its_table():
    lines = markdown.render(*hostile_report()).splitlines()
    tables = [block.splitlines() for block in re.findall(r"(?m)(?:^\|.*\n)+", "\n".join(lines) + "\n")]
    assert len(tables) > 10
    for table in tables:
        assert re.fullmatch(r"(\| -+:? )+\|", table[1]), table[1]
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in table} == {table[1].count("|")}, table


def test_hostile_names_become_no_markup():
    text = markdown.render(*hostile_report())
    outside_code = re.sub(r"(?ms)^(`{3,})sh\n.*?\n\1$", "", text)
    folds = re.sub(r"(?m)^(</?details>|<summary>[A-Z][A-Za-z ?]+</summary>)$", "", outside_code)
    assert not re.search(r"(?<!\\)<", folds), "no HTML but the folds"
    assert outside_code.count("<details>") == outside_code.count("</details>") > 2
    assert not re.search(r"(?<!\\)`", outside_code), "no code span"
    assert "https:" not in outside_code
    assert "www." not in outside_code
    assert "@someone" not in outside_code
    assert "#12" not in outside_code
    assert not set(text) & set("\x00\x1b\x07\u202e")
    assert "\n# heading" not in text
    assert outside_code.count("\n# ") == 0, "the title is the first line and the only one of its rank"


def test_the_command_cannot_close_its_own_fence():
    summary, manifest, _ = sample_report()
    manifest["command"] = ["fanlab", "run", "````"]
    assert "`````sh\nfanlab run '````'\n`````" in markdown.render(summary, manifest)


@pytest.mark.parametrize(
    ("raw", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("<b>", r"\<b\>"),
        ("1. first", r"1\. first"),
        ("- item", r"\- item"),
        ("1.5 s", "1.5 s"),
        ("crash node-2 @2s", "crash node-2 @\N{WORD JOINER}2s"),
    ],
)
def test_escaping(raw, escaped):
    assert markdown.escape(raw) == escaped


def test_a_partial_run_says_so():
    text = markdown.render(sample_summary() | {"partial": True}, sample_manifest("aborted"))
    assert text.splitlines()[2].startswith("> ⚠️ **Partial.**")


def test_the_gates_come_first_and_the_failed_ones_before_the_others():
    summary = sample_summary()
    summary["gates"][-1] |= {"ok": False, "actual": 61.0}
    lines = markdown.render(summary, sample_manifest()).splitlines()
    assert lines[2] == "## Gates"
    assert lines[6].startswith("| **FAIL** | latency.p99")
    assert lines[6].endswith("| 61.0 ms | **−11.0 ms (−22.0 %)** |")


def test_reasons_without_end_have_an_end():
    summary = sample_summary() | {"verdict": "fail", "reasons": [f"reason {number}" for number in range(5000)]}
    text = markdown.render(summary, sample_manifest())
    assert "- … and 4980 more: all are in summary.json" in text
    assert len(text.encode()) < 60_000, "a comment on a pull request takes 65,536 characters"


@pytest.mark.parametrize("most_bytes", [300, 1000, 3000, 5000])
def test_as_much_as_there_is_room_for(most_bytes):
    summary, manifest, _ = sample_report()
    whole, cut = markdown.render(summary, manifest), markdown.render_within(summary, manifest, most_bytes)
    assert len(cut.encode()) <= most_bytes
    assert cut.count("<details>") == cut.count("</details>")
    assert whole.startswith(cut.split("\n</details>\n\n…")[0].split("\n… and more")[0].rstrip("\n"))
    assert cut.endswith("… and more: all of it is in report.md and summary.json.\n")
    assert markdown.render_within(summary, manifest, 10**6) == whole
