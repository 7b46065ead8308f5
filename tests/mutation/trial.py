"""Trying a mutant: it takes the place of the real file in a copy of the source, and a fork of this process runs tests.

This process must not have imported what is to be changed; what is large and stays the same it has, so that a trial
takes half a second.
"""

import compileall
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import coverage
import hypothesis  # noqa: F401 - in memory before the forks
import numpy  # noqa: F401, ICN001
import pandas  # noqa: F401, ICN001
import pydantic  # noqa: F401
import pytest
import yaml  # noqa: F401
from changes import Mutant

ARGUMENTS: Final = ("-q", "-x", "-p", "no:cacheprovider", "--hypothesis-profile=mutants", "--tb=no", "-W", "ignore")
MORE_CPU: Final = 3  # times what the tests take otherwise: a mutant may make them slow, and that says nothing
SPARE_CPU_S: Final = 20  # and so much more; one that takes longer goes round for ever
DEADLINE_S: Final = 600
BESIDE: Final = ("nodes", "scenarios", "loadtests")  # where fanlab looks for them: beside its source
NOTHING_RAN: Final = int(pytest.ExitCode.NO_TESTS_COLLECTED)
_IMPORTING, _SHARED = "importing", "shared"  # contexts that are no test


@dataclass(frozen=True, slots=True)
class Ran:
    """What one test does when nothing is wrong."""

    test: str  # as pytest names it: tests/unit/test_fold.py::test_a[1]
    cpu_s: float
    lines: Mapping[str, int]  # by source file, from the project's folder: bit n is set for line n

    @property
    def file(self) -> str:
        """The test file."""
        return self.test.partition("::")[0]

    def runs(self, file: str, first: int, last: int) -> bool:
        """Whether it runs any of these lines, both ends included."""
        return bool(self.lines.get(file, 0) & ((1 << last + 1) - (1 << first)))


