"""A model, and what a simulation comes to, as text for people. Pure."""

from fanlab.clock import NS_PER_MS, NS_PER_US
from fanlab.simulate.model import PROBABILITIES, Model, to_json
from fanlab.simulate.tally import Figures
from fanlab.units import format_bytes

_FULL = 1.0  # share of a core
_SHOWN = 10  # cohorts with losses


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
