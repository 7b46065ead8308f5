"""A scenario at another size, simulated by cohorts: `fanlab simulate FILE --nodes 1000 --clients 10M`. Pure."""

from collections.abc import Sequence

from fanlab.faults.timeline import resolve
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import make_plan
from fanlab.simulate.fate import fate_of, refuse_unmodelled
from fanlab.simulate.model import Model
from fanlab.simulate.parts import generator
from fanlab.simulate.tally import Figures, Tally
from fanlab.simulate.world import World


def scaled(scenario: Scenario, *, nodes: int | None = None, clients: int | None = None) -> Scenario:
    """The same with so many nodes and clients in all, each group in its old proportion, and none empty.

    The limits of a scenario file are those of real runs; they do not hold here.
    """
    topology = scenario.topology
    if nodes is not None:
        counts = shares([group.count for group in topology.nodes], nodes)
        groups = [
            group.model_copy(update={"count": count}) for group, count in zip(topology.nodes, counts, strict=True)
        ]
        scenario = scenario.model_copy(update={"topology": topology.model_copy(update={"nodes": groups})})
    if clients is not None:
        counts = shares([group.count for group in scenario.clients], clients)
        of_clients = [
            group.model_copy(update={"count": count}) for group, count in zip(scenario.clients, counts, strict=True)
        ]
        scenario = scenario.model_copy(update={"clients": of_clients})
    return scenario


def shares(parts: Sequence[int], total: int) -> list[int]:
    """`total` in the proportions of `parts`, each at least 1. Raises ValueError where that is too little for them."""
    if total < len(parts):
        raise ValueError(f"{total} are too few for {len(parts)} groups")
    found = [max(1, part * total // sum(parts)) for part in parts]
    found[found.index(max(found))] += total - sum(found)
    return found


def simulate_cohorts(scenario: Scenario, model: Model, *, egress_bytes_per_s: float | None = None) -> Figures:
    """What a system of any size comes to. Raises ScenarioError for what is not modelled."""
    plan = make_plan(scenario)
    timeline = resolve(scenario, plan)
    refuse_unmodelled(scenario, timeline, scenario.name)
    fate = fate_of(scenario, plan, timeline, model.delays, generator(scenario.seed, "fate"))
    tally = Tally()
    line = float("inf") if egress_bytes_per_s is None else egress_bytes_per_s
    world = World(scenario, plan, model, fate, tally, told_apart=False, egress_bytes_per_s=line)
    tally.world = world
    world.run()
    return tally.figures()
