"""What a scenario's checks need to know of node kinds before any is started: a glance into their node.yaml.

Whether the file is in order is `topology.manifest`'s to say; here one that is not has simply no cache.
"""

from collections.abc import Mapping
from pathlib import Path

from fanlab.errors import ScenarioError
from fanlab.scenario.document import Table, parse

_MAX_BYTES = 64_000  # that of topology.manifest


def caching_kinds(folders: Mapping[str, Path]) -> frozenset[str]:
    """Those kinds whose node.yaml names a `cache`; `folders` are the kinds on offer."""
    return frozenset(kind for kind, folder in folders.items() if _has_cache(folder / "node.yaml"))


def _has_cache(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            text = opened.read(_MAX_BYTES).decode("utf-8-sig")
        root = parse(text, str(file)).root
    except (OSError, UnicodeDecodeError, ScenarioError):
        return False
    return isinstance(root, Table) and "cache" in root.entries
