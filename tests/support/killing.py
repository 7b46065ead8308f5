"""Ways to end fanlab, and what must hold afterwards; `make kills` goes through them all, the tests through some."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from support.bystanders import Bystanders, bystanders
from support.clinging import scenario, write_nodes
from support.leftovers import Traces, eventually, readable, stamps, warden_of
from support.own_redis import OwnRedis
from support.processes import family

GONE_S: Final = {"process": 5.0, "docker": 30.0}
RUN_S: Final = 420.0  # the first one makes images
ENDED_S: Final = 60.0
HEALED: Final = {("pause", "heal_confirmed"), ("partition", "heal_confirmed")}


@dataclass(slots=True)
class Case:
    """One run that is ended in one way, and what was found."""

    backend: str
    place: Path  # its working folder: nodes, scenario, run directory
    traces: Traces
    log: Path
    others: Bystanders
    harness: "subprocess.Popen[bytes] | None" = None
    killed: bool = True  # False: it was to be, and had ended before
    problems: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def out(self) -> Path:
        """The run directory."""
        return self.traces.out

    def start(self, *options: str) -> "subprocess.Popen[bytes]":
        """fanlab, on its way."""
        how = ["--backend", self.backend, "--out", str(self.out), "--no-progress", *options]
        self.harness = self.popen([sys.executable, "-m", "fanlab", "run", "scenario.yaml", *how])
        return self.harness

    def fanlab(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Another verb, to its end."""
        argv = [sys.executable, "-m", "fanlab", *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=self._env())

    def confirmed(self, *kinds: str) -> None:
        """Wait until these faults have bitten."""
        wanted = {(kind, "confirmed") for kind in kinds}
        eventually(lambda: self.harness_lives() and wanted <= set(stamps(self.out)), RUN_S, f"{kinds} to bite")

    def harness_lives(self) -> bool:
        """Raises RuntimeError if it has ended before it was to."""
        if self.harness is None or self.harness.poll() is not None:
            raise RuntimeError(f"fanlab ended too soon: {self.log.read_text()[-500:]}")
        return True

    def ended(self, code: int, status: str) -> None:
        """Wait for its end, and see that it is as it should be."""
        assert self.harness is not None
        self.expect(self.harness.wait(timeout=ENDED_S) == code, f"it exits with {self.harness.returncode}, not {code}")
        found = json.loads((self.out / "manifest.json").read_text())["status"]
        self.expect(found == status, f"its manifest says {found}, not {status}")
        self.expect("Traceback" not in self.log.read_text(), "a traceback")

    def reported(self) -> None:
        """It has made a report by itself, of what there was."""
        summary = self.out / "summary.json"
        self.expect(summary.exists(), "no report")
        if summary.exists():
            found = json.loads(summary.read_text())
            self.expect(found["verdict"] == "invalid", f"a part of a run counts as {found['verdict']}")
            self.expect(found["ledger"]["delivered"] > 0, "it reports no delivery")

    def expect(self, holds: object, what: str) -> None:
        """What does not hold is a problem."""
        if not holds:
            self.problems.append(what)

    def nothing_left(self) -> None:
        """The heart of it."""
        left, took_s = self.traces.left_after(GONE_S[self.backend])
        self.problems += [f"left: {each}" for each in left]
        self.problems += self.others.missing()
        self.said.append(f"{len(self.traces.processes)} processes seen, all gone after {took_s:.1f} s")
        self.expect((why := readable(self.out)) is None, why or "")

    def popen(self, argv: list[str]) -> "subprocess.Popen[bytes]":
        """A process in its place, whose words go to its log."""
        with self.log.open("wb") as log:
            return subprocess.Popen(argv, stdout=log, stderr=log, cwd=self.place, env=self._env())

    def _env(self) -> dict[str, str]:
        return {**os.environ, "CI": "1", "TMPDIR": str(self.traces.temporary)}


def ends_by_itself(case: Case) -> float:
    """Returns how long it took."""
    began = time.monotonic()
    harness = case.start()
    while harness.poll() is None:
        case.traces.note(harness.pid)
        time.sleep(0.5)
        if time.monotonic() - began > RUN_S:
            raise TimeoutError(f"it does not end: {case.log.read_text()[-500:]}")
    took_s = time.monotonic() - began
    case.ended(0, "complete")
    case.nothing_left()
    case.said.append(f"it took {took_s:.1f} s")
    return took_s


