"""A model, and what a simulation comes to, as text for people. Pure."""

from fanlab.clock import NS_PER_MS, NS_PER_US
from fanlab.simulate.forecast import Forecast
from fanlab.simulate.model import PROBABILITIES, Model, to_json
from fanlab.simulate.tally import Figures
from fanlab.units import format_bytes, format_rate

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


def forecast_text(found: Forecast) -> str:
    """A forecast, its interval and its assumptions."""
    size, low, high = found.size, found.low, found.high
    asked = f"{found.wanted.clients:,} clients at {format_rate(found.wanted.rate_per_s)} on {found.wanted.channels}"
    p99 = size.latency_ms["p99"]
    lines = [f"{asked} channel(s), {' and '.join(gate.expr for gate in found.wanted.slo)}"]
    if found.far:
        lines.append(f"A GUESS, too far from what was measured: {'; '.join(found.far)}")
    memory = [format_bytes(round(one.memory_bytes)) for one in (size, low, high)]
    lines += [
        "",
        "| what | forecast | from | to |",
        "| --- | --- | --- | --- |",
        f"| nodes | {size.nodes:,} | {low.nodes:,} | {high.nodes:,} |",
        f"| Redis shards | {size.shards} | {low.shards} | {high.shards} |",
        f"| memory of all nodes | {memory[0]} | {memory[1]} | {memory[2]} |",
        f"| busiest node, share of a core | {size.node_busy:.0%} | {low.node_busy:.0%} | {high.node_busy:.0%} |",
        f"| Redis, share of a core | {size.redis_busy:.0%} | {low.redis_busy:.0%} | {high.redis_busy:.0%} |",
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
