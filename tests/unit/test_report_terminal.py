"""The table at the end of a run: complete at 80 columns, the same words with and without colour."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from fanlab.report.terminal import table
from support.hostile import hostile_report
from support.sample_report import quiet_series, sample_manifest, sample_report, sample_summary

PATH = Path("reports/runs/quickstart/20251122T194703Z/report.html")


def shown(summary, manifest, *, width=80, path=PATH, **kwargs):
    out = io.StringIO()
    Console(file=out, width=width, **kwargs).print(table(summary, manifest, path))
    return out.getvalue()


def test_it_says_what_matters_within_80_columns():
    summary, manifest, _ = sample_report()
    text = shown(summary, manifest)
    assert max(map(len, text.splitlines())) <= 80
    for words in ("PASS", "quickstart", "27,731", "1,069", "1.31 ms", "5.02 ms", "41.9 ms",
                  "client reconnecting", "789", "Redis → node",
                  "fanlab explain reports/runs/quickstart/20251122T194703Z \\\n          --client 22 --seq 101",
                  "crash node-2 @2s", "1.62 s", "node-3", "loss.unexplained == 0", str(PATH)):  # fmt: skip
        assert words in text, words
    assert "\x1b" not in text


def test_colour_changes_no_word(monkeypatch):
    summary, manifest, _ = sample_report()
    coloured = shown(summary, manifest, force_terminal=True, color_system="truecolor")
    assert "\x1b[" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    bare = shown(summary, manifest, force_terminal=True)
    assert "\x1b[3" not in bare, "no colours"
    assert "PASS" in bare


def test_names_are_shown_as_they_are():
    text = shown(*hostile_report())
    assert "[bold red]x[/bold red]" in text
    assert not set(text) & set("\x1b\x00\x07\u202e")
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("width", [40, 60, 200])
def test_other_widths(width):
    summary, manifest, _ = sample_report()
    assert max(map(len, shown(summary, manifest, width=width).splitlines())) <= width


def test_a_clean_run_has_no_table_of_losses():
    summary = sample_summary(quiet_series())
    summary["loss"]["by_fault"] = []
    text = shown(summary, sample_manifest())
    assert "Lost at" not in text
    assert "fanlab explain" not in text
    assert "By fault" not in text
    assert "Gates" in text


def test_a_failed_partial_run_says_both_and_why():
    summary = sample_summary() | {"verdict": "invalid", "partial": True, "reasons": ["too little", *["more"] * 20]}
    summary["gates"][0]["ok"] = False
    text = shown(summary, sample_manifest("aborted"))
    assert "INVALID" in text
    assert "PARTIAL" in text
    assert "• too little" in text
    assert "13 more reasons" in text
    assert "FAIL" in text


def test_a_client_that_never_came_back_is_named():
    summary = sample_summary()
    next(iter(summary["recovery_ms"]["by_fault"].values())).update(all_back=None, never_back=3)
    summary["recovery_ms"] |= {"all_back": None, "never_back": 3}
    text = shown(summary, sample_manifest())
    assert "3 never" in text
    assert "Never back" in text
