"""How long each fault cost the clients it hit: a range per fault, from its bite to the last client's return."""

from matplotlib.axes import Axes

from fanlab.analysis.series import Recovery, Series
from fanlab.report import text
from fanlab.report.figures import style
from fanlab.report.figures.style import LIGHT, Drawing

_ROW_IN = 0.62
_MOST_FAULTS = 16
_LEFT_IN = 2.2
_TOP_IN = 0.36
_STAGES = (  # (field, words, colour, marker, label above the line)
    ("detected_ms", "connection lost", "slate", "o", True),
    ("reconnected_ms", "reconnected", "violet", "D", False),
    ("first_message_ms", "first message", "blue", "s", True),
    ("all_back_ms", "all back", "green", "o", False),
)


@style.styled
def figure_recovery(series: Series) -> Drawing:
    """Detected, reconnected, first message (medians) and all back (the last client), in ms after the fault bit."""
    title, recoveries = "Recovery by fault", [r for r in series.recoveries if _known(r)]
    if not recoveries:
        why = "no fault in this run" if not series.faults else "no client lost its connection to a fault"
        return Drawing("recovery", title, why, "", None, missing=why)
    shown = recoveries[:_MOST_FAULTS]
    more = f" · the first {len(shown)} of {len(recoveries)} faults" if len(shown) < len(recoveries) else ""
    hit = sum(r.clients for r in shown)
    subtitle = f"time after the fault bit · medians, and the last client of all · n = {hit:,} clients{more}"
    height_in = _ROW_IN * len(shown)
    figure = style.new_figure(title, subtitle, _TOP_IN + height_in + style.BOTTOM_IN)
    axes = style.add_axes(figure, _TOP_IN, height_in, left_in=_LEFT_IN)
    last = max(value for r in shown for _, value in _known(r))
    in_s = last >= 2000  # noqa: PLR2004
    axes.set_xlim(0, (last or 1.0) * 1.04)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=LIGHT["grid"], linewidth=0.8)
    axes.xaxis.set_major_formatter(lambda x, _pos: style.plain(x / 1000 if in_s else x))
    unit = "seconds" if in_s else "ms"
    axes.set_xlabel(f"{unit} after the fault bit", size=style.SMALL_PT, color=LIGHT["muted"], labelpad=4)
    for row, recovery in enumerate(shown):
        _draw_row(axes, row, recovery)
    _legend(axes)
    alt = "Recovery by fault. " + " ".join(
        f"{text.clean(r.fault, 60)}, {r.clients:,} clients: "
        + ", ".join(f"{words} {text.ms(getattr(r, name))}" for name, words, *_ in _STAGES)
        + ("." if r.all_back_ms is not None else "; not all came back.")
        for r in shown
    )
    rows = [(r.fault, r.clients, *(getattr(r, name) for name, *_ in _STAGES)) for r in recoveries]
    return Drawing("recovery", title, subtitle, alt, figure, ("fault", "clients", *(s[0] for s in _STAGES)), rows)


def _known(recovery: Recovery) -> list[tuple[str, float]]:
    return [(name, getattr(recovery, name)) for name, *_ in _STAGES if getattr(recovery, name) is not None]


def _draw_row(axes: Axes, row: int, recovery: Recovery) -> None:
    known = dict(_known(recovery))
    axes.plot(
        [min(known.values()), max(known.values())], [row, row], color=LIGHT["axis"], linewidth=3.5, zorder=2,
        solid_capstyle="round", label="_range",
    )  # fmt: skip
    for name, words, color, marker, _ in _STAGES:
        if name in known:
            axes.plot(
                [known[name]], [row], marker, color=LIGHT[color], ms=8, mec=LIGHT["surface"], mew=1.3, zorder=3,
                label=words, clip_on=False,
            )  # fmt: skip
    width_in = axes.bbox.width / axes.figure.dpi
    high = axes.get_xlim()[1]
    for above in (True, False):
        side = [(known[name], LIGHT[color]) for name, _, color, _, up in _STAGES if up is above and name in known]
        wanted = [value / high * width_in for value, _ in side]
        for x_in, (value, color) in zip(style.spread(wanted, 0.62, 0.16, width_in + 0.5), side, strict=True):
            axes.annotate(
                text.ms(value),
                (x_in / width_in, row),
                xycoords=("axes fraction", "data"),
                xytext=(0, 10 if above else -10),
                textcoords="offset points",
                ha="center",
                va="center",
                size=style.SMALL_PT,
                weight="bold",
                color=color,
                annotation_clip=False,
            )
    missing = "" if recovery.all_back_ms is not None else " · not all came back"
    for label, dy, size, weight, color in (
        (text.clean(recovery.fault, 28), 5, style.TEXT_PT, "bold", LIGHT["ink"]),
        (f"{recovery.clients:,} clients{missing}", -6, style.SMALL_PT, "normal", LIGHT["red" if missing else "muted"]),
    ):
        axes.annotate(
            label,
            (0, row),
            xycoords=("axes fraction", "data"),
            xytext=(-18, dy),
            textcoords="offset points",
            ha="right",
            va="center",
            size=size,
            weight=weight,
            color=color,
            annotation_clip=False,
        )


def _legend(axes: Axes) -> None:
    x_pt = 0.0
    for _, words, color, marker, _ in _STAGES:
        # A marker as an annotation's arrow would need its own geometry; a plotted point at an offset does not.
        axes.annotate(
            words,
            (0, 1),
            xycoords="axes fraction",
            xytext=(x_pt + 9, 14),
            textcoords="offset points",
            va="center",
            size=style.SMALL_PT,
            color=LIGHT["muted"],
            annotation_clip=False,
        )
        width_pt = axes.bbox.width / axes.figure.dpi * style.PT_PER_IN
        height_pt = axes.bbox.height / axes.figure.dpi * style.PT_PER_IN
        axes.plot(
            [(x_pt + 3) / width_pt], [1 + 14 / height_pt], marker, transform=axes.transAxes, color=LIGHT[color],
            ms=6, mec=LIGHT["surface"], mew=1, clip_on=False, label="_key",
        )  # fmt: skip
        x_pt += 9 + style.text_width_in(words, style.SMALL_PT) * style.PT_PER_IN + 14
