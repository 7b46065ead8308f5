"""Every malformed scenario file of tests/golden/malformed gives exactly the errors that stand beside it.

After a change of wording: `FANLAB_REWRITE=1 pytest tests/unit/test_malformed.py`, then read the difference.
"""

import os
from pathlib import Path

import pytest

from fanlab.errors import ScenarioError
from fanlab.exits import Exit
from fanlab.scenario import loader

FOLDER = Path(__file__).parent.parent / "golden" / "malformed"
FILES = sorted(FOLDER.glob("*.yaml"))


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader.resources, "node_folders", lambda: {"websockets": Path("nodes/websockets")})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_malformed(path: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        loader.load(path, source=path.name)
    found = f"{caught.value}\n"
    expected = path.with_suffix(".txt")
    if os.environ.get("FANLAB_REWRITE"):
        expected.write_text(found, encoding="utf-8")
    assert found == expected.read_text(encoding="utf-8")
    assert caught.value.exit_code is Exit.SCENARIO
    assert all(problem.line > 0 for problem in caught.value.problems) or path.stem.startswith("file-")


def test_there_are_enough_of_them() -> None:
    assert len(FILES) >= 40
    assert {path.stem for path in FILES} == {path.stem for path in FOLDER.glob("*.txt")}


@pytest.mark.timeout(20)  # each takes some hundredths of a second; a quadratic reader would take minutes
@pytest.mark.parametrize(
    "text",
    [
        "[" * 250_000,
        "{a: " * 60_000,
        "- " * 120_000,
        "name: x\n" * 30_000,
        "a" * 250_000 + ": 1",
        "name: " + "x" * 250_000,
        "clients:\n" + "- {x: 1}\n" * 2_400,
        "faults:\n" + "- {kind: crash, at: 1s, target: [" + ", ".join(["one"] * 4_000) + "]}\n",
        "gates: ['" + " " * 200_000 + "x']",
        "&a [" + "*a, " * 60_000,
        "? " * 100_000,
        "'" * 249_999,
        "matrix: {" + ", ".join(f"clients.{number}.count: [1]" for number in range(4_000)) + "}\nclients: []",
    ],
    ids=lambda text: text[:12].replace("\n", " "),
)
def test_hostile_text_is_given_up(text: str) -> None:
    with pytest.raises(ScenarioError):
        loader.load_text(text, "hostile.yaml")
