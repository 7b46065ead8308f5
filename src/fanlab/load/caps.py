"""How much load a run may put on other machines when nobody has said more. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fanlab.clock import NS_PER_S
from fanlab.errors import Problem, ScenarioError
from fanlab.scenario.model import BurstRate, ConstantRate, PoissonRate, RampRate, Rate, Scenario
from fanlab.units import format_rate

RATE_PER_S: Final = 1000.0
CONNECTIONS: Final = 1000


@dataclass(frozen=True, slots=True)
class Caps:
    """At most so many messages and reads per second, and so many clients at once."""

    rate_per_s: float = RATE_PER_S
    connections: int = CONNECTIONS


def refuse_excess(scenario: Scenario, caps: Caps, hosts: Sequence[str]) -> None:
    """Raises ScenarioError, with what to raise, where the scenario loads these other machines beyond the caps."""
    if not hosts:
        return
    where = f"{hosts[0]} is another machine" if len(hosts) == 1 else f"{', '.join(hosts)} are other machines"
    problems = []
    if (rate_per_s := peak_rate_per_s(scenario)) > caps.rate_per_s:
        problems.append(
            Problem(
                "--max-rate", 0, 0, "",
                f"the scenario publishes and reads up to {format_rate(rate_per_s)}, and {where}: no more than"
                f" {format_rate(caps.rate_per_s)} without being told; lower the rate, or allow it: --max-rate"
                f" {math.ceil(rate_per_s)}/s",
            )
        )  # fmt: skip
    if (clients := sum(group.count for group in scenario.clients)) > caps.connections:
        problems.append(
            Problem(
                "--max-connections", 0, 0, "",
                f"the scenario has {clients} clients, and {where}: no more than {caps.connections} without being told;"
                f" have fewer, or allow it: --max-connections {clients}",
            )
        )  # fmt: skip
    if problems:
        raise ScenarioError(problems)


def peak_rate_per_s(scenario: Scenario) -> float:
    """The most messages and reads that the scenario plans for any one second, on average where a rate is random."""
    published = sum(publisher.count * _peak_per_s(publisher.rate) for publisher in scenario.publishers)
    return published + sum(reader.rate_per_s for reader in scenario.readers)


def _peak_per_s(rate: Rate) -> float:
    match rate:
        case ConstantRate() | PoissonRate():
            return rate.rate_per_s
        case RampRate():
            return max(rate.from_per_s, rate.to_per_s)
        case BurstRate():
            return rate.size * max(1.0, NS_PER_S / rate.every_ns) if rate.every_ns else 0.0
        case _:
            return max(step.rate_per_s for step in rate.steps)
