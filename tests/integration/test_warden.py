"""The warden with real processes: nothing outlives it, whoever dies and when."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fanlab import seed
from fanlab.errors import EnvironmentFailure, HarnessError
from fanlab.topology import marked as marked_processes
from fanlab.topology import warden
from fanlab.topology.wardenclient import WardenClient

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

MARK = "FANLAB_TEST_TREE"
RUN = "FANLAB_RUN"
PYTHON = [sys.executable, "-I", "-S"]
# Ignores SIGTERM, starts one more of itself in a session of its own and one as a daemon whose parent has ended.
STUBBORN = """
import os, signal, subprocess, sys, time
for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(signum, signal.SIG_IGN)
depth = int(sys.argv[1])
if depth:
    subprocess.Popen([sys.executable, "-I", "-S", __file__, str(depth - 1)], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
print("up", flush=True)
time.sleep(600)
"""
PER_UNIT = 3  # itself, its daemon, and the one in a session of its own
# Whoever started pytest may have had it ignore signals, as nohup and shells do, and whatever is ignored is inherited.
HARNESS = """
import asyncio, os, signal, sys
from pathlib import Path
from fanlab.topology.wardenclient import WardenClient

for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    signal.signal(signum, signal.SIG_DFL)

async def main(folder):
    print("begins", flush=True)
    client = await WardenClient.start(folder / "warden.log")
    argv = [sys.executable, "-I", "-S", str(folder / "stubborn.py"), "1"]
    await asyncio.gather(
        *(client.spawn(f"n{i}", argv, env=os.environ, cwd=folder, log=folder / f"n{i}.log") for i in range(4))
    )
    print("started", flush=True)
    await asyncio.sleep(600)

asyncio.run(main(Path(sys.argv[1])))
"""


def marked(mark: str) -> set[int]:
    """Every process that carries the mark in its environment, zombies left out."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found.add(int(entry.name))
        except OSError:
            continue  # it has ended, or is another user's
    return found


def open_files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def holds(condition: Callable[[], object], deadline_s: float = 20.0) -> bool:
    """Whether the condition comes true before the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


async def until(condition: Callable[[], object], deadline_s: float = 20.0) -> bool:
    """The same beside a running loop."""
    return await asyncio.to_thread(holds, condition, deadline_s)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    (tmp_path / "harness.py").write_text(HARNESS)
    return tmp_path


@pytest.fixture
def mark() -> str:
    return secrets.token_hex(8)


@pytest.fixture
async def client(folder: Path) -> AsyncIterator[WardenClient]:
    client = await WardenClient.start(folder / "warden.log")
    yield client
    await client.shutdown(0.0)
    assert (folder / "warden.log").read_text() == ""


def start_harness(folder: Path, mark: str, *, until: bytes = b"begins\n") -> "subprocess.Popen[bytes]":
    harness = subprocess.Popen(
        [sys.executable, str(folder / "harness.py"), str(folder)],
        env={**os.environ, MARK: mark},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert harness.stdout is not None
    while (line := harness.stdout.readline()) != until:
        assert line, "the harness has ended"
    return harness


def end(harness: "subprocess.Popen[bytes]") -> None:
    harness.kill()
    harness.communicate()


def test_harness_killed_at_any_instant_leaves_nothing(folder, mark):
    """The spread covers the warden's own start and every stage of the tree's; what was alive is counted."""
    random = seed.rng(1, "kill")
    seen = []
    for _ in range(10):
        harness = start_harness(folder, mark)
        time.sleep(random.uniform(0, 0.3))
        seen.append(len(marked(mark)))
        end(harness)
        assert holds(lambda: not marked(mark), 5), marked(mark)
    assert len(set(seen)) > 1, f"all instants alike: {seen}"


def test_the_whole_tree_is_seen_and_ended(folder, mark):
    """The control for the test above: this is what there is to leave behind."""
    harness = start_harness(folder, mark, until=b"started\n")
    try:
        assert holds(lambda: len(marked(mark)) == 2 + 4 * PER_UNIT), len(marked(mark))
    finally:
        end(harness)
    assert holds(lambda: not marked(mark), 5), marked(mark)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_signals_to_the_terminal_group_reach_the_harness_only(folder, mark, signum):
    harness = start_harness(folder, mark, until=b"started\n")
    try:
        owner = next(pid for pid in marked(mark) if b"warden.py" in Path(f"/proc/{pid}/cmdline").read_bytes())
        before = marked(mark)
        os.kill(owner, signum)  # even when it is sent to the warden itself
        assert os.getsid(owner) == owner != harness.pid
        assert before <= marked(mark)
        os.killpg(harness.pid, signum)
        assert harness.wait(20) == -signum
    finally:
        end(harness)
    assert holds(lambda: not marked(mark), 5), marked(mark)


async def test_the_warden_killed_takes_its_children_along(folder):
    client = await WardenClient.start(folder / "warden.log")
    argv = [*PYTHON, "-c", "import time; time.sleep(600)"]
    pids = [await client.spawn(f"n{i}", argv, env={}, cwd=folder, log=folder / "log") for i in range(3)]
    client.kill()
    with pytest.raises(EnvironmentFailure, match="the warden, which owns every process of the run, has ended"):
        await client.wait_exit("n0")
    assert await until(lambda: not any((stat := warden.read_stat(pid)) and stat.state != "Z" for pid in pids), 5)
    with pytest.raises(EnvironmentFailure, match="the warden"):
        await client.spawn("n9", argv, env={}, cwd=folder, log=folder / "log")
    assert not client.running("n9")
    await client.shutdown(0.0)


async def test_what_the_children_of_a_killed_warden_leave_is_ended_and_cleared_up(folder):
    """Daemons, by the run's mark; one without an environment, by its session; then commands and folders, once."""
    lost = asyncio.Event()
    client = await WardenClient.start(folder / "warden.log", lost=lost)
    owned, done = folder / "owned", folder / "done"
    await client.own(owned)
    owned.mkdir()
    await client.at_end(["/bin/sh", "-c", f"test -d {owned} && echo {RUN}=$FANLAB_RUN >> {done}"], {"PATH": "/bin"})
    nameless = "import subprocess, sys; subprocess.run([sys.executable, 'nameless.py'], env={})"
    (folder / "nameless.py").write_text("import time; print('up', flush=True); time.sleep(600)")
    env = {"FANLAB_RUN": "its own", "FANLAB_OWNER": "none"}  # a node's own environment does not hide it
    argvs = {"stubborn": [*PYTHON, "stubborn.py", "1"], "parent": [*PYTHON, "-c", nameless]}
    for name, argv in argvs.items():
        await client.spawn(name, argv, env=env, cwd=folder, log=folder / f"{name}.log")
    assert await until(lambda: "up" in (folder / "parent.log").read_text())
    assert await until(lambda: (folder / "stubborn.log").read_text().count("up\n") == PER_UNIT)
    found = marked_processes.find(client.run_id, session=client.pid)
    assert len([one for one in found if not one.is_warden]) == PER_UNIT + 2
    os.kill(client.pid, signal.SIGKILL)
    await asyncio.wait_for(lost.wait(), 10)
    await client.shutdown(0.0)
    assert not any((stat := warden.read_stat(one.pid)) and stat.state != "Z" for one in found)
    assert done.read_text() == f"{RUN}=\n"
    assert not owned.exists()
    await client.shutdown(0.0)
    assert done.read_text() == f"{RUN}=\n"


async def test_a_warden_killed_while_it_ends_everything_is_stood_in_for(folder):
    client = await WardenClient.start(folder / "warden.log")
    await client.spawn("stubborn", [*PYTHON, "stubborn.py", "1"], env={}, cwd=folder, log=folder / "log")
    assert await until(lambda: (folder / "log").read_text().count("up\n") == PER_UNIT)
    found = marked_processes.find(client.run_id)
    ending = asyncio.create_task(client.shutdown(20.0))
    assert await until(lambda: client._ending)
    client.kill()
    await ending
    assert not any((stat := warden.read_stat(one.pid)) and stat.state != "Z" for one in found)


async def test_sigusr1_ends_everything_in_order_though_a_harness_is_there(folder):
    lost = asyncio.Event()
    client = await WardenClient.start(folder / "warden.log", lost=lost)
    await client.spawn("unit", ["/bin/sleep", "600"], env={}, cwd=folder, log=folder / "log")
    os.kill(client.pid, signal.SIGUSR1)
    await asyncio.wait_for(lost.wait(), 10)
    assert client.last_exit("unit").status == -signal.SIGTERM
    await client.shutdown(0.0)


async def test_shutdown_asks_first(folder):
    client = await WardenClient.start(folder / "warden.log")
    script = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print('up', flush=True); "
    log = folder / "polite.log"
    argv = [*PYTHON, "-c", script + "signal.pause()"]
    for name in ("polite", "paused"):
        await client.spawn(name, argv, env={}, cwd=folder, log=log)
    await client.spawn("stubborn", [*PYTHON, "stubborn.py", "1"], env={}, cwd=folder, log=folder / "log")
    assert await until(lambda: log.read_text().count("up\n") == 2 and "up" in (folder / "log").read_text())
    await client.signal("paused", signal.SIGSTOP)
    await client.shutdown(0.5)
    assert {name: client.last_exit(name).status for name in ("polite", "paused", "stubborn")} == {
        "polite": 7,
        "paused": 7,
        "stubborn": -signal.SIGKILL,
    }
    await client.shutdown(0.5)


# Appends: its name, a variable, where it runs, whether a folder is there still, and a process.
NOTE = """
import os, sys
notes, name, *paths = sys.argv[1:]
there = [str(os.path.exists(path)) for path in paths]
with open(notes, "a") as file:
    print(name, os.environ.get("WHO", "nobody"), os.getcwd(), *there, file=file)
"""


async def test_commands_at_the_end_run_last_told_first_when_every_process_is_gone(folder):
    client = await WardenClient.start(folder / "warden.log")
    private = folder / "private"
    private.mkdir()
    await client.own(private)
    argv = [*PYTHON, str(folder / "stubborn.py"), "0"]
    pid = await client.spawn("unit", argv, env={}, cwd=folder, log=folder / "log")
    for name in ("second", "first"):
        note = [*PYTHON, "-c", NOTE, str(folder / "notes"), name, str(private), f"/proc/{pid}"]
        await client.at_end(note, {"WHO": "us"})
    await client.shutdown(0.2)
    assert (folder / "notes").read_text() == "first us / True False\nsecond us / True False\n"
    assert not private.exists()


async def test_a_command_at_the_end_that_fails_is_in_the_log_and_stops_no_other(folder):
    client = await WardenClient.start(folder / "warden.log")
    await client.at_end([*PYTHON, "-c", NOTE, str(folder / "notes"), "still"], {})
    await client.at_end([*PYTHON, "-c", "print('its words', flush=True); raise SystemExit(3)"], {})
    await client.at_end([str(folder / "no-such-program")], {})
    await client.shutdown(0.0)
    assert (folder / "notes").read_text() == "still nobody /\n"
    log = (folder / "warden.log").read_text()
    assert "its words" in log
    assert "ended with 3" in log
    assert "no-such-program" in log


def test_commands_at_the_end_run_though_the_harness_was_killed(folder, mark):
    script = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom fanlab.topology.wardenclient import WardenClient\n"
        "async def main(folder):\n"
        "    client = await WardenClient.start(folder / 'warden.log')\n"
        f"    await client.at_end([*{PYTHON!r}, '-c', {NOTE!r}, str(folder / 'notes'), 'killed'], {{}})\n"
        "    print('told', flush=True)\n    await asyncio.sleep(600)\n"
        "asyncio.run(main(Path(sys.argv[1])))\n"
    )
    (folder / "harness.py").write_text(script)
    harness = start_harness(folder, mark, until=b"told\n")
    end(harness)
    assert holds(lambda: (folder / "notes").exists() and (folder / "notes").read_text() == "killed nobody /\n")
    assert holds(lambda: not marked(mark), 5), marked(mark)


