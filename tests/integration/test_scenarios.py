"""Every bundled scenario, run as a user runs it, with the answer that its header expects."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fanlab import resources
from fanlab.topology.backend import Need
from fanlab.topology.cgroups import refusal
from support.answers import EXPECTED, PATIENT, as_expected

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

NEEDS = {"out-of-memory": Need.MEMORY_LIMIT, "throttled-node": Need.CPU_LIMIT}


@pytest.fixture(autouse=True)
def _can_be_done_here(request: pytest.FixtureRequest) -> None:
    """Skip, with the reason, a scenario that takes more than this machine gives."""
    name = request.node.callspec.params.get("name", "") if hasattr(request.node, "callspec") else ""
    need = NEEDS.get(name)
    if need is not None and (why := refusal(need)):
        pytest.skip(why)


INSTALLED = {"ws-node-crash": "ws_node"}  # the fixture that says where a scenario's nodes are ready to run
BLACK_BOXES = ("--set", "topology.nodes.0.journal=false", "--set", "topology.nodes.1.journal=false")


def test_every_bundled_scenario_has_an_expectation_here() -> None:
    assert set(EXPECTED) == {path.stem for path in resources.folder("scenarios").glob("*.yaml")}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_scenario(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    as_expected(name, tmp_path / "run", cwd=request.getfixturevalue(INSTALLED[name]) if name in INSTALLED else None)


def test_a_foreign_node_as_a_black_box(ws_node: Path, tmp_path: Path) -> None:
    summary = as_expected("ws-node-crash", tmp_path / "run", *BLACK_BOXES, cwd=ws_node)
    assert summary["hops_ms"]["node"]["n"] == 0


MATRIX = """
name: mx
question: Does each cell stand for itself?
topology: {nodes: {count: 1}}
channels: [news]
clients: [{group: g, count: 2, channels: [news]}]
publishers: [{name: p, channel: news, rate: 20/s}]
phases: {warm_up: 0s, measure: 3s, drain: {quiet: 200ms}}
matrix: {publishers.p.rate: [20/s, 40/s]}
"""


def test_a_matrix_is_one_run_per_cell_one_json_and_one_exit_code(tmp_path: Path) -> None:
    (tmp_path / "mx.yaml").write_text(MATRIX)
    command = [sys.executable, "-m", "fanlab", "run", "mx.yaml", "--json", "--no-progress", *PATIENT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [summary["ledger"]["delivered"] for summary in json.loads(done.stdout)] == [120, 240]
    latest = tmp_path / "reports" / "runs" / "mx" / "latest"
    for number, rate in ((1, "20/s"), (2, "40/s")):
        cell = latest / f"cell-{number}"
        assert f"publishers.p.rate={rate}" in (cell / "report.html").read_text()
        assert json.loads((cell / "manifest.json").read_text())["command"][-2:] == [
            "--set",
            f'publishers.p.rate="{rate}"',
        ]
