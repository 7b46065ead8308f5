"""What the run cost: CPU, memory, Redis' buffers for subscribers, and subscriptions, on one time axis."""

from collections.abc import Iterator, Mapping

import numpy as np
from matplotlib.axes import Axes

from fanlab.analysis.series import Floats, Series
from fanlab.report import text
from fanlab.report.figures import style
from fanlab.report.figures.style import LIGHT, Drawing

Lines = Mapping[str, tuple[Floats, Floats]]

PANELS = (  # (metric, title, factor, steps)
    ("cpu", "CPU, % of one core", 100.0, False),
    ("rss_mb", "Resident memory, MB", 1.0, False),
    ("redis_buffer_kb", "Redis output buffers of pubsub connections, kB", 1.0, False),
    ("numsub", "PUBSUB NUMSUB, subscribed nodes per channel", 1.0, True),
)
_PANEL_IN = 1.15
_TITLE_PT = 13
_TITLE_IN = 0.3
_FAULT_NAMES_IN = 0.3  # two rows, over the first panel's title
_MOST_LINES = 8
_RIGHT_IN = 1.4  # names such as load-1/publishers
_MOST_OTHERS = 18  # more lines without a name would tell nothing, and make the file heavy


@style.styled
def figure_resources(series: Series) -> Drawing:
    """A panel per metric that was sampled; the ones without samples are named in the subtitle."""
    title = "CPU, memory, buffers and subscriptions"
    present = [panel for panel in PANELS if any(x.size for x, _ in series.samples.get(panel[0], {}).values())]
    if not present:
        return Drawing("resources", title, "nothing was sampled", "", None, missing="nothing was sampled")
    n = sum(x.size for metric, *_ in present for x, _ in series.samples[metric].values())
    absent = [
        title_.split(",", maxsplit=1)[0] for metric, title_, *_ in PANELS if metric not in {p[0] for p in present}
    ]
    subtitle = f"sampled while the run lasted · n = {n:,} samples" + (
        f" · not sampled: {text.listing(absent)}" if absent else ""
    )
    each_in = _TITLE_IN + _PANEL_IN
    figure = style.new_figure(title, subtitle, _FAULT_NAMES_IN + each_in * len(present) + style.BOTTOM_IN)
    units = list(dict.fromkeys(unit for metric in ("cpu", "rss_mb") for unit in series.samples.get(metric, {})))
    start_s, end_s = _span(series, [series.samples[metric] for metric, *_ in present])
    for index, (metric, panel_title, factor, steps) in enumerate(present):
        top_in = _FAULT_NAMES_IN + index * each_in + _TITLE_IN
        axes = style.add_axes(figure, top_in, _PANEL_IN, right_in=_RIGHT_IN)
        axes.set_gid(f"fl-{metric}")
        style.time_axis(axes, start_s, end_s, labels=index == len(present) - 1)
        lines = series.samples[metric]
        looks = {unit: units.index(unit) if unit in units else i for i, unit in enumerate(lines)}
        _draw_panel(axes, panel_title, {unit: (x, y * factor) for unit, (x, y) in lines.items()}, looks, steps=steps)
        style.shade_faults(axes, series.faults, names=index == 0, lift_pt=_TITLE_PT)
    alt = "Resources over time. " + " ".join(_in_words(panel, series.samples[panel[0]]) for panel in present)
    return Drawing("resources", title, subtitle, alt, figure, ("metric", "unit", "t_s", "value"), _rows(series))


def _draw_panel(axes: Axes, title: str, lines: Lines, looks: Mapping[str, int], *, steps: bool) -> None:
    """`looks` numbers the units, so that one has the same colour and dash in every panel."""
    peaks = {unit: float(np.nanmax(y)) for unit, (_, y) in lines.items() if y.size}
    highest = sorted(peaks, key=lambda unit: -peaks[unit])
    named = [unit for unit in lines if unit in highest[:_MOST_LINES]]
    for unit in highest[_MOST_LINES:][:_MOST_OTHERS]:
        x, y = broken_at_gaps(*lines[unit])
        axes.plot(x, y, color=LIGHT["axis"], linewidth=0.8, label="_other", zorder=2)
    ends = []
    for unit in named:
        x, y = broken_at_gaps(*lines[unit])
        color, dash = style.look_of(looks[unit])
        axes.plot(
            x,
            y,
            color=color,
            linewidth=1.4,
            linestyle=dash,
            drawstyle="steps-post" if steps else "default",
            label=text.clean(unit, 40),
            zorder=3,
        )
        ends.append((float(y[-1]), unit, color))
    top = max(peaks.values())
    axes.set_ylim(0, (top or 1.0) * 1.12)
    axes.locator_params(axis="y", nbins=4, integer=steps)
    axes.yaxis.set_major_formatter(lambda y, _pos: style.plain(y))
    style.label_ends(axes, ends)
    axes.annotate(
        title + (f" · the {len(named)} highest of {len(peaks)} are named" if len(peaks) > len(named) else ""),
        (0, 1),
        xytext=(-(style.LEFT_IN - style.MARGIN_IN) * style.PT_PER_IN, 5),
        xycoords="axes fraction",
        textcoords="offset points",
        size=style.SMALL_PT + 0.5,
        weight="bold",
        color=LIGHT["ink"],
        annotation_clip=False,
    )


def broken_at_gaps(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """The same points, with a NaN where samples are missing, so that a line does not bridge a unit's absence."""
    if x.size < 3:  # noqa: PLR2004
        return x, y
    gaps = np.flatnonzero(np.diff(x) > 2.5 * np.median(np.diff(x))) + 1
    return np.insert(x, gaps, np.nan), np.insert(y, gaps, np.nan)


def _span(series: Series, panels: list[Lines]) -> tuple[float, float]:
    if series.edges_s.size > 1:
        return float(series.edges_s[0]), float(series.edges_s[-1])
    times = np.concatenate([x for lines in panels for x, _ in lines.values()])
    return float(times.min()), max(float(times.max()), float(times.min()) + 1)


def _in_words(panel: tuple[str, str, float, bool], lines: Lines) -> str:
    _, title, factor, _ = panel
    peaks = [
        f"{text.clean(u, 40)} {style.plain(float(np.nanmax(y)) * factor)}" for u, (_, y) in lines.items() if y.size
    ]
    return f"{title}, highest: {text.listing(peaks[:_MOST_LINES])}."


def _rows(series: Series) -> Iterator[tuple[str, str, float, float]]:
    for metric, *_ in PANELS:
        for unit, (x, y) in series.samples.get(metric, {}).items():
            yield from ((metric, unit, float(a), float(b)) for a, b in zip(x, y, strict=True))
