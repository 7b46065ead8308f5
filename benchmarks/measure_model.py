"""What does each hop cost here? Runs small real systems of several sizes and rates, and makes a model of them all.

    .venv/bin/python benchmarks/measure_model.py -o src/fanlab/simulate/model.json

Each line of CELLS is a run of some 12 s: nodes, clients on each, messages per second. The sizes differ so that what a
message costs can be told from what a delivery costs. One more run breaks things, to see how long each takes to mend.
Without -o the model is only printed. --keep leaves the run directories behind.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from fanlab.rundir import RunDir, write_json
from fanlab.simulate.model import to_json
from fanlab.simulate.replay import model_of
from fanlab.simulate.tables import model_table

CELLS = [
    (1, 10, 100),
    (1, 100, 100),
    (1, 200, 50),
    (2, 50, 200),
    (4, 10, 400),
    (4, 50, 100),
    (4, 5, 50),
    (1, 2, 1000),
    (8, 2, 500),
]
FAULTS = """
faults:
  - {kind: crash, target: node-2, at: 1s, for: 1s}
  - {kind: redis-kill-pubsub, at: 4s}
  - {kind: redis-restart, at: 6s, for: 500ms}
"""
SCENARIO = """
name: model-{nodes}-{clients}-{rate}
question: What does each hop cost with {nodes} nodes of {clients} clients at {rate} messages a second?
seed: {seed}
topology:
  nodes: {{count: {nodes}}}
channels: [news]
clients:
  - {{group: readers, count: {total}, spawn_rate: 200/s, channels: [news], reconnect: {{initial: 200ms}}}}
publishers:
  - {{name: ticker, channel: news, rate: {{kind: poisson, rate: {rate}/s}}}}
phases:
  warm_up: 1s
  measure: {seconds}s
  drain: {{quiet: 500ms, deadline: 20s}}
"""


def run_once(folder: Path, cell: tuple[int, int, int], seconds: float, faults: str = "") -> RunDir:
    """Run one cell in a directory of its own. Whatever its verdict, its hops can be measured if it was whole."""
    nodes, clients, rate = cell
    name = f"{nodes}-{clients}-{rate}{'-faults' if faults else ''}"
    file = folder / f"{name}.yaml"
    text = SCENARIO.format(nodes=nodes, clients=clients, rate=rate, total=nodes * clients, seconds=seconds, seed=1)
    file.write_text(text + faults, encoding="utf-8")
    argv = [sys.executable, "-m", "fanlab", "run", str(file), "--out", str(folder / name), "--no-progress"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    if not (folder / name / "summary.json").exists():
        sys.exit(f"the run {name} came to nothing:\n{done.stdout}\n{done.stderr}")
    print(f"ran {name}: exit {done.returncode}", file=sys.stderr)
    return RunDir(folder / name)


def main() -> None:
    """Run all cells, and print what they come to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each run's measure phase")
    parser.add_argument("--cells", type=int, default=len(CELLS), help="only the first so many")
    parser.add_argument("--keep", type=Path, help="put the run directories here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        runs = [run_once(folder, cell, arguments.seconds) for cell in CELLS[: arguments.cells]]
        runs.append(run_once(folder, (2, 10, 100), max(9.0, arguments.seconds), FAULTS))
        model = model_of(runs)
    print(model_table(model))
    if arguments.out:
        write_json(arguments.out, to_json(model))


if __name__ == "__main__":
    main()
