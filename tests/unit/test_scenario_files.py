"""Generated scenario files, a few hundred of the hundred thousand of `make fuzz`; and whether the trial would tell."""

import contextlib
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fanlab import resources
from fanlab.errors import Problem, ScenarioError
from fanlab.scenario import loader
from fanlab.scenario.shape import Choice, Items, scenario_shape
from support import scenario_trial
from support.scenario_files import CHANGES, SPOILS, Case, case
from support.scenario_grower import keys
from support.scenario_trial import Overdue, examine

FILES = 300


def test_each_is_refused_in_good_order_or_can_be_planned(tmp_path: Path) -> None:
    runs = [examine(case(number), tmp_path) for number in range(FILES)]
    assert 0.1 < sum(map(bool, runs)) / FILES < 0.7, "some of them must be good, and some not"


def test_a_number_is_a_file() -> None:
    assert [case(number) for number in range(20)] == [case(number) for number in range(20)]


def test_every_change_is_made_and_every_key_and_kind_written() -> None:
    made: Counter[str] = Counter()
    text = b""
    for number in range(4 * FILES):
        each = case(number)
        made.update(each.changes)
        text += each.data
    names = {change.__name__.strip("_") for change in (*CHANGES, *SPOILS)}
    assert set(made) == names
    written = text.decode("utf-8", "replace")
    assert [key for key in keys() if key not in written] == []
    faults = scenario_shape().fields["faults"].shape
    assert isinstance(faults, Items)
    assert isinstance(faults.item, Choice)
    assert [kind for kind in faults.item.tags if kind not in written] == []


# Planted faults: each must be told.


def quickstart() -> Case:
    return Case(0, (resources.folder("scenarios") / "quickstart.yaml").read_bytes(), (), None, ())


@pytest.mark.parametrize("error", [KeyError("node-3"), RecursionError(), ValueError("no")])
def test_whatever_else_escapes_is_told(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(loader, "check", broken)
    with pytest.raises(type(error)):
        examine(quickstart(), tmp_path)


def test_what_does_not_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*_: Any) -> None:
        while True:
            with contextlib.suppress(Exception):  # the worst that code under trial can do
                time.monotonic()

    monkeypatch.setattr(loader, "check", endless)
    monkeypatch.setattr(scenario_trial, "CPU_S", 0.05)
    with pytest.raises(Overdue):
        examine(quickstart(), tmp_path)


@pytest.mark.parametrize(
    "problem",
    [
        Problem("scenario.yaml", 0, 0, "clients.readers", "has a path but no place"),
        Problem("scenario.yaml", 900, 1, "", "is beyond the end"),
        Problem("scenario.yaml", 3, 0, "", "has no column"),
        Problem("other.yaml", 3, 1, "", "is of another file"),
        Problem("scenario.yaml", 3, 1, "", " "),
        Problem("scenario.yaml", 3, 1, "", "rings the \a bell"),
        Problem("scenario.yaml", 3, 1, "", "is two\nlines"),
        Problem("scenario.yaml", 3, 1, "", "is long" * 500),
    ],
    ids=lambda problem: problem.what[:20],
)
def test_a_problem_out_of_order_is_told(problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ScenarioError([problem])

    monkeypatch.setattr(scenario_trial, "load", refuse)
    with pytest.raises(AssertionError):
        examine(quickstart(), tmp_path)


def test_a_plan_that_cannot_be_printed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenario_trial, "render", lambda _: "\x1b[2J")
    with pytest.raises(AssertionError, match="unprintable"):
        examine(quickstart(), tmp_path)
