"""How late what arrived was: over time, by percentile, by node. Latency runs from the intended send to the client."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from fanlab.analysis.series import Floats, Series
from fanlab.report import text, words
from fanlab.report.figures import style
from fanlab.report.figures.style import LIGHT, TOP_IN, Drawing

_HEIGHT_IN = 2.5
_LOG_FROM = 20  # a range of this factor and more is drawn on a logarithmic scale
_MOST_NODES = 6
_MOST_OTHERS = 18  # more lines without a name would tell nothing, and make the file heavy
_TICKS = (0, 50, 90, 99, 99.9, 99.99, 99.999, 99.9999)
_LINES = (("p50", "blue", 1.8), ("p95", "violet", 1.4), ("p99", "amber", 1.4))


def _clock(series: Series) -> str:
    """How exact the figures are, as far as clocks go: with every one-way figure."""
    clock = series.notes.get("clock")
    return f" · clock {words.clock_bound(clock)}" if clock else ""


def _none_above_the_bound(series: Series, n: int) -> str:
    """What stands in the place of a figure whose every latency is less than the clocks tell apart."""
    return f"no latency above what is known of the clocks, n = {n:,}{_clock(series)}"


@style.styled
def figure_latency(series: Series) -> Drawing:
    """p50, p95 and p99 per bin as lines, maxima as points."""
    title, n = "Latency over time", int(series.latency_n.sum())
    known = {name: values for name, values in series.latency_ms.items() if np.isfinite(values).any()}
    if not known:
        why = f"no interval with enough deliveries for percentiles, n = {n:,}"
        return Drawing("latency", title, why, "", None, missing=why)
    middle_s = (series.edges_s[:-1] + series.edges_s[1:]) / 2
    filled = series.latency_n[series.latency_n > 0]
    subtitle = (
        f"ms from intended send to client · lines: percentiles, points: maxima · n = {n:,}, "
        f"{int(np.median(filled)) if filled.size else 0:,} in a typical interval{_clock(series)}"
    )
    figure = style.new_figure(title, subtitle, TOP_IN + _HEIGHT_IN + style.BOTTOM_IN)
    axes = style.add_axes(figure, TOP_IN, _HEIGHT_IN)
    if "max" in known:
        axes.plot(middle_s, known["max"], ".", ms=4.6, mew=0, color=LIGHT["slate"], label="max", zorder=2)
    for name, color, width in _LINES:
        if name in known:
            line_with_islands(axes, middle_s, known[name], color=LIGHT[color], linewidth=width, label=name)
    scale_ms(axes, axes.yaxis, known.values())
    style.time_axis(axes, series.edges_s[0], series.edges_s[-1])
    style.unit_of_y(axes, "ms")
    style.shade_faults(axes, series.faults)
    colors = {"max": "slate", **{name: color for name, color, _ in _LINES}}
    style.label_ends(
        axes, [(_last(known[name]), name, LIGHT[color]) for name, color in colors.items() if name in known]
    )
    worst = max(float(np.nanmax(values)) for values in known.values())
    alt = f"Latency over time for {n:,} deliveries. " + " ".join(
        f"{name} ranges from {text.ms(float(np.nanmin(values)))} to {text.ms(float(np.nanmax(values)))}."
        for name, values in known.items()
    )
    alt += f" The slowest delivery took {text.ms(worst)}." if "max" in known else ""
    rows = zip(series.edges_s[:-1], series.edges_s[1:], series.latency_n, *series.latency_ms.values(), strict=True)
    columns = ("from_s", "to_s", "n", *(f"{name}_ms" for name in series.latency_ms))
    return Drawing("latency", title, subtitle, alt, figure, columns, rows)


@style.styled
def figure_spectrum(series: Series) -> Drawing:
    """Latency at each percentile, on a 1 / (1 - p) scale: each nine takes as much room as the one before."""
    title, n = "Percentile spectrum", series.spectrum_n
    percentile, latency_ms = series.spectrum
    inside = percentile < 100  # noqa: PLR2004 - the maximum has no place on this scale
    if not inside.any():
        why = _none_above_the_bound(series, n) if n else f"no deliveries to rank, n = {n:,}"
        return Drawing("spectrum", title, why, "", None, missing=why)
    subtitle = f"latency in ms at or below which a share of all deliveries came · n = {n:,}{_clock(series)}"
    figure = style.new_figure(title, subtitle, TOP_IN + _HEIGHT_IN + style.BOTTOM_IN)
    axes = style.add_axes(figure, TOP_IN, _HEIGHT_IN)
    x, y = one_in(percentile[inside]), latency_ms[inside]
    axes.plot(x, y, "-" if x.size > 1 else "o", color=LIGHT["blue"], linewidth=1.8)
    axes.set_xscale("log")
    axes.set_xlim(1, max(float(x.max()), 2.0) * 1.02)
    ticks = [tick for tick in _TICKS if one_in(np.array([tick]))[0] <= x.max()]
    axes.xaxis.set_major_locator(FixedLocator([float(v) for v in one_in(np.array(ticks))]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda _x, pos: f"{ticks[pos]:g} %" if pos is not None else ""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)
    axes.grid(visible=True, axis="x", color=LIGHT["grid"], linewidth=0.8)
    axes.set_xlabel("percentile", size=style.SMALL_PT, color=LIGHT["muted"], labelpad=4)
    scale_ms(axes, axes.yaxis, [y])
    style.unit_of_y(axes, "ms")
    style.label_ends(axes, [(float(y[-1]), text.ms(float(y[-1])), LIGHT["blue"])])
    marks = [(tick, float(np.interp(tick, percentile[inside], y))) for tick in ticks if tick >= 50]  # noqa: PLR2004
    for tick, value in marks:
        axes.plot(one_in(np.array([tick])), [value], "o", ms=4.5, color=LIGHT["blue"], mec=LIGHT["surface"], mew=1.2)
        _note(axes, float(one_in(np.array([tick]))[0]), value, text.ms(value))
    alt = f"Latency by percentile for {n:,} deliveries: " + ", ".join(f"p{t:g} {text.ms(v)}" for t, v in marks) + "."
    rows = zip(percentile, latency_ms, strict=True)
    return Drawing("spectrum", title, subtitle, alt, figure, ("percentile", "latency_ms"), rows)


@style.styled
def figure_ecdf(series: Series) -> Drawing:
    """The share of each node's deliveries at or below a latency."""
    title, nodes = "Latency by node", [node for node, (x, _) in series.ecdf_ms.items() if x.size]
    n = sum(series.ecdf_n.get(node, 0) for node in nodes)
    if not nodes:
        refused = sum(series.ecdf_n.values())
        why = _none_above_the_bound(series, refused) if refused else "no deliveries, n = 0"
        return Drawing("ecdf", title, why, "", None, missing=why)
    p99 = {node: quantile(*series.ecdf_ms[node], 0.99) for node in nodes}
    slowest = sorted(nodes, key=lambda node: -p99[node])
    named = [node for node in nodes if node in slowest[:_MOST_NODES]]
    others = slowest[_MOST_NODES:][:_MOST_OTHERS]
    counts = ", ".join(f"{text.clean(node, 24)} {series.ecdf_n.get(node, 0):,}" for node in named)
    left_out = f" · the {len(named)} slowest of {len(nodes)} nodes are named" if others else ""
    told = f"n = {n:,}: {text.clean(counts, 75)}{left_out}{_clock(series)}"
    subtitle = f"share of a node's deliveries at or below a latency · {told}"
    figure = style.new_figure(title, subtitle, TOP_IN + _HEIGHT_IN + style.BOTTOM_IN)
    axes = style.add_axes(figure, TOP_IN, _HEIGHT_IN)
    for node in others:
        x, share = series.ecdf_ms[node]
        axes.plot(x, share * 100, color=LIGHT["axis"], linewidth=0.8, label="_other", zorder=2)
    legend: list[tuple[float, str, str]] = []
    for index, node in enumerate(named):
        x, share = series.ecdf_ms[node]
        color, dash = style.look_of(index)
        axes.plot(x, share * 100, color=color, linewidth=1.6, linestyle=dash, label=text.clean(node, 40), zorder=3)
        legend.append((100 - 9 * (index + 1), node, color))
    axes.set_ylim(0, 101)
    axes.yaxis.set_major_formatter(lambda y, _pos: style.plain(y))
    scale_ms(axes, axes.xaxis, [series.ecdf_ms[node][0] for node in (*named, *others)])
    axes.set_xlabel("latency in ms", size=style.SMALL_PT, color=LIGHT["muted"], labelpad=4)
    style.unit_of_y(axes, "% of deliveries")
    style.label_ends(axes, legend)
    alt = "Cumulative latency by node. " + " ".join(
        f"{text.clean(node, 40)}: half within {text.ms(quantile(*series.ecdf_ms[node], 0.5))}, "
        f"99 % within {text.ms(p99[node])}, n = {series.ecdf_n.get(node, 0):,}."
        for node in named
    )
    return Drawing("ecdf", title, subtitle, alt, figure, ("node", "latency_ms", "share"), _ecdf_rows(series.ecdf_ms))