async def test_what_a_child_is_given(client, folder):
    """Empty stdin, output in the log, no descriptor of ours, default signals, its own group, the stated environment."""
    script = (
        "import os, sys; print(sys.stdin.read() == '', sorted(os.listdir('/proc/self/fd')), "
        "os.getpgrp() == os.getpid(), os.getcwd(), dict(os.environ)); "
        "print(*[x.strip() for x in open('/proc/self/status') if x[:6] in ('SigIgn', 'SigBlk')]); "
        "sys.stderr.write('complaint')"
    )
    log = folder / "child.log"
    log.write_text("before\n")
    await client.spawn("child", [*PYTHON, "-u", "-c", script], env={"A": "b", "LC_ALL": "C"}, cwd=folder, log=log)
    assert (await client.wait_exit("child")).status == 0
    before, header, told, signals, complaint = log.read_text().splitlines()
    assert before == "before"
    assert header.startswith("--- fanlab starts child: ")
    # 3 is the listing's own; 0 … 2 are the standard ones
    assert told.startswith(f"True ['0', '1', '2', '3'] True {folder} {{'A': 'b', 'LC_ALL': 'C'")
    ignored = int(signals.split("SigIgn:")[1].split()[0], 16)
    assert ignored & sum(1 << signum - 1 for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)) == 0
    assert int(signals.split("SigBlk:")[1].split()[0], 16) == 0
    assert complaint == "complaint"


