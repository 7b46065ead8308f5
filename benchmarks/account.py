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
from dataclasses import asdict
from pathlib import Path

import numpy as np

from fanlab.ledger.account import account
from fanlab.ledger.records import DELIVERY_DTYPE, INTENT_DTYPE, OUTCOME_DTYPE
from fanlab.ledger.stripe import Kind, StripeWriter
from fanlab.rundir import RunDir, write_json
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import make_plan

ZERO_NS = 10**12
MS = 10**6
EVERY_MS = 10


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
        made = make(rundir, arguments.clients, arguments.messages, arguments.lost)
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


def make(rundir: RunDir, clients: int, messages: int, lost: float) -> int:
    """Write the run; returns how many deliveries it holds."""
    scenario = Scenario.model_validate(
        {
            "name": "made-up",
            "question": "How long does the account take?",
            "topology": {"nodes": {"count": 1}},
            "channels": ["news"],
            "clients": [{"group": "readers", "count": clients, "channels": ["news"]}],
            "publishers": [{"name": "ticker", "channel": "news", "rate": f"{1000 // EVERY_MS}/s"}],
        }
    )
    end_ns = ZERO_NS + messages * EVERY_MS * MS
    write_json(rundir.manifest, manifest(scenario, end_ns))
    intended = ZERO_NS + np.arange(messages, dtype=np.uint64) * np.uint64(EVERY_MS * MS)
    with StripeWriter(rundir.journal / "publishers-1.stripe", {"role": "publishers", "worker": 1}) as stripe:
        intents = np.zeros(messages, INTENT_DTYPE)
        intents["intended_ns"], intents["seq"] = intended, np.arange(1, messages + 1)
        stripe.write(Kind.INTENTS, intents.tobytes())
        outcomes = np.zeros(messages, OUTCOME_DTYPE)
        outcomes["sent_ns"], outcomes["done_ns"] = intended + np.uint64(1000), intended + np.uint64(2000)
        outcomes["seq"], outcomes["receivers"] = np.arange(1, messages + 1), 1
        stripe.write(Kind.OUTCOMES, outcomes.tobytes())
    every = round(1 / lost) if lost else 0
    made = 0
    with StripeWriter(rundir.journal / "clients-1.stripe", {"role": "clients", "worker": 1}) as stripe:
        for client in range(clients):
            at = {"client": client, "node": 0}
            stripe.events(
                [
                    {"t": ZERO_NS - 4 * MS, "ev": "connecting", **at, "attempt": 0},
                    {"t": ZERO_NS - 3 * MS, "ev": "open", **at},
                    {"t": ZERO_NS - 2 * MS, "ev": "subscribing", **at, "channel": "news"},
                    {"t": ZERO_NS - MS, "ev": "subscribed", **at, "channel": "news"},
                ]
            )
        records = np.zeros(clients, DELIVERY_DTYPE)
        records["client"] = np.arange(clients)
        for number in range(messages):
            records["seq"], records["intended_ns"] = number + 1, intended[number]
            records["recv_ns"] = intended[number] + np.arange(MS, MS + clients, dtype=np.uint64)
            order = number * clients + np.arange(clients)
            kept = records[order % every != 0] if every else records
            stripe.write(Kind.DELIVERIES, kept.tobytes())
            made += len(kept)
        stripe.events([{"t": end_ns + 600 * MS, "ev": "left", "client": client} for client in range(clients)])
    return made


def manifest(scenario: Scenario, end_ns: int) -> dict[str, object]:
    """As much of a manifest as the account reads."""
    return {
        "schema_version": 1,
        "status": "complete",
        "scenario": scenario.model_dump(mode="json"),
        "seed": scenario.seed,
        "run_tag": 1,
        "plan": asdict(make_plan(scenario)),
        "predictions": [],
        "faults": [],
        "phases": {
            "publish_start_ns": ZERO_NS,
            "zero_ns": ZERO_NS,
            "measure_end_ns": end_ns,
            "drain_end_ns": end_ns + 500 * MS,
            "drain_ended_by": "quiet",
        },
        "journaling_nodes": [],
    }


if __name__ == "__main__":
    main()