def killed_at(share: float, took_s: list[float]) -> Callable[[Case], None]:
    """SIGKILL when that share of a run is over, which takes as long as the last of `took_s`.

    A run that is over by then is no failure, but shows nothing, and is not counted; `took_s` has its time from then on.
    """

    def do(case: Case) -> None:
        after_s, began = share * took_s[-1], time.monotonic()
        harness = case.start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            harness.wait(timeout=after_s)  # it may be quicker than it was
            took_s.append(time.monotonic() - began)
        case.traces.note(harness.pid)
        case.killed = harness.poll() is None
        harness.kill()
        status = harness.wait()
        case.expect(case.killed or status == 0, f"it had ended with {status} by itself before it was to be killed")
        case.said.append(f"at {after_s:.2f} s" if case.killed else "it was quicker than its killer")
        case.nothing_left()

    return do


def interrupted(signum: signal.Signals) -> Callable[[Case], None]:
    """Once, while two faults hold."""

    def do(case: Case) -> None:
        harness = case.start()
        case.confirmed("pause", "partition")
        case.traces.note(harness.pid)
        harness.send_signal(signum)
        case.ended(130, "aborted")
        case.reported()
        case.expect(set(stamps(case.out)) >= HEALED, f"not healed: {sorted(HEALED - set(stamps(case.out)))}")
        case.nothing_left()

    return do


def interrupted_twice(signum: signal.Signals) -> Callable[[Case], None]:
    """The second time as soon as the first has been heard. A manifest that says `running` shows that it did no more."""

    def do(case: Case) -> None:
        harness = case.start()
        case.confirmed("pause", "partition")
        case.traces.note(harness.pid)
        harness.send_signal(signum)
        eventually(lambda: b"once more ends it at once" in case.log.read_bytes(), ENDED_S, "the first signal's effect")
        harness.send_signal(signum)
        case.ended(130, "running")
        case.expect(not (case.out / "summary.json").exists(), "it made a report")
        case.nothing_left()

    return do


def warden_killed(case: Case) -> None:
    """The harness has to do what the warden does else."""
    harness = case.start()
    case.confirmed("pause", "partition")
    case.traces.note(harness.pid)
    os.kill(_warden(harness), signal.SIGKILL)
    case.ended(4, "failed")
    case.expect("the warden" in case.log.read_text(), "it does not say why")
    case.reported()
    case.nothing_left()


def both_killed(case: Case) -> None:
    """Nobody is left to clean up but `fanlab sweep`, which must find it all, and nothing else."""
    harness = case.start()
    case.confirmed("pause", "partition")
    case.traces.note(harness.pid)
    warden = _warden(harness)
    for pid in (harness.pid, warden):
        os.kill(pid, signal.SIGSTOP)  # so that neither does anything about the other's end
    for pid in (harness.pid, warden):
        os.kill(pid, signal.SIGKILL)
    harness.wait()
    time.sleep(1.0)  # for what ends by itself
    left = case.traces.left()
    case.expect(left, "nothing was left to sweep: that proves nothing")
    listed = case.fanlab("sweep", "--dry-run")
    case.expect(listed.returncode == 0 and listed.stdout.count("would remove") > 1, f"it lists {listed.stdout!r}")
    case.expect(case.traces.left() == left or case.backend == "docker", "a dry run has removed something")
    swept = case.fanlab("sweep")
    case.expect(swept.returncode == 0, f"sweep exits with {swept.returncode}: {swept.stdout}{swept.stderr}")
    case.said.append(swept.stdout.splitlines()[-1])
    again = case.fanlab("sweep")
    ours = [line for line in again.stdout.splitlines() if any(run_id[:8] in line for run_id in case.traces.run_ids)]
    case.expect(not ours, f"a second sweep says {ours}")
    case.nothing_left()


