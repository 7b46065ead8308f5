"""Every bundled scenario in containers, with the answer that its header expects: the same one as from processes."""

import os
from pathlib import Path
from typing import Any

import pytest

from support.answers import EXPECTED, as_expected
from support.docker_runs import Labelled, run_id_of

pytestmark = [pytest.mark.docker, pytest.mark.timeout(480)]

OWN_BASES = {"ws-node-crash": "FANLAB_DOCKER_BASE_WS_NODE"}  # which base a kind of node needs that is not the others'

WORDS = ("--backend", "docker")


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_scenario_in_containers(engine: Any, labelled: Labelled, tmp_path: Path, name: str) -> None:
    del engine
    variable = OWN_BASES.get(name)
    if variable is not None and "FANLAB_DOCKER_BASE" in os.environ and variable not in os.environ:
        message = f"its nodes need a base image with Node.js: name one by {variable}, or see .ci/engine"
        if os.environ.get("FANLAB_REQUIRE_NODEJS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    summary = as_expected(name, tmp_path / "run", *WORDS, within_s=400)
    assert summary["backend"] == "docker"
    assert all(fault["confirmed"] is not None for fault in summary["faults"])
    run_id = run_id_of(tmp_path / "run")
    assert run_id is not None
    assert labelled.everything(run_id) == []


def test_the_node_on_picows_in_containers(engine: Any, labelled: Labelled, tmp_path: Path) -> None:
    del engine
    as_expected("steady", tmp_path / "run", *WORDS, "--set", "topology.nodes.kind=picows", within_s=400)
    run_id = run_id_of(tmp_path / "run")
    assert run_id is not None
    assert labelled.everything(run_id) == []
