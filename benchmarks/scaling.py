"""Is what the scalability law foretells true? Fits it to 1 to 4 nodes, then measures 6 and 8.

    .venv/bin/python benchmarks/scaling.py --check                    # nodes that take 4 ms for each client
    .venv/bin/python benchmarks/scaling.py --check --backend docker   # containers with a share of a core

The nodes are throttled, so that eight of them fit a small machine: as processes they wait, and need hardly any CPU; as
containers their CPU is limited. The table has what was foretold, with its band, and what a search found. With --check
the exit code is 1 where a truth lies outside its band.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

NODES = {
    "process": "{kind: saboteurs/head-of-line, count: 2, env: {SLOW_CLIENT_MS: 4}}",
    "docker": "{kind: websockets, count: 2, journal: false, cpus: 0.06}",
}
CLIENTS = {"process": 24, "docker": 120}
RATES = {"process": "20/s", "docker": "30/s"}
SCENARIO = """
name: lanes
question: How does what is carried grow with the nodes?
topology: {{nodes: {nodes}}}
channels: [news]
clients: [{{group: readers, count: {clients}, spawn_rate: 100/s, channels: [news]}}]
publishers: [{{name: ticker, channel: news, rate: {rate}}}]
phases: {{warm_up: 500ms, measure: 4s, drain: {{quiet: 500ms, deadline: 30s}}}}
evidence: {{witness: false, redis_watch: false, probes: 0}}
limits: {{schedule_lag_p99: 10s, loop_lag_p99: 10s, bias_p99: 10s, cpu: 1.0, steal: 1.0}}
"""
SLO = "latency.p50 < 1s and ledger.lost == 0"


def main() -> None:
    """Fit, measure, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=sorted(NODES), default="process")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a truth lies outside its band")
    parser.add_argument(
        "--measured", type=int, nargs="+", default=[1, 3, 4], help="numbers of nodes beside the file's 2"
    )
    parser.add_argument("--truths", type=int, nargs="+", default=[6, 8])
    arguments, others = parser.parse_known_args()  # --repeats and so on go to each search
    backend = arguments.backend
    with tempfile.TemporaryDirectory(prefix="fanlab-") as temporary:
        folder = Path(temporary)
        path = folder / "lanes.yaml"
        text = SCENARIO.format(nodes=NODES[backend], clients=CLIENTS[backend], rate=RATES[backend])
        path.write_text(text, encoding="utf-8")
        common = [str(path), "--backend", backend, *others]
        counts = ",".join(map(str, arguments.measured))
        foretell = ",".join(map(str, arguments.truths))
        told = search(folder / "fit", [*common, "--over-nodes", counts, "--foretell", foretell])
        found = {
            nodes: search(folder / f"truth-{nodes}", [*common, "--set", f"topology.nodes.count={nodes}"])
            for nodes in arguments.truths
        }
    print("| nodes | measured | by the law | saturates |\n| --- | --- | --- | --- |")
    for each in told["model"]["points"]:
        knee = f"{each['load']:.4g} ({each['low']:.4g} to {each['high']:.4g})"
        print(f"| {each['nodes']} | {knee} | {each['fitted']:.4g} | {each['saturates'] or '-'} |")
    print("\n| nodes | foretold | band | found | inside |\n| --- | --- | --- | --- | --- |")
    good = True
    for row in told["forecast"]["rows"]:
        truth = found[row["nodes"]]
        inside = row["low"] <= truth["load"] <= row["high"]
        good &= inside
        knee = f"{truth['load']:.4g} ({truth['low']:.4g} to {truth['high']:.4g})"
        band = f"{row['low']:.4g} to {row['high']:.4g}"
        print(f"| {row['nodes']} | {row['value']:.4g} | {band} | {knee} | {'yes' if inside else 'NO'} |")
    if arguments.check and not good:
        raise SystemExit(1)


def search(out: Path, words: list[str]) -> dict[str, Any]:
    """One search from nothing: its capacity.json. Ends the benchmark where there is no answer."""
    argv = [sys.executable, "-m", "fanlab", "capacity", "--axis", "rate", "--slo", SLO, "--out", str(out), "--json"]
    done = subprocess.run([*argv, "--no-progress", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the search has failed ({done.returncode}):\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    print(f"{out.name}: {found['headline']}", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    main()
