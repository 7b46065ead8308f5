"""The loss heatmap: who lost what, when. A row is a client or a few, grouped by node; a column is an interval.

A cell is a colour whose opacity grows with the losses in it, so that the same picture reads on white and on black.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from fanlab.analysis.series import Floats, Series
from fanlab.report import text
from fanlab.report.figures import style
from fanlab.report.figures.style import LIGHT, Drawing

_LEFT_IN = 1.25
_RIGHT_IN = 1.35
_FAULTS_IN = 0.2  # height of one row of the fault track
_GAP_IN = 0.09  # between two nodes
_MIN_IN, _MAX_IN = 1.9, 6.2
_ROW_IN = 0.055
_MIN_NODE_IN = 0.3  # room for a name and a count
_MOST_NODES = 24
_MOST_TRACKS = 6
_LEVELS = 64
_PALE, _DEEP = np.array([0.96, 0.62, 0.22, 0.55]), np.array([0.86, 0.15, 0.17, 1.0])  # RGBA: one lost, most lost


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one node: a block of the heatmap."""

    node: str
    cells: Floats  # rows × bins: messages lost
    lost: int
    hit: int  # rows that lost anything


@style.styled
def figure_heatmap(series: Series) -> Drawing:
    """The hero: losses by client and time, with the faults above."""
    title = "Who lost what, when"
    lost = int(series.heatmap.sum())
    if not lost:
        owed = int(series.offered.sum())
        why = f"nothing lost, n = {owed:,} deliveries owed" if owed else "nothing was owed to anyone"
        return Drawing("heatmap", title, why, "", None, missing=why)
    edges_s, cells = style.coarser(series.edges_s, series.heatmap)
    groups = group_rows(cells, series.heatmap_rows)
    per_row = int(series.notes.get("clients_per_row", 1))
    shown = groups[:_MOST_NODES] if len(groups) <= _MOST_NODES else _worst(groups)
    hit, clients = int(series.notes.get("clients_hit", 0)), int(series.notes.get("clients", 0))
    unit = "clients" if per_row == 1 else f"rows of {per_row} clients"
    left_out = f" · the {len(shown)} worst of {len(groups)} nodes" if len(shown) < len(groups) else ""
    subtitle = (
        f"messages lost per {style.width(edges_s)}, {unit} by the node they were on{left_out} · "
        f"n = {lost:,} lost, {hit:,} of {clients:,} clients hit"
    )
    tracks = _fault_tracks(series)
    top_in = 0.1 + _FAULTS_IN * len(tracks) + (0.1 if tracks else 0)
    heights = _heights_in(shown)
    height_in = sum(heights) + _GAP_IN * (len(heights) - 1)
    figure = style.new_figure(title, subtitle, top_in + height_in + style.BOTTOM_IN)
    axes = style.add_axes(figure, top_in, height_in, left_in=_LEFT_IN, right_in=_RIGHT_IN)
    axes.grid(visible=False)
    axes.set_yticks([])
    start_s, end_s = float(edges_s[0]), float(edges_s[-1])
    axes.set_xlim(start_s, end_s)
    axes.set_ylim(height_in, 0)
    axes.spines["bottom"].set_visible(False)
    most = max(float(group.cells.max()) for group in groups)
    at_in = 0.0
    for group, tall_in in zip(shown, heights, strict=True):
        _draw_group(axes, group, (at_in, tall_in), cell_s=float(edges_s[1] - edges_s[0]), most=most, unit=unit)
        at_in += tall_in + _GAP_IN
    _draw_faults(axes, series, tracks, height_in)
    style.time_axis(axes, start_s, end_s)
    axes.xaxis.set_label_coords(0, -0.3 / height_in)
    axes.xaxis.label.set_horizontalalignment("left")
    _legend(figure, most)
    worst = max(groups, key=lambda group: group.lost)
    alt = (
        f"Heatmap of losses by client and time. {lost:,} messages were lost by {hit:,} of {clients:,} clients. "
        + " ".join(f"{text.clean(g.node, 40)}: {g.lost:,} lost by {g.hit:,} of {len(g.cells):,}." for g in shown)
        + f" The most were lost on {text.clean(worst.node, 40)}."
    )
    rows = _loss_rows(series)
    return Drawing("heatmap", title, subtitle, alt, figure, ("row", "node", "from_s", "to_s", "lost"), rows)


