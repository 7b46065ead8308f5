"""`make mutants` itself: which mutants it makes, which of them it finds alive, and its verdict."""

import re
import sys
from dataclasses import replace
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
SHARING = dedent(
    """
    import pytest
    from pairs import Pair, constant


    @pytest.fixture(scope="module")
    def pair():
        return Pair().plain()


    def test_a(pair):
        assert not pair


    def test_b():
        assert constant()
    """
)
NEEDY = dedent(
    """
    had = []


    def test_slow():
        sum(range(3_000_000))
        had.append(1)


    def test_quick():
        assert had
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
    tests = workshop.reach(Path("tests", "test_first_row.py"), [FILE])
    alive = {one.change for one in made() if not workshop.notices(one, tests)}
    assert "return self.a > 2 → return self.a >= 2" in alive
    assert "return 7 → return 8" in alive
    assert "return self.a > 2 → return self.a > 3" not in alive
    assert 'Row("first", lambda pair: pair.wide and pair.a), → ' not in alive
    assert FILE.read_text(encoding="utf-8") == SOURCE


def test_one_that_never_ends_is_noticed_and_one_that_is_slow_is_not(workshop, monkeypatch):
    monkeypatch.setattr(trial, "SPARE_CPU_S", 1)
    tests = workshop.reach(Path("tests", "test_first_row.py"), [FILE])
    good = next(one for one in made() if one.change == "return 7 → return 8")
    assert not workshop.notices(good, tests)
    endless = SOURCE.replace("return self.a > 2", "\n            while True: pass")
    assert workshop.notices(replace(good, code=endless), tests)
    slow = [replace(one, cpu_s=30.0) for one in tests]
    busy = SOURCE.replace(
        "return self.a > 2",
        "\n            end = clock() + 2\n            while clock() < end: pass\n            return True",
    )
    assert not workshop.notices(replace(good, code=f"from time import process_time as clock\n{busy}"), slow)


def test_what_each_test_runs_is_told_but_for_what_runs_at_import(workshop):
    (ran,) = workshop.reach(Path("tests", "test_first_row.py"), [FILE])
    assert (ran.test, ran.file) == ("tests/test_first_row.py::test_first", "tests/test_first_row.py")
    lines = SOURCE.splitlines()
    told = {lines[number - 1].strip() for number in range(1, len(lines) + 1) if ran.runs(str(FILE), number, number)}
    assert "return self.a > 2" in told
    assert not {"return self.a > 3", "return 7", "a: int = 1"} & told


def test_what_is_made_for_several_tests_is_run_by_each_of_them(project, workshop):
    (project / "tests" / "test_first_row.py").write_text(SHARING, encoding="utf-8")
    lines = SOURCE.splitlines()
    plain, seven = (lines.index(f"        return self.a > {n}" if n < 7 else f"    return {n}") + 1 for n in (3, 7))
    ran = {one.test.partition("::")[2]: one for one in workshop.reach(Path("tests", "test_first_row.py"), [FILE])}
    assert {name for name, one in ran.items() if one.runs(str(FILE), plain, plain)} == {"test_a", "test_b"}
    assert {name for name, one in ran.items() if one.runs(str(FILE), seven, seven)} == {"test_b"}


def test_tests_that_fail_anyway_judge_no_mutant(project, workshop):
    (project / "tests" / "test_first_row.py").write_text("def test_broken():\n    assert False\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match="fails without any mutant"):
        workshop.reach(Path("tests", "test_first_row.py"), [FILE])


def test_tests_that_need_one_another_judge_no_mutant(project, workshop):
    (project / "tests" / "test_first_row.py").write_text(NEEDY, encoding="utf-8")
    with pytest.raises(RuntimeError, match="the quick tests first"):
        workshop.reach(Path("tests", "test_first_row.py"), [FILE])


def ran(name: str, cpu_s: float, *lines: int) -> trial.Ran:
    file, _, test = name.partition(".")
    mask = sum(1 << line for line in lines)
    return trial.Ran(f"tests/unit/test_{file}.py::test_{test}", cpu_s, {"src/fanlab/ledger/fold.py": mask})


def test_a_mutant_is_tried_by_its_modules_own_tests_then_by_others_that_run_it_then_by_those_beside_them():
    def named(mutant: changes.Mutant, *tests: trial.Ran) -> list[list[str]]:
        return [
            [one.test.replace("tests/unit/test_", "").replace(".py::test_", ".") for one in turn]
            for turn in mutants.asked(mutant, tests)
        ]

    fold = Path("src/fanlab/ledger/fold.py")
    mutant = changes.Mutant(fold, "fanlab.ledger.fold.f", "a → b", "", (10, 12))
    others = [ran("late.a", 4, 11), ran("late.b", 2, 12), ran("soon.a", 1, 10), ran("soon.c", 1, 9)]
    own = [ran("fold.a", 3, 12), ran("fold.b", 2, 10, 11), ran("fold.c", 1, 5)]
    elsewhere = ran("elsewhere.a", 2, 9, 13)
    slow = ran("soon.slow", 6, 10)
    assert named(mutant, *others, *own, elsewhere) == [
        ["fold.b", "fold.a"], ["soon.a", "late.b", "late.a"], ["soon.c", "fold.c"],
    ]  # fmt: skip
    assert named(mutant, *others, elsewhere) == [["soon.a", "late.b", "late.a"], [], ["soon.c"]]
    assert named(mutant, *others[2:], slow) == [["soon.a"], [], ["soon.c"]], "others are quicker"
    assert named(mutant, slow) == [["soon.slow"], [], []], "there is no other"
    assert named(mutant, elsewhere) == [["elsewhere.a"], [], []], "what runs at import alone is tried by its module's"
    outside = changes.Mutant(fold, "fanlab.ledger.fold", "a → b", "", None)
    assert named(outside, own[0], elsewhere, ran("idle.a", 1)) == [["fold.a"], ["elsewhere.a"], []]


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
