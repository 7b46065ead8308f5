"""Where scenarios, nodes and locustfiles are: beside the source in a checkout, inside the package in a wheel."""

import hashlib
from collections import Counter
from collections.abc import Collection
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent.parent
_MADE = frozenset({"__pycache__", "node_modules"})


def folder(name: str) -> Path:
    """The folder `scenarios`, `nodes` or `loadtests`, wherever this installation keeps it."""
    bundled = _PACKAGE / "_bundled" / name
    return bundled if bundled.is_dir() else _CHECKOUT / name


def find_scenario(name: str) -> Path | None:
    """The bundled scenario file of that name (with or without `.yaml`), or None."""
    path = folder("scenarios") / f"{name.removesuffix('.yaml')}.yaml"
    return path if path.is_file() and path.parent == folder("scenarios") else None


def node_folders() -> dict[str, Path]:
    """Each node kind on offer, by name: `./nodes` of the working directory first, then the bundled ones.

    A kind is named by its folder's path below `nodes`, one or two deep: `websockets`, `saboteurs/crosstalk`.
    """
    found: dict[str, Path] = {}
    for root in (Path.cwd() / "nodes", folder("nodes")):
        for manifest in sorted([*root.glob("*/node.yaml"), *root.glob("*/*/node.yaml")]):
            found.setdefault(manifest.parent.relative_to(root).as_posix(), manifest.parent)
    return found


def code_digest(kind: str) -> str:
    """The sha256 of the code of a node kind: of all of the `nodes` folder that it is in, for kinds share code.

    What is no code is left out: hidden files, Python's and npm's own folders, Markdown.
    """
    root = node_folders()[kind].parents[kind.count("/")]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and path.suffix != ".md" and not any(part.startswith(".") or part in _MADE for part in parts):
            content = path.read_bytes()
            digest.update(f"{'/'.join(parts)}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def kind_of(node_folder: Path) -> str:
    """What a node in this folder is called: its path below `nodes`, or just its name where it is in no such folder."""
    above = node_folder.parent
    if above.name != "nodes" and above.parent.name == "nodes":
        return f"{above.name}/{node_folder.name}"
    return node_folder.name


def on_offer(kinds: Collection[str]) -> str:
    """The kinds in a line: a folder of many is named once, with how many there are."""
    plain = sorted(kind for kind in kinds if "/" not in kind)
    nested = Counter(kind.partition("/")[0] for kind in kinds if "/" in kind)
    return ", ".join([*plain, *(f"{name}/… ({count} kinds)" for name, count in sorted(nested.items()))])
