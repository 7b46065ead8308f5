"""Images: built once, found again, and plain about why one cannot be built."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from fanlab.exits import Exit
from fanlab.resources import folder
from support.docker_runs import fanlab, summary_of

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]

SHORT = ("three-servers", "--json")


def _own_kind(root: Path, dockerfile: str) -> Path:
    """A working directory with a node kind of its own, as a user has it: a folder, a manifest, a Dockerfile."""
    mine = root / "nodes" / "mine"
    shutil.copytree(folder("nodes") / "websockets", mine, ignore=shutil.ignore_patterns("__pycache__", "Dockerfile"))
    lines = (mine / "node.yaml").read_text().replace("kind: websockets", "kind: mine").splitlines(keepends=True)
    (mine / "node.yaml").write_text("".join(line for line in lines if not line.startswith("container:")))
    if dockerfile:
        (mine / "Dockerfile").write_text(dockerfile)
    return root


def test_a_second_run_builds_nothing(engine: Any, tmp_path: Path) -> None:
    del engine
    for name in ("first", "second"):
        summary_of(fanlab(*SHORT, out=tmp_path / name))
    assert not list((tmp_path / "second" / "nodes").glob("image-*.log"))


def test_a_kind_of_ones_own_is_built_from_its_dockerfile(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dockerfile = (
        "ARG BASE=python:3.11-slim-bookworm\nFROM ${BASE}\nRUN python3 -m venv /opt/node\n"
        "COPY requirements.lock /app/\nRUN /opt/node/bin/pip install --require-hashes -r /app/requirements.lock\n"
        'COPY . /app\nVOLUME /data\nWORKDIR /app\nENTRYPOINT ["/opt/node/bin/python", "server.py"]\n'
    )
    monkeypatch.chdir(_own_kind(tmp_path, dockerfile))
    before = {each["Name"] for each in engine.volumes()["Volumes"] or []}
    summary = summary_of(fanlab(*SHORT, "--set", "topology.nodes.kind=mine", out=tmp_path / "run"))
    assert summary["ledger"]["delivered"] == summary["ledger"]["owed"] == 60
    # The volume that the image declares would be made without fanlab's label.
    assert {each["Name"] for each in engine.volumes()["Volumes"] or []} <= before


def test_a_build_that_fails_is_quoted(engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del engine
    monkeypatch.chdir(_own_kind(tmp_path, "ARG BASE\nFROM ${BASE}\nRUN echo this goes wrong && exit 7\n"))
    done = fanlab(*SHORT, "--set", "topology.nodes.kind=mine", out=tmp_path / "run", FANLAB_DOCKER_BASE=_a_base())
    assert done.returncode == Exit.ENVIRONMENT
    assert "the image fanlab-node cannot be built" in done.stderr
    assert "this goes wrong" in done.stderr
    assert "code: 7" in done.stderr
    assert "Traceback" not in done.stderr
    whole = (tmp_path / "run" / "nodes" / "image-fanlab-node.log").read_text()
    assert "FROM ${BASE}" in whole


def test_a_kind_without_a_dockerfile_is_the_scenarios_fault(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del engine
    monkeypatch.chdir(_own_kind(tmp_path, ""))
    done = fanlab(*SHORT, "--set", "topology.nodes.kind=mine", out=tmp_path / "run")
    assert done.returncode == Exit.SCENARIO
    assert "neither a Dockerfile nor a `container` part" in done.stderr


def _a_base() -> str:
    return os.environ.get("FANLAB_DOCKER_BASE", "python:3.11-slim-bookworm")
