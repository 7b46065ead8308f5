"""Where scenarios, nodes and locustfiles are: beside the source in a checkout, inside the package in a wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent.parent


def folder(name: str) -> Path:
    """The folder `scenarios`, `nodes` or `loadtests`, wherever this installation keeps it."""
    bundled = _PACKAGE / "_bundled" / name
    return bundled if bundled.is_dir() else _CHECKOUT / name


def find_scenario(name: str) -> Path | None:
    """The bundled scenario file of that name (with or without `.yaml`), or None."""
    path = folder("scenarios") / f"{name.removesuffix('.yaml')}.yaml"
    return path if path.is_file() and path.parent == folder("scenarios") else None


def node_folders() -> dict[str, Path]:
    """Each node kind on offer, by name: `./nodes` of the working directory first, then the bundled ones."""
    found: dict[str, Path] = {}
    for root in (Path.cwd() / "nodes", folder("nodes")):
        for manifest in sorted(root.glob("*/node.yaml")):
            found.setdefault(manifest.parent.name, manifest.parent)
    return found
