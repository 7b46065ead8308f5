"""A comparison as tables, and what is known of noise and baselines. Pure; laid out by whoever prints it."""

from collections.abc import Iterable, Mapping
from typing import Final

from fanlab.analysis.baseline import Baseline, identity
from fanlab.analysis.comparable import Finding
from fanlab.analysis.compare import Ratio
from fanlab.report import text
from fanlab.report.tables import Cell, Table, Tone

_TONES: Final[Mapping[str, Tone]] = {"worse": "bad", "better": "good", "inconclusive": "muted"}
_UNBOUNDED: Final = 1e6


def counts(findings: Iterable[Finding]) -> Table:
    """Each count of A and B, the worse ones first; those that are 0 in both are left out."""
    told = [one for one in findings if one.a or one.b or one.verdict == "worse"]
    told.sort(key=lambda one: one.verdict != "worse")
    rows = tuple(
        (
            Cell(one.verdict, _TONES.get(one.verdict, "")),
            Cell(text.clean(one.what, 60)),
            Cell(text.count(one.a)),
            Cell(text.count(one.b)),
            Cell(text.clean(one.basis, 200), "muted"),
        )
        for one in told
    )
    return Table("Counts", (("B is", False), ("Count", False), ("A", True), ("B", True), ("Because", False)), rows)


def latency(ratios: Iterable[Ratio]) -> Table:
    """Each figure's ratio with its interval."""
    rows = tuple(
        (
            Cell(one.verdict, _TONES.get(one.verdict, "")),
            Cell(one.figure),
            Cell(f"{one.ratio:.3f}"),
            Cell(f"{one.low:.3f} to {one.high:.3f}" if one.high < _UNBOUNDED else text.NONE),
            Cell(text.ratio(one.min_effect)),
            Cell(text.count(one.pairs)),
        )
        for one in ratios
    )
    columns = (("B is", False), ("Figure", False), ("B / A", True), ("Interval", True), ("Effect that counts", True))
    return Table("Latency", (*columns, ("Pairs", True)), rows)


def baselines(saved: Iterable[Baseline]) -> Table:
    """Those that are kept."""
    rows = tuple(
        (
            Cell(text.clean(one.name)),
            Cell(text.clean(one.scenario)),
            Cell(identity(one)[:12]),
            Cell(text.clean(one.backend, 20)),
            Cell(text.moment(one.started_utc)),
            Cell(text.count(one.counts["ledger.owed"])),
            Cell(text.count(one.counts["ledger.lost"])),
            Cell(text.ms(one.latency_ms["p50"])),
        )
        for one in saved
    )
    columns = (("Name", False), ("Scenario", False), ("Identity", False), ("Backend", False), ("Run", False))
    return Table("Baselines", (*columns, ("Owed", True), ("Lost", True), ("p50", True)), rows)
