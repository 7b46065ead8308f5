"""What pytest's way of importing asks of the test files: each has a name of its own, and there is one conftest.py."""

from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def test_every_test_file_has_a_name_of_its_own() -> None:
    names = Counter(path.name for path in TESTS.rglob("*.py") if path.name.startswith(("test_", "conftest")))
    assert [name for name, count in names.items() if count > 1] == []
    assert "test_test_files.py" in names
