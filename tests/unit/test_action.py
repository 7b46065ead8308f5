"""The script of the composite action for GitHub, with a `fanlab` that only writes down how it was called."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ACTION: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[2] / ".github" / "actions" / "fanlab" / "action.yml").read_text(encoding="utf-8")
)
# `run` makes the folders in CELLS; `gate` exits with what the file `status` in its run holds, if there is one.
FANLAB = """#!/bin/bash
echo "$@" >> calls
if [ "$1" = run ]; then
  mkdir -p $CELLS
  if [ -e fanlab-out/run/cell-1 ]; then echo 1 > fanlab-out/run/cell-1/status; echo 3 > fanlab-out/run/cell-2/status; fi
elif [ -e "$2/status" ]; then
  exit "$(cat "$2/status")"
fi
"""


def run_step(folder: Path, cells: str, gates: str) -> tuple[int, str, list[str]]:
    """The exit status, the verdict, and the calls of fanlab."""
    (step,) = [one for one in ACTION["runs"]["steps"] if one.get("id") == "run"]
    (folder / "fanlab").write_text(FANLAB)
    (folder / "fanlab").chmod(0o755)
    (folder / "step.sh").write_text(step["run"])
    given = {"SCENARIO": "it.yaml", "ARGS": "", "GATES": gates, "OUT": "fanlab-out", "CELLS": cells}
    env = {**os.environ, **given, "PATH": f"{folder}:{os.environ['PATH']}", "GITHUB_OUTPUT": str(folder / "output")}
    words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "step.sh"]
    status = subprocess.run(words, check=False, cwd=folder, env=env, timeout=60).returncode
    (verdict,) = re.findall(r"^verdict=(.*)$", (folder / "output").read_text(), re.MULTILINE)
    return status, verdict, (folder / "calls").read_text().splitlines()


def test_each_cell_of_a_matrix_is_judged_and_the_worst_counts(tmp_path: Path) -> None:
    cells = " ".join(f"fanlab-out/run/cell-{number}" for number in (1, 2, 3))
    status, verdict, calls = run_step(tmp_path, cells, "gates.yaml")
    assert (status, verdict) == (3, "invalid")
    assert calls[1:] == [
        f"gate fanlab-out/run/cell-{number} --gates gates.yaml --junit fanlab-out/junit-cell-{number}.xml"
        f" --benchmark-json fanlab-out/benchmark-cell-{number}.json"
        for number in (1, 2, 3)
    ]


def test_a_single_run_is_judged_as_itself(tmp_path: Path) -> None:
    status, verdict, calls = run_step(tmp_path, "fanlab-out/run", "gates.yaml")
    assert (status, verdict) == (0, "pass")
    files = "--junit fanlab-out/junit.xml --benchmark-json fanlab-out/benchmark.json"
    assert calls[1:] == [f"gate fanlab-out/run --gates gates.yaml {files}"]


@pytest.mark.parametrize("named", ["path", "name"])
def test_what_is_uploaded_is_an_input(named: str) -> None:
    (upload,) = [one for one in ACTION["runs"]["steps"] if "upload-artifact" in one.get("uses", "")]
    match = re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", upload["with"][named])
    assert match is not None
    assert match[1] in ACTION["inputs"]
