"""`make mutants` itself: which mutants it makes, which of them it finds alive, and its verdict."""

import re
import sys
from pathlib import Path
from textwrap import dedent

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "mutation"))
import changes
import mutants
import trial
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


FILE = Path("src", "pairs.py")


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with a decision table, whose only test sees its first row and nothing else."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # which takes most of the time
    monkeypatch.setattr(trial, "ARGUMENTS", ("-q", "-x", "-p", "no:cacheprovider"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "tests").mkdir()
    FILE.write_text(SOURCE, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text("", encoding="utf-8")
    (tmp_path / "tests" / "test_first_row.py").write_text(TEST, encoding="utf-8")
    return tmp_path


@pytest.fixture
def workshop(project):
    made = trial.Workshop(project)
    yield made
    made.close()


def made() -> list[changes.Mutant]:
    return list(changes.mutants(FILE, "pairs"))


@pytest.mark.usefixtures("project")
def test_functions_properties_tables_and_rows_are_changed_and_nothing_else_is():
    assert {(one.place, one.change) for one in made()} >= {
        ("pairs.Pair.wide", "return self.a > 2 → return self.a >= 2"),
        ("pairs.Pair.plain", "return self.a > 3 → return self.a > 4"),
        ("pairs.constant", "return 7 → return 8"),
        ("pairs", 'Row("first", lambda pair: pair.wide and pair.a), → Row("first", lambda pair: None),'),
        ("pairs", 'Row("first", lambda pair: pair.wide and pair.a), → Row("first", lambda pair: pair.wide or pair.a),'),
        ("pairs", 'Row("second", lambda pair: pair.a), → '),
    }
    assert not [one.change for one in made() if "DEFAULT" in one.change]
    assert all("@property\n" in one.code and "hidden" not in one.code for one in made())
    assert len({one.code for one in made()}) == len(made())


def test_the_living_are_told_from_the_killed(workshop):
    alive = {one.change for one in made() if not workshop.notices(one, [Path("tests", "test_first_row.py")])}
    assert "return self.a > 2 → return self.a >= 2" in alive
    assert "return 7 → return 8" in alive
    assert "return self.a > 2 → return self.a > 3" not in alive
    assert 'Row("first", lambda pair: pair.wide and pair.a), → ' not in alive
    assert FILE.read_text(encoding="utf-8") == SOURCE


def test_what_a_test_file_runs_is_told_but_for_what_runs_at_import(workshop):
    reach = workshop.reach(Path("tests", "test_first_row.py"), [FILE])
    ran = {SOURCE.splitlines()[line - 1].strip() for line in reach.lines[str(FILE)]}
    assert "return self.a > 2" in ran
    assert not {"return self.a > 3", "return 7", "a: int = 1"} & ran


def test_tests_that_fail_anyway_judge_no_mutant(project, workshop):
    (project / "tests" / "test_first_row.py").write_text("def test_broken():\n    assert False\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match="fails without any mutant"):
        workshop.reach(Path("tests", "test_first_row.py"), [FILE])


def reach(name: str, took_s: float, *lines: int) -> trial.Reach:
    return trial.Reach(Path(f"tests/unit/test_{name}.py"), took_s, {"src/fanlab/ledger/fold.py": frozenset(lines)})


def test_a_mutant_is_tried_by_its_modules_own_tests_and_then_by_all_others_that_run_it():
    fold = Path("src/fanlab/ledger/fold.py")
    mutant = changes.Mutant(fold, "fanlab.ledger.fold.f", "a → b", "", (10, 12))
    reaches = [reach("slow", 9, 11), reach("quick", 1, 10), reach("fold", 5, 12), reach("elsewhere", 2, 9, 13)]
    named = [[test.stem[5:] for test in tests] for tests in mutants.asked(mutant, reaches)]
    assert named == [["fold"], ["quick", "slow"]]
    named = [[test.stem[5:] for test in tests] for tests in mutants.asked(mutant, reaches[:2])]
    assert named == [["quick", "slow"], []]
    named = [[test.stem[5:] for test in tests] for tests in mutants.asked(mutant, [reach("elsewhere", 2, 9, 13)])]
    assert named == [["elsewhere"], []], "one that runs at import alone is tried by whoever runs its module"
    outside = changes.Mutant(fold, "fanlab.ledger.fold", "a → b", "", None)
    named = [[test.stem[5:] for test in tests] for tests in mutants.asked(outside, [*reaches[2:], reach("idle", 1)])]
    assert named == [["fold"], ["elsewhere"]]


ONE, OTHER = Survivor("fanlab.ledger.x", "a → b"), Survivor("fanlab.ledger.y", "c → d")


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
def test_verdict(capsys, tmp_path, count, alive, known, verdict):  # noqa: PLR0917 - pytest's
    code, said = verdict
    assert mutants.judge(count, alive, dict.fromkeys(known, "it does not matter"), tmp_path / "fresh.yaml") == code
    assert said in capsys.readouterr().out.splitlines()


def test_what_is_not_reviewed_is_written_down_ready_for_reasons(tmp_path):
    fresh = tmp_path / "fresh.yaml"
    mutants.judge(100, [ONE, OTHER], {}, fresh)
    with pytest.raises(SystemExit, match=re.escape("no reason is given for fanlab.ledger.x: a → b")):
        mutants.reviewed(fresh)
    fresh.write_text(fresh.read_text(encoding="utf-8").replace("''", "it does not matter"), encoding="utf-8")
    assert set(mutants.reviewed(fresh)) == {ONE, OTHER}
    assert mutants.reviewed(tmp_path / "none.yaml") == {}


def test_the_projects_own_reviews_have_reasons():
    assert mutants.reviewed(mutants.REVIEWED)  # or it raises
