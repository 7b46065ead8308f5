"""`make mutants` itself: which mutants it adds to mutmut's, which of them it finds alive, and its verdict."""

import re
import sys
from pathlib import Path
from textwrap import dedent

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "mutation"))
import mutants
import outside
from mutants import Survivor

SOURCE = dedent(
    """
    from typing import NamedTuple


    class Row(NamedTuple):
        name: str
        holds: object


    class Pair:
        a: int = 1

        @property
        def wide(self) -> bool:
            return self.a > 2

        def plain(self) -> bool:
            return self.a > 3


    RULES = (
        Row("first", lambda pair: pair.wide and pair.a),
        Row("second", lambda pair: pair.a),
    )
    DEFAULT = {"x": lambda: 5}


    def constant() -> int:
        return 7
    """
).lstrip()
TEST = dedent(
    """
    from pairs import RULES, Pair


    def test_first():
        pair = Pair()
        pair.a = 3
        assert RULES[0].name == "first"
        assert RULES[0].holds(pair) == 3
    """
)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with a decision table, whose only test sees its first row and nothing else."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # which takes most of the time
    (tmp_path / "src").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "src" / "pairs.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text("", encoding="utf-8")
    (tmp_path / "tests" / "test_pairs.py").write_text(TEST, encoding="utf-8")
    return tmp_path


def made(project: Path, at_import: frozenset[str] = frozenset()) -> list[outside.Variant]:
    found = outside.variants(project / "src" / "pairs.py", at_import)
    return [outside.Variant(Path("src", "pairs.py"), one.change, one.code) for one in found]


def test_tables_properties_and_rows_are_changed_and_nothing_else_is(project):
    changes = {one.change for one in made(project)}
    assert changes == {
        "return self.a > 2 → return self.a >= 2",
        "return self.a > 2 → return self.a > 3",
        'Row("first", lambda pair: pair.wide and pair.a), → Row("first", lambda pair: None),',
        'Row("first", lambda pair: pair.wide and pair.a), → Row("first", lambda pair: pair.wide or pair.a),',
        'Row("second", lambda pair: pair.a), → Row("second", lambda pair: None),',
        'Row("first", lambda pair: pair.wide and pair.a), → ',
        'Row("second", lambda pair: pair.a), → ',
    }
    assert all("@property\n" in one.code and "hidden" not in one.code for one in made(project))


def test_what_runs_at_import_is_changed_when_it_is_named(project):
    fresh = {one.change for one in made(project, frozenset({"constant"}))} - {one.change for one in made(project)}
    assert fresh == {"return 7 → return 8"}


def test_the_living_are_told_from_the_killed(project):
    alive = outside.survivors(made(project), project, ["tests"], jobs=2)
    assert [one.change for one in alive] == [
        "return self.a > 2 → return self.a >= 2",
        'Row("second", lambda pair: pair.a), → Row("second", lambda pair: None),',
        'Row("second", lambda pair: pair.a), → ',
    ]
    assert (project / "src" / "pairs.py").read_text(encoding="utf-8") == SOURCE


def test_tests_that_fail_anyway_judge_no_mutant(project):
    (project / "tests" / "test_pairs.py").write_text("def test_broken():\n    assert False\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match="without any mutant"):
        outside.survivors(made(project), project, ["tests"], jobs=1)


ONE, OTHER = Survivor("fanlab.ledger.x", "a → b"), Survivor("fanlab.ledger.y", "c → d")


@pytest.fixture
def unreviewed(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    monkeypatch.setattr(mutants, "UNREVIEWED", tmp_path / "unreviewed.yaml")
    return tmp_path / "unreviewed.yaml"


@pytest.mark.usefixtures("unreviewed")
@pytest.mark.parametrize(
    ("count", "alive", "known", "verdict"),
    [
        (20, [ONE, OTHER], [ONE, OTHER], (0, "18 killed, 2 survived")),
        (20, [ONE, OTHER], [ONE], (1, "not reviewed: fanlab.ledger.y: c → d")),
        (19, [ONE, OTHER], [ONE, OTHER], (1, "score 89.5% of 19 mutants, 90% are needed")),
        (20, [ONE], [ONE, OTHER], (0, "reviewed, but killed or gone: fanlab.ledger.y: c → d")),
        (20, [ONE, ONE], [ONE], (0, "18 killed, 2 survived")),
        (0, [], [], (1, "0 killed, 0 survived")),
    ],
)
def test_verdict(capsys, count, alive, known, verdict):
    code, said = verdict
    assert mutants.judge(count, alive, dict.fromkeys(known, "it does not matter")) == code
    assert said in capsys.readouterr().out.splitlines()


def test_what_is_not_reviewed_is_written_down_ready_for_reasons(unreviewed):
    mutants.judge(100, [ONE, OTHER], {})
    with pytest.raises(SystemExit, match=re.escape("no reason is given for fanlab.ledger.x: a → b")):
        mutants.reviewed(unreviewed)
    text = unreviewed.read_text(encoding="utf-8").replace("''", "it does not matter")
    unreviewed.write_text(text, encoding="utf-8")
    assert set(mutants.reviewed(unreviewed)) == {ONE, OTHER}
    assert mutants.reviewed(unreviewed.with_name("none.yaml")) == {}


def test_only_what_a_test_noticed_counts():
    assert [code for code in (0, 1, 2, 3, 5, 33, 34, 35, None, -24, -11) if mutants._noticed(code)] == [1, 3, -24, -11]


def test_the_projects_own_reviews_have_reasons():
    mutants.reviewed(mutants.REVIEWED)  # or it raises
