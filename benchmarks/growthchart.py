"""The chart of growth.py: by what factor cost grows while one thing grows, against growth that would be linear."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from fanlab.report.figures import style
from fanlab.report.figures.style import LIGHT, Drawing
from fanlab.report.figures.svg import standalone, to_svg

_HEIGHT_IN = 3.0
_COLORS: Final = {  # one thing has one colour in both halves
    "clients": "blue",
    "messages": "amber",
    "deliveries per second": "amber",
    "nodes": "green",
    "channels": "violet",
    "channels of a client": "sky",
    "share lost": "rose",
}
_PARTS: Final = {"account": "the account: CPU", "generator": "the generator: CPU per delivery"}


class Measured(Protocol):
    """What it costs at one size."""

    @property
    def size(self) -> float:
        """Of what grows."""

    @property
    def cost(self) -> float:
        """In any unit."""


def draw(found: Mapping[str, Mapping[str, Sequence[Measured]]], path: Path) -> None:
    """Write the chart of each part's costs by axis."""
    path.write_text(standalone(to_svg(figure(found))), encoding="utf-8")


@style.styled
def figure(found: Mapping[str, Mapping[str, Sequence[Measured]]]) -> Drawing:
    """A plot per part, side by side."""
    title = "How cost grows with each thing alone"
    subtitle = "both as multiples of the smallest measured; along the dotted line growth is linear, above it faster"
    drawn = style.new_figure(title, subtitle, _HEIGHT_IN + 0.9)
    width_in = (style.WIDTH_IN - 1.6) / len(found)
    for number, (part, axes) in enumerate(found.items()):
        left_in = 0.6 + number * (width_in + 0.7)
        right_in = style.WIDTH_IN - left_in - width_in
        _plot(style.add_axes(drawn, 0.35, _HEIGHT_IN, left_in=left_in, right_in=right_in), part, axes)
    alt = "; ".join(
        f"{part}, {axis}: {ends[-1].cost / ends[0].cost:.1f} times at {ends[-1].size / ends[0].size:,.0f} times"
        for part, axes in found.items()
        for axis, ends in axes.items()
    )
    return Drawing("growth", title, subtitle, alt, drawn)


def _plot(plot: Axes, part: str, axes: Mapping[str, Sequence[Measured]]) -> None:
    most = 1.0
    for axis, points in axes.items():
        sizes = [one.size / points[0].size for one in points]
        costs = [one.cost / points[0].cost for one in points]
        most = max(most, *sizes)
        plot.plot(sizes, costs, color=LIGHT[_COLORS[axis]], marker="o", markersize=3, label=axis)
    # A delivery's own share stays the same when all that is delivered costs linearly more.
    plot.plot([1, most], [1, most if part == "account" else 1], ":", color=LIGHT["faint"])
    style.dress(plot)
    plot.set(xscale="log", yscale="log")
    plot.set_ylim((0.5, 2000) if part == "account" else (0.1, 100))
    for direction in (plot.xaxis, plot.yaxis):
        direction.set_minor_locator(NullLocator())
        direction.set_major_formatter(FuncFormatter(lambda value, _place: f"×{style.plain(value)}"))
    style.unit_of_y(plot, _PARTS[part])
    plot.legend(loc="upper left", frameon=False, fontsize=style.SMALL_PT, labelcolor=LIGHT["muted"])
