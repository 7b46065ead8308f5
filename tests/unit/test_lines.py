"""Files of JSON lines."""

from pathlib import Path

import pytest

from fanlab.ledger.lines import json_objects


def test_no_file_has_no_lines_and_none_that_are_torn(tmp_path: Path) -> None:
    assert json_objects(tmp_path / "none.jsonl") == ([], 0)


@pytest.mark.parametrize(
    ("text", "objects", "torn"),
    [
        (b"", [], 0),
        (b'{"t":1}\n{"t":2}', [{"t": 1}, {"t": 2}], 0),  # the end of the last line is no part of it
        (b'{"t":1}\n{"t":2,"ev', [{"t": 1}], 1),
        (b'{"t":1}\n{"t\n{"t":3}\n\xff\n{"t":5}\n', [{"t": 1}, {"t": 3}, {"t": 5}], 2),
        (b'[1]\n5\nnull\n"a"\n{"t":1}\n\n', [{"t": 1}], 5),
    ],
)
def test_lines_that_are_no_objects_are_counted_and_hide_no_other(
    tmp_path: Path, text: bytes, objects: list[dict[str, int]], torn: int
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(text)
    assert json_objects(path) == (objects, torn)
