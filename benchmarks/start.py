"""How long does a user wait? For `fanlab --help`, and from `fanlab run` to the first message.

    .venv/bin/python benchmarks/start.py --rounds 5 --check

The first message is the first that a publisher sent, by its journal: nodes and Redis are up by then, all clients are
connected and subscribed. A line is printed per round, then the medians. With --check the exit code is 1 where the
help takes more than 0.25 s, or the first message more than 3 s.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fanlab.clock import NS_PER_S, now_ns
from fanlab.ledger.records import OUTCOME_DTYPE
from fanlab.ledger.stripe import Kind, StripeReader

MOST_S = {"help": 0.25, "first message": 3.0}


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description="How long until help, and until the first message.")
    parser.add_argument("scenario", nargs="?", default="quickstart")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    took: dict[str, list[float]] = {name: [] for name in MOST_S}
    for number in range(1, arguments.rounds + 1):
        took["help"].append(help_s())
        took["first message"].append(first_message_s(arguments.scenario))
        told = ", ".join(f"{name} after {times[-1]:.2f} s" for name, times in took.items())
        print(f"round {number}: {told}", file=sys.stderr, flush=True)
    medians = {name: statistics.median(times) for name, times in took.items()}
    print("| what | median s | at most |\n| --- | ---: | ---: |")
    for name, median_s in medians.items():
        print(f"| {name} | {median_s:.2f} | {MOST_S[name]:g} |")
    late = list(too_late(medians))
    if arguments.check and late:
        print(f"too late: {', '.join(late)}", file=sys.stderr)
    return 1 if arguments.check and late else 0


def too_late(medians: dict[str, float]) -> Iterator[str]:
    """What users wait for too long."""
    return (name for name, median_s in medians.items() if not median_s <= MOST_S[name])


def help_s() -> float:
    """Of a fresh process."""
    began_ns = now_ns()
    subprocess.run([sys.executable, "-m", "fanlab", "--help"], check=True, stdout=subprocess.DEVNULL)
    return (now_ns() - began_ns) / NS_PER_S


def first_message_s(scenario: str) -> float:
    """From the command's start. A short run: what comes after the first message does not count."""
    with tempfile.TemporaryDirectory(prefix="fanlab-") as folder:
        run = Path(folder) / "run"
        argv = [sys.executable, "-m", "fanlab", "run", scenario, "--out", str(run), "--no-progress"]
        argv += ["--set", "faults=[]", "--set", "gates=[]", "--set", "phases.measure=1s"]
        began_ns = now_ns()
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        sent_ns = [
            int(np.frombuffer(frame.payload, OUTCOME_DTYPE)["sent_ns"].min())
            for path in (run / "journal").glob("publishers-*.stripe")
            for frame in StripeReader(path)
            if frame.kind is Kind.OUTCOMES
        ]
    if not sent_ns:
        raise SystemExit(f"no message was sent:\n{done.stdout}{done.stderr}")
    return (min(sent_ns) - began_ns) / NS_PER_S


if __name__ == "__main__":
    sys.exit(main())
