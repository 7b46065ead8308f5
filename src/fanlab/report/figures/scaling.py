"""What is carried against the number of nodes: knees with their intervals, the law with its band, what is foretold."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from matplotlib.ticker import FuncFormatter, MaxNLocator

from fanlab.report import text
from fanlab.report.figures import style
from fanlab.report.figures.style import LIGHT, TOP_IN, Drawing

_HEIGHT_IN = 2.8
_LOOKS: Final = {  # what a point is -> colour, marker
    "measured": ("ink", "o"),
    "held out: foretold from the others": ("violet", "D"),
    "foretold": ("amber", "s"),
}


@style.styled
def figure_scaling(model: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Drawing:
    """The fit of a capacity report's `model`, with the forecast's `rows`."""
    points, curve, held = model["points"], model["curve"], model["held_out"]
    told = [each for each in rows if "refused" not in each]
    title = "Scaling over nodes"
    subtitle = f"{model['unit']} carried, n = {len(points)} searches with their intervals · the law with its 95 % band"
    figure = style.new_figure(title, subtitle, TOP_IN + _HEIGHT_IN + style.BOTTOM_IN)
    axes = style.add_axes(figure, TOP_IN, _HEIGHT_IN)
    at = [each["nodes"] for each in curve]
    axes.fill_between(
        at,
        [each["low"] for each in curve],
        [each["high"] for each in curve],
        color=LIGHT["blue"],
        alpha=0.13,
        linewidth=0,
    )
    axes.plot(at, [each["value"] for each in curve], "-", color=LIGHT["blue"], linewidth=1.4, label="law")
    most = max(each["nodes"] for each in points)
    alone = [model["one_node"] * nodes for nodes in (1, most)]
    axes.plot((1, most), alone, "--", color=LIGHT["axis"], linewidth=1.0, label="if nothing were shared")
    _bars(axes, [{**each, "value": each["load"]} for each in points], "measured")
    _bars(axes, [] if held is None else [held], "held out: foretold from the others")
    _bars(axes, told, "foretold")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _pos: style.plain(y)))
    style.unit_of_y(axes, model["unit"])
    axes.set_xlabel("nodes", size=style.SMALL_PT, color=LIGHT["muted"], labelpad=4)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0.2, 1.0), ncols=5, frameon=False, fontsize=style.SMALL_PT,
        labelcolor=LIGHT["muted"], handletextpad=0.4, columnspacing=1.2,
    )  # fmt: skip
    first, last = points[0], points[-1]
    low, high = text.count(first["load"]), text.count(last["load"])
    alt = f"From {low} with {first['nodes']} to {high} with {last['nodes']} nodes."
    columns = ("nodes", "kind", "value", "low", "high")
    table = [
        *((each["nodes"], "measured", each["load"], each["low"], each["high"]) for each in points),
        *((each["nodes"], "foretold", each["value"], each["low"], each["high"]) for each in told),
        *((each["nodes"], "law", each["value"], each["low"], each["high"]) for each in curve),
    ]
    return Drawing("scaling", title, subtitle, alt, figure, columns, table)


def _bars(axes: Any, rows: Sequence[Mapping[str, Any]], label: str) -> None:
    """Points with what each is sure of."""
    if not rows:
        return
    color, marker = _LOOKS[label]
    below = [each["value"] - each["low"] for each in rows]
    above = [each["high"] - each["value"] for each in rows]
    axes.errorbar(
        [each["nodes"] for each in rows], [each["value"] for each in rows], yerr=(below, above), fmt=marker, ms=5,
        color=LIGHT[color], mec=LIGHT["surface"], mew=0.8, elinewidth=1.2, capsize=2.5, label=label, zorder=3,
    )  # fmt: skip
