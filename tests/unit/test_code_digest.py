"""The digest of a node's code: another one when code changes, in its folder or in one that it takes code from."""

from pathlib import Path

import pytest

from fanlab.resources import code_digest


def test_it_follows_the_code_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("mine", "odd/mine"):
        folder = tmp_path / "nodes" / kind
        folder.mkdir(parents=True)
        (folder / "node.yaml").write_text("kind: mine", encoding="utf-8")
    own, shared = tmp_path / "nodes" / "odd" / "mine" / "server.py", tmp_path / "nodes" / "mine" / "hub.py"
    own.write_text("a", encoding="utf-8")
    shared.write_text("a", encoding="utf-8")
    before = code_digest("odd/mine")
    for beside in ("__pycache__/hub.pyc", ".cache/x", "README.md"):
        path = shared.parent / beside
        path.parent.mkdir(exist_ok=True)
        path.write_text("beside", encoding="utf-8")
    assert code_digest("odd/mine") == before == code_digest("mine")
    shared.write_text("b", encoding="utf-8")
    after = code_digest("odd/mine")
    assert after != before
    own.write_text("b", encoding="utf-8")
    assert code_digest("odd/mine") not in (before, after)
