"""What must be true of any scenario file: it is refused in good order, or it can be planned, and either at once."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fanlab.dryrun import make_dryrun, render, to_json
from fanlab.errors import Problem, ScenarioError
from fanlab.scenario.loader import MAX_PROBLEMS, load
from fanlab.scenario.source import MAX_BYTES
from support.scenario_files import Case

SOURCE = "scenario.yaml"
CPU_S = 1.0  # of this process: how long it waits for a machine that others use, too, is not the loader's doing
_LONGEST_WHAT = 2000


class Overdue(BaseException):  # no `except Exception` of the code under trial may swallow it
    """Not done within a second."""


@contextmanager
def at_most(cpu_s: float) -> Iterator[None]:
    """Raise Overdue in the block once it has used so much CPU time."""

    def ring(*_: Any) -> None:
        raise Overdue(f"not done after {cpu_s:g} s of CPU time")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def examine(case: Case, folder: Path) -> int:
    """Load a file and plan what it describes; returns in how many runs, 0 if it was refused.

    Raises whatever but ScenarioError escapes, Overdue, and AssertionError for a problem or a plan that is not in order.
    """
    file = folder / f"{os.getpid()}.yaml"
    file.write_bytes(case.data)
    try:
        with at_most(CPU_S):
            runs = load(file, overrides=case.overrides, seed=case.seed, source=SOURCE)
    except ScenarioError as error:
        _orderly(error, case)
        return 0
    for run in runs:
        with at_most(CPU_S):
            dryrun = make_dryrun(run)
            text = render(dryrun)
        with at_most(CPU_S):
            document = json.dumps(to_json(dryrun), ensure_ascii=False, allow_nan=False)
        _harmless(text)
        document.encode()
    return len(runs)


def _orderly(error: ScenarioError, case: Case) -> None:
    """Every problem has its place, within the file, and says in printable words what is wrong there."""
    assert error.problems, "refused without a reason"
    assert len(error.problems) <= MAX_PROBLEMS + 1, f"{len(error.problems)} problems"
    lines = case.data[: MAX_BYTES + 1].decode("utf-8", "replace").count("\n") + 1
    lines += sum(case.data.count(other) for other in (b"\r", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9"))
    for problem in error.problems:
        assert problem.what.strip(), problem
        assert len(problem.what) <= _LONGEST_WHAT, problem
        _harmless(str(problem))
        assert "\n" not in str(problem), problem
        assert problem.file == SOURCE or problem.file.startswith(("--set ", "--seed")), problem
        assert _placed(problem, lines), problem


def _placed(problem: Problem, lines: int) -> bool:
    """A line and a column of the file; or none, for a value of the command line and for what the file is as a whole."""
    if problem.line == 0:
        return problem.column == 0 and (problem.file != SOURCE or not problem.path)
    return problem.file == SOURCE and 1 <= problem.line <= lines and problem.column >= 1


def _harmless(text: str) -> None:
    """Nothing that a terminal would obey, and nothing that cannot be printed at all."""
    text.encode()
    if not (joined := text.replace("\n", "")).isprintable():
        odd = {character for character in joined if not character.isprintable()}
        raise AssertionError(f"unprintable characters {sorted(map(ascii, odd))}")
