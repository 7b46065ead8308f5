"""Node.js on this machine, and nodes/ws-node installed as its manifest says, in a copy."""

import shutil
import subprocess
from pathlib import Path

from fanlab.resources import folder
from fanlab.topology.manifest import read_manifest

OLDEST = 20  # what nodes/ws-node/package.json asks for


class NoNodeJs(Exception):  # noqa: N818 - a reason to skip
    """Why there is no Node.js here that could run the node; its text is a sentence."""


def install_ws_node(at: Path) -> Path:
    """Copy nodes/ws-node to `at`/nodes/ws-node and install it there; returns `at`, where fanlab then finds it.

    Raises NoNodeJs where Node.js or npm is missing or too old, or the registry does not answer.
    """
    _check_node()
    home = at / "nodes" / "ws-node"
    shutil.copytree(folder("nodes") / "ws-node", home, ignore=shutil.ignore_patterns("node_modules"))
    argv = read_manifest(home).install_argv()
    assert argv is not None
    words = [*argv, "--no-audit", "--no-fund"]
    if shutil.which(words[0]) is None:
        raise NoNodeJs(f"no {words[0]} on PATH")
    try:
        done = subprocess.run(words, cwd=home, capture_output=True, text=True, timeout=100, check=False)
    except subprocess.TimeoutExpired:
        raise NoNodeJs(f"`{' '.join(argv)}` did not end within 100 s") from None
    if done.returncode:
        last = (done.stderr.strip() or "it says nothing").splitlines()[0]
        raise NoNodeJs(f"`{' '.join(argv)}` failed: {last}")
    return at


def _check_node() -> None:
    if (program := shutil.which("node")) is None:
        raise NoNodeJs("no Node.js: install it, with npm")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    version = done.stdout.strip().removeprefix("v")
    if not version.partition(".")[0].isdigit() or int(version.partition(".")[0]) < OLDEST:
        raise NoNodeJs(f"Node.js {version or 'of no version'} is too old: nodes/ws-node needs {OLDEST}")
