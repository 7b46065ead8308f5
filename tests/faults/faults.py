"""`make faults`: each kind of fault, ten times, on each backend: does it bite, does it heal, and when.

A row per kind and backend; the last line is `N passed, 0 failed`. A row passes if every one of its faults was confirmed
by a probe of its effect and healed by a probe of that, and none was asked for, or for its healing, further from its
planned instant than 100 ms (process backend; containers have no such promise). Exit 1 if any row failed.

A kind that a backend refuses is a row that says so, with the reason, and has not passed. Neither has one of which fewer
were planned than asked for.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

TIME_ERROR_MS: Final = 100.0
RUN_S: Final = 300.0
FIRST_S: Final = 1.0  # when the first fault comes
ENVIRONMENT: Final = 4  # the exit code for what this machine, or this backend, has not
_STAMPS: Final = ("requested", "confirmed", "heal_requested", "heal_confirmed")


@dataclass(frozen=True, slots=True)
class Case:
    """One kind as it is tried: its settings, how far apart, and what else the scenario needs for it."""

    kind: str
    settings: Mapping[str, Any]
    every_s: float = 1.5
    node_env: Mapping[str, Any] | None = None


NODE: Final = {"target": "node-2"}
AS_SOON_AS_ENDED: Final = frozenset({"restart"})  # started again when the node has ended, however long that takes it
CASES: Final = (
    Case("crash", {**NODE, "for": "400ms"}, 2.0),
    Case("stop", {**NODE, "for": "400ms"}, 2.0),
    Case("restart", NODE, 2.0),
    Case("pause", {**NODE, "for": "400ms"}),
    Case("cpu-throttle", {**NODE, "for": "400ms", "cores": 0.2}),
    Case("memory-limit", {**NODE, "for": "600ms", "limit": "1MB"}, 2.5),
    Case("clock-step", {**NODE, "for": "400ms", "step": "90s", "backwards": True}),
    Case("subscriber-churn", {**NODE, "for": "600ms", "rate": "40/s"}, 2.5),
    Case("partition", {**NODE, "for": "400ms", "link": "redis"}),
    Case("partition", {**NODE, "for": "400ms", "link": "clients", "mode": "drop"}, 2.0),
    Case("latency", {**NODE, "for": "400ms", "latency": "50ms", "jitter": "10ms"}),
    Case("bandwidth", {**NODE, "for": "400ms", "per_second": "50kB"}),
    Case("slicing", {**NODE, "for": "400ms", "size": "16B", "link": "redis"}),
    Case("half-open", {**NODE, "for": "1200ms"}, 3.0, {"REDIS_TIMEOUT_MS": 600}),
    Case("slow-clients", {**NODE, "for": "400ms", "share": 0.5}),
    Case("connection-reset", {**NODE, "link": "redis"}),
    Case("reconnect-storm", {"target": "all"}, 2.0),
    Case("redis-restart", {"for": "300ms"}, 2.5),
    Case("redis-pause", {"for": "300ms"}),
    Case("redis-kill-pubsub", {}),
    Case("redis-client-pause", {"for": "300ms"}),
    Case("redis-output-buffer", {"for": "300ms", "limit": "64kB"}),
    Case("redis-maxclients", {"for": "300ms"}),
    Case("redis-disk-full", {"for": "300ms"}, 2.0),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one case on one backend."""

    backend: str
    kind: str
    planned: int
    confirmed: int
    healed: int
    error_ms: float  # the worst of all requests
    bite_ms: tuple[float, float]  # median and worst, from request to confirmation
    heal_ms: tuple[float, float]
    why: str  # "": it passed

    def text(self) -> str:
        """As the table has it."""
        if not self.planned:
            return f"{self.backend:<8} {self.kind:<20} {self.why}"
        counts = f"{self.planned:>4} {self.confirmed:>9} {self.healed:>6} {self.error_ms:>10.1f}"
        times = f"{self.bite_ms[0]:>9.1f} {self.bite_ms[1]:>8.1f} {self.heal_ms[0]:>9.1f} {self.heal_ms[1]:>8.1f}"
        return f"{self.backend:<8} {self.kind:<20} {counts} {times}  {self.why or 'ok'}"


HEAD: Final = (
    f"{'backend':<8} {'kind':<20} {'n':>4} {'confirmed':>9} {'healed':>6} {'error ms':>10} "
    f"{'bite p50':>9} {'max':>8} {'heal p50':>9} {'max':>8}"
)


def main() -> int:
    """Try what the command line asks for; 0 where every row passed."""
    options = _options()
    failed = passed = 0
    print(HEAD)
    with tempfile.TemporaryDirectory(prefix="fanlab-faults-") as scratch:
        for backend in options.backends:
            for number, case in enumerate(case for case in CASES if options.only in case.kind):
                folder = (options.keep or Path(scratch)) / f"{backend}-{number:02d}-{case.kind}"
                row = run(case, backend, options.times, folder)
                print(row.text(), flush=True)
                passed, failed = (passed, failed + 1) if row.why else (passed + 1, failed)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def run(case: Case, backend: str, times: int, folder: Path) -> Row:
    """One run of the system with this fault so often."""
    found = _evidence(scenario(case, times), backend, folder)
    if isinstance(found, str):
        return _refused(backend, case.kind, found)
    return judge(backend, case.kind, times, *found)


