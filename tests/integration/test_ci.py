"""CI's scripts where things go wrong: what cannot be had skips, what fails fails, and nothing of it stays."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

CI = Path(__file__).resolve().parents[2] / ".ci"
TOOLS = ("bash", "sh", "realpath", "mkdir", "rmdir", "cat", "tr", "grep", "awk", "sort", "xargs", "tail", "rm", "chmod")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH of its own, without Docker."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    for name, body in (("id", "echo 0"), ("unshare", "exit 0"), ("apt-get", "exit 100"), ("uname", "echo x86_64")):
        stub(folder, name, body)
    return folder


def stub(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def start(tools: Path) -> "subprocess.CompletedProcess[str]":
    env = {"PATH": str(tools), "FANLAB_POLICY_RC_D": str(tools.parent / "policy-rc.d")}
    command = [str(tools / "bash"), str(CI / "engine"), "start", f"/tmp/fl-{os.getpid()}-engine"]
    try:
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    finally:
        shutil.rmtree(command[-1], ignore_errors=True)


@pytest.mark.parametrize("step", ["update", "install"])
def test_an_install_that_fails_leaves_services_free_to_start(tools: Path, step: str) -> None:
    seen = f'[ -x "{tools.parent}/policy-rc.d" ] && echo "policy: there" >&2'
    stub(tools, "apt-get", f'{seen}; [ "$1" = {step} ] && exit 100; exit 0')
    done = start(tools)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"apt-get {step}" in done.stderr
    assert not (tools.parent / "policy-rc.d").exists()


def test_a_policy_that_was_there_stays(tools: Path) -> None:
    (tools.parent / "policy-rc.d").write_text("theirs")
    assert start(tools).returncode == 1
    assert (tools.parent / "policy-rc.d").read_text() == "theirs"


@pytest.mark.parametrize(
    ("tool", "body", "said"),
    [
        ("id", "echo 1000", "only root may start one"),
        ("unshare", "exit 1", "lets its root make no mounts"),
        ("apt-get", None, "no apt-get to install docker.io iptables with"),
    ],
)
def test_what_cannot_be_had_here_is_told_apart_from_what_fails(
    tools: Path, tool: str, body: str | None, said: str
) -> None:
    (tools / tool).unlink()
    if body is not None:
        stub(tools, tool, body)
    done = start(tools)
    assert done.returncode == 3
    assert said in done.stderr


@pytest.mark.parametrize(("code", "in_ci", "goes_on"), [(1, "1", False), (3, "1", True), (1, "", True), (0, "1", True)])
def test_an_engine_that_could_be_had_and_fails_is_no_skip(
    tmp_path: Path, code: int, in_ci: str, *, goes_on: bool
) -> None:
    folder, bin_ = tmp_path / ".ci", tmp_path / "bin"
    folder.mkdir()
    bin_.mkdir()
    shutil.copy(CI / "run", folder / "run")
    stub(folder, "engine", f'[ "$1" = stop ] || exit {code}')
    stub(bin_, "id", "echo 1000")  # so that nothing is installed
    stub(bin_, "make", f'echo "$* $FANLAB_REQUIRE_DOCKER" >>"{tmp_path}/made"; exit 9')
    # This may be CI itself.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("FANLAB_")}
    env = {**ours, "PATH": f"{bin_}:{os.environ['PATH']}", "CI": in_ci}
    done = subprocess.run([str(folder / "run")], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == (9 if goes_on else 1)
    made = (tmp_path / "made").read_text() if (tmp_path / "made").exists() else ""
    assert made == (f"lint {'1' if code == 0 else ''}\n" if goes_on else "")
    assert ("did not start" in done.stdout) is not goes_on
