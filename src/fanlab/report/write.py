"""A run directory's report, made from its evidence alone: offline, as often as one likes, of an aborted run too."""

from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from fanlab.analysis.build import Sample, build_series, parse_samples
from fanlab.errors import EnvironmentFailure, MeasurementError
from fanlab.ledger.account import account as account_of
from fanlab.report import html, markdown
from fanlab.report.charts import draw_all
from fanlab.report.schema import Summary
from fanlab.report.summary import make_summary
from fanlab.rundir import RunDir, write_json

FORMATS: Final = frozenset({"html", "markdown"})  # beside summary.json, which is always written


def write_report(rundir: RunDir, *, formats: AbstractSet[str] = FORMATS) -> Summary:
    """Write summary.json, then the charts with report.html and report.md as `formats` asks; returns the summary.

    summary.json is complete before anything is drawn. Raises MeasurementError where the directory holds no run or its
    evidence cannot be read, EnvironmentFailure where it cannot be written to.
    """
    manifest = rundir.read_manifest()
    account = account_of(rundir)
    summary = make_summary(account, manifest)
    write_json(rundir.summary, summary)
    if "html" in formats:
        series = build_series(account, manifest, read_samples(rundir.samples))
        charts = draw_all(series, summary, rundir.charts)
        _write(rundir.path / "report.html", html.render(summary, manifest, series, charts))
    if "markdown" in formats:
        _write(rundir.path / "report.md", markdown.render(summary, manifest))
    return summary


def read_samples(path: Path) -> list[Sample]:
    """samples.csv; empty for a run that ended before its first sample. MeasurementError where it is something else."""
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return parse_samples(lines)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise MeasurementError(f"{path} cannot be read: {error}", hint="remove it to report without it") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EnvironmentFailure(
            f"cannot write {path}: {error.strerror}", hint="free some space, or use --out"
        ) from error
