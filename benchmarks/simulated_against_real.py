"""Does the simulator foretell what a real run shows? p50, p99 and the loss of each fault, of the same file.

    .venv/bin/python benchmarks/simulated_against_real.py --rounds 3

In each round the scenario runs twice, with two seeds. A model is measured from the first run, the second run's file is
simulated with it, and both are set side by side. The last column says how far the two real runs are from each other:
what the machine itself did between them no simulation can know.

A short line is printed per round, then a table of medians, the ratios' over the rounds. With --strict it fails where a
median of p50 or of a loss is not within 15 %.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanlab.ledger.account import account
from fanlab.report.summary import make_summary
from fanlab.rundir import RunDir
from fanlab.scenario.loader import Loaded, load
from fanlab.simulate.estimate import estimate
from fanlab.simulate.model import Model
from fanlab.simulate.observed import observe
from fanlab.simulate.run import simulate

WITHIN = 0.15


@dataclass(frozen=True, slots=True)
class Told:
    """What is simulated, and where to."""

    loaded: Loaded
    rundir: RunDir


def run_real(file: str, out: Path, seed: int) -> dict[str, Any]:
    """A real run's summary; whatever its verdict, it has figures."""
    argv = [sys.executable, "-m", "fanlab", "run", file, "--seed", str(seed), "--out", str(out), "--no-progress"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    if not (out / "summary.json").exists():
        sys.exit(f"the run came to nothing:\n{done.stdout}\n{done.stderr}")
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    if summary["verdict"] == "invalid":
        print(f"the run is invalid: {summary['reasons'][0]}", file=sys.stderr)
    return summary


def run_simulated(file: str, out: Path, seed: int, model: Model) -> dict[str, Any]:
    """The same file and seed, simulated."""
    loaded = load(file, seed=seed)[0]
    rundir = RunDir(out)
    rundir.create()
    asyncio.run(simulate(Told(loaded, rundir), lambda _: None, model))
    return dict(make_summary(account(rundir), rundir.read_manifest()))


def figures(summary: dict[str, Any]) -> dict[str, float]:
    """What is compared: latency in ms, and each fault's loss."""
    latency = {name: float(summary["latency_ms"][name] or 0) for name in ("p50", "p99")}
    return latency | {f"loss of {one['fault']}": float(one["measured"]) for one in summary["loss"]["by_fault"]}


def main() -> None:
    """Run the rounds and print what they come to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", default="scenarios/quickstart.yaml")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--strict", action="store_true")
    arguments = parser.parse_args()
    file = str(Path(__file__).resolve().parent.parent / arguments.file)
    rounds: list[dict[str, tuple[float, float, float]]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for turn in range(arguments.rounds):
            folder = Path(temporary)
            measured = figures(run_real(file, folder / f"measured-{turn}", seed=100 + turn))
            model = estimate([observe(RunDir(folder / f"measured-{turn}"))])
            real = figures(run_real(file, folder / f"real-{turn}", seed=200 + turn))
            told = figures(run_simulated(file, folder / f"simulated-{turn}", 200 + turn, model))
            rounds.append({name: (measured.get(name, 0), real[name], told[name]) for name in real if name in told})
            print(f"round {turn + 1}: {rounds[-1]}", file=sys.stderr)
    print(
        "| figure | measured from | real | simulated | simulated / real | real / measured from |",
        "| --- " * 6 + "|",
        sep="\n",
    )
    amiss = False
    for name in rounds[0]:
        pairs = [one[name] for one in rounds]
        ratio = statistics.median(told / real if real else float(told == real) for _, real, told in pairs)
        drift = statistics.median(
            real / measured if measured else float(real == measured) for measured, real, _ in pairs
        )
        amiss |= name != "p99" and abs(ratio - 1) > WITHIN
        middle = (f"{statistics.median(pair[side] for pair in pairs):.3g}" for side in range(3))
        print(f"| {name} | {' | '.join(middle)} | {ratio:.3f} | {drift:.3f} |")
    if arguments.strict and amiss:
        sys.exit(f"a median is not within {WITHIN:.0%}")


if __name__ == "__main__":
    main()
