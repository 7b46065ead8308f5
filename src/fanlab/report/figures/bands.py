"""Bands that swing from one place to another, as wide as what they carry; with the bars and labels at their ends.

All places are in inches, as the axes are: x from the left, y down.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from fanlab.report.figures import style
from fanlab.report.figures.style import LIGHT


@dataclass(slots=True)
class Band:
    """A span of y, and how much of it has been given away."""

    top: float
    tall: float
    used: float = 0.0

    def take(self, tall: float) -> tuple[float, float]:
        """The next part from above: its two edges."""
        first = self.top + self.used
        self.used += tall
        return first, first + tall


def around(middle: float, thick: float) -> tuple[float, float]:
    """The edges of what is `thick` about a middle."""
    return middle - thick / 2, middle + thick / 2


def stacked(wanted: Sequence[float], talls: Sequence[float], low: float, high: float, gap: float) -> list[float]:
    """Tops of blocks near the wanted middles, in that order, `gap` apart, within low..high if they fit."""
    tops: list[float] = []
    at = low
    for middle, tall in zip(wanted, talls, strict=True):
        at = max(at, middle - tall / 2)
        tops.append(at)
        at += tall + gap
    limit = high
    for number in reversed(range(len(tops))):
        tops[number] = max(low, min(tops[number], limit - talls[number]))
        limit = tops[number] - gap
    return tops


def ribbon(
    axes: Axes,
    near: tuple[float, tuple[float, float]],
    far: tuple[float, tuple[float, float]],
    color: str,
    *,
    alpha: float,
    since: float | None = None,
) -> None:
    """A band that swings from one upright edge to another; from x = `since` it runs straight to the first."""
    (x0, (top0, low0)), (x1, (top1, low1)) = near, far
    start, bend = x0 if since is None else since, (x0 + x1) / 2
    corners = [
        (start, top0), (x0, top0), (bend, top0), (bend, top1), (x1, top1),
        (x1, low1), (bend, low1), (bend, low0), (x0, low0), (start, low0), (start, top0),
    ]  # fmt: skip
    swing = [Path.LINETO, *[Path.CURVE4] * 3]
    path = Path(corners, [Path.MOVETO, *swing, *swing, Path.LINETO, Path.CLOSEPOLY])
    axes.add_patch(PathPatch(path, facecolor=color, edgecolor="none", alpha=alpha, zorder=2))


def bar(axes: Axes, x: float, span: tuple[float, float], color: str) -> None:
    """An upright end of a band."""
    axes.add_patch(Rectangle((x, span[0]), 0.045, span[1] - span[0], facecolor=color, edgecolor="none", zorder=3))


def label(
    axes: Axes, x: float, y: float, words_: str, *, size: float = style.TEXT_PT, color: str = "ink",
    weight: str = "normal", ha: str = "left",
) -> None:  # fmt: skip
    """One line of text, its middle at y; `color` is a name of the palette."""
    axes.text(x, y, words_, size=size, color=LIGHT[color], weight=weight, ha=ha, va="center_baseline", zorder=5)
