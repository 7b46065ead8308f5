"""Processes by their marks: whose they are, and that nobody is taken for another."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fanlab.topology import marked
from fanlab.topology.labels import Marks, Owner

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

PYTHON = [sys.executable, "-I", "-S", "-c"]
SLEEP = "import time; print('up', flush=True); time.sleep(600)"
# Starts one for each environment that it reads, tells their numbers, and stays or ends.
PARENT = """
import json, os, subprocess, sys, time
argv = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
envs, new_session, stays = json.loads(sys.argv[1])
how = {"stdout": subprocess.DEVNULL, "start_new_session": new_session}
envs = [json.loads(sys.stdin.readline()) if env is None else env for env in envs]
print(*[subprocess.Popen(argv, env=env, **how).pid for env in envs], flush=True)
if stays:
    time.sleep(600)
os._exit(0)
"""


class Started:
    """Processes of a test, ended with it."""

    def __init__(self) -> None:
        self.all: list[subprocess.Popen[str]] = []
        self.others: list[int] = []

    def __call__(self, code: str, env: dict[str, str], *words: str) -> int:
        """One that has said a line; its number. Its session is its own: pytest's is a run's, if pytest leads one."""
        process = self.popen(code, env, *words, start_new_session=True)
        assert process.stdout is not None
        process.stdout.readline()
        return process.pid

    def popen(self, code: str, env: dict[str, str], *words: str, **how: Any) -> "subprocess.Popen[str]":
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.all.append(subprocess.Popen([*PYTHON, code, *words], env=env, **pipes, **how))
        return self.all[-1]

    def parent(
        self, env: dict[str, str], children: list[dict[str, str]], *, new_session: bool = False, stays: bool = True
    ) -> tuple[int, list[int]]:
        """One that starts others; all their numbers. It leads a session."""
        told = json.dumps([children, new_session, stays])
        process = self.popen(PARENT, env, told, start_new_session=True)
        return process.pid, self.heard(process)

    def heard(self, process: "subprocess.Popen[str]") -> list[int]:
        assert process.stdout is not None
        pids = list(map(int, process.stdout.readline().split()))
        self.others += pids
        return pids


@pytest.fixture
def start() -> Iterator[Started]:
    started = Started()
    yield started
    for pid in started.others:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for process in started.all:
        process.kill()
        process.communicate()


@pytest.fixture
def marks() -> Marks:
    return Marks.new(Owner.of(os.getpid()))


def found(marks: Marks, session: int | None = None) -> set[int]:
    return {one.pid for one in marked.find(marks.run_id, session=session)}


def test_marked_ones_are_found_and_no_others(start: Started, marks: Marks) -> None:
    ours = start(SLEEP, marks.env())
    start(SLEEP, {})
    start(SLEEP, Marks.new(marks.owner).env())
    start(SLEEP, {"FANLAB_RUN": marks.run_id, "FANLAB_OWNER": "nonsense"})
    assert found(marks) == {ours}
    (one,) = marked.find(marks.run_id)
    assert one.marks == marks
    assert one.title.startswith(f"process {ours} of run {marks.short}: {sys.executable} -I -S -c import time")
    assert ours in {each.pid for each in marked.find()}


def test_one_that_is_started_while_the_others_are_read_is_found(
    start: Started, marks: Marks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever started it may have ended since it was listed: then nobody else leads to it."""
    late = start(SLEEP, marks.env())
    listing, lists = os.listdir, iter([{str(late)}, set[str]()])
    monkeypatch.setattr(os, "listdir", lambda path: [*{*listing(path)} - next(lists, set())])
    assert found(marks) == {late}


