"""What does the account cost after a run? Time and memory of `ledger.account` over a made-up run of any size.

    .venv/bin/python benchmarks/account.py --clients 10000 --messages 1000 --lost 0.01

Writes the journals of one stream to all clients, loses the given share of deliveries (every k-th), accounts for them
in a fresh process, checks the counts, and prints one Markdown row.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from made_up import Size, make

from fanlab.ledger.account import account
from fanlab.rundir import RunDir


def main() -> None:
    """Parent: make the run and start the measured child. Child (`--run DIR`): account for it."""
    parser = argparse.ArgumentParser(description="Cost of the account.")
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--lost", type=float, default=0.01)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--made", type=int)
    arguments = parser.parse_args()
    if arguments.run:
        measure(arguments.run, arguments.made)
        return
    with tempfile.TemporaryDirectory() as folder:
        rundir = RunDir(Path(folder) / "run")
        rundir.create()
        made = make(rundir, Size(arguments.clients, arguments.messages, lost=arguments.lost))
        print("| deliveries | clients | lost | CPU s | wall s | peak MB |")
        print("| --- | --- | --- | --- | --- | --- |", flush=True)
        subprocess.run([sys.executable, __file__, "--run", str(rundir.path), "--made", str(made)], check=True)


def measure(path: Path, made: int) -> None:
    """Account for the run, whose journals hold `made` deliveries, and print its row."""
    cpu_s, wall_s = time.process_time(), time.monotonic()
    found = account(RunDir(path))
    cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    tally, clients = found.measure, found.clients["count"]
    if tally.delivered != made or not tally.balanced:
        sys.exit(f"the account has {tally}, but {made} deliveries were written")
    print(f"| {tally.delivered} | {clients} | {tally.lost} | {cpu_s:.2f} | {wall_s:.2f} | {peak_mb:.0f} |")


if __name__ == "__main__":
    main()
