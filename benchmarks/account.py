"""What does a run cost after it is over? Time and memory of the account, and of all that `fanlab report` does.

    .venv/bin/python benchmarks/account.py --clients 10000 --messages 1000 --lost 0.01 --check

Writes the journals of one stream to all clients, loses the given share of deliveries (every k-th), accounts for them
in a fresh process and checks the counts; then has `fanlab report` make the whole of it: account, summary, figures,
report. With --check the exit code is 1 where that takes more than 10 s or 500 MB.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from made_up import Size, make

from fanlab.ledger.account import account
from fanlab.rundir import RunDir

MOST_S, MOST_MB = 10.0, 500.0


def main() -> None:
    """Parent: make the run and start what is measured. Child (`--run DIR`): account for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--lost", type=float, default=0.01)
    parser.add_argument("--check", action="store_true", help="exit with 1 where the report costs too much")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--made", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        measure(arguments.run, arguments.made)
        return
    with tempfile.TemporaryDirectory(prefix="fanlab-") as folder:
        rundir = RunDir(Path(folder) / "run")
        rundir.create()
        size = Size(arguments.clients, arguments.messages, lost=arguments.lost)
        with get_context("spawn").Pool(1) as pool:  # a process's peak includes that of the one it was forked from
            made = pool.apply(make, (rundir, size))
        print("| of | deliveries | clients | lost | CPU s | wall s | peak MB |")
        print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
        subprocess.run([sys.executable, __file__, "--run", str(rundir.path), "--made", str(made)], check=True)
        cpu_s, wall_s, peak_mb = measured([sys.executable, "-m", "fanlab", "report", str(rundir.path)])
        ledger = json.loads(rundir.summary.read_text())["ledger"]
    if ledger["delivered"] != made or ledger["owed"] != size.owed:
        sys.exit(f"the report has {ledger}, but {made} of {size.owed} deliveries were written")
    costs = f"{cpu_s:.2f} | {wall_s:.2f} | {peak_mb:.0f}"
    print(f"| report | {made} | {arguments.clients} | {ledger['lost']} | {costs} |")
    if arguments.check and too_dear(wall_s, peak_mb):
        sys.exit(f"the report took {wall_s:.1f} s and {peak_mb:.0f} MB")


def too_dear(wall_s: float, peak_mb: float) -> bool:
    """Whether a report took more than it may."""
    return wall_s > MOST_S or peak_mb > MOST_MB


def measure(path: Path, made: int) -> None:
    """Account for the run, whose journals hold `made` deliveries, and print its row."""
    cpu_s, wall_s = time.process_time(), time.monotonic()
    found = account(RunDir(path))
    cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    tally, clients = found.measure, found.clients["count"]
    if tally.delivered != made or not tally.balanced:
        sys.exit(f"the account has {tally}, but {made} deliveries were written")
    print(f"| account | {tally.delivered} | {clients} | {tally.lost} | {cpu_s:.2f} | {wall_s:.2f} | {peak_mb:.0f} |")


def measured(argv: list[str]) -> tuple[float, float, float]:
    """CPU and wall time in s and peak memory in MB of a command, its start and its imports included."""
    began_s = time.monotonic()
    command = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(command.pid, 0)
    command.returncode = os.waitstatus_to_exitcode(status)
    if command.returncode not in (0, 1, 3):  # a check has failed, or the run is invalid: nobody measured its generator
        sys.exit(f"{' '.join(argv)} ended with {command.returncode}")
    return used.ru_utime + used.ru_stime, time.monotonic() - began_s, used.ru_maxrss / 1000


if __name__ == "__main__":
    main()
