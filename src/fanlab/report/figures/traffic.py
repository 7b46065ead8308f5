"""What was owed, what arrived and what did not, over time."""

import numpy as np

from fanlab.analysis.series import Series
from fanlab.report import text
from fanlab.report.figures import style
from fanlab.report.figures.style import LIGHT, TOP_IN, Drawing

_HEIGHT_IN = 2.1


@style.styled
def figure_rate(series: Series) -> Drawing:
    """(Message, client) pairs per second: owed by intended time, delivered by receive time."""
    title = "Rate offered and delivered"
    owed, delivered = int(series.offered.sum()), int(series.delivered.sum())
    if not owed and not delivered:
        return Drawing("rate", title, "nothing was owed to anyone", "", None, missing="nothing was owed to anyone")
    edges_s, offered, arrived = style.coarser(series.edges_s, series.offered, series.delivered)
    subtitle = f"deliveries per second, per {style.width(edges_s)} · n = {owed:,} owed, {delivered:,} delivered"
    figure = style.new_figure(title, subtitle, TOP_IN + _HEIGHT_IN + style.BOTTOM_IN)
    axes = style.add_axes(figure, TOP_IN, _HEIGHT_IN)
    offered, arrived = offered / np.diff(edges_s), arrived / np.diff(edges_s)
    axes.stairs(offered, edges_s, color=LIGHT["slate"], linewidth=1.4, label="offered", zorder=2)
    axes.stairs(arrived, edges_s, color=LIGHT["blue"], linewidth=1.6, label="delivered", zorder=3)
    axes.stairs(arrived, edges_s, color=LIGHT["blue"], fill=True, alpha=0.07, linewidth=0, zorder=1)
    axes.set_ylim(0, max(offered.max(), arrived.max(), 1e-9) * 1.06)
    axes.yaxis.set_major_formatter(lambda y, _pos: style.plain(y))
    style.time_axis(axes, edges_s[0], edges_s[-1])
    style.unit_of_y(axes, "per second")
    style.shade_faults(axes, series.faults)
    level = float(np.median(offered[offered > 0])) if owed else 0.0
    style.label_ends(
        axes, [(min(level, float(arrived.max())), "delivered", LIGHT["blue"]), (level, "offered", LIGHT["slate"])]
    )
    alt = (
        f"Offered and delivered rate over time. Of {owed:,} owed deliveries {delivered:,} arrived; "
        f"the offered rate was {style.plain(level)} per second in the middle, and the delivered rate peaked at "
        f"{style.plain(float(arrived.max()))} per second."
    )
    rows = zip(series.edges_s[:-1], series.edges_s[1:], series.offered, series.delivered, strict=True)
    return Drawing("rate", title, subtitle, alt, figure, ("from_s", "to_s", "offered", "delivered"), rows)


@style.styled
def figure_losses(series: Series) -> Drawing:
    """Lost pairs per second, by intended time."""
    title = "Losses over time"
    lost, owed = int(series.lost.sum()), int(series.offered.sum())
    if not lost:
        why = f"nothing lost, n = {owed:,} owed" if owed else "nothing was owed to anyone"
        return Drawing("losses", title, why, "", None, missing=why)
    edges_s, counts = style.coarser(series.edges_s, series.lost)
    rate = counts / np.diff(edges_s)
    subtitle = (
        f"lost per second, by intended send time, per {style.width(edges_s)} · n = {lost:,} lost of {owed:,} owed"
    )
    figure = style.new_figure(title, subtitle, TOP_IN + _HEIGHT_IN * 0.75 + style.BOTTOM_IN)
    axes = style.add_axes(figure, TOP_IN, _HEIGHT_IN * 0.75)
    axes.stairs(rate, edges_s, color=LIGHT["red"], fill=True, alpha=1, linewidth=0, zorder=2)
    axes.set_ylim(0, rate.max() * 1.08)
    axes.yaxis.set_major_formatter(lambda y, _pos: style.plain(y))
    style.time_axis(axes, edges_s[0], edges_s[-1])
    style.unit_of_y(axes, "per second")
    style.shade_faults(axes, series.faults)
    peak = int(rate.argmax())
    alt = (
        f"Losses over time: {lost:,} in all, the most ({style.plain(float(rate[peak]))} per second) "
        f"at {edges_s[peak]:.1f} s, the first at {edges_s[int((rate > 0).argmax())]:.1f} s. "
        f"Faults: {text.listing([text.clean(fault.name, 60) for fault in series.faults]) or 'none'}."
    )
    rows = zip(series.edges_s[:-1], series.edges_s[1:], series.lost, strict=True)
    return Drawing("losses", title, subtitle, alt, figure, ("from_s", "to_s", "lost"), rows)
