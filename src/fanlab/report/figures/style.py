"""One look for all charts: palette, type, frames, direct labels, fault windows.

Colours are drawn as the light theme's values and are all distinct, so that `figures.svg` can trade each for a CSS
variable and one drawing serves light and dark. Text is measured and laid out in inches by hand: no tight bounding
boxes, no constrained layout, so that saving draws each figure once.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fanlab.analysis.series import FaultWindow, Floats
from fanlab.report import text

PALETTE: dict[str, tuple[str, str]] = {  # name -> (light, dark); light values must be unique
    "ink": ("#1a1d23", "#eceef2"),
    "muted": ("#646b78", "#9aa3b2"),
    "faint": ("#98a0ad", "#6d7686"),
    "axis": ("#c3c8d1", "#454c59"),
    "grid": ("#e9ebef", "#262b34"),
    "panel": ("#f4f5f8", "#1b1f27"),
    "surface": ("#ffffff", "#12151b"),
    "blue": ("#0b69c7", "#5aa9f5"),
    "red": ("#d3382c", "#ff7a6b"),
    "amber": ("#c77700", "#f2b04b"),
    "green": ("#00806a", "#3ec9ad"),
    "violet": ("#8a56b8", "#c39aec"),
    "sky": ("#2f9fc9", "#7fd0f0"),
    "rose": ("#b8487f", "#ee8fbd"),
    "slate": ("#8791a1", "#7c8798"),
    "fault": ("#f5a524", "#f5a525"),
}
LIGHT = {name: pair[0] for name, pair in PALETTE.items()}
CYCLE = ("blue", "amber", "green", "violet", "sky", "rose")  # told apart under the common colour blindnesses
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))

WIDTH_IN = 9.0
HEADER_IN = 0.62  # title and subtitle; cut off when an SVG stands under an HTML heading of its own
MARGIN_IN = 0.16  # white space at the left of everything; cut off likewise
LEFT_IN = 0.72
RIGHT_IN = 0.95  # room for direct labels
BOTTOM_IN = 0.5
TOP_IN = 0.38  # unit of y, and two rows of fault names
PT_PER_IN = 72
MOST_BINS = 120  # of counts over time
TEXT_PT = 8.5
SMALL_PT = 7.5
_CHAR_EM = 0.6  # mean advance of a character of DejaVu Sans, in units of the font size
_ROWS_OF_NAMES = 2
_SUBTITLE_CHARS = 128  # one line
_RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": TEXT_PT,
    "text.parse_math": False,  # a name with `$$` is a name
    "axes.unicode_minus": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "fanlab",
    "path.simplify": True,
    "axes.formatter.use_mathtext": False,
}

P = ParamSpec("P")
R = TypeVar("R")


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Run under the charts' settings, and leave matplotlib's own as they were."""

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(_RC):
            return function(*args, **kwargs)

    return inner


@dataclass(frozen=True, slots=True)
class Drawing:
    """One chart, drawn but not saved. `figure` is None where there is nothing to draw; `missing` then says why."""

    name: str
    title: str
    subtitle: str  # what is shown, with units and n
    alt: str  # what it says, for who cannot see it
    figure: Figure | None
    columns: tuple[str, ...] = ()
    rows: Iterable[Sequence[Any]] = ()
    missing: str | None = None
    colors: dict[str, str] = field(default_factory=lambda: dict(LIGHT))


def new_figure(title: str, subtitle: str, height_in: float) -> Figure:
    """An empty figure of `height_in` inches of content under its title and subtitle."""
    total_in = height_in + HEADER_IN
    figure = Figure(figsize=(WIDTH_IN, total_in), facecolor=LIGHT["surface"])
    FigureCanvasAgg(figure)
    x = MARGIN_IN / WIDTH_IN
    figure.text(x, 1 - 0.14 / total_in, title, size=11.5, weight="bold", color=LIGHT["ink"], va="top", gid="fl-head")
    line = text.clean(subtitle, _SUBTITLE_CHARS)
    figure.text(x, 1 - 0.37 / total_in, line, size=TEXT_PT, color=LIGHT["muted"], va="top", gid="fl-sub")
    return figure


def add_axes(figure: Figure, top_in: float, height_in: float, **kwargs: Any) -> Axes:
    """Axes whose upper edge lies `top_in` inches under the header. `left_in` and `right_in` override the margins."""
    total_in = figure.get_figheight()
    left_in, right_in = kwargs.pop("left_in", LEFT_IN), kwargs.pop("right_in", RIGHT_IN)
    bottom_in = total_in - HEADER_IN - top_in - height_in
    axes = figure.add_axes(
        (
            left_in / WIDTH_IN,
            bottom_in / total_in,
            (WIDTH_IN - left_in - right_in) / WIDTH_IN,
            height_in / total_in,
        ),
        **kwargs,
    )
    dress(axes)
    return axes


def dress(axes: Axes) -> None:
    """Few lines: a base line, faint horizontal grid, muted small tick labels."""
    axes.set_facecolor("none")
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LIGHT["axis"])
    axes.spines["bottom"].set_linewidth(0.8)
    axes.set_axisbelow(True)
    axes.grid(visible=True, axis="y", color=LIGHT["grid"], linewidth=0.8)
    axes.tick_params(axis="both", colors=LIGHT["axis"], labelcolor=LIGHT["muted"], labelsize=SMALL_PT, length=0, pad=4)
    axes.tick_params(axis="x", length=3)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))


