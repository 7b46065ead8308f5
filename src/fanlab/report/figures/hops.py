"""Where messages were lost: their way from publisher to client, from the top down, and what left it at which hop.

What is lost leaves the rail as a band as wide as its share of all losses, to its cause and on to the fault that it goes
back to. The path, the counts and the causes stand in the left half, so that a narrow screen shows them unscrolled.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from fanlab.analysis.series import HopLoss, Series
from fanlab.report import text, words
from fanlab.report.figures import bands, style
from fanlab.report.figures.style import LIGHT, Drawing

_RAIL_X = 1.5  # all places in inches: x from the left, y down from under the header
_LEAVE_X = 1.56
_CAUSE_X = 2.55
_TURN_X, _FAULT_X = 5.15, 6.55
_TEXT_GAP = 0.1
_STATION_IN = 0.26
_HOP_IN = 0.34  # of a hop that lost nothing
_ROW_IN = 0.4  # room for two lines
_ROW_GAP_IN = 0.05
_BANDS_IN = 1.3  # how wide all losses are together
_THINNEST_IN = 0.022
_MOST_CAUSES = 24
_MOST_FAULTS = 10
NO_FAULT = "no fault of the scenario"


@dataclass(frozen=True, slots=True)
class Branch:
    """What one cause took at one hop; `parts` are (fault, lost), the most first."""

    hop: str
    cause: str
    lost: int
    parts: tuple[tuple[str, int], ...]


@style.styled
def figure_hops(series: Series) -> Drawing:
    """The path of a message with the losses at each hop, by cause and fault."""
    title = "Where messages were lost, and why"
    owed, lost = int(series.offered.sum()), sum(one.lost for one in series.hop_losses)
    if not lost:
        why = f"nothing was lost on any hop, n = {owed:,} deliveries owed" if owed else "nothing was owed to anyone"
        return Drawing("hops", title, why, "", None, missing=why)
    branches = branches_of(series.hop_losses)
    shown, left_out = branches[:_MOST_CAUSES], branches[_MOST_CAUSES:]
    more = f" · {sum(b.lost for b in left_out):,} of {len(left_out)} more causes not drawn" if left_out else ""
    subtitle = f"bands are as wide as their share of all losses · n = {lost:,} lost of {owed:,} deliveries owed{more}"
    hops = [*words.HOPS, *([words.UNKNOWN_HOP] if any(b.hop == words.UNKNOWN_HOP for b in shown) else [])]
    heights = {hop: _hop_height([b for b in shown if b.hop == hop], lost) for hop in hops}
    faults = _fault_totals(shown)
    fault_heights = [max(_ROW_IN, _thick(n, lost)) for n in faults.values()]
    path_in = sum(heights.values()) + _STATION_IN * len(words.STATIONS)
    height_in = 0.08 + max(path_in, sum(fault_heights) + _ROW_GAP_IN * len(fault_heights)) + 0.1
    figure = style.new_figure(title, subtitle, height_in)
    axes = style.add_axes(figure, 0, height_in, left_in=0, right_in=0)
    axes.set_axis_off()
    axes.set_xlim(0, style.WIDTH_IN)
    axes.set_ylim(height_in, 0)
    hop_totals = {hop: sum(b.lost for b in branches if b.hop == hop) for hop in hops}
    places = _draw_path(axes, heights, hop_totals, ends=(owed, int(series.delivered.sum())))
    _draw_branches(axes, shown, places, faults, lost)
    rows = [(one.hop, one.cause, one.fault, one.lost) for one in series.hop_losses]
    alt = _alt(branches, hop_totals, lost)
    return Drawing("hops", title, subtitle, alt, figure, ("hop", "cause", "fault", "lost"), rows)


def branches_of(losses: Iterable[HopLoss]) -> list[Branch]:
    """One branch for each hop and cause, hops along the way, what cannot be placed last, the most first."""
    parts: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for one in losses:
        parts.setdefault((one.hop, one.cause), []).append((one.fault, one.lost))
    order = [*words.HOPS, words.UNKNOWN_HOP]
    branches = [
        Branch(hop, cause, sum(n for _, n in of), tuple(sorted(of, key=lambda part: -part[1])))
        for (hop, cause), of in parts.items()
    ]
    return sorted(branches, key=lambda b: (order.index(b.hop), -b.lost))


def _thick(lost: int, of: int) -> float:
    return max(_THINNEST_IN, _BANDS_IN * lost / of)


def _hop_height(branches: Sequence[Branch], lost: int) -> float:
    rows = sum(max(_ROW_IN, _thick(b.lost, lost)) + _ROW_GAP_IN for b in branches)
    return max(_HOP_IN, rows + _ROW_GAP_IN)


def _fault_totals(branches: Sequence[Branch]) -> dict[str, int]:
    """How much goes back to each fault; what goes back to none last, and the smallest of too many taken together."""
    totals: dict[str, int] = {}
    for branch in branches:
        for fault, n in branch.parts:
            totals[fault] = totals.get(fault, 0) + n
    named = [fault for fault in totals if fault]
    if len(named) > _MOST_FAULTS:
        smallest = sorted(named, key=lambda fault: -totals[fault])[_MOST_FAULTS - 1 :]
        rest = sum(totals.pop(fault) for fault in smallest)
        totals[_rest_name(len(smallest))] = rest
    if "" in totals:
        totals[""] = totals.pop("")
    return totals


def _rest_name(count: int) -> str:
    return f"{count} other faults"


def _draw_path(
    axes: Axes, heights: dict[str, float], totals: dict[str, int], *, ends: tuple[int, int]
) -> dict[str, tuple[float, float]]:
    """Rail, stations and counts; returns where each hop lies: (top, height)."""
    owed, delivered = ends
    at = 0.08
    places: dict[str, tuple[float, float]] = {}
    stations: list[tuple[str, float]] = []
    for number, station in enumerate(words.STATIONS):
        stations.append((station, at + _STATION_IN / 2))
        at += _STATION_IN
        if number < len(words.HOPS):
            hop = list(words.HOPS)[number]
            places[hop] = (at, heights[hop])
            at += heights[hop]
    axes.plot(
        [_RAIL_X, _RAIL_X], [stations[0][1], stations[-1][1]], color=LIGHT["axis"], linewidth=3.5, zorder=1,
        solid_capstyle="round", label="_rail",
    )  # fmt: skip
    if words.UNKNOWN_HOP in heights:
        places[words.UNKNOWN_HOP] = (at, heights[words.UNKNOWN_HOP])
    for name, y in stations:
        axes.plot(
            [_RAIL_X], [y], "o", color=LIGHT["surface"], ms=8, mec=LIGHT["ink"], mew=1.6, zorder=4, label="_station"
        )
        bands.label(axes, _RAIL_X - 0.16, y, name, weight="bold", ha="right")
    bands.label(axes, _RAIL_X + 0.16, stations[0][1], f"{owed:,} deliveries owed", size=style.SMALL_PT, color="muted")
    bands.label(axes, _RAIL_X + 0.16, stations[-1][1], f"{delivered:,} delivered", weight="bold", color="green")
    for hop, (top, tall) in places.items():
        n = totals[hop]
        unknown = hop == words.UNKNOWN_HOP
        y = top + tall / 2
        if unknown:
            axes.plot(
                [_RAIL_X, _RAIL_X], [top + 0.03, top + tall - 0.03], color=LIGHT["axis"], linewidth=3.5,
                linestyle=(0, (0.5, 1.2)), zorder=1, label="_unknown",
            )  # fmt: skip
            bands.label(axes, _RAIL_X - 0.16, y + 0.08, words.hop(hop), size=style.SMALL_PT, color="muted", ha="right")
        told = f"{n:,} lost" if n else "none lost"
        color = ("ink" if unknown else "red") if n else "faint"
        size = style.TEXT_PT + 1.5 if n else style.SMALL_PT
        bands.label(
            axes, _RAIL_X - 0.16, y - (0.07 if unknown else 0), told,
            size=size, weight="bold" if n else "normal", color=color, ha="right",
        )  # fmt: skip
    return places


def _draw_branches(
    axes: Axes,
    branches: Sequence[Branch],
    places: dict[str, tuple[float, float]],
    faults: dict[str, int],
    lost: int,
) -> None:
    rows: list[tuple[Branch, float]] = []  # with the middle of its row
    for hop, (top, tall) in places.items():
        of_hop = [b for b in branches if b.hop == hop]
        talls = [max(_ROW_IN, _thick(b.lost, lost)) for b in of_hop]
        at = top + (tall - sum(talls) - _ROW_GAP_IN * max(0, len(talls) - 1)) / 2
        whole = sum(_thick(b.lost, lost) for b in of_hop)
        leaving = bands.Band(top + tall / 2 - whole / 2, whole)
        for branch, row_tall in zip(of_hop, talls, strict=True):
            middle, thick = at + row_tall / 2, _thick(branch.lost, lost)
            color = _tone(branch)
            near = leaving.take(thick)
            bands.ribbon(axes, (_LEAVE_X, near), (_CAUSE_X, bands.around(middle, thick)), LIGHT[color], alpha=0.3)
            bands.bar(axes, _CAUSE_X, bands.around(middle, thick), LIGHT[color])
            if thick >= _ROW_IN:  # the label stands on its band
                under = ((_CAUSE_X, bands.around(middle, thick)), (_text_end(branch), bands.around(middle, thick)))
                bands.ribbon(axes, *under, LIGHT[color], alpha=0.1)
            known = words.cause(branch.cause)
            bands.label(axes, _CAUSE_X + _TEXT_GAP, middle - (0.075 if known else 0), _name(branch), weight="bold")
            if known:
                bands.label(axes, _CAUSE_X + _TEXT_GAP, middle + 0.085, known, size=style.SMALL_PT, color="muted")
            rows.append((branch, middle))
            at += row_tall + _ROW_GAP_IN
        if of_hop:
            axes.add_patch(
                Rectangle(
                    (_RAIL_X - 0.025, leaving.top), _LEAVE_X - _RAIL_X + 0.025, whole,
                    facecolor=LIGHT["slate" if hop == words.UNKNOWN_HOP else "red"], edgecolor="none", zorder=3,
                )
            )  # fmt: skip
    _draw_faults(axes, rows, faults, lost)


def _draw_faults(axes: Axes, rows: Sequence[tuple[Branch, float]], faults: dict[str, int], lost: int) -> None:
    """The faults at the right, each about level with what goes back to it, and the bands that lead there."""
    rest = next((name for name in faults if not any(name == f for b, _ in rows for f, _ in b.parts)), None)

    def block_of(fault: str) -> str:
        return fault if fault in faults or rest is None else rest

    level = dict.fromkeys(faults, 0.0)
    for branch, middle in rows:
        for fault, n in branch.parts:
            level[block_of(fault)] += middle * n / faults[block_of(fault)]
    order = sorted(faults, key=lambda name: level[name])
    bottom = axes.get_ylim()[0]
    talls = {name: max(_ROW_IN, _thick(faults[name], lost)) for name in faults}
    tops = bands.stacked(
        [level[name] for name in order], [talls[name] for name in order], 0.04, bottom - 0.04, _ROW_GAP_IN
    )
    blocks: dict[str, bands.Band] = {}
    for name, top in zip(order, tops, strict=True):
        thick = sum(_thick(n, lost) for b, _ in rows for f, n in b.parts if block_of(f) == name)
        middle = top + talls[name] / 2
        blocks[name] = bands.Band(middle - thick / 2, thick)
        color = "amber" if name else "slate"
        bands.bar(axes, _FAULT_X, (middle - thick / 2, middle + thick / 2), LIGHT[color])
        bands.label(
            axes, _FAULT_X + _TEXT_GAP, middle - 0.075, text.clean(name, 28) if name else NO_FAULT,
            weight="bold", color=color if name else "muted",
        )  # fmt: skip
        bands.label(
            axes, _FAULT_X + _TEXT_GAP, middle + 0.085, f"{faults[name]:,} lost", size=style.SMALL_PT, color="muted"
        )
    for branch, middle in rows:
        thick = sum(_thick(n, lost) for _, n in branch.parts)
        leaving = bands.Band(middle - thick / 2, thick)
        for fault, n in sorted(branch.parts, key=lambda part: order.index(block_of(part[0]))):
            near, far = leaving.take(_thick(n, lost)), blocks[block_of(fault)].take(_thick(n, lost))
            color = LIGHT["fault" if fault else "slate"]
            bands.ribbon(axes, (_TURN_X, near), (_FAULT_X, far), color, alpha=0.28, since=_text_end(branch))


def _text_end(branch: Branch) -> float:
    """Where a cause's label surely ends, whatever font a browser draws it in."""
    head = style.text_width_in(_name(branch), style.TEXT_PT + 0.7)  # bold is wider
    wide = max(head, style.text_width_in(words.cause(branch.cause), style.SMALL_PT))
    return min(_TURN_X, _CAUSE_X + _TEXT_GAP + wide + 0.12)


def _name(branch: Branch) -> str:
    return f"{branch.lost:,}  {text.clean(text.label(branch.cause), 26)}"


def _tone(branch: Branch) -> str:
    return "slate" if branch.hop == words.UNKNOWN_HOP else "red"


def _alt(branches: Sequence[Branch], totals: dict[str, int], lost: int) -> str:
    hops = ", ".join(f"{words.hop(hop)} {n:,}" for hop, n in totals.items())
    causes = "; ".join(
        f"{b.lost:,} at {words.hop(b.hop)}, {text.label(b.cause)}, "
        + text.listing([f"{n:,} from {text.clean(fault, 60) or NO_FAULT}" for fault, n in b.parts[:3]])
        for b in branches[:_MOST_CAUSES]
    )
    return f"The way of a message with its losses: {lost:,} in all. Lost by hop: {hops}. By cause: {causes}."
