"""What CI tries a second time: a few tests of whole systems, and nothing else."""

import importlib.util
import json
import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

AGAIN = Path(__file__).resolve().parents[2] / ".ci" / "again"


@pytest.fixture(scope="module")
def again() -> ModuleType:
    spec = importlib.util.spec_from_loader("again", SourceFileLoader("again", str(AGAIN)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("failed", "why"),
    [
        (["tests/integration/test_a.py::test_one", "tests/docker/test_b.py::test_two[x]"], None),
        ([], "no test failed"),
        ([f"tests/integration/test_a.py::test_{n}" for n in range(6)], "6 tests failed"),
        (["tests/unit/test_a.py::test_one"], "tests/unit/test_a.py::test_one needs no second try"),
        (["tests/integration/test_a.py::test_one", "tests/property/test_p.py::test_two"], "needs no second try"),
        (["tests/integration/test_a.py"], "needs no second try"),  # it could not even be imported
    ],
)
def test_only_a_few_tests_of_whole_systems_are(again: ModuleType, failed: list[str], why: str | None) -> None:
    found = again.excused(failed)
    assert (found is None) == (why is None)
    assert why is None or why in found


@pytest.mark.parametrize(("code", "said"), [(0, "held the second time"), (2, "failed twice")])
def test_the_second_try_decides(tmp_path: Path, code: int, said: str) -> None:
    cache = tmp_path / ".pytest_cache" / "v" / "cache"
    cache.mkdir(parents=True)
    (cache / "lastfailed").write_text(json.dumps({"tests/integration/test_a.py::test_one": True}))
    make = tmp_path / "make"
    make.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\nexit {code}\n')
    make.chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(AGAIN)], cwd=tmp_path, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == (1 if code else 0)
    assert said in done.stdout
    assert (tmp_path / "called").read_text() == "test ARGS=--last-failed --last-failed-no-failures=none\n"


def test_without_a_record_of_failures_it_fails(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(AGAIN)], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "no second try" in done.stdout
