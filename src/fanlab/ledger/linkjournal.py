"""Which node is behind a connection that Redis sees coming from the link: `journal/link.jsonl` names them.

The other end of such a connection is a socket of the link's, which tells nothing of whose it is; a client name would.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fanlab.ledger.lines import json_objects

NAME: Final = "link.jsonl"
_TO_REDIS: Final = "/redis"  # how the link calls its proxies between nodes and Redis: `node-1/redis`

Behind = Mapping[str, Sequence[tuple[int, str]]]  # by address, as Redis sees it: since when, and which node


def read_behind(path: Path) -> Behind:
    """From the link's journal. Without one, or where it is torn, nobody is known to be behind anything."""
    found: dict[str, list[tuple[int, str]]] = {}
    for line in json_objects(path)[0]:
        opened, proxy, t, address = (line.get(name) for name in ("ev", "proxy", "t", "up"))
        if opened == "open" and isinstance(proxy, str) and proxy.endswith(_TO_REDIS) and isinstance(t, int):
            found.setdefault(str(address), []).append((t, proxy.removesuffix(_TO_REDIS)))
    return {address: sorted(openings) for address, openings in found.items()}


def with_nodes(lines: Iterable[dict[str, Any]], behind: Behind) -> Iterator[dict[str, Any]]:
    """The lines of redis.jsonl, with the node behind each connection where they lack it."""
    owners: dict[Any, str] = {}  # by CLIENT ID, as last listed
    for line in lines:
        if line.get("node") is None and behind:
            owner = owners.get(line.get("id")) if line.get("ev") == "gone" else _owner(line, behind)
            line = line if owner is None else line | {"node": owner}  # noqa: PLW2901 - the same line, better known
        if line.get("ev") == "subscriber" and line.get("node") is not None:
            owners[line.get("id")] = line["node"]
        yield line


def _owner(line: Mapping[str, Any], behind: Behind) -> str | None:
    t, openings = line.get("t"), behind.get(str(line.get("addr")), ())
    return next((node for since, node in reversed(openings) if isinstance(t, int) and since <= t), None)
