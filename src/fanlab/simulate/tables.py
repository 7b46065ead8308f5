"""A model, and what a simulation comes to, as text for people. Pure."""

from collections.abc import Callable, Mapping
from typing import Final

from fanlab.clock import NS_PER_MS, NS_PER_US
from fanlab.simulate.forecast import Forecast, Size
from fanlab.simulate.model import PROBABILITIES, Model, to_json
from fanlab.simulate.tally import Figures
from fanlab.units import format_bytes, format_rate

_FULL = 1.0  # share of a core
_SHOWN = 10  # cohorts with losses


_ROWS: Final[Mapping[str, Callable[[Size], str]]] = {
    "nodes": lambda size: f"{size.nodes:,}",
    "Redis shards": lambda size: str(size.shards),
    "memory of all nodes": lambda size: format_bytes(round(size.memory_bytes)),
    "busiest node, share of a core": lambda size: f"{size.node_busy:.0%}",
    "Redis, share of a core": lambda size: f"{size.redis_busy:.0%}",
}


def model_table(model: Model) -> str:
    """The model's figures as Markdown, and what its runs did not tell."""
    lines = ["| cost | value | 95 % interval | samples |", "| --- | --- | --- | --- |"]
    for name, one in to_json(model)["costs"].items():
        scale, unit = (NS_PER_US, "µs") if name.endswith("_ns") else (1000, "kB")
        figures = f"{one['value'] / scale:.2f} {unit} | {one['low'] / scale:.2f} to {one['high'] / scale:.2f}"
        lines.append(f"| `{name}` | {figures} | {one['n']} |")
    lines += ["", "| wait | p50 ms | p90 ms | p99 ms |", "| --- | --- | --- | --- |"]
    for name, delay in to_json(model)["delays"].items():
        figures_ms = (delay["quantiles_ns"][PROBABILITIES.index(at)] / NS_PER_MS for at in (0.5, 0.9, 0.99))
        lines.append(f"| `{name}` | {' | '.join(f'{figure:.3f}' for figure in figures_ms)} |")
    return "\n".join([*lines, "", *(f"- {note}" for note in model.notes)])


def forecast_text(found: Forecast) -> str:
    """A forecast, its interval and its assumptions."""
    size, low, high = found.size, found.low, found.high
    asked = f"{found.wanted.clients:,} clients at {format_rate(found.wanted.rate_per_s)} on {found.wanted.channels}"
    p99 = size.latency_ms["p99"]
    lines = [f"{asked} channel(s), {' and '.join(gate.expr for gate in found.wanted.slo)}"]
    if found.far:
        lines.append(f"A GUESS, too far from what was measured: {'; '.join(found.far)}")
    if high is None:
        lines.append(f"It has no upper end, for with the costs' upper ends {found.no_high}")
    lines += [
        "",
        "| what | forecast | from | to |",
        "| --- | --- | --- | --- |",
        *(
            f"| {what} | {shown(size)} | {shown(low)} | {'none' if high is None else shown(high)} |"
            for what, shown in _ROWS.items()
        ),
        "",
        f"to clients: {format_bytes(round(found.egress_bytes_per_s))}/s",
        f"from Redis to nodes: {format_bytes(round(found.redis_egress_bytes_per_s))}/s",
        f"p99: {'unknown' if p99 is None else f'{p99:.3g} ms'}",
        "",
        "It assumes:",
        *(f"- {assumption}" for assumption in found.assumptions),
    ]
    return "\n".join(lines)


def figures_text(figures: Figures) -> str:
    """What a simulation comes to."""
    latency = ", ".join(f"{name} {value:.3g} ms" for name, value in figures.latency_ms.items() if value is not None)
    lines = [
        f"{figures.nodes:,} nodes, {figures.clients:,} clients, {figures.published:,} messages (simulated)",
        f"owed {figures.owed:,}, delivered {figures.delivered:,}, lost {figures.lost:,}",
        f"latency: {latency or 'nothing was delivered'}",
        f"Redis works {figures.redis_busy:.1%} of a core, the busiest node {figures.node_busy:.1%}",
        f"the busiest node sends {format_bytes(round(figures.node_egress_bytes_per_s))}/s of payload",
        f"the fullest holds {format_bytes(round(figures.node_memory_bytes))} at the end",
    ]
    if figures.redis_busy >= _FULL:
        lines.append("Redis does not keep up: its latency grows for as long as this goes on, and says nothing else")
    if figures.node_busy >= _FULL:
        lines.append("nodes do not keep up: their latency grows for as long as this goes on, and says nothing else")
    worst = sorted((one for one in figures.cohorts if one.lost), key=lambda one: -one.lost)[:_SHOWN]
    lines += [f"lost by {one.clients:,} clients of {one.group} that began on {one.node}: {one.lost:,}" for one in worst]
    return "\n".join(lines)