def group_rows(heatmap: Floats, rows: list[str]) -> list[Group]:
    """One group per node, in order of first appearance."""
    numbers: dict[str, list[int]] = {}
    for number, node in enumerate(rows):
        numbers.setdefault(node, []).append(number)
    groups = []
    for node, of_node in numbers.items():
        cells = heatmap[of_node]
        groups.append(Group(node, cells, int(cells.sum()), int((cells.sum(axis=1) > 0).sum())))
    return groups


def opacity_map() -> Colormap:
    """From a pale amber to a full red; nothing at all where nothing was lost."""
    steps = np.linspace(0, 1, _LEVELS)[:, None]
    colors = (_PALE * (1 - steps) + _DEEP * steps).tolist()
    return ListedColormap(colors, name="losses").with_extremes(bad=(0, 0, 0, 0))


def _worst(groups: list[Group]) -> list[Group]:
    keep = {id(group) for group in sorted(groups, key=lambda group: -group.lost)[:_MOST_NODES]}
    return [group for group in groups if id(group) in keep]


def _heights_in(groups: list[Group]) -> list[float]:
    rows = sum(len(group.cells) for group in groups)
    total_in = min(max(rows * _ROW_IN, _MIN_IN), _MAX_IN)
    return [max(_MIN_NODE_IN, total_in * len(group.cells) / rows) for group in groups]


def _draw_group(
    axes: Axes, group: Group, place_in: tuple[float, float], *, cell_s: float, most: float, unit: str
) -> None:
    (top_in, tall_in), (start_s, end_s) = place_in, axes.get_xlim()
    axes.add_patch(
        Rectangle((start_s, top_in), end_s - start_s, tall_in, facecolor=LIGHT["panel"], edgecolor="none", zorder=0)
    )
    axes.imshow(
        np.ma.masked_less_equal(group.cells, 0),
        cmap=opacity_map(),
        vmin=1,
        vmax=max(most, 1 + 1e-9),
        # The last cell may reach past the end, where the axes cut it off: all cells are equally wide.
        extent=(start_s, start_s + cell_s * group.cells.shape[1], top_in + tall_in, top_in),
        aspect="auto",
        interpolation="none",
        zorder=2,
    )
    middle_in = top_in + tall_in / 2
    two_lines = tall_in >= _MIN_NODE_IN
    for x, ha, head, tail, color in (
        (0, "right", text.clean(group.node, 20), f"{len(group.cells):,} {unit.replace('rows of', '×')}", LIGHT["ink"]),
        (
            1,
            "left",
            f"{group.lost:,} lost" if group.lost else "nothing lost",
            f"{group.hit:,} of {len(group.cells):,} hit" if group.lost else "",
            LIGHT["red"] if group.lost else LIGHT["faint"],
        ),
    ):
        offset = -10 if ha == "right" else 10
        for label, dy, size, weight, tone in (
            (head, 5 if two_lines and tail else 0, style.TEXT_PT, "bold", color),
            (tail, -6, style.SMALL_PT, "normal", LIGHT["muted"]),
        ):
            axes.annotate(
                label,
                (x, middle_in),
                xycoords=("axes fraction", "data"),
                xytext=(offset, dy),
                textcoords="offset points",
                ha=ha,
                va="center",
                size=size,
                weight=weight,
                color=tone,
                annotation_clip=False,
            )


