"""The nodes' caches over time: how many entries were wrong, and how long an update took to arrive in them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from fanlab.analysis.series import CacheLine, Floats, Series
from fanlab.report import text, words
from fanlab.report.figures import style
from fanlab.report.figures.latency import line_with_islands, scale_ms
from fanlab.report.figures.style import LIGHT, Drawing

TITLE = "Caches: wrong entries and refreshes"
NONE = "no node's cache was measured: no publisher has `objects`, or no node a `cache`"
_WRONG_IN = 1.9
_REFRESH_IN = 1.5
_TITLE_IN = 0.3
_TITLE_PT = 13
_FAULT_NAMES_IN = 0.3  # two rows, over the first panel's title
_RIGHT_IN = 1.3  # node-10: 1,234
_MOST_NODES = 6
_MOST_OTHERS = 18  # more lines without a name would tell nothing, and make the file heavy


@style.styled
def figure_caches(series: Series) -> Drawing:
    """Wrong entries per node, on average over each bin; under it the refresh latency, median line and maxima."""
    if not series.caches:
        return Drawing("caches", TITLE, NONE, "", None, missing=NONE)
    refreshed, missed, wrong = (
        sum(getattr(one, name) for one in series.caches) for name in ("refreshed", "missed", "wrong_for_good")
    )
    worst = sorted(series.caches, key=lambda one: (-float(one.wrong.sum()), -one.missed))
    named = [one for one in series.caches if one in worst[:_MOST_NODES]]
    fewer = f" · the {len(named)} worst of {len(series.caches)} nodes are named" if len(named) < len(worst) else ""
    clock = series.notes.get("clock")
    apart = words.clock_if_apart(clock, compared=False) if clock else ""
    subtitle = f"n = {refreshed + missed:,} updates due, {missed:,} missed · {wrong:,} entries stay wrong{fewer}{apart}"
    timed = any(np.isfinite(one.refresh_max_ms).any() for one in series.caches)
    height_in = _TITLE_IN + _WRONG_IN + (_TITLE_IN + _REFRESH_IN) * timed
    figure = style.new_figure(TITLE, subtitle, _FAULT_NAMES_IN + height_in + style.BOTTOM_IN)
    top_in = _FAULT_NAMES_IN + _TITLE_IN
    axes = style.add_axes(figure, top_in, _WRONG_IN, right_in=_RIGHT_IN)
    axes.set_gid("fl-wrong")
    style.time_axis(axes, series.edges_s[0], series.edges_s[-1], labels=not timed)
    _draw_wrong(axes, series.edges_s, named, [one for one in worst if one not in named])
    style.shade_faults(axes, series.faults, lift_pt=_TITLE_PT)
    if timed:
        axes = style.add_axes(figure, top_in + _WRONG_IN + _TITLE_IN, _REFRESH_IN, right_in=_RIGHT_IN)
        axes.set_gid("fl-refresh")
        style.time_axis(axes, series.edges_s[0], series.edges_s[-1])
        _draw_refresh(axes, series.edges_s, named)
        style.shade_faults(axes, series.faults, names=False)
    columns = ("node", "from_s", "to_s", "wrong_entries", "refreshes", "refresh_p50_ms", "refresh_max_ms")
    return Drawing("caches", TITLE, subtitle, _in_words(named), figure, columns, _rows(series))


def _draw_wrong(axes: Axes, edges_s: Floats, named: Sequence[CacheLine], others: Sequence[CacheLine]) -> None:
    for one in others[:_MOST_OTHERS]:
        axes.stairs(one.wrong, edges_s, color=LIGHT["axis"], linewidth=0.8, baseline=None, label="_other", zorder=2)
    ends = []
    for index, one in enumerate(named):
        color, dash = style.look_of(index)
        name = text.clean(one.node, 40)
        axes.stairs(one.wrong, edges_s, color=color, linewidth=1.7, linestyle=dash, baseline=None, label=name, zorder=3)
        axes.stairs(one.wrong, edges_s, color=color, fill=True, alpha=0.06, linewidth=0, label="_fill", zorder=1)
        ends.append((float(one.wrong[-1]), f"{text.clean(one.node, 10)}: {one.wrong_for_good:,}", color))
    top = max(float(one.wrong.max(initial=0)) for one in (*named, *others))
    axes.set_ylim(0, (top or 1.0) * 1.12)
    axes.locator_params(axis="y", nbins=4, integer=True)
    axes.yaxis.set_major_formatter(lambda y, _pos: style.plain(y))
    style.label_ends(axes, ends)
    _panel_title(axes, "Wrong entries: an older value than the newest one published · at the right: wrong for good")


def _draw_refresh(axes: Axes, edges_s: Floats, named: Sequence[CacheLine]) -> None:
    middle_s = (edges_s[:-1] + edges_s[1:]) / 2
    for index, one in enumerate(named):
        color, dash = style.look_of(index)
        name = text.clean(one.node, 40)
        axes.plot(
            middle_s, one.refresh_max_ms, ".", ms=4, mew=0, alpha=0.6, color=color, label=f"_max {name}", zorder=2
        )
        line_with_islands(axes, middle_s, one.refresh_p50_ms, color=color, linewidth=1.4, linestyle=dash, label=name)
    scale_ms(axes, axes.yaxis, [one.refresh_max_ms for one in named])
    _panel_title(axes, "Refresh latency, ms from intended send to cache · lines: medians, points: maxima")


def _panel_title(axes: Axes, title: str) -> None:
    axes.annotate(
        title,
        (0, 1),
        xytext=(-(style.LEFT_IN - style.MARGIN_IN) * style.PT_PER_IN, 5),
        xycoords="axes fraction",
        textcoords="offset points",
        size=style.SMALL_PT + 0.5,
        weight="bold",
        color=LIGHT["ink"],
        annotation_clip=False,
    )


def _in_words(named: Sequence[CacheLine]) -> str:
    parts = []
    for one in named:
        slowest = one.refresh_max_ms[np.isfinite(one.refresh_max_ms)]
        late = f"the slowest refresh took {text.ms(float(slowest.max()))}" if slowest.size else "refreshes not timed"
        parts.append(
            f"{text.clean(one.node, 40)}: {one.missed:,} updates missed, at most"
            f" {style.plain(round(float(one.wrong.max(initial=0)), 1))} entries wrong at a time, {one.wrong_for_good:,}"
            f" for good; {late}."
        )
    return "Caches over time. " + " ".join(parts)


def _rows(series: Series) -> Iterator[tuple[Any, ...]]:
    for one in series.caches:
        yield from zip(
            [one.node] * (len(series.edges_s) - 1),
            series.edges_s[:-1],
            series.edges_s[1:],
            one.wrong,
            one.refresh_n,
            one.refresh_p50_ms,
            one.refresh_max_ms,
            strict=True,
        )
