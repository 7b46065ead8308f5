"""Files of JSON lines, as a process that may have died over the last one leaves them."""

import json
from pathlib import Path
from typing import Any


def json_objects(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The JSON objects in a file, a line each, and how many lines are none. No file: no lines."""
    found: list[dict[str, Any]] = []
    torn = 0
    try:
        with path.open("rb") as file:
            for text in file:
                try:
                    line = json.loads(text)
                except ValueError:
                    torn += 1
                    continue
                if isinstance(line, dict):
                    found.append(line)
                else:
                    torn += 1
    except FileNotFoundError:
        return [], 0
    return found, torn
