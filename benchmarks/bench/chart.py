"""The chart of `make bench`: CPU per delivery of each generator, and how far its p99 is from the truth."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from fanlab.report.figures import style
from fanlab.report.figures.style import LIGHT, Drawing
from fanlab.report.figures.svg import standalone, to_svg

_HEIGHT_IN = 2.2
_NAMES = {
    "fanlab": "fanlab",
    "k6": "k6",
    "locust": "Locust, usual way",
    "artillery": "Artillery",
    "floor": "floor in C",
}


def draw(whole: Mapping[str, Any], path: Path) -> None:
    """Write the chart of bench.json's medians at the hardest shape of the fewest clients."""
    path.write_text(standalone(to_svg(figure(whole))), encoding="utf-8")


@style.styled
def figure(whole: Mapping[str, Any]) -> Drawing:
    """Two rows of bars, fanlab's dark."""
    medians: Sequence[Mapping[str, Any]] = whole["medians"]
    few = min(each["clients"] for each in medians)
    most = max(each["per_s"] for each in medians if each["clients"] == few)
    rows = [each for each in medians if (each["clients"], each["per_s"]) == (few, most)]
    title = f"Receiving {most:,.0f} messages a second on {few} connections"
    subtitle = f"medians of {whole['rounds']} interleaved rounds on one machine, the same node and stream"
    drawn = style.new_figure(title, subtitle, _HEIGHT_IN + 0.6)
    half = (style.WIDTH_IN - 1.9) / 2
    left = style.add_axes(drawn, 0.35, _HEIGHT_IN, left_in=1.3, right_in=style.WIDTH_IN - 1.3 - half)
    right = style.add_axes(drawn, 0.35, _HEIGHT_IN, left_in=1.7 + half, right_in=0.3)
    names = [_NAMES.get(each["generator"], each["generator"]) for each in rows]
    _bars(left, names, [each["cpu_us"] for each in rows], "µs of CPU per delivery", "{:.0f}")
    _bars(right, [""] * len(rows), [100 * abs(each["p99_bias"]) for each in rows], "p99: % from the truth", "{:.0f} %")
    alt = "; ".join(f"{name}: {each['cpu_us']:.1f} µs" for name, each in zip(names, rows, strict=True))
    return Drawing("bench", title, subtitle, alt, drawn)


def _bars(axes: Axes, names: Sequence[str], values: Sequence[float], unit: str, form: str) -> None:
    places = range(len(values))
    colors = [LIGHT["blue"], *[LIGHT["slate"]] * (len(values) - 1)]
    axes.barh(places, values, color=colors, height=0.62)
    for place, value in zip(places, values, strict=True):
        axes.annotate(
            form.format(value), (value, place), xytext=(4, 0), textcoords="offset points", va="center",
            color=LIGHT["ink"], size=style.SMALL_PT,
        )  # fmt: skip
    axes.set_yticks(list(places), names)
    axes.invert_yaxis()
    axes.set_xlim(0, max(values) * 1.15 or 1)
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.set_title(unit, size=style.SMALL_PT, color=LIGHT["muted"], loc="left")