def one_in(percentile: Floats) -> Floats:
    """The scale of the spectrum: 1 / (1 - p), so 99 % stands at 100, for one in a hundred."""
    scale: Floats = 1 / (1 - np.asarray(percentile, dtype=float) / 100)
    return scale


def quantile(values: Floats, shares: Floats, share: float) -> float:
    """The smallest value of an ECDF whose share is at least `share`."""
    return float(values[min(int(np.searchsorted(shares, share)), len(values) - 1)])


def scale_ms(axes: Axes, axis: Axis, values: Iterable[Floats]) -> None:
    """A logarithmic axis where positive values span a wide range, else a linear one from 0."""
    finite = np.concatenate([v[np.isfinite(v)] for v in values])
    positive = finite[finite > 0]
    vertical = axis is axes.yaxis
    limit = axes.set_ylim if vertical else axes.set_xlim
    top = float(finite.max()) if finite.size else 1.0
    if positive.size and top / float(positive.min()) >= _LOG_FROM:
        (axes.set_yscale if vertical else axes.set_xscale)("log")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if top / float(positive.min()) < 1e3 else (1.0,)))  # noqa: PLR2004
        axis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="y" if vertical else "x", which="minor", length=0)
        limit(float(positive.min()) / 1.15, top * 1.3)
    else:
        limit(0, (top or 1.0) * 1.08)
    axis.set_major_formatter(FuncFormatter(lambda v, _pos: style.plain(v)))


