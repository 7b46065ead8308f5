"""Simulated systems for tests: models by hand, scenarios as text, runs in a directory."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fanlab.faults.timeline import resolve
from fanlab.progress import Event
from fanlab.rundir import RunDir
from fanlab.scenario.loader import Loaded, load
from fanlab.scenario.plan import make_plan
from fanlab.simulate.fate import fate_of
from fanlab.simulate.model import Costs, Delay, Delays, Estimate, Model, Range
from fanlab.simulate.parts import Recorder, generator
from fanlab.simulate.run import simulate
from fanlab.simulate.world import World

COSTS_NS = {"redis_publish_ns": 20_000, "redis_send_ns": 8_000, "node_message_ns": 50_000, "node_delivery_ns": 10_000}
DELAYS_NS = {
    "schedule": 100_000,
    "redis": 300_000,
    "reply": 100_000,
    "stall": 0,
    "client": 50_000,
    "connect": 2_000_000,
    "subscribe": 1_000_000,
    "resubscribe": 5_000_000,
    "rejoin": 50_000_000,
    "node_start": 200_000_000,
    "notice": 1_000_000,
}


def steady(value_ns: float) -> Delay:
    """A wait that is always as long."""
    return Delay((float(value_ns),) * 12)


def made_model(**other: Any) -> Model:
    """One whose waits are all steady; `other` are costs or delays in ns that differ from the above."""
    costs = {name: Estimate(v, v, v, 1) for name, v in {**COSTS_NS, **_of(other, COSTS_NS)}.items()}
    memory = {"receive_ns": 10_000, "node_base_bytes": 30_000_000, "connection_bytes": 15_000}
    costs |= {name: Estimate(v, v, v, 1) for name, v in memory.items()}
    delays = {**DELAYS_NS, **_of(other, DELAYS_NS)}
    waits = {name: one if isinstance(one, Delay) else steady(one) for name, one in delays.items()}
    return Model(Costs(**costs), Delays(**waits), Range(4, 100, 400.0, 10_000.0, 128), (), ({"scenario": "by hand"},))


def _of(chosen: dict[str, Any], names: dict[str, int]) -> dict[str, Any]:
    return {name: value for name, value in chosen.items() if name in names}


def scenario_text(
    *, nodes: int = 3, clients: int = 12, rate: str = "50/s", measure: str = "4s", faults: str = "[]", seed: int = 3
) -> str:
    """A scenario of one channel; `faults` as YAML."""
    return f"""
name: made
question: What comes of it?
seed: {seed}
topology:
  nodes: {{count: {nodes}}}
channels: [news]
clients:
  - {{group: readers, count: {clients}, channels: [news], reconnect: {{initial: 200ms}}, ping_timeout: 20s}}
publishers:
  - {{name: ticker, channel: news, rate: {rate}}}
phases:
  warm_up: 500ms
  measure: {measure}
  drain: {{quiet: 500ms, deadline: 10s}}
faults: {faults}
"""


def loaded_from(folder: Path, text: str) -> Loaded:
    """The one scenario of a text."""
    file = folder / "made.yaml"
    file.write_text(text, encoding="utf-8")
    (loaded,) = load(file)
    return loaded


def simulated(folder: Path, loaded: Loaded, model: Model, name: str = "run") -> RunDir:
    """Simulate it into a run directory."""
    rundir = RunDir(folder / name)
    rundir.create()
    heard: list[Event] = []
    asyncio.run(simulate(SimpleNamespace(loaded=loaded, rundir=rundir), heard.append, model))
    assert heard
    return rundir


def made_world(loaded: Loaded, model: Model, recorder: Recorder, *, told_apart: bool = False, **more: Any) -> World:
    """A world that has not run yet."""
    scenario = loaded.scenario
    plan = make_plan(scenario)
    fate = fate_of(scenario, plan, resolve(scenario, plan), model.delays, generator(scenario.seed, "fate"))
    return World(scenario, plan, model, fate, recorder, told_apart=told_apart, **more)
