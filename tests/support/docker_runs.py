"""Runs in containers as a user does them, and what the engine has of them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanlab.topology.labels import RUN
from support.answers import PATIENT

POLL_S = 0.1


def command(*words: str, out: Path) -> list[str]:
    """A run in containers, patient with a busy machine."""
    return [sys.executable, "-m", "fanlab", "run", *words, *PATIENT, "--backend", "docker", "--out", str(out)]


def fanlab(*words: str, out: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Such a run, to its end."""
    env = {**os.environ, **environ}
    return subprocess.run(
        [*command(*words, out=out), "--no-progress"], capture_output=True, text=True, timeout=400, check=False, env=env
    )


def summary_of(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    """What it printed with --json. A run that did not pass fails the test, with its own words."""
    assert done.returncode == 0, done.stderr + done.stdout
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def run_id_of(out: Path, *, status: str | None = None) -> str | None:
    """By which its objects are labelled; None before the run has come so far (by its manifest's `status`)."""
    try:
        manifest = json.loads((out / "manifest.json").read_text())
    except FileNotFoundError:
        return None
    found: str | None = manifest["backend_facts"].get("run_id")
    return found if status in (None, manifest["status"]) else None


@dataclass(frozen=True, slots=True)
class Labelled:
    """What the engine has that bears a run's label."""

    api: Any

    def containers(self, run_id: str | None = None) -> list[dict[str, Any]]:
        """Of one run, or of all."""
        label = RUN if run_id is None else f"{RUN}={run_id}"
        found: list[dict[str, Any]] = self.api.containers(all=True, filters={"label": label})
        return found

    def everything(self, run_id: str) -> list[str]:
        """Names of all that one run has."""
        filters = {"label": f"{RUN}={run_id}"}
        names = [each["Names"][0] for each in self.containers(run_id)]
        names += [each["Name"] for each in self.api.networks(filters=filters)]
        return names + [each["Name"] for each in self.api.volumes(filters=filters)["Volumes"] or []]


def eventually(condition: Callable[[], Any], deadline_s: float, what: str) -> Any:
    """What the condition returns, once that is true."""
    end = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {deadline_s:g} s for {what}"
        time.sleep(POLL_S)
    return found
