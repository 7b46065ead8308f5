"""The scenario with another load: the same file, through the loader's own overrides, so that its errors are the usual.

rate     all publishers times one factor; the load is the messages a second that they send in all, on average
clients  all groups times one factor, as whole numbers; they come faster by the same factor, so that it takes as long
nodes    the number of nodes; the load on them stays

Readers of caches, faults and phases stay as they are. Gates stay, too, but no longer end a run (`else abort`): a run
that is cut short says nothing of its load.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fanlab.capacity.search import Axis
from fanlab.clock import NS_PER_S
from fanlab.errors import Problem, ScenarioError
from fanlab.load.pacer import expected_count
from fanlab.scenario.gates import at_the_end_only
from fanlab.scenario.loader import Loaded, load
from fanlab.scenario.model import AnyRate, BurstRate, RampRate, Scenario, StepRate
from fanlab.scenario.shape import all_called


def load_of(scenario: Scenario, axis: Axis) -> float:
    """The load that a scenario has on an axis: messages a second while it measures, clients, or nodes."""
    match axis:
        case "rate":
            phases = scenario.phases
            first, last = phases.warm_up_ns, phases.warm_up_ns + phases.measure_ns
            sent = sum(each.count * expected_count(each.rate, first, last) for each in scenario.publishers)
            return sent / (phases.measure_ns / NS_PER_S) if phases.measure_ns else 0.0
        case "clients":
            return sum(group.count for group in scenario.clients)
        case "nodes":
            return sum(group.count for group in scenario.topology.nodes)


def least_load(scenario: Scenario, axis: Axis) -> float:
    """The least load that is worth a run."""
    match axis:
        case "rate":
            return load_of(scenario, "rate") / 1000
        case "clients":
            return len(scenario.clients)
        case "nodes":
            return 1


def with_load(
    path: Path, base: Loaded, axis: Axis, wanted: float, *, overrides: Sequence[str] = (), seed: int | None = None
) -> Loaded:
    """The scenario of `path` with this load on the axis. `base` is what it is without: `path`, overridden likewise.

    Raises ScenarioError, as the loader does: too many clients, a fault whose node is no longer there.
    """
    sets = [f"{key}={json.dumps(value)}" for key, value in settings(base.scenario, axis, wanted)]
    (loaded,) = load(path, overrides=[*overrides, *sets], seed=seed, source=base.source)
    return loaded


def settings(scenario: Scenario, axis: Axis, wanted: float) -> list[tuple[str, Any]]:
    """What has to be set for the load: paths as --set takes them, and values as JSON has them."""
    gates = [at_the_end_only(text) for text in scenario.gates]
    return [*_load_settings(scenario, axis, wanted), *([("gates", gates)] if gates != scenario.gates else [])]


def _load_settings(scenario: Scenario, axis: Axis, wanted: float) -> list[tuple[str, Any]]:
    match axis:
        case "rate":
            factor = wanted / load_of(scenario, "rate")
            names = all_called([each.name for each in scenario.publishers])
            return [
                (f"publishers.{name}.rate", scaled(each.rate, factor))
                for name, each in zip(names, scenario.publishers, strict=True)
            ]
        case "clients":
            return _clients(scenario, round(wanted))
        case "nodes":
            return [("topology.nodes.count", round(wanted))]


def scaled(rate: AnyRate, factor: float) -> dict[str, Any]:
    """A rate times a factor, as a file has it. A burst keeps its size, and comes more often."""
    match rate:
        case RampRate(from_per_s=first, to_per_s=last, over_ns=over_ns):
            ends = {"from": _per_s(first * factor), "to": _per_s(last * factor)}
            return {"kind": "ramp", **ends, "over": _ns(over_ns)}
        case StepRate(steps=steps):
            written = [{"at": _ns(step.at_ns), "rate": _per_s(step.rate_per_s * factor)} for step in steps]
            return {"kind": "step", "steps": written}
        case BurstRate(size=size, every_ns=every_ns):
            return {"kind": "burst", "size": size, "every": _ns(max(1, round(every_ns / factor)))}
        case _:
            return {"kind": rate.kind, "rate": _per_s(rate.rate_per_s * factor)}


def refuse_axis(scenario: Scenario, axis: Axis, source: str) -> None:
    """Raises ScenarioError where the scenario has nothing to change on the axis."""
    groups = len(scenario.topology.nodes)
    if axis == "nodes" and groups > 1:
        what = f"--axis nodes changes one group's count, and this file has {groups} groups of nodes"
        raise ScenarioError([Problem(source, 0, 0, "topology.nodes", what)])
    if not load_of(scenario, axis) > 0:
        what = f"--axis {axis} multiplies what the file has, and that is nothing"
        raise ScenarioError([Problem(source, 0, 0, "publishers" if axis == "rate" else "clients", what)])


def _clients(scenario: Scenario, wanted: int) -> list[tuple[str, Any]]:
    """Counts in proportion that sum to `wanted`, the largest remainders first; at least one client to a group."""
    now = [group.count for group in scenario.clients]
    factor = wanted / sum(now)
    counts = [max(1, int(count * factor)) for count in now]
    order = sorted(range(len(now)), key=lambda at: counts[at] - now[at] * factor)
    for at in order[: max(0, wanted - sum(counts))]:
        counts[at] += 1
    names = all_called([group.group for group in scenario.clients])
    found: list[tuple[str, Any]] = []
    for name, group, count in zip(names, scenario.clients, counts, strict=True):
        found.append((f"clients.{name}.count", count))
        if count > group.count:
            found.append((f"clients.{name}.spawn_rate", _per_s(group.spawn_rate_per_s * count / group.count)))
    return found


def _per_s(rate: float) -> str:
    return f"{rate:.9g}/s"


def _ns(duration_ns: int) -> str:
    return f"{duration_ns}ns"
