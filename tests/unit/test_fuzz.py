"""`make fuzz` itself: what it prints, and that it exits with 1 if anything is not as it must be."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[1] / "fuzz" / "fuzz.py"


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_program", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    monkeypatch.setattr(sys, "argv", ["fuzz"])
    spec.loader.exec_module(module)
    return module


def test_a_few_files() -> None:
    command = [sys.executable, str(PROGRAM), "files", "--files", "60", "--first", "7000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    first, last = done.stdout.splitlines()
    assert first.startswith("ok    files              60 files: ")
    assert last == "1 passed, 0 failed"


def test_one_that_fails_and_one_that_breaks_down_are_two_that_failed(
    fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def good(_: Any) -> Iterator[Any]:
        yield fuzz.Line("good", ok=True, told="all well")
        yield fuzz.Line("bad", ok=False, told="not so well")

    def broken(_: Any) -> Iterator[Any]:
        raise ValueError("no\nmore")
        yield

    monkeypatch.setattr(fuzz, "PARTS", {"good": good, "broken": broken})
    assert fuzz.main() == 1
    *_, bad, worse, last = capsys.readouterr().out.splitlines()
    assert bad.startswith("FAIL  bad")
    assert "ValueError: no more (test_fuzz.py:" in worse
    assert last == "1 passed, 2 failed"


def test_files_that_are_not_as_they_must_be_are_named(fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def examined(case: Any, _: Path) -> int:
        if case.number == 3:
            raise KeyError("node-3")
        if case.number == 4:
            raise fuzz.Overdue("not done")
        return case.number % 2

    monkeypatch.setattr(fuzz, "examine", examined)
    chunk = fuzz._examine((0, 6))
    assert (chunk.good, chunk.refused, chunk.runs) == (2, 2, 2)
    assert [failure.partition(": ")[0] for failure in chunk.failures] == ["file 3", "file 4"]


def test_no_part_is_no_success(fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "PARTS", {})
    assert fuzz.main() == 1
