"""`fanlab plan`: golden text, the same byte for byte for the same seed, and different where the seed decides."""

import json
import os
from pathlib import Path

import pytest

from fanlab import resources
from fanlab.dryrun import make_dryrun, render, to_json
from fanlab.scenario import loader
from fanlab.scenario.loader import load

GOLDEN = Path(__file__).parent.parent / "golden" / "plan"
BUNDLED = sorted(resources.folder("scenarios").glob("*.yaml"))
KINDS = ("websockets", "ws-node")  # that the bundled scenarios name
ONE = "faults=[{kind: crash, target: one, at: 1s}]"


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader.resources, "node_folders", lambda: {kind: Path("nodes") / kind for kind in KINDS})


def plan(name: str, *overrides: str, seed: int | None = None) -> str:
    path = resources.folder("scenarios") / f"{name}.yaml"
    (loaded,) = load(path, overrides=overrides, seed=seed, source=f"scenarios/{name}.yaml")
    return render(make_dryrun(loaded))


@pytest.mark.parametrize("name", ["quickstart", "nobody-listening"])
def test_golden(name: str) -> None:
    """After a change: `FANLAB_REWRITE=1 pytest tests/unit/test_dryrun.py`, then read the difference."""
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("FANLAB_REWRITE"):
        golden.write_text(plan(name), encoding="utf-8")
    assert plan(name) == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_every_bundled_scenario_has_a_plan_that_repeats_itself(path: Path) -> None:
    assert plan(path.stem) == plan(path.stem)
    (loaded,) = load(path)
    assert json.loads(json.dumps(to_json(make_dryrun(loaded)), allow_nan=False))["scenario"] == path.stem


def test_the_seed_decides_what_is_random_and_nothing_else() -> None:
    plans = {plan("quickstart", ONE, seed=seed).split("Timeline")[1].split("Deliveries")[0] for seed in range(20)}
    assert len(plans) == 3  # one of three nodes
    assert plan("quickstart", ONE, seed=3) == plan("quickstart", ONE, seed=3)


def test_a_terminal_sees_no_escape_of_the_authors() -> None:
    text = plan("quickstart", 'question="a\\e[31mb\\nc"', 'topology.nodes.env={A: "x\\e]0;y\\n"}')
    assert all(line.isprintable() for line in text.splitlines())
    assert text.startswith("quickstart: a[31mb c\n")
    text = plan("quickstart", 'topology.nodes.env={"A\\tB\\e[2J": "x"}', 'gates=["ledger.lost <\\t5"]')
    assert all(line.isprintable() for line in text.splitlines())
    assert "A B[2J=x" in text


def test_unhealed_and_unknown_are_said() -> None:
    text = plan("quickstart", "faults=[{kind: pause, target: node-1, at: 1s}]")
    assert "pause node-1, to the end" in text
    assert "unknown" in text


def test_a_cell_of_a_matrix_is_named(tmp_path: Path) -> None:
    source = (resources.folder("scenarios") / "quickstart.yaml").read_text(encoding="utf-8")
    path = tmp_path / "m.yaml"
    path.write_text(source + "matrix: {topology.nodes.count: [2, 3]}\n", encoding="utf-8")
    texts = [render(make_dryrun(loaded)) for loaded in load(path, source="m.yaml")]
    assert ["topology.nodes.count=2" in texts[0], "topology.nodes.count=3" in texts[1]] == [True, True]
    assert "matrix m.yaml:30" in texts[0]
    assert str(tmp_path) not in "".join(texts)
