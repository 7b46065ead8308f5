"""Does a capacity search say the same of the same system twice? Pairs of searches, and whether their intervals overlap.

    .venv/bin/python benchmarks/capacity_twice.py --pairs 10 --check

The system is one whose capacity is known by construction: a node that takes 10 ms for each message, so that it carries
somewhat less than 100 of them a second; or another with --file, --slo and --axis. Nothing is shared by two searches.
A line is printed per search, then the table. With --check the exit code is 1 where fewer than nine in ten overlap.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SCENARIO = """
name: slow-lane
question: How much does a node carry that takes 10 ms for each message?
topology: {nodes: {kind: saboteurs/head-of-line, count: 1, env: {SLOW_SEND_MS: 10}}}
channels: [news]
clients: [{group: readers, count: 4, channels: [news]}]
publishers: [{name: ticker, channel: news, rate: 40/s}]
phases: {warm_up: 500ms, measure: 4s, drain: {quiet: 500ms, deadline: 20s}}
"""
ENOUGH = 0.9
USUAL = (0, 3)  # exit codes: an answer, and none


def main() -> None:
    """Search, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--file", type=Path, help="another system")
    parser.add_argument("--slo", default="latency.p99 < 100ms and loss.ratio == 0")
    parser.add_argument("--axis", default="rate")
    parser.add_argument("--check", action="store_true", help="exit with 1 where fewer than nine in ten overlap")
    arguments, others = parser.parse_known_args()  # --repeats and so on go to each search
    pairs = []
    for number in range(1, arguments.pairs + 1):
        pair = [search(arguments, others) for _ in range(2)]
        pairs.append(pair)
        print(f"pair {number}: " + " / ".join(each["headline"] for each in pair), flush=True)
    print("\n| pair | first | second | overlap |\n| --- | --- | --- | --- |")
    for number, pair in enumerate(pairs, start=1):
        print(f"| {number} | {told(pair[0])} | {told(pair[1])} | {'yes' if overlap(*pair) else 'no'} |")
    good = sum(overlap(*pair) for pair in pairs)
    print(f"\n{good} of {len(pairs)} pairs overlap")
    if arguments.check and good < ENOUGH * len(pairs):
        raise SystemExit(1)


def search(arguments: argparse.Namespace, others: list[str]) -> dict[str, Any]:
    """One search from nothing, in a folder of its own: its capacity.json."""
    with tempfile.TemporaryDirectory(prefix="fanlab-") as folder:
        path = arguments.file or Path(folder) / "slow-lane.yaml"
        if arguments.file is None:
            path.write_text(SCENARIO, encoding="utf-8")
        argv = [sys.executable, "-m", "fanlab", "capacity", str(path), "--slo", arguments.slo, "--axis", arguments.axis]
        argv += ["--out", str(Path(folder) / "search"), "--json", "--no-progress", *others]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode not in USUAL:
            raise SystemExit(f"the search has failed ({done.returncode}):\n{done.stderr}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def overlap(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether both are answers whose intervals share a load."""
    if first["status"] != "answer" or second["status"] != "answer":
        return False
    return bool(first["low"] <= second["high"] and second["low"] <= first["high"])


def told(found: dict[str, Any]) -> str:
    """One search in a cell."""
    if found["status"] != "answer":
        return f"no answer ({found['status']})"
    return f"{found['load']:g} ({found['low']:g} to {found['high']:g}), {len(found['probes'])} runs"


if __name__ == "__main__":
    main()