def _fault_tracks(series: Series) -> list[list[int]]:
    """Faults in rows of a track above the picture, so that neither bars nor names touch."""
    start_s, end_s = float(series.edges_s[0]), float(series.edges_s[-1])
    width_in = style.WIDTH_IN - _LEFT_IN - _RIGHT_IN
    tracks: list[list[int]] = []
    free_s: list[float] = []
    for index, fault in sorted(enumerate(series.faults), key=lambda pair: pair[1].start_s):
        if not start_s <= fault.start_s <= end_s:
            continue
        name_s = (style.text_width_in(text.clean(fault.name, 30), style.SMALL_PT) + 0.25) / width_in * (end_s - start_s)
        bar_end_s = end_s if fault.end_s is None else fault.end_s
        until_s = bar_end_s if name_s < bar_end_s - fault.start_s else bar_end_s + name_s
        for row, free in enumerate(free_s):
            if free <= fault.start_s:
                tracks[row].append(index)
                free_s[row] = until_s
                break
        else:
            tracks.append([index])
            free_s.append(until_s)
    return tracks[:_MOST_TRACKS]


def _draw_faults(axes: Axes, series: Series, tracks: list[list[int]], height_in: float) -> None:
    start_s, end_s = axes.get_xlim()
    in_per_s = (style.WIDTH_IN - _LEFT_IN - _RIGHT_IN) / (end_s - start_s)
    for row, indexes in enumerate(reversed(tracks)):
        middle_in = -0.1 - _FAULTS_IN * (row + 0.5)
        for index in indexes:
            fault = series.faults[index]
            until_s = min(end_s, end_s if fault.end_s is None else fault.end_s)
            axes.add_patch(
                FancyBboxPatch(
                    (fault.start_s, middle_in - 0.055),
                    max(until_s - fault.start_s, (end_s - start_s) / 400),
                    0.11,
                    boxstyle="square,pad=0",
                    facecolor=LIGHT["fault"],
                    edgecolor="none",
                    alpha=0.35,
                    clip_on=False,
                )
            )
            for x, style_ in ((fault.start_s, "-"), (fault.end_s, (0, (2, 2)))):
                if x is not None and start_s <= x <= end_s:
                    axes.plot(
                        [x, x], [middle_in - 0.055, height_in], linestyle=style_, color=LIGHT["fault"], linewidth=1,
                        clip_on=False, zorder=3, solid_capstyle="butt", label="_fault",
                    )  # fmt: skip
            name = text.clean(fault.name, 30)
            fits = (until_s - fault.start_s) * in_per_s > style.text_width_in(name, style.SMALL_PT) + 0.1
            axes.annotate(
                name,
                (fault.start_s if fits else until_s, middle_in),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                size=style.SMALL_PT,
                weight="bold",
                color=LIGHT["amber"],
                annotation_clip=False,
                zorder=5,
            )


def _legend(figure: Figure, most: float) -> None:
    """A scale under the time axis, at its right end."""
    wide_in, high_in = 1.1, 0.1
    left_in = style.WIDTH_IN - _RIGHT_IN - wide_in - 0.2
    tall_in = figure.get_figheight()
    scale = figure.add_axes((left_in / style.WIDTH_IN, 0.1 / tall_in, wide_in / style.WIDTH_IN, high_in / tall_in))
    scale.set_axis_off()
    scale.add_patch(
        Rectangle((0, 0), 1, 1, transform=scale.transAxes, facecolor=LIGHT["panel"], edgecolor="none", zorder=-1)
    )
    steps = np.linspace(1, max(most, 1 + 1e-9), _LEVELS)[None, :]
    scale.imshow(steps, cmap=opacity_map(), aspect="auto", interpolation="none")
    kwargs: dict[str, Any] = {
        "size": style.SMALL_PT,
        "color": LIGHT["muted"],
        "va": "center",
        "transform": scale.transAxes,
    }
    scale.text(-0.05, 0.5, "lost per cell: 1", ha="right", **kwargs)
    scale.text(1.05, 0.5, style.plain(most), ha="left", **kwargs)


def _loss_rows(series: Series) -> list[tuple[int, str, float, float, float]]:
    """The cells that are not empty; row numbers count from 0 in the order drawn."""
    rows, bins = np.nonzero(series.heatmap)
    edges_s = series.edges_s
    return [
        (int(r), series.heatmap_rows[r], float(edges_s[b]), float(edges_s[b + 1]), float(series.heatmap[r, b]))
        for r, b in zip(rows, bins, strict=True)
    ]
