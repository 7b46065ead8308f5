"""What does a delivery cost each kind of node? CPU per delivery and memory per connection, interleaved, as ratios.

    .venv/bin/python benchmarks/nodes.py                        # websockets and picows
    .venv/bin/python benchmarks/nodes.py websockets picows ws-node --rounds 5

Each run is one node with all clients on it, and one stream to all; a round has a run of each kind. CPU is that of the
node's process while measuring, memory what it holds more than with a tenth of the clients. The figure is the median of
the rounds, the ratio that of the ratios within a round: the machine's moods hit both runs of it alike.
"""

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fanlab.rundir import RunDir, read_json

SCENARIO = """
name: node-cost
question: What does a delivery cost this node?
topology: {{nodes: {{kind: {kind}, count: 1, journal: {journal}}}}}
channels: [news]
clients: [{{group: readers, count: {clients}, spawn_rate: 500/s, channels: [news]}}]
publishers: [{{name: ticker, channel: news, rate: {rate}/s}}]
phases: {{warm_up: 1s, measure: {seconds}s, drain: {{quiet: 500ms, deadline: 20s}}}}
evidence: {{witness: false, redis_watch: false, probes: 0}}
limits: {{schedule_lag_p99: 10s, loop_lag_p99: 10s, bias_p99: 10s, cpu: 1.0, steal: 1.0}}
"""


def main() -> None:
    """Run all rounds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "kinds", nargs="*", default=["websockets", "picows"], help="the first is what others compare to"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=5)
    arguments = parser.parse_args()
    cost: dict[str, list[float]] = {kind: [] for kind in arguments.kinds}
    memory: dict[str, list[float]] = {kind: [] for kind in arguments.kinds}
    with tempfile.TemporaryDirectory(prefix="fanlab-") as folder:
        for number in range(arguments.rounds):
            for kind in arguments.kinds:
                many = measured(Path(folder) / f"{kind}-{number}", kind, arguments, arguments.clients)
                few = measured(Path(folder) / f"{kind}-{number}-few", kind, arguments, max(1, arguments.clients // 10))
                cost[kind].append(many["cpu_us"])
                more = arguments.clients - max(1, arguments.clients // 10)
                memory[kind].append((many["rss_kb"] - few["rss_kb"]) / more)
                print(f"round {number + 1}: {kind} {many['cpu_us']:.1f} µs a delivery", file=sys.stderr, flush=True)
    first = arguments.kinds[0]
    print(f"| node | CPU per delivery, µs | to {first} | memory per connection, kB | to {first} |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for kind in arguments.kinds:
        cells = [f"{statistics.median(cost[kind]):.1f}", ratio(cost[kind], cost[first])]
        cells += [f"{statistics.median(memory[kind]):.1f}", ratio(memory[kind], memory[first])]
        print(f"| {kind} | {' | '.join(cells)} |")


def ratio(values: list[float], others: list[float]) -> str:
    """The median of the rounds' ratios."""
    return f"{statistics.median(value / other for value, other in zip(values, others, strict=True)):.2f}"


def measured(folder: Path, kind: str, arguments: argparse.Namespace, clients: int) -> dict[str, float]:
    """One run: the node's CPU per delivery, in µs, and its memory."""
    path = folder.with_suffix(".yaml")
    how: dict[str, Any] = {"rate": arguments.rate, "seconds": arguments.seconds, "journal": "false"}
    path.write_text(SCENARIO.format(kind=kind, clients=clients, **how), encoding="utf-8")
    argv = [sys.executable, "-m", "fanlab", "run", str(path), "--out", str(folder), "--no-progress"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    rundir = RunDir(folder)
    if done.returncode not in (0, 1) or not rundir.summary.exists():
        raise SystemExit(f"the run of {kind} came to nothing ({done.returncode}):\n{done.stderr}")
    with rundir.samples.open(newline="", encoding="utf-8") as file:
        rows = [
            row for row in csv.DictReader(file) if row["unit"] == "node-1" and 0 < float(row["t_s"]) <= how["seconds"]
        ]
    shares = [float(row["value"]) for row in rows if row["metric"] == "cpu"]
    held_mb = [float(row["value"]) for row in rows if row["metric"] == "rss_mb"]
    per_s = read_json(rundir.summary, hint="run it again")["ledger"]["delivered"] / how["seconds"]
    return {"cpu_us": statistics.mean(shares) / per_s * 1e6, "rss_kb": max(held_mb) * 1e3}


if __name__ == "__main__":
    main()