def line_with_islands(axes: Axes, x: Floats, y: Floats, **kwargs: Any) -> None:
    """A line; a value with no neighbour on either side, which a line cannot show, as a dot on top."""
    axes.plot(x, y, zorder=3, solid_joinstyle="round", **kwargs)
    known = np.isfinite(y)
    alone = known & ~np.r_[False, known[:-1]] & ~np.r_[known[1:], False]
    if alone.any():
        axes.plot(x[alone], y[alone], "o", ms=2.2, mew=0, color=kwargs["color"], zorder=3)


def _last(values: Floats) -> float:
    """Where a line ends; its last outlier alone would put its name beside another line."""
    return float(np.median(values[np.isfinite(values)][-5:]))


def _note(axes: Axes, x: float, y: float, label: str) -> None:
    axes.annotate(
        label,
        (x, y),
        xytext=(-5, 6),
        textcoords="offset points",
        ha="right",
        size=style.SMALL_PT,
        color=LIGHT["ink"],
        annotation_clip=False,
    )


def _ecdf_rows(ecdf_ms: Mapping[str, tuple[Floats, Floats]]) -> Iterator[tuple[str, float, float]]:
    for node, (x, share) in ecdf_ms.items():
        yield from ((node, float(a), float(b)) for a, b in zip(x, share, strict=True))
