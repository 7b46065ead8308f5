"""Everything that a search's figures rest on and that no run has shown, in sentences. Pure."""

from collections.abc import Mapping
from typing import Final

from fanlab.capacity.search import Axis, Wanted
from fanlab.clock import NS_PER_S
from fanlab.scenario.model import Scenario

_VARIED: Final[Mapping[Axis, str]] = {
    "rate": "All publishers change by one factor; clients, nodes and readers stay.",
    "clients": "All groups change by one factor; rates, nodes and readers stay.",
    "nodes": "The number of nodes changes; rates and clients stay, and clients spread evenly.",
}
_ALWAYS: Final = """
A load that is carried makes every easier one carried.
A run meets the objective with a probability that falls with the load as a logistic curve, by a scatter of at most 25 %; 2 % of the runs go astray whatever their load.
The knee is the load that every second run meets: plan with the easier end of the interval.
Runs are independent of one another. Each has a seed of its own, counted up from the scenario's.
The file's own gates decide nothing here; the objective does.
What saturated is told from CPU shares over the measure phase, of processes that do one core's work each, or of a container's limit. Of networks no limit is known but those of the scenario.
Nodes, Redis, publishers and clients share one machine: where it is busy as a whole, its knee is not that of the same system on machines of its own.
Load per node is the whole divided by the nodes that were run. It says nothing of more nodes: each one added costs Redis a subscriber.
""".strip().splitlines()  # noqa: E501 - a sentence to a line
_FAULTS: Final = "The scenario breaks things on purpose, so that a steady state was not asked for."
_PRICES: Final = (
    "Costs are those of full load all the time, at the prices given. Egress is the payload alone: envelopes, frames,"
    " TLS and TCP come on top, and what nodes and Redis say to each other is free."
)


def assumptions(scenario: Scenario, wanted: Wanted, *, prices: bool) -> list[str]:
    """The sentences that hold for this search."""
    measured = f"The measure phase of {scenario.phases.measure_ns / NS_PER_S:g} s stands for longer times"
    found = [_VARIED[wanted.axis], *_ALWAYS, f"{measured}; what fills up more slowly than that is not seen."]
    return found + ([_FAULTS] if scenario.faults else []) + ([_PRICES] if prices else [])
