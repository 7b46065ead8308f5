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
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import coverage
import hypothesis  # noqa: F401 - in memory before the forks
import numpy  # noqa: F401, ICN001
import pandas  # noqa: F401, ICN001
import pydantic  # noqa: F401
import pytest
import yaml  # noqa: F401
from changes import Mutant

ARGUMENTS: Final = ("-q", "-x", "-p", "no:cacheprovider", "--hypothesis-profile=mutants", "--tb=no", "-W", "ignore")
CPU_S: Final = 20  # of a trial; one that takes more goes round for ever
DEADLINE_S: Final = 120
BESIDE: Final = ("nodes", "scenarios", "loadtests")  # where fanlab looks for them: beside its source


@dataclass(frozen=True, slots=True)
class Reach:
    """What a test file does when nothing is wrong."""

    test: Path
    took_s: float
    lines: dict[str, frozenset[int]]  # by source file, from the project's folder: those that it runs; not by importing


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

    def notices(self, mutant: Mutant, tests: Sequence[Path]) -> bool:
        """Whether any of the tests fails with the mutant, or does not end."""
        target = self._folder / mutant.file
        good = target.read_bytes()
        for compiled in target.parent.glob(f"__pycache__/{target.stem}.*.pyc"):
            compiled.unlink()  # it may look current: of the same second, and the same size
        target.write_text(mutant.code, encoding="utf-8")
        try:
            return self._fork(tests, None) != 0
        finally:
            target.write_bytes(good)

    def reach(self, test: Path, watched: Iterable[Path]) -> Reach:
        """What a test file runs of the watched source files; RuntimeError if it fails."""
        out = self._folder / "lines.json"
        began = time.monotonic()
        if (status := self._fork([test], out, watched)) != 0:
            raise RuntimeError(f"{test} fails without any mutant (status {status})")
        told = json.loads(out.read_text(encoding="utf-8"))
        return Reach(test, time.monotonic() - began, {file: frozenset(lines) for file, lines in told.items()})

    def _fork(self, tests: Sequence[Path], out: Path | None, watched: Iterable[Path] = ()) -> int:
        pid = os.fork()
        if pid == 0:
            os._exit(self._child(tests, out, list(watched)))  # nothing of the parent's may be tidied up here
        return os.waitpid(pid, 0)[1]

    def _child(self, tests: Sequence[Path], out: Path | None, watched: Sequence[Path]) -> int:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        signal.alarm(DEADLINE_S)
        os.chdir(self._project)
        source = str(self._folder / "src")
        os.environ["PYTHONPATH"] = source  # for tests that start processes
        sys.path[:] = [source, *(path for path in sys.path if Path(path) != self._project / "src")]
        sys.dont_write_bytecode = out is None  # what is written while all is well, trials can read
        arguments = [*ARGUMENTS, *map(str, tests)]
        if out is None:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
            return int(pytest.main(arguments))
        traced = coverage.Coverage(data_file=None, include=[str(self._folder / file) for file in watched])
        traced.start()
        for file in watched:  # so that what runs at import is known by then, and can be left out
            __import__(".".join(file.with_suffix("").parts[1:]))
        at_import = _lines(traced, self._folder)
        status = int(pytest.main(arguments))
        traced.stop()
        ran = _lines(traced, self._folder).items()
        found = {file: sorted(lines - at_import.get(file, set())) for file, lines in ran}
        out.write_text(json.dumps(found), encoding="utf-8")
        return status


def _lines(traced: coverage.Coverage, folder: Path) -> dict[str, set[int]]:
    data = traced.get_data()
    return {str(Path(file).relative_to(folder)): set(data.lines(file) or ()) for file in data.measured_files()}