async def test_a_unit_that_ends_takes_its_group_along(client, folder, mark):
    log = folder / "log"
    script = "sleep 600 & echo up; exec sleep 600"
    await client.spawn("unit", ["/bin/sh", "-c", script], env={**os.environ, MARK: mark}, cwd=folder, log=log)
    assert await until(lambda: len(marked(mark)) == 2)
    await client.signal("unit", signal.SIGKILL)
    exited = await client.wait_exit("unit")
    assert (exited.status, str(exited)) == (-signal.SIGKILL, "killed by SIGKILL")
    assert await until(lambda: not marked(mark), 5)


async def test_exits_and_names(client, folder):
    argv = ["/bin/sh", "-c", "exit 3"]
    pid = await client.spawn("unit", argv, env={}, cwd=folder, log=folder / "log")
    exited = await client.wait_exit("unit")
    assert (exited.pid, exited.status, str(exited)) == (pid, 3, "exit status 3")
    assert not client.running("unit")
    with pytest.raises(EnvironmentFailure, match=r"unit cannot be sent SIGKILL: it runs no more \(exit status 3\)"):
        await client.signal("unit", signal.SIGKILL)
    await client.spawn("unit", ["/bin/sleep", "600"], env={}, cwd=folder, log=folder / "log")  # the name is free again
    assert client.running("unit")
    with pytest.raises(HarnessError, match="unit runs already"):
        await client.spawn("unit", argv, env={}, cwd=folder, log=folder / "log")
    with pytest.raises(HarnessError, match="never started"):
        await client.wait_exit("other")