def together(cases: Sequence[Case], backend: str, folder: Path, *, apart_s: float) -> list[Row]:
    """One run with each of these once, so far apart that what is slow to heal is over before the next."""
    whole = scenario(cases[0], 1)
    ats_s = [FIRST_S + number * apart_s for number in range(len(cases))]
    whole["name"] = "bites-in-turn"
    whole["topology"]["nodes"]["env"] = {name: value for case in cases for name, value in (case.node_env or {}).items()}
    whole["faults"] = [
        {"kind": case.kind, "at": f"{at_s:g}s", **case.settings} for case, at_s in zip(cases, ats_s, strict=True)
    ]
    whole["phases"]["measure"] = f"{ats_s[-1] + apart_s:g}s"
    found = _evidence(whole, backend, folder)
    if isinstance(found, str):
        return [_refused(backend, case.kind, found) for case in cases]
    return [
        judge(backend, case.kind, 1, *_from(at_s, at_s + apart_s, *found))
        for case, at_s in zip(cases, ats_s, strict=True)
    ]


def _from(
    start_s: float, end_s: float, manifest: Mapping[str, Any], summary: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Of both, the faults that were planned for then."""
    both = zip(manifest["faults"], summary["faults"], strict=True)
    pairs = [(plan, told) for plan, told in both if start_s <= plan["at_ns"] / 1e9 < end_s]
    ids = {plan["id"] for plan, _ in pairs}
    failures = [each for each in manifest["fault_failures"] if each["fault"] in ids]
    return (
        {**manifest, "faults": [plan for plan, _ in pairs], "fault_failures": failures},
        {**summary, "faults": [told for _, told in pairs]},
    )


def _refused(backend: str, kind: str, why: str) -> Row:
    return Row(backend, kind, 0, 0, 0, 0.0, (0.0, 0.0), (0.0, 0.0), why)


def _evidence(
    asked: Mapping[str, Any], backend: str, folder: Path
) -> tuple[Mapping[str, Any], Mapping[str, Any]] | str:
    """A run's manifest and summary; or why there are none."""
    folder.mkdir(parents=True)
    file = folder / "scenario.yaml"
    file.write_text(yaml.safe_dump(asked), encoding="utf-8")
    out = folder / "run"
    command = [
        sys.executable,
        "-m",
        "fanlab",
        "run",
        str(file),
        "--backend",
        backend,
        "--out",
        str(out),
        "--no-progress",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False)
    if done.returncode == ENVIRONMENT or not (out / "summary.json").exists():
        words = " ".join(done.stderr.split()) or f"exit {done.returncode}"
        return words[:400]
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    return manifest, json.loads((out / "summary.json").read_text(encoding="utf-8"))


def judge(backend: str, kind: str, times: int, manifest: Mapping[str, Any], summary: Mapping[str, Any]) -> Row:
    """The row, from what was planned and what was stamped."""
    planned, told = manifest["faults"], summary["faults"]
    errors_ms, bites_ms, heals_ms = [], [], []
    for plan, stamps in zip(planned, told, strict=True):
        at_s = plan["at_ns"] / 1e9
        if stamps["requested"] is not None:
            errors_ms.append(abs(stamps["requested"] - at_s) * 1e3)
        if stamps["confirmed"] is not None:
            bites_ms.append((stamps["confirmed"] - stamps["requested"]) * 1e3)
        if plan["for_ns"] and stamps["heal_requested"] is not None:
            due_s = at_s + plan["for_ns"] / 1e9
            if kind in AS_SOON_AS_ENDED:
                due_s = max(due_s, stamps["confirmed"])
            errors_ms.append(abs(stamps["heal_requested"] - due_s) * 1e3)
        if stamps["heal_confirmed"] is not None:
            heals_ms.append((stamps["heal_confirmed"] - stamps["heal_requested"]) * 1e3)
    worst_ms = max(errors_ms, default=float("inf"))
    failures = [failure["why"] for failure in manifest["fault_failures"]]
    why = "; ".join(failures[:2])
    if not why and len(planned) < times:
        why = f"{len(planned)} of {times} were planned"
    if not why and not len(planned) == len(bites_ms) == len(heals_ms):
        why = "not every one was confirmed and healed"
    if not why and backend == "process" and worst_ms > TIME_ERROR_MS:
        why = f"one came {worst_ms:.0f} ms from its time"
    if not why and summary["verdict"] == "invalid":
        why = "; ".join(summary["reasons"])
    return Row(backend, kind, len(planned), len(bites_ms), len(heals_ms), worst_ms, _two(bites_ms), _two(heals_ms), why)


def scenario(case: Case, times: int) -> dict[str, Any]:
    """Two nodes, a few clients, one publisher, and the fault so often."""
    repeat = {"repeat": {"every": f"{case.every_s}s", "times": times}} if times > 1 else {}
    return {
        "name": f"bites-{case.kind}",
        "question": "Does it bite, and does it heal?",
        "topology": {"nodes": {"count": 2, "env": dict(case.node_env or {})}},
        "channels": ["news"],
        "clients": [
            {
                "group": "readers",
                "count": 8,
                "channels": ["news"],
                "failover": "sticky",
                "reconnect": {"initial": "50ms", "factor": 1.5, "max": "200ms"},
                "ping_interval": "300ms",
            }
        ],
        "publishers": [{"name": "desk", "channel": "news", "rate": "50/s", "timeout": "2s"}],
        # Whether the generator keeps up is another matter, and says nothing of when a fault came.
        "limits": {"schedule_lag_p99": "1h", "loop_lag_p99": "1h", "bias_p99": "1h", "cpu": 1.0, "steal": 1.0},
        "phases": {"warm_up": "500ms", "measure": f"{FIRST_S + times * case.every_s + 1:g}s"},
        "faults": [{"kind": case.kind, "at": f"{FIRST_S:g}s", **case.settings, **repeat}],
    }


def _two(values: Sequence[float]) -> tuple[float, float]:
    return (statistics.median(values), max(values)) if values else (float("nan"), float("nan"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", nargs="+", default=["process"], choices=["process", "docker"])
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--only", default="", help="kinds with this in their name")
    parser.add_argument("--keep", type=Path, help="leave the run directories here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
