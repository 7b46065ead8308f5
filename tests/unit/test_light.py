"""What a load process imports: each loads on its own before a run can begin, and most machines have few cores."""

import subprocess
import sys

import pytest

HEAVY = {"docker", "matplotlib", "pandas", "pydantic", "redis", "rich"}  # the parent's, and the report's
WITHOUT_NUMPY = ("master", "worker", "engine")  # those that touch no record themselves


@pytest.mark.parametrize("module", [*WITHOUT_NUMPY, "clientsloop", "publisher", "witness", "readers"])
def test_load_processes_import_nothing_that_they_do_not_need(module: str) -> None:
    heavy = HEAVY | {"numpy"} if module in WITHOUT_NUMPY else HEAVY
    found = f"import sys, fanlab.load.{module}; print(*sorted({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", found], capture_output=True, text=True, check=True).stdout == "\n"
