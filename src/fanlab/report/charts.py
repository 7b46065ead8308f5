"""Every chart of a run, drawn and written: `<name>.png`, `<name>.svg` and `<name>.csv` each."""

import csv
import io
import logging
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanlab.analysis.series import Series
from fanlab.errors import EnvironmentFailure
from fanlab.report import text
from fanlab.report.figures import cache, heatmap, hops, latency, recovery, resources, style, svg, traffic
from fanlab.report.figures.style import Drawing

PNG_DPI = 150
_NAME_CHARS = 400
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # with which spreadsheets take a text for one
FIGURES: dict[str, Callable[[Series], Drawing]] = {
    "hops": hops.figure_hops,
    "heatmap": heatmap.figure_heatmap,
    "rate": traffic.figure_rate,
    "losses": traffic.figure_losses,
    "latency": latency.figure_latency,
    "spectrum": latency.figure_spectrum,
    "ecdf": latency.figure_ecdf,
    "recovery": recovery.figure_recovery,
    "caches": cache.figure_caches,
    "resources": resources.figure_resources,
}


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart as the report shows it. `svg` is for a page of HTML; empty where `missing` says what lacks."""

    name: str
    title: str
    subtitle: str
    alt: str
    svg: str
    files: tuple[Path, ...]
    missing: str | None = None


def draw_all(series: Series, summary: Mapping[str, Any], out_dir: Path) -> dict[str, Chart]:
    """Draw every chart into `out_dir` (made if absent), by name, in the order of FIGURES.

    A chart that the series has no data for writes no file and says what is missing; files of an earlier drawing of
    it are removed, so that the folder never shows another run's figures. EnvironmentFailure where it cannot write.
    """
    del summary  # what it says in words stands in the report's tables; charts draw the series only
    return draw((figure(series) for figure in FIGURES.values()), out_dir)


def draw(drawings: Iterable[Drawing], out_dir: Path) -> dict[str, Chart]:
    """Write these drawings into `out_dir` likewise."""
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        return {drawing.name: _save(drawing, out_dir) for drawing in drawings}
    except OSError as error:
        raise EnvironmentFailure(
            f"cannot write charts to {out_dir}: {error.strerror}", hint="free some space, or use --out"
        ) from error


def _save(drawing: Drawing, out_dir: Path) -> Chart:
    paths = {suffix: out_dir / f"{drawing.name}.{suffix}" for suffix in ("png", "svg", "csv")}
    if drawing.figure is None:
        for path in paths.values():
            path.unlink(missing_ok=True)
        return Chart(drawing.name, drawing.title, drawing.subtitle, drawing.alt, "", (), drawing.missing)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")  # a name may hold an emoji
        tree = svg.to_svg(drawing)
        _save_png(drawing, paths["png"])
    paths["svg"].write_text(svg.standalone(tree), encoding="utf-8")
    paths["csv"].write_text(table_csv(drawing), encoding="utf-8", newline="")
    picture = svg.inline(tree, drawing.title)
    return Chart(drawing.name, drawing.title, drawing.subtitle, drawing.alt, picture, tuple(paths.values()))


@style.styled
def _save_png(drawing: Drawing, path: Path) -> None:
    if drawing.figure is not None:
        drawing.figure.savefig(
            path, format="png", dpi=PNG_DPI, metadata={"Software": None}, pil_kwargs={"compress_level": 4}
        )


def table_csv(drawing: Drawing) -> str:
    """The data behind a chart, a header line first; empty where there is none (NaN or None)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(drawing.columns)
    writer.writerows([_cell(value) for value in row] for row in drawing.rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str):
        name = text.clean(value, _NAME_CHARS)
        return f"'{name}" if name.startswith(_FORMULA) else name
    if isinstance(value, int):
        return value
    number = float(value)
    return "" if number != number else f"{number:.10g}"  # noqa: PLR0124 - NaN is what differs from itself
