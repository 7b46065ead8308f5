"""Every bundled scenario in containers, with the answer that its header expects: the same one as from processes."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from fanlab import resources
from support.answers import EXPECTED, Summary, as_expected, hit_by_the_crash_alone
from support.docker_runs import Labelled, run_id_of

pytestmark = [pytest.mark.docker, pytest.mark.timeout(480)]

OWN_BASES = {"ws-node-crash": "FANLAB_DOCKER_BASE_WS_NODE"}  # which base a kind of node needs that is not the others'

WORDS = ("--backend", "docker")


@pytest.mark.parametrize("name", sorted({*EXPECTED} - {"out-of-memory"}))
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


def test_out_of_memory_in_containers(engine: Any, labelled: Labelled, tmp_path: Path) -> None:
    """A container's memory is counted with the files that it has read and can do without: it takes more clients."""
    del engine
    scenario = yaml.safe_load((resources.folder("scenarios") / "out-of-memory.yaml").read_text())
    (wave,) = (group for group in scenario["clients"] if group["group"] == "wave")
    wave |= {"count": 300, "spawn_rate": "150/s"}
    (tmp_path / "crowded.yaml").write_text(yaml.safe_dump(scenario))
    as_expected(str(tmp_path / "crowded.yaml"), tmp_path / "run", *WORDS, within_s=400, answer=_killed)
    run_id = run_id_of(tmp_path / "run")
    assert run_id is not None
    assert labelled.everything(run_id) == []


def test_the_node_on_picows_in_containers(engine: Any, labelled: Labelled, tmp_path: Path) -> None:
    del engine
    as_expected("steady", tmp_path / "run", *WORDS, "--set", "topology.nodes.kind=picows", within_s=400)
    run_id = run_id_of(tmp_path / "run")
    assert run_id is not None
    assert labelled.everything(run_id) == []


def _killed(summary: Summary) -> None:
    (fault,) = summary["loss"]["by_fault"]
    assert fault["measured"] == summary["ledger"]["lost"]
    hit_by_the_crash_alone(summary)
    assert summary["recovery_ms"]["by_fault"][fault["fault"]]["clients"] >= 10
    assert summary["faults"][0]["heal_confirmed"] is not None
