"""Throughput and p99 against the load of a capacity search, with the knee and its interval; each point is a run."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from fanlab.report import text
from fanlab.report.figures import style
from fanlab.report.figures.style import LIGHT, TOP_IN, Drawing

_HEIGHT_IN = 2.6
_LOG_FROM = 8  # a range of this factor and more is drawn on a logarithmic scale
_LOOKS: Final = {  # outcome -> colour, marker
    "met": ("green", "o"),
    "missed": ("red", "X"),
    "unsteady": ("amber", "s"),
    "generator": ("slate", "D"),
    "broken": ("faint", "v"),
}
AXIS_WORDS: Final = {"rate": "messages published per second", "clients": "clients", "nodes": "nodes"}


@style.styled
def figure_throughput(document: Mapping[str, Any]) -> Drawing:
    """Deliveries per second in the measure phase against the load, and what was owed."""
    points = _points(document, "delivered_per_s")
    title = "Throughput against load"
    if not points:
        return _missing("throughput", title)
    subtitle = f"deliveries per second while measuring, a point per run, n = {len(points)} · line: what was owed"
    figure = style.new_figure(title, subtitle, TOP_IN + _HEIGHT_IN + style.BOTTOM_IN)
    axes = style.add_axes(figure, TOP_IN, _HEIGHT_IN)
    owed = sorted({(each["load"], each["owed_per_s"]) for each in points})
    axes.plot([x for x, _ in owed], [y for _, y in owed], "-", color=LIGHT["axis"], linewidth=1.4, zorder=1)
    _draw(axes, document, points, "delivered_per_s")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _pos: style.plain(y)))
    style.unit_of_y(axes, "deliveries/s")
    most = max(points, key=lambda each: float(each["delivered_per_s"]))
    alt = f"Throughput of {len(points)} runs; at most {text.count(most['delivered_per_s'])} deliveries per second."
    return _drawing("throughput", title, subtitle, alt, figure, points=points)


@style.styled
def figure_p99(document: Mapping[str, Any]) -> Drawing:
    """The p99 of each run against its load."""
    points = [each for each in _points(document, "p99_ms") if each["p99_ms"] > 0]
    title = "Latency against load"
    if not points:
        return _missing("p99", title)
    subtitle = f"p99 in ms from intended send to client, a point per run, n = {len(points)}"
    figure = style.new_figure(title, subtitle, TOP_IN + _HEIGHT_IN + style.BOTTOM_IN)
    axes = style.add_axes(figure, TOP_IN, _HEIGHT_IN)
    _draw(axes, document, points, "p99_ms")
    _scale(axes.yaxis, axes.set_yscale, [each["p99_ms"] for each in points])
    style.unit_of_y(axes, "ms")
    slowest = max(points, key=lambda each: float(each["p99_ms"]))
    alt = f"p99 latency of {len(points)} runs; at most {text.ms(slowest['p99_ms'])}."
    return _drawing("p99", title, subtitle, alt, figure, points=points)


def _points(document: Mapping[str, Any], figure: str) -> list[Mapping[str, Any]]:
    return [each for each in document["probes"] if each.get(figure) is not None]


def _draw(axes: Axes, document: Mapping[str, Any], points: Sequence[Mapping[str, Any]], figure: str) -> None:
    """The points by outcome, the knee and its interval, and the legend above."""
    _scale(axes.xaxis, axes.set_xscale, [each["load"] for each in points])
    known = [float(document[end]) for end in ("low", "high") if document[end] is not None]
    if len(known) == 2:  # noqa: PLR2004 - both ends
        axes.axvspan(*known, color=LIGHT["blue"], alpha=0.13, linewidth=0, zorder=0)
    if document["load"] is not None:
        axes.axvline(document["load"], color=LIGHT["blue"], linewidth=1.4, zorder=0.5)
    for outcome, (color, marker) in _LOOKS.items():
        own = [each for each in points if each["outcome"] == outcome]
        if own:
            x, y = [each["load"] for each in own], [each[figure] for each in own]
            axes.plot(x, y, marker, ms=6, color=LIGHT[color], mec=LIGHT["surface"], mew=0.8, label=outcome, zorder=3)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.1, 1.0),
        ncols=len(_LOOKS),
        frameon=False,
        fontsize=style.SMALL_PT,
        labelcolor=LIGHT["muted"],
        handletextpad=0.2,
        columnspacing=1.2,
    )
    axes.set_xlabel(AXIS_WORDS[document["axis"]], size=style.SMALL_PT, color=LIGHT["muted"], labelpad=4)


def _scale(axis: Any, set_scale: Any, values: Sequence[float]) -> None:
    """A logarithmic scale where the values need one."""
    if max(values) >= _LOG_FROM * min(values) > 0:
        set_scale("log")
        decades = math.log10(max(values) / min(values))
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 3 else (1.0,)))  # noqa: PLR2004
        axis.set_minor_formatter(NullFormatter())
        axis.set_tick_params(which="minor", length=0)
    else:
        axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _pos: style.plain(value)))


def _missing(name: str, title: str) -> Drawing:
    why = "no run got far enough to be measured"
    return Drawing(name, title, why, "", None, missing=why)


def _drawing(
    name: str, title: str, subtitle: str, alt: str, figure: Any, *, points: Sequence[Mapping[str, Any]]
) -> Drawing:
    columns = ("load", "outcome", "published_per_s", "owed_per_s", "delivered_per_s", "p50_ms", "p99_ms", "lost")
    rows = [[each.get(column) for column in columns] for each in points]
    return Drawing(name, title, subtitle, alt, figure, columns, rows)
