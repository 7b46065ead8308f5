"""Whose something is: who is alive, who is surely gone, and of whom nobody here can tell."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fanlab.topology.labels import OWNER_FILE, RUN, USER, Marks, Owner

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

HERE = Owner.of(os.getpid())
ENDED = replace(HERE, start_ticks=HERE.start_ticks - 1)  # another process had this one's number before


def test_an_owner_is_read_back_as_it_was_written() -> None:
    assert Owner.parse(str(HERE)) == HERE
    assert HERE.alive()
    assert not HERE.gone()
    assert HERE.host == os.uname().nodename


@pytest.mark.parametrize("text", ["", "1", "1:2:boot", "1:2:boot:4026531836", "x:2:boot:1@host", "1::boot:1@host"])
def test_what_names_no_owner(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - int() says it in its own words
        Owner.parse(text)


def test_a_process_that_has_ended_is_gone() -> None:
    process = subprocess.Popen(["/bin/sleep", "60"])
    owner = Owner.of(process.pid)
    assert (owner.alive(), owner.gone()) == (True, False)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert (owner.alive(), owner.gone()) == (False, True), "a zombie owns nothing"
    process.wait()
    assert (owner.alive(), owner.gone()) == (False, True)


@pytest.mark.parametrize(
    ("owner", "gone"),
    [
        (ENDED, True),
        (replace(HERE, boot_id="an earlier one"), True),
        (replace(ENDED, namespace="1"), False),  # a container's: it may run under another number
        (replace(ENDED, host="another"), False),
        (replace(ENDED, host="another", boot_id="its own"), False),
        (replace(ENDED, start_ticks=0), False),  # a system that does not tell
    ],
)
def test_only_a_process_of_this_machine_is_surely_gone(owner: Owner, gone: bool) -> None:
    assert not owner.alive()
    assert owner.gone() is gone


def test_marks_are_read_back_from_wherever_they_are_put(tmp_path: Path) -> None:
    marks = Marks("f" * 16, HERE, str(tmp_path))
    marks.sign(tmp_path)
    assert Marks.of_folder(tmp_path) == marks
    assert Marks.of_env({"PATH": "/bin", **marks.env()}) == replace(marks, directory="")
    assert marks.labels("node-1")[RUN] == marks.run_id
    assert marks.labels("node-1")[USER] == str(os.getuid())
    assert marks.name("node-1") == "fanlab-ffffffff-node-1"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run": "a", "owner": "1:2", "directory": ""}', "\xff", '{"run": 1'])
def test_a_folder_that_nobody_signed(tmp_path: Path, text: str) -> None:
    assert Marks.of_folder(tmp_path) is None
    (tmp_path / OWNER_FILE).write_bytes(text.encode("latin-1"))
    assert Marks.of_folder(tmp_path) is None


@pytest.mark.parametrize("env", [{}, {"FANLAB_RUN": "a"}, {"FANLAB_RUN": "a", "FANLAB_OWNER": "1:2:3"}])
def test_an_environment_without_marks(env: dict[str, str]) -> None:
    assert Marks.of_env(env) is None
