"""Gates given after the run: read from a file or words, and refused at their place."""

from pathlib import Path

import pytest

from fanlab.errors import ScenarioError
from fanlab.scenario.gatefile import given_in_file, given_in_words, refuse_senseless

NAMES = {"node": ["node-1", "node-2"], "channel": ["news"], "group": ["readers"], "fault": ["crash node-2 @2s"]}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gates.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text", ["- lost == 0\n- 'latency.p99 < 1s'\n", "name: x\ngates:\n- lost == 0\n- latency.p99 < 1s"]
)
def test_a_list_or_what_has_one(tmp_path: Path, text: str) -> None:
    assert [given.expr for given in given_in_file(written(tmp_path, text))] == ["lost == 0", "latency.p99 < 1s"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\n", ":1:1: gates are a list"),
        ("gates: lost == 0\n", ":1:8: gates are a list"),
        ("- lost == 0\n- 5\n- [a]\n", ":2:3: a gate is a text"),
        ("- lost == 0\n-  &a [\n", "gates.yaml:"),
    ],
)
def test_what_is_no_list_of_gates(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        given_in_file(written(tmp_path, text))
    assert said in str(caught.value)


def test_every_gate_that_makes_no_sense_is_told_at_its_place(tmp_path: Path) -> None:
    text = "- lost == 0\n- lsot == 0\n- lost(node=node-3) == 0\n- lost(channel=nwes) == 0\n- lost(fault=x) == 0\n"
    with pytest.raises(ScenarioError) as caught:
        refuse_senseless([*given_in_file(written(tmp_path, text)), *given_in_words(["p99 < 5"])], NAMES)
    lines = str(caught.value).splitlines()
    places = [line.split(": ", 1)[0] for line in lines]
    assert places == [*(f"{tmp_path}/gates.yaml:{number}:3" for number in (2, 3, 4, 5)), "--gate 'p99 < 5'"]
    assert "the run has no node 'node-3'; it has 'node-1', 'node-2'; did you mean 'node-" in lines[1]
    assert "did you mean 'news'?" in lines[2]


def test_gates_that_make_sense() -> None:
    refuse_senseless(given_in_words(["lost(node-2) == 0", "lost(group=readers) == 0", "owed > 0"]), NAMES)
