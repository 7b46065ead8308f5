"""Generated hostile names, some of the five hundred of `make fuzz`, through every output; and if a slip is seen."""

import json
from pathlib import Path

import pytest

from fanlab.report import markdown, text
from fanlab.report.charts import table_csv
from fanlab.report.figures.style import Drawing
from fanlab.rundir import read_json, write_json
from fanlab.terminal import json_text, printable
from support import hostile_checks as checks
from support.hostile_names import KINDS, names

SOME = names(500)[100:160]


def test_they_are_five_hundred_and_always_the_same() -> None:
    assert len(set(names(500))) == 500
    assert names(500) == names(500)
    assert {name for kind in KINDS for name in kind} <= set(names(500))


def test_in_markdown() -> None:
    checks.check_markdown(SOME)


def test_on_a_terminal() -> None:
    checks.check_terminal(SOME)


def test_in_errors() -> None:
    checks.check_errors(SOME)


def test_in_what_verbs_print() -> None:
    checks.check_verbs(names(500))


def test_in_plans(tmp_path: Path) -> None:
    checks.check_plan(SOME[:20], tmp_path)


def test_in_csv(tmp_path: Path) -> None:
    checks.check_deliveries(names(500), tmp_path)
    rows = [[name, 1, -0.5, None] for name in names(500)]
    checks.check_csv(table_csv(Drawing("x", "x", "x", "x", None, ("name", "a", "b", "c"), rows)), "a chart's table")


def test_in_a_run_directory_its_report_and_its_stories(tmp_path: Path) -> None:
    checks.check_run(SOME[:40], tmp_path, stories=8)


def test_in_a_manifest(tmp_path: Path) -> None:
    """A command line may hold what is no UTF-8; what is read again is what was written."""
    path = tmp_path / "manifest.json"
    write_json(path, {"command": names(500)})
    assert read_json(path, hint="")["command"] == names(500)


# Planted slips: each must be seen.


@pytest.mark.parametrize("odd", ["\x1b[2J", "\x9b2J", "\x07", "\r", "\t", "\u202e", "\x00", "\ud800", "\u200b"])
def test_what_a_terminal_would_obey_is_seen(odd: str) -> None:
    with pytest.raises((AssertionError, UnicodeEncodeError)):
        checks.must_be_plain(f"a{odd}b", "it")
    checks.must_be_plain(printable(f"a{odd}b\n"), "what is printed")
    checks.must_be_plain(json_text([f"a{odd}b"]), "what is printed as JSON")
    assert json.loads(json_text([f"a{odd}b"])) == [f"a{odd}b"]


@pytest.mark.parametrize("cell", ["=1+1", "\t=1", " @x", "\uff1d1", "-x", "+1+1"])
def test_a_formula_is_seen(cell: str) -> None:
    with pytest.raises(AssertionError):
        checks.check_csv(f'name\n"{cell}"\n', "it")


def test_numbers_are_none() -> None:
    checks.check_csv("a,b\n-0.5,+1e-7\n", "it")


def test_a_name_that_markdown_would_take_for_more_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown, "escape", text.clean)
    with pytest.raises(AssertionError):
        checks.check_markdown(SOME)


def test_a_name_that_is_not_cleaned_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "clean", lambda value, limit=160: str(value)[:limit])
    with pytest.raises((AssertionError, UnicodeEncodeError)):
        checks.check_terminal(SOME)
    with pytest.raises((AssertionError, UnicodeEncodeError)):
        checks.check_csv(table_csv(Drawing("x", "x", "x", "x", None, ("name",), [[name] for name in SOME])), "it")


@pytest.mark.parametrize(
    "link", ['<a href="javascript:x">', '<p onclick="x">', '<p style="background:url(x)">', "<script>"]
)
def test_what_would_run_or_fetch_is_seen(link: str) -> None:
    with pytest.raises(AssertionError):
        checks.check_page(f"Content-Security-Policy{link}")
