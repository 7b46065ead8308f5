"""nodes/ws-node can be installed anywhere, and the same everywhere: exact versions, hashes, and nobody's addresses."""

import json
import re
from typing import Any

from fanlab import resources
from fanlab.topology.manifest import read_manifest

HOME = resources.folder("nodes") / "ws-node"
LOCK: dict[str, Any] = json.loads((HOME / "package-lock.json").read_text(encoding="utf-8"))
PACKAGE: dict[str, Any] = json.loads((HOME / "package.json").read_text(encoding="utf-8"))


def test_the_lock_names_versions_and_hashes_and_no_address() -> None:
    ours, *others = LOCK["packages"].values()
    assert ours["dependencies"] == PACKAGE["dependencies"]
    assert {f"node_modules/{name}" for name in PACKAGE["dependencies"]} <= set(LOCK["packages"])
    for package in others:
        assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"])
        assert package["integrity"].startswith("sha512-")
        assert "resolved" not in package
    assert "omit-lockfile-registry-resolved=true" in (HOME / ".npmrc").read_text(encoding="utf-8")


def test_manifest_readme_and_dockerfile_install_it_alike() -> None:
    command = " ".join(read_manifest(HOME).install_argv() or ())
    assert command == "npm ci --omit=dev"
    for name in ("README.md", "Dockerfile"):
        assert command in (HOME / name).read_text(encoding="utf-8")


def test_its_container_is_not_roots() -> None:
    lines = (HOME / "Dockerfile").read_text(encoding="utf-8").splitlines()
    (user,) = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert lines.index("FROM ${BASE}") == 1 + [line.partition("=")[0] for line in lines].index("ARG BASE")
