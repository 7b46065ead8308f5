"""`fanlab sweep` with real processes: what is orphaned goes, what goes on stays, and nobody else's is touched."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from fanlab.topology import cgroups
from fanlab.topology.backend import Need
from fanlab.topology.cgroups import Group, group_name
from fanlab.topology.labels import Marks, Owner
from fanlab.topology.warden import read_stat
from support.bystanders import bystanders
from support.leftovers import eventually

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

HIDDEN = "redis://:***@127.0.0.1:1/0"
# A daemon that is deaf to SIGTERM and out of its session, a unit that leaves it behind, and who starts that.
DAEMON = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.setsid()
if os.fork():
    os._exit(0)
time.sleep(600)
"""
UNIT = f"""
import subprocess, sys, time
subprocess.run([sys.executable, "-c", {DAEMON!r}])
print("up", flush=True)
time.sleep(600)
"""
HARNESS = f"""
import asyncio, sys
from pathlib import Path
from fanlab.topology.private import private_folder
from fanlab.topology.processes import ProcessBackend
from fanlab.rundir import RunDir

async def main(folder):
    rundir = RunDir(folder / "run")
    rundir.create()
    backend = ProcessBackend(rundir)
    await backend.open()
    await private_folder(backend)
    log = rundir.logs / "unit.log"
    await backend.start_helper("unit", [sys.executable, "-c", {UNIT!r}], {{}}, log)
    while "up" not in log.read_text().splitlines():
        await asyncio.sleep(0.02)
    print(backend.marks.run_id, backend.warden_pid, flush=True)
    await backend.lost.wait()
    await backend.close()
    print("lost", flush=True)

asyncio.run(main(Path(sys.argv[1])))
"""


@dataclass
class System:
    """A harness, its warden and what they started; `temporary` is their TMPDIR."""

    harness: "subprocess.Popen[str]"
    run_id: str
    warden: int
    temporary: Path

    def processes(self) -> set[int]:
        """Those that bear the run's mark, but for the warden."""
        found = set()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and self.run_id.encode() in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
        return found - {self.warden}

    def killed(self) -> None:
        """Both at once, so that neither sees the other's end."""
        for signum in (signal.SIGSTOP, signal.SIGKILL):
            for pid in (self.harness.pid, self.warden):
                os.kill(pid, signum)
        self.harness.wait()


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


@pytest.fixture
def system(tmp_path: Path, temporary: Path) -> Iterator[System]:
    (tmp_path / "harness.py").write_text(HARNESS)
    argv = [sys.executable, str(tmp_path / "harness.py"), str(tmp_path)]
    env = {**os.environ, "TMPDIR": str(temporary)}
    harness = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert harness.stdout is not None
    run_id, warden = harness.stdout.readline().split()
    found = System(harness, run_id, int(warden), temporary)
    yield found
    harness.kill()
    harness.communicate()
    eventually(lambda: read_stat(found.warden) is None, 10, "the warden's end")
    for pid in found.processes():  # a test that failed
        os.kill(pid, signal.SIGKILL)


def sweep(temporary: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "TMPDIR": str(temporary), "DOCKER_HOST": "unix:///no/such/engine"}
    argv = [sys.executable, "-m", "fanlab", "sweep", *options]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_what_is_orphaned_goes_and_nobody_elses(system: System) -> None:
    with bystanders(system.temporary) as others:
        system.killed()
        eventually(lambda: len(system.processes()) == 1, 10, "the unit's end: its daemon alone is left")
        (daemon,) = system.processes()
        (folder,) = (path for path in system.temporary.iterdir() if path not in others.folders)
        process = f"process {daemon} of run {system.run_id[:8]}: {sys.executable} -c import os"
        rest = f"folder {folder} of run {system.run_id[:8]}"
        listed = sweep(system.temporary, "--dry-run")
        assert listed.returncode == 0
        assert f"would remove {process}" in listed.stdout
        assert f"would remove {rest}\n" in listed.stdout
        assert (system.processes(), folder.exists()) == ({daemon}, True)
        done = sweep(system.temporary)
        assert done.returncode == 0, done.stderr
        assert done.stdout.index(f"removed {process}") < done.stdout.index(f"removed {rest}\n")
        assert int(done.stdout.splitlines()[-1].removeprefix("removed ")) >= 2
        assert "containers were not looked at: no Docker engine answers at unix:///no/such/engine" in done.stderr
        assert (system.processes(), folder.exists()) == (set(), False)
        assert others.missing() == []
        assert system.run_id[:8] not in sweep(system.temporary).stdout


def test_what_goes_on_is_left_alone_unless_it_is_named(system: System) -> None:
    with bystanders(system.temporary) as others:
        before = system.processes()
        left_alone = sweep(system.temporary)
        assert system.run_id[:8] not in left_alone.stdout
        assert f"run {system.run_id} goes on (its owner is process {system.warden}): left alone" in left_alone.stderr
        assert sweep(system.temporary, "--run", "0" * 16).stdout == "removed 0\n"
        assert "would remove process" in sweep(system.temporary, "--run", system.run_id, "--dry-run").stdout
        assert system.processes() == before
        assert system.harness.poll() is None

        done = sweep(system.temporary, "--run", system.run_id[:8])
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith(f"removed process {system.warden} of run {system.run_id[:8]}")
        assert system.processes() == set()
        assert [path for path in system.temporary.iterdir() if path not in others.folders] == []
        assert others.missing() == []
        assert system.harness.communicate(timeout=30)[0] == "lost\n"