@pytest.mark.parametrize("ends", [True, False])
def test_one_within_an_execve_is_waited_for(
    start: Started, marks: Marks, monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    """Its environment and its words are empty then, as the kernel has not put them into the new program yet."""
    ours, unheard = start(SLEEP, marks.env()), iter(range(20))
    read = Path.read_bytes

    def within(path: Path) -> bytes:
        empty = path.parent == Path(f"/proc/{ours}") and (not ends or next(unheard, None) is not None)
        return b"" if empty else read(path)

    monkeypatch.setattr(Path, "read_bytes", within)
    assert found(marks) == ({ours} if ends else set()), "one that has none for good is not waited for forever"


def test_a_child_without_an_environment_is_its_parents(start: Started, marks: Marks) -> None:
    parent, children = start.parent(marks.env(), [{}], new_session=True)
    assert found(marks) == {parent, *children}


def test_a_child_with_other_marks_is_not(start: Started, marks: Marks) -> None:
    other = Marks.new(marks.owner)
    parent, children = start.parent(marks.env(), [other.env()])
    assert found(marks) == {parent}
    assert found(other) == {*children}


def test_the_session_of_a_dead_owner_is_its_runs(start: Started, marks: Marks) -> None:
    """As a daemon without an environment is, whose parent was killed with its warden; a bystander's session is not."""
    leader, orphans = start.parent({}, [{}], stays=False)
    os.waitid(os.P_PID, leader, os.WEXITED | os.WNOWAIT)  # as the harness does: its number stays its own
    assert found(marks) == set()
    assert found(marks, session=leader) == {*orphans}


def test_a_marked_one_vouches_for_the_session_that_its_owner_made(start: Started, marks: Marks) -> None:
    """Both are left of an owner that is gone: one with its environment, and one without."""
    leader = start.popen(PARENT, {}, json.dumps([[None, {}], False, False]), start_new_session=True)
    owned = Marks(marks.run_id, Owner.of(leader.pid))
    assert leader.stdin is not None
    leader.stdin.write(json.dumps(owned.env()) + "\n")
    leader.stdin.flush()
    left = start.heard(leader)
    leader.wait()
    assert owned.owner.gone()
    assert found(owned) == {*left}
    os.kill(left[0], signal.SIGKILL)
    end = time.monotonic() + 10
    while found(owned):  # nobody vouches for the other any more: it may be anybody's
        assert time.monotonic() < end
    os.kill(left[1], 0)  # raises if it is gone


def test_neither_itself_nor_who_is_above_is_ever_found() -> None:
    code = (
        "import os; from fanlab.topology import marked; "
        "print([one.pid for one in marked.find(os.environ['FANLAB_RUN'])])"
    )
    marks = Marks.new(Owner.of(os.getpid()))
    shell = f'{sys.executable} -c "{code}"; true'  # a shell that bears the mark, too
    done = subprocess.run(
        ["/bin/sh", "-c", shell], env={**os.environ, **marks.env()}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_number_that_was_given_to_another_is_not_signalled(start: Started, marks: Marks) -> None:
    ours = start(SLEEP, marks.env())
    (one,) = marked.find(marks.run_id)
    for other in (
        replace(one, stat=replace(one.stat, start_ticks=one.stat.start_ticks + 1)),
        replace(one, env=Marks.new(marks.owner).env()),
        replace(one, stat=replace(one.stat, pid=2**22 - 1)),  # nobody's
    ):
        with marked.held(other) as fd:
            assert fd is None
    with marked.held(one) as fd:
        assert fd is not None
    left = marked.end(lambda: [replace(one, stat=replace(one.stat, start_ticks=0))], grace_s=0.1, deadline_s=0.1)
    assert [each.pid for each in left] == [ours]
    assert start.all[0].poll() is None


def test_the_deaf_and_the_stopped_end_too(start: Started, marks: Marks) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
    polite = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); " + SLEEP
    pids = [start(code, marks.env()) for code in (deaf, polite, polite)]
    os.kill(pids[2], signal.SIGSTOP)
    assert marked.end(lambda: marked.find(marks.run_id), grace_s=1.0) == []
    assert [process.wait(10) for process in start.all] == [-signal.SIGKILL, 7, 7]


def test_what_comes_meanwhile_ends_too(start: Started, marks: Marks) -> None:
    """Each one that is asked to end starts another first, a few times."""
    code = (
        "import os, signal, sys, time\n"
        "def again(*_):\n"
        "    n = int(sys.argv[1]) - 1\n"
        "    if n: os.posix_spawn(sys.executable, [sys.executable, *sys.orig_argv[1:-1], str(n)], os.environ)\n"
        "    os._exit(0)\n"
        "signal.signal(signal.SIGTERM, again)\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    start(code, marks.env(), "4")
    assert marked.end(lambda: marked.find(marks.run_id)) == []
    end = time.monotonic() + 5
    while found(marks):
        assert time.monotonic() < end