def worker_killed(case: Case) -> None:
    """SIGKILL to `fanlab worker` while it waits for its run: its folder is `fanlab sweep`'s to remove."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    master = ["--master", f"127.0.0.1:{port}", "--token", "0" * 32]
    case.harness = case.popen([sys.executable, "-m", "fanlab", "worker", *master])
    eventually(
        lambda: case.harness_lives() and any("folder" in each for each in case.traces.left()), ENDED_S, "a folder"
    )
    case.traces.note(case.harness.pid)
    case.harness.kill()
    case.harness.wait()
    case.expect(case.traces.left(), "nothing was left to sweep: that proves nothing")
    swept = case.fanlab("sweep")
    case.expect(swept.returncode == 0, f"sweep exits with {swept.returncode}: {swept.stdout}{swept.stderr}")
    case.expect(not (left := case.traces.left()), f"left: {left}")
    case.problems += case.others.missing()


def adopted(kind: str, victims: Callable[[Case], list[int]], **settings: str) -> Callable[[Case], None]:
    """A fault changes a setting of somebody's Redis, who has a client of their own connected, and fanlab is killed."""

    def do(case: Case) -> None:
        fault = {"kind": kind, "at": "500ms", "for": "4s", **settings}
        (case.place / "scenario.yaml").write_text(yaml.safe_dump(scenario(faults=[fault])))
        with OwnRedis(case.place) as redis:
            before = redis.settings()
            harness = case.start("--redis-url", redis.url)
            case.confirmed(kind)
            case.traces.note(harness.pid)
            case.expect(redis.settings() != before, "nothing is changed: that proves nothing")
            killed = victims(case)
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            harness.wait(timeout=ENDED_S)
            with contextlib.suppress(TimeoutError):
                eventually(lambda: redis.settings() == before, 5.0, "the settings")
            case.expect(redis.settings() == before, f"{redis.settings()} is not {before}")
            case.expect(redis.secret.encode() not in (case.out / "undo.jsonl").read_bytes(), "a password in undo.jsonl")
            if len(killed) > 1:
                case.fanlab("sweep")
            case.nothing_left()

    return do


def keeper_killed(case: Case) -> None:
    """Together with fanlab, while the warden lives: it ends all, but a setting is `fanlab sweep`'s to give back."""
    fault = {"kind": "redis-output-buffer", "at": "500ms", "for": "4s", "limit": "64kB"}
    (case.place / "scenario.yaml").write_text(yaml.safe_dump(scenario(faults=[fault])))
    with OwnRedis(case.place, secret="") as redis:
        before = redis.settings()
        harness = case.start("--redis-url", redis.url)
        case.confirmed("redis-output-buffer")
        case.traces.note(harness.pid)
        keepers = [each for each in family(harness.pid) if "fanlab.faults.redis_keeper" in each.cmdline()]
        case.expect(len(keepers) == 1, f"{len(keepers)} keepers")
        for each in keepers:
            each.kill()
        harness.kill()
        harness.wait()
        eventually(lambda: len(case.traces.left()) == 1, GONE_S["process"], "the warden's end: one folder stays")
        case.expect(redis.settings() != before, "it was given back by somebody else: that proves nothing")
        swept = case.fanlab("sweep")
        case.expect(swept.returncode == 0, f"sweep exits with {swept.returncode}: {swept.stdout}{swept.stderr}")
        case.expect(redis.settings() == before, f"{redis.settings()} is not {before}")
        case.nothing_left()


def _warden(harness: "subprocess.Popen[bytes]") -> int:
    warden = warden_of(harness.pid)
    if warden is None:
        raise RuntimeError("there is no warden")
    return warden


def fanlab(case: Case) -> list[int]:
    """The victim is fanlab."""
    assert case.harness is not None
    return [case.harness.pid]


def both(case: Case) -> list[int]:
    """The victims are fanlab and its warden."""
    assert case.harness is not None
    return [case.harness.pid, _warden(case.harness)]


@contextlib.contextmanager
def new_case(backend: str, api: Any, image: str) -> Iterator[Case]:
    """Folders of its own, and bystanders."""
    with tempfile.TemporaryDirectory(prefix="fl-kills-") as folder:  # short: the path of a Unix socket is
        place = Path(folder)
        temporary = place / "tmp"
        temporary.mkdir()
        write_nodes(place)
        (place / "scenario.yaml").write_text(yaml.safe_dump(scenario()))
        with bystanders(temporary, api, image) as others:
            traces = Traces(place / "run", temporary, api, expected={each.name for each in others.folders})
            case = Case(backend, place, traces, place / "log", others)
            try:
                yield case
            finally:
                if case.harness is not None:
                    case.harness.kill()
                    case.harness.wait()


def engine() -> tuple[Any, str]:
    """The SDK's low-level client, and an image for bystanders."""
    from fanlab.topology.engine import connect
    from fanlab.topology.images import build, redis_recipe

    api = connect().api
    with tempfile.TemporaryDirectory() as folder:
        return api, build(api, redis_recipe(), Path(folder) / "log")