def test_a_warden_that_does_not_end_is_killed_and_its_orphans_go(
    system: System, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fanlab import sweep as module

    monkeypatch.setattr(module, "ENDED_WITHIN_S", 0.2)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/engine")
    os.kill(system.harness.pid, signal.SIGSTOP)  # it would clean up itself
    os.kill(system.warden, signal.SIGSTOP)
    told: list[str] = []
    module.sweep(module.Wanted(system.run_id), module.Outcome(told.append, lambda _: None))
    assert f"removed process {system.warden}" in told[0]
    assert system.processes() == set()
    assert list(temporary.iterdir()) == []


def test_a_cgroup_that_was_left_goes_with_what_is_in_it(temporary: Path) -> None:
    if (why := cgroups.refusal(Need.CPU_LIMIT)) is not None:
        pytest.skip(why)
    ended = subprocess.Popen(["/bin/true"])
    owner = Owner.of(ended.pid)
    ended.wait()
    assert owner.gone()
    left = Group("cpu", group_name(Marks.new(owner), "node-1"))
    in_use = Group("cpu", group_name(Marks.new(Owner.of(os.getpid())), "node-1"))
    member = subprocess.Popen(["/bin/sleep", "600"], env={})
    try:
        for group in (left, in_use):
            group.make()
        (left.path / "cgroup.procs").write_text(str(member.pid))
        done = sweep(temporary)
        assert f"removed cgroup {left.path}\n" in done.stdout
        assert member.wait(timeout=10) == -signal.SIGKILL
        assert in_use.path.exists()
    finally:
        member.kill()
        member.wait()
        left.remove()
        in_use.remove()


@pytest.mark.parametrize(("now", "then"), [("900", "5000"), ("7000", "7000")])
def test_a_setting_that_no_keeper_gave_back(
    temporary: Path, tmp_path: Path, redis_server: str, now: str, then: str
) -> None:
    """With a fault's value it gets the old one; another one is somebody's own."""
    signed(temporary, tmp_path)
    kept = {"ev": "keep", "redis": redis_server, "setting": "maxclients", "had": "5000", "given": ["900"]}
    (tmp_path / "undo.jsonl").write_text(json.dumps(kept) + '\n{"ev": "ba')  # its last line was never completed
    with Redis.from_url(redis_server, decode_responses=True) as redis:
        redis.config_set("maxclients", now)
        done = sweep(temporary)
        assert done.returncode == 0, done.stdout + done.stderr
        assert redis.config_get("maxclients") == {"maxclients": then}
    assert (f"removed setting maxclients of the Redis at {redis_server}" in done.stdout) is (now != then)


def test_what_cannot_be_undone_is_named(temporary: Path, tmp_path: Path) -> None:
    signed(temporary, tmp_path)
    secret = secrets.token_hex(4)
    lines = [
        {"ev": "keep", "redis": HIDDEN, "setting": "maxclients", "had": "5000", "given": ["1"]},
        {"ev": "keep", "redis": "redis://127.0.0.1:1/0", "setting": secret, "had": "a", "given": ["b"]},
        {"ev": "keep", "redis": "redis://127.0.0.1:1/0", "setting": "other", "had": "a", "given": ["b"]},
        {"ev": "back", "setting": "other", "to": "a"},
    ]
    (tmp_path / "undo.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = sweep(temporary)
    assert done.returncode == 4
    first, second, *_ = done.stdout.splitlines()
    assert first.startswith(f"cannot remove setting maxclients of the Redis at {HIDDEN}: it was '5000'")
    assert "its password was not written down" in first
    assert second.startswith(f"cannot remove setting {secret} of the Redis at redis://127.0.0.1:1/0: it was 'a'")
    assert "refused" in second
    assert "other" not in done.stdout


def test_two_runs_whose_ids_begin_alike_are_not_one(temporary: Path) -> None:
    for run_id in ("abcd1", "abcd2"):
        folder = temporary / f"fanlab-{run_id}"
        folder.mkdir()
        Marks(run_id, Owner.of(os.getpid())).sign(folder)
    done = sweep(temporary, "--run", "abcd")
    assert done.returncode == 4
    assert "several runs' ids begin with abcd: abcd1, abcd2" in done.stderr
    assert len(list(temporary.iterdir())) == 2


def signed(temporary: Path, directory: Path) -> None:
    """A folder whose run is over, and kept its evidence there."""
    ended = subprocess.Popen(["/bin/true"])
    marks = Marks("a" * 16, Owner.of(ended.pid), str(directory))
    ended.wait()
    folder = temporary / "fanlab-left"
    folder.mkdir()
    marks.sign(folder)
