"""The build hook: it compiles the hot path of receiving where it can, and says why where it cannot."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fanlab.load import bulk

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hook() -> ModuleType:
    """hatch_build.py, which only an installer imports."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: install one, such as gcc")
@pytest.mark.skipif("sys.platform != 'linux'", reason="epoll is Linux's")
def test_the_installer_compiles_it(hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    (tmp_path / "bulk.c").write_bytes(bulk.SOURCE.read_bytes())
    assert hook.compiled(tmp_path / "libbulk.so") is None
    monkeypatch.setattr(bulk, "LIBRARY", tmp_path / "libbulk.so")
    assert bulk.find()[1] == "compiled"
    (tmp_path / "bulk.c").write_text("no C\n")
    assert "cc failed: " in hook.compiled(tmp_path / "libbulk.so")


def test_the_installer_says_why_it_does_not(hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bulk.c").write_bytes(bulk.SOURCE.read_bytes())
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("CC", str(tmp_path / "none"))
    assert hook.compiled(tmp_path / "libbulk.so").endswith("No such file or directory")
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert hook.compiled(tmp_path / "libbulk.so") == "there is no C compiler"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert hook.compiled(tmp_path / "libbulk.so") == "epoll is Linux's"


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: install one, such as gcc")
@pytest.mark.skipif("sys.platform != 'linux'", reason="epoll is Linux's")
def test_an_installer_that_may_not_write_says_so(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CC", raising=False)
    (tmp_path / "bulk.c").write_bytes(bulk.SOURCE.read_bytes())
    (tmp_path / "libbulk.so").mkdir()  # nobody can put a file there, root included
    assert hook.compiled(tmp_path / "libbulk.so").endswith("Is a directory")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bulk.c", "libbulk.so"]
