"""docs/scenario-file.md is current, complete, and its examples load."""

import re
from pathlib import Path

import pytest
import yaml

from fanlab import resources
from fanlab.scenario import loader
from fanlab.scenario.document import parse, plain
from fanlab.scenario.loader import load_text
from fanlab.scenario.reference import records, with_tables
from fanlab.scenario.shape import scenario_shape

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "scenario-file.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def test_the_tables_are_those_of_the_model() -> None:
    assert with_tables(TEXT) == TEXT, "run: python -m fanlab.scenario.reference docs/scenario-file.md"


def test_a_stale_table_would_be_seen() -> None:
    assert with_tables(TEXT.replace("| `seed` |", "| `sede` |")) == TEXT


def test_every_part_has_its_table() -> None:
    parts = {part.model.__name__ for part in records(scenario_shape())} - {"ConstantRate"}  # shown by its short form
    assert set(re.findall(r"<!-- fields: (\w+) -->", TEXT)) == parts


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.splitlines()[0])
def test_examples_load(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader.resources, "node_folders", lambda: {"websockets": Path("nodes/websockets")})
    quickstart = plain(parse((resources.folder("scenarios") / "quickstart.yaml").read_text(encoding="utf-8"), "").root)
    merged = quickstart | plain(parse(example, "docs/scenario-file.md").root)
    assert load_text(yaml.safe_dump(merged), "docs/scenario-file.md")