def unit_of_y(axes: Axes, unit: str) -> None:
    """The unit over the upper end of the y axis, where it is read first and needs no turning of the head."""
    axes.annotate(
        unit,
        (0, 1),
        xytext=(-(LEFT_IN - MARGIN_IN) * PT_PER_IN, 7),
        xycoords="axes fraction",
        textcoords="offset points",
        size=SMALL_PT,
        color=LIGHT["muted"],
        annotation_clip=False,
    )


def time_axis(axes: Axes, start_s: float, end_s: float, *, labels: bool = True) -> None:
    """Seconds from time 0, the start of the measure phase."""
    axes.set_xlim(start_s, end_s)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10], integer=end_s - start_s > 8))  # noqa: PLR2004
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _pos: plain(x)))
    if labels:
        axes.set_xlabel("seconds from the start of the measure phase", size=SMALL_PT, color=LIGHT["muted"], labelpad=4)
    else:
        axes.tick_params(axis="x", labelbottom=False)


def plain(value: float) -> str:
    """A tick's value without exponent or trailing zeros."""
    shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.4g}"  # noqa: PLR2004
    return shown.replace("-", "−")


def coarser(edges_s: Floats, *counts: Floats) -> tuple[Floats, ...]:
    """Neighbouring bins taken together until at most MOST_BINS are left: (edges, counts …), bins along the last axis.

    A bin that a publisher's period does not divide holds now one message more, now one less; the wider it is, the less
    of that beat shows. The last bin may be narrower.
    """
    per_bin = max(1, -(-(len(edges_s) - 1) // MOST_BINS))
    first = np.arange(0, len(edges_s) - 1, per_bin)
    merged = [np.add.reduceat(values, first, axis=-1) for values in counts]
    return np.append(edges_s[first], edges_s[-1]), *merged


def width(edges_s: Floats) -> str:
    """How wide a bin is, in words."""
    width_s = float(edges_s[1] - edges_s[0])
    return f"{width_s * 1000:.4g} ms" if width_s < 1 else f"{width_s:.4g} s"


def text_width_in(label: str, size_pt: float) -> float:
    """About how wide a label is; on the safe side."""
    return len(label) * size_pt * _CHAR_EM / PT_PER_IN


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, in the same order, at least `gap` apart and within low..high if they fit."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = [0.0] * len(wanted)
    at = low - gap
    for i in order:
        at = placed[i] = max(wanted[i], at + gap)
    at = max(high, low + gap * (len(wanted) - 1)) + gap
    for i in reversed(order):
        at = placed[i] = min(placed[i], at - gap)
    return placed


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Direct labels at the right of a plot, moved apart where they would touch: (y in data units, text, colour)."""
    if not ends:
        return
    height_pt = axes.bbox.height / axes.figure.dpi * PT_PER_IN
    to_axes = axes.transData + axes.transAxes.inverted()
    wanted = [float(to_axes.transform((axes.get_xlim()[1], y))[1]) * height_pt for y, _, _ in ends]
    for at, (_, name, color) in zip(spread(wanted, SMALL_PT + 2, 3, height_pt - 2), ends, strict=True):
        axes.annotate(
            text.clean(name, 18),
            (1, at / height_pt),
            xycoords="axes fraction",
            xytext=(6, 0),
            textcoords="offset points",
            size=SMALL_PT,
            weight="bold",
            color=color,
            va="center",
            annotation_clip=False,
        )


def shade_faults(axes: Axes, faults: Sequence[FaultWindow], *, names: bool = True, lift_pt: float = 0) -> None:
    """Shade each fault window and name it `lift_pt` above the plot; names that would touch go to a row above.

    An x axis must have been set. What finds no room in two rows stays unnamed here: the tables name it.
    """
    start_s, end_s = axes.get_xlim()
    width_in = axes.bbox.width / axes.figure.dpi
    free_from = [0.0] * _ROWS_OF_NAMES
    for fault in sorted(faults, key=lambda fault: fault.start_s):
        if not start_s <= fault.start_s <= end_s:
            continue
        until_s = min(end_s, end_s if fault.end_s is None else fault.end_s)
        axes.axvspan(fault.start_s, until_s, color=LIGHT["fault"], alpha=0.15, linewidth=0, zorder=0)
        axes.axvline(fault.start_s, color=LIGHT["fault"], linewidth=1, zorder=0.5)
        name = text.clean(fault.name, 30) + (" (to the end)" if fault.end_s is None else "")
        x_in = (fault.start_s - start_s) / (end_s - start_s) * width_in
        x_in = max(0.0, min(x_in, width_in + 0.8 - text_width_in(name, SMALL_PT)))
        row = next((row for row, free_in in enumerate(free_from) if free_in <= x_in), None)
        if not names or row is None:
            continue
        free_from[row] = x_in + text_width_in(name, SMALL_PT) + 0.08
        axes.annotate(
            name,
            (x_in / width_in, 1),
            xycoords="axes fraction",
            xytext=(0, 6 + lift_pt + row * (SMALL_PT + 2.5)),
            textcoords="offset points",
            size=SMALL_PT,
            weight="bold",
            color=LIGHT["amber"],
            annotation_clip=False,
        )


def look_of(index: int) -> tuple[str, Any]:
    """Colour and line style of the index-th series; 18 of them differ."""
    return LIGHT[CYCLE[index % len(CYCLE)]], DASHES[(index + index // len(CYCLE)) % len(DASHES)]
