"""Is the simulator's queue the one of the books, and how big a system can it simulate?

    .venv/bin/python benchmarks/simulator.py

First the mean wait at Redis, with Poisson publishes and a service time of 1 ms, against Pollaczek and Khinchine's for
M/D/1. Then a system of --nodes nodes and --clients clients with a crash, by cohorts: what it took, and what it came to.
The default model is used for the second part; its waits and costs are those of the machine that it was measured on.
"""

import argparse
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fanlab.faults.timeline import resolve
from fanlab.ledger.records import Status
from fanlab.scenario.loader import load
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import make_plan
from fanlab.simulate.fate import fate_of
from fanlab.simulate.model import PROBABILITIES, Delay, Estimate, read_model
from fanlab.simulate.parts import Message, generator
from fanlab.simulate.scaled import scaled, simulate_cohorts
from fanlab.simulate.tables import figures_text
from fanlab.simulate.world import World
from fanlab.units import parse_count

SERVICE_NS = 1e6
SCENARIO = """
name: simulator
question: What does the simulator make of this?
seed: 3
topology:
  nodes: {{count: 3}}
channels: [news]
clients:
  - {{group: readers, count: 300, channels: [news]}}
publishers:
  - {{name: ticker, channel: news, rate: {rate}}}
phases:
  warm_up: 0s
  measure: {measure:g}s
  drain: {{quiet: 1s, deadline: 30s}}
faults: {faults}
"""


class Waits:
    """A Recorder of how long each publish took."""

    def __init__(self) -> None:
        self.took_ns: list[float] = []

    def ended(self, message: Message, status: Status, done_ns: float, receivers: int) -> None:
        """Keep it."""
        if status is Status.OK and receivers <= 3:
            self.took_ns.append(done_ns - message.sent_ns)

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def made(**of: Any) -> Scenario:
    """The scenario with these values."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "simulator.yaml"
        file.write_text(SCENARIO.format(**of), encoding="utf-8")
        return load(file)[0].scenario


def mean_wait_ns(rho: float, messages: int) -> float:
    """Of the simulated Redis at that load."""
    scenario = made(rate=f"{{kind: poisson, rate: {rho * 1000:g}/s}}", measure=messages / (rho * 1000), faults="[]")
    model, nothing = read_model(), Delay((0.0,) * len(PROBABILITIES))
    service, free = (Estimate(cost, cost, cost, 1) for cost in (SERVICE_NS, 0.0))
    costs = replace(model.costs, redis_publish_ns=service, redis_send_ns=free)
    model = replace(model, costs=costs, delays=replace(model.delays, schedule=nothing, reply=nothing))
    plan, kept = make_plan(scenario), Waits()
    fate = fate_of(scenario, plan, resolve(scenario, plan), model.delays, generator(scenario.seed, "fate"))
    World(scenario, plan, model, fate, kept, told_apart=False).run()
    return float(np.mean(kept.took_ns)) - SERVICE_NS


def main() -> None:
    """Print both parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=1_000_000, help="of each load")
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--clients", default="10M")
    parser.add_argument("--rate", default="2/s")
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    print("| load | mean wait ms | M/D/1 ms | ratio |", "| --- | --- | --- | --- |", sep="\n")
    for rho in (0.3, 0.5, 0.7, 0.8):
        wait_ns, books_ns = mean_wait_ns(rho, arguments.messages), rho * SERVICE_NS / (2 * (1 - rho))
        print(f"| {rho:g} | {wait_ns / 1e6:.4f} | {books_ns / 1e6:.4f} | {wait_ns / books_ns:.4f} |")
    faults = "[{kind: crash, target: node-2, at: 10s, for: 5s}]" if arguments.seconds > 15 else "[]"
    scenario = made(rate=arguments.rate, measure=arguments.seconds, faults=faults)
    began_s, cpu_s = time.perf_counter(), time.process_time()
    found = simulate_cohorts(
        scaled(scenario, nodes=arguments.nodes, clients=parse_count(arguments.clients)), read_model()
    )
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print("", "| nodes | clients | messages | time s | CPU s | peak RSS MB |", "| --- " * 6 + "|", sep="\n")
    print(f"| {found.nodes} | {found.clients} | {found.published} | {took_s:.1f} | {cpu_s:.1f} | {peak_mb:.0f} |")
    print("", figures_text(found), sep="\n")


if __name__ == "__main__":
    main()