class Workshop:
    """A copy of a project's `src`, in which one file at a time is another one."""

    def __init__(self, project: Path, within: Path | None = None) -> None:
        """`within` is a folder that somebody else removes, whatever becomes of this process."""
        self._project = project
        self._folder = Path(tempfile.mkdtemp(prefix="fanlab-mutants-", dir=within))
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(project / "src", self._folder / "src", ignore=ignored)
        compileall.compile_dir(self._folder / "src", quiet=2)  # or each fork would do it
        for name in BESIDE:
            if (project / name).is_dir():
                (self._folder / name).symlink_to(project / name)

    def close(self) -> None:
        """Remove the copy."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def notices(self, mutant: Mutant, tests: Sequence[Ran]) -> bool:
        """Whether any of the tests fails with the mutant, or does not end."""
        target = self._folder / mutant.file
        good = target.read_bytes()
        for compiled in target.parent.glob(f"__pycache__/{target.stem}.*.pyc"):
            compiled.unlink()  # it may look current: of the same second, and the same size
        target.write_text(mutant.code, encoding="utf-8")
        try:
            return self._fails(tests)
        finally:
            target.write_bytes(good)

    def reach(self, file: Path, watched: Iterable[Path]) -> list[Ran]:
        """What each test of a file runs of the watched source files.

        RuntimeError if one fails, or if they do when they are run as they will be: the quick ones first.
        """
        out = self._folder / "lines.json"
        files = list(watched)
        if status := self._fork(lambda: self._watch(file, files, out), None):
            raise RuntimeError(f"{file} fails without any mutant (status {status})")
        told = json.loads(out.read_text(encoding="utf-8"))
        found = [Ran(one["test"], one["cpu_s"], {name: int(mask, 16) for name, mask in one["lines"]}) for one in told]
        found.sort(key=lambda one: one.cpu_s)
        if self._fails(found):
            raise RuntimeError(f"{file} fails without any mutant, the quick tests first")
        return found

    def _fails(self, tests: Sequence[Ran]) -> bool:
        arguments = [*ARGUMENTS, *dict.fromkeys(one.file for one in tests)]
        most_s = SPARE_CPU_S + MORE_CPU * sum(one.cpu_s for one in tests)
        status = self._fork(lambda: int(pytest.main(arguments, plugins=[Chosen(tests)])), most_s)
        return status not in (0, NOTHING_RAN << 8)  # a mutant may rename all of a parametrized test's cases

    def _fork(self, work: Any, most_s: float | None) -> int:
        pid = os.fork()
        if pid == 0:
            os._exit(self._child(work, most_s))  # nothing of the parent's may be tidied up here
        return os.waitpid(pid, 0)[1]

    def _child(self, work: Any, most_s: float | None) -> int:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        signal.alarm(DEADLINE_S)
        os.chdir(self._project)
        source = str(self._folder / "src")
        os.environ["PYTHONPATH"] = source  # for tests that start processes
        sys.path[:] = [source, *(path for path in sys.path if Path(path) != self._project / "src")]
        sys.dont_write_bytecode = most_s is not None  # what is written while all is well, trials can read
        if most_s is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (round(most_s) + 1, round(most_s) + 1))
        return int(work())

    def _watch(self, test: Path, watched: Sequence[Path], out: Path) -> int:
        traced = coverage.Coverage(data_file=None, include=[str(self._folder / file) for file in watched])
        traced.start()
        traced.switch_context(_IMPORTING)
        for file in watched:  # so that what runs at import is known by then, and can be left out
            __import__(".".join(file.with_suffix("").parts[1:]))
        traced.switch_context(_SHARED)
        watch = Watch(traced)
        status = int(pytest.main([*ARGUMENTS, str(test)], plugins=[watch]))
        traced.stop()
        lines = _lines(traced.get_data(), self._folder)
        shared = lines.get(_SHARED, {})
        told = [
            {
                "test": name,
                "cpu_s": cpu_s,
                "lines": [
                    (file, hex(own.get(file, 0) | shared.get(file, 0))) for file in sorted(own.keys() | shared.keys())
                ],
            }
            for name, cpu_s in watch.cpu_s.items()
            for own in (lines.get(name, {}),)
        ]
        out.write_text(json.dumps(told), encoding="utf-8")
        return status


class Chosen:
    """A plugin of pytest's: these tests, in this order, and no others."""

    def __init__(self, tests: Sequence[Ran]) -> None:
        self._places = {one.test: place for place, one in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out the others."""
        items[:] = sorted(
            (one for one in items if one.nodeid in self._places), key=lambda one: self._places[one.nodeid]
        )


class Watch:
    """A plugin of pytest's: which test runs now, and how long it took. What is made for several is nobody's own."""

    def __init__(self, traced: coverage.Coverage) -> None:
        self.cpu_s: dict[str, float] = {}
        self._traced = traced
        self._context = _SHARED

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """One test, its fixtures included."""
        began_s = _cpu_s()
        self._switch(item.nodeid)
        try:
            return (yield)
        finally:
            self._switch(_SHARED)
            self.cpu_s[item.nodeid] = _cpu_s() - began_s

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """A fixture is made."""
        before = self._context
        if fixturedef.scope != "function":
            self._switch(_SHARED)
        try:
            return (yield)
        finally:
            self._switch(before)

    def _switch(self, context: str) -> None:
        self._context = context
        self._traced.switch_context(context)


def _cpu_s() -> float:
    return sum(os.times()[:4])


def _lines(data: coverage.CoverageData, folder: Path) -> dict[str, dict[str, int]]:
    """By context and source file the lines that ran, but for those that ran at import, too."""
    found: dict[str, dict[str, int]] = {}
    for path in data.measured_files():
        file = str(Path(path).relative_to(folder))
        for line, contexts in data.contexts_by_lineno(path).items():
            for context in () if _IMPORTING in contexts else contexts:
                of_context = found.setdefault(context, {})
                of_context[file] = of_context.get(file, 0) | 1 << line
    return found