async def test_many_at_once(client, folder):
    names = [f"n{i}" for i in range(40)]
    await asyncio.gather(*(client.spawn(name, ["/bin/true"], env={}, cwd=folder, log=folder / "log") for name in names))
    assert {(await client.wait_exit(name)).status for name in names} == {0}


async def test_a_cancelled_spawn_is_still_accounted_for(client, folder):
    for argv, runs in ((["/no/such"], False), (["/bin/sleep", "600"], True)):
        task = asyncio.ensure_future(client.spawn("unit", argv, env={}, cwd=folder, log=folder / "log"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.spawn("after", ["/bin/true"], env={}, cwd=folder, log=folder / "log")
        await client.wait_exit("after")
        assert client.running("unit") is runs


@pytest.mark.parametrize(
    ("argv", "change", "said"),
    [
        (["/no/such/program"], {}, r"unit \(/no/such/program\) cannot be started: No such file.*hint: install"),
        (
            ["no-such-program"],
            {},
            "unit cannot be started: there is no program 'no-such-program' on PATH.*hint: install",
        ),
        (["./plain.txt"], {}, "cannot be started: Permission denied.*chmod"),
        (["./no-header"], {}, "cannot be started: Exec format error.*#!"),
        (["./orphan"], {}, "cannot be started: No such file.*#!"),
        (["a\0b"], {}, "cannot be started: embedded null byte"),
        (["/bin/true"], {"cwd": Path("/no/such/folder")}, "its folder /no/such/folder is not accessible"),
        (["/bin/true"], {"log": Path("/no/such/log")}, "its log /no/such/log cannot be written.*--out"),
        (["/bin/true"], {"log": Path("/dev/full")}, "the disk is full: unit .* cannot be started.*free some"),
    ],
)
async def test_a_start_that_fails_says_why(client, folder, argv, change, said):
    (folder / "plain.txt").write_text("text")
    (folder / "no-header").write_text("\x7fno program")
    (folder / "orphan").write_text("#!/no/such/interpreter\n")
    for name in ("no-header", "orphan"):
        (folder / name).chmod(0o755)
    where = {"cwd": folder, "log": folder / "log", **change}
    with pytest.raises(EnvironmentFailure, match=f"(?s){said}"):
        await client.spawn("unit", argv, env={"PATH": "/bin:/usr/bin"}, **where)
    assert not client.running("unit")


async def test_no_warden_without_a_log(tmp_path):
    with pytest.raises(EnvironmentFailure, match=r"the warden cannot be started: its log .* cannot be written"):
        await WardenClient.start(tmp_path / "no" / "warden.log")


async def test_detached_it_outlives_the_connection_and_ends_on_sigterm(folder, mark):
    client = await WardenClient.start(folder / "warden.log")
    pid = await client.spawn("unit", ["/bin/sleep", "600"], env={MARK: mark}, cwd=folder, log=folder / "log")
    try:
        before = open_files(client.pid)
        await client.detach()
        # detach has closed the connection; once the warden has closed its end too, it has seen that, and stays
        assert await until(lambda: open_files(client.pid) == before - 1)
        os.kill(client.pid, signal.SIGHUP)  # raises if it is gone
        assert marked(mark) == {pid}
        os.kill(client.pid, signal.SIGTERM)
        assert await until(lambda: not marked(mark), 5)
    finally:
        os.kill(client.pid, signal.SIGTERM)  # a detached warden ends by nothing else; its pid is ours until we wait
        await asyncio.to_thread(os.waitpid, client.pid, 0)


def test_a_stat_line_survives_any_command_name(tmp_path):
    path = tmp_path / ") R 1 (x"
    path.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(path), "600"])
    try:
        found = warden.read_stat(process.pid)
        assert found is not None
        assert (found.parent, found.state in "RSD") == (os.getpid(), True)
        assert process.pid in warden.descendants(os.getpid())
    finally:
        process.kill()
        process.wait()
    assert warden.read_stat(process.pid) is None


def test_it_starts_quickly_because_it_imports_little():
    code = f"import runpy, sys; runpy.run_path({warden.__file__!r}); print(*sys.modules)"
    loaded = subprocess.run([*PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    names = {name.partition(".")[0] for name in loaded}
    assert names - sys.stdlib_module_names <= {"__main__"}
    assert not names & {"asyncio", "typing_extensions", "unittest", "email", "ssl"}
