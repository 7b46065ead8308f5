"""What is left of a run, found without fanlab's code: by its mark, by its place, and by who was of its family."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from support.processes import alive, family, mentioning

RUN_VARIABLE, RUN_LABEL = "FANLAB_RUN", "fanlab.run"
POLL_S = 0.05
REPORT_S = 120.0


@dataclass(slots=True)
class Traces:
    """Of one run, as far as they were seen while it went on: what to look for afterwards."""

    out: Path
    temporary: Path  # its TMPDIR, and nobody else's
    api: Any = None  # an engine's; None: there is none to look at
    run_ids: set[str] = field(default_factory=set)
    processes: set[psutil.Process] = field(default_factory=set)
    bridges: set[str] = field(default_factory=set)
    expected: set[str] = field(default_factory=set)  # names in `temporary` that are there on purpose
    entering: tuple[str, ...] = ()  # goes before what looks at rules, to look in another network namespace

    def note(self, pid: int) -> None:
        """Take down who is of the family of process `pid` just now, and what it has at the engine."""
        self.processes |= {*family(pid), *mentioning(self.temporary)}
        for process in self.processes:
            with contextlib.suppress(psutil.Error):
                self.run_ids.add(process.environ().get(RUN_VARIABLE, ""))
        with contextlib.suppress(OSError, ValueError, KeyError):
            self.run_ids.add(json.loads((self.out / "manifest.json").read_text())["backend_facts"]["run_id"])
        self.run_ids.discard("")
        if self.api is not None:
            self.bridges |= {f"br-{each['Id'][:12]}" for each in self._labelled("networks")}

    def left(self) -> list[str]:
        """All that is there now, a line each."""
        marked = [each for each in psutil.process_iter() if self._is_marked(each)]
        found = {each.pid: each for each in [*alive(list(self.processes)), *mentioning(self.temporary), *marked]}
        lines = [f"process {pid}: {_command(each)}" for pid, each in sorted(found.items())]
        lines += [f"cgroup {path}" for path in self._cgroups()]
        lines += [f"folder {path}" for path in self.temporary.glob("*") if path.name not in self.expected]
        if self.api is not None:
            for kind in ("containers", "networks", "volumes"):
                lines += [f"{kind[:-1]} {each.get('Name') or each['Names'][0]}" for each in self._labelled(kind)]
            lines += [f"iptables: {rule}" for rule in self._rules()]
        return lines

    def left_after(self, deadline_s: float) -> tuple[list[str], float]:
        """The same at the deadline, or nothing as soon as there is nothing; and how long that took."""
        began = time.monotonic()
        while lines := self.left():
            if time.monotonic() - began > deadline_s:
                break
            time.sleep(POLL_S)
        return lines, time.monotonic() - began

    def _is_marked(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(RUN_VARIABLE) in self.run_ids and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def _cgroups(self) -> list[Path]:
        roots = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")]
        return [path for root in roots for run_id in self.run_ids for path in root.glob(f"fanlab-{run_id}-*")]

    def _labelled(self, kind: str) -> list[dict[str, Any]]:
        """By label, and by name in case that there is one without."""
        found: list[dict[str, Any]] = []
        for run_id in self.run_ids:
            for filters in ({"label": f"{RUN_LABEL}={run_id}"}, {"name": f"fanlab-{run_id[:8]}-"}):
                if kind == "containers":
                    found += self.api.containers(all=True, filters=filters)
                elif kind == "networks":
                    found += self.api.networks(filters=filters)
                else:
                    found += self.api.volumes(filters=filters)["Volumes"] or []
        return found

    def _rules(self) -> list[str]:
        """Of the run's bridges, by whichever iptables: each has tables of its own, and an engine may use either."""
        found: dict[str, None] = {}
        for name in ("iptables-save", "iptables-legacy-save", "iptables-nft-save"):
            if self.bridges and shutil.which(name) is not None:
                argv = [*self.entering, name]
                said = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False).stdout
                found |= dict.fromkeys(rule for rule in said.splitlines() if self.bridges & set(rule.split()))
        return list(found)


def readable(out: Path) -> str | None:
    """Why a run directory cannot be reported on; None: it can, or there is too little in it and that is said."""
    if not (out / "manifest.json").exists():
        return None
    argv = [sys.executable, "-m", "fanlab", "report", str(out), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=REPORT_S, check=False)
    if done.returncode not in (0, 1, 3) or "Traceback" in done.stderr:
        return f"its report ends with {done.returncode}: {done.stderr.strip()[-300:]}"
    status = json.loads((out / "manifest.json").read_text())["status"]
    if done.stdout and status != "complete" and json.loads(done.stdout)["verdict"] != "invalid":
        return f"a run that is {status} counts as a result"
    return None


def eventually(condition: Callable[[], Any], deadline_s: float, what: str) -> Any:
    """What the condition returns, once that is true."""
    end = time.monotonic() + deadline_s
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {deadline_s:g} s for {what}")
        time.sleep(POLL_S)
    return found


def stamps(out: Path) -> list[tuple[str, str]]:
    """(kind, stamp) of every line of faults.jsonl."""
    try:
        lines = (out / "faults.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [(each["kind"], each["stamp"]) for each in map(json.loads, lines)]


def warden_of(pid: int) -> int | None:
    """The warden that process `pid` has started."""
    for process in family(pid):
        with contextlib.suppress(psutil.Error):
            if any(word.endswith("warden.py") for word in process.cmdline()):
                return process.pid
    return None


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())[:120] or process.name()
    return f"(gone by now, seen by {os.getpid()})"
