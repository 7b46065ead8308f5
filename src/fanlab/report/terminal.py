"""The table at the end of a run: the gates, the verdict, and what it rests on, within 80 columns, colours or not."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from fanlab.report import facts, losstables, tables, text, words

_STYLES: Final = {"good": "green", "bad": "red", "warn": "yellow", "muted": "dim", "": ""}
_ROWS_AT_MOST: Final = 12
_REASONS_AT_MOST: Final = 8
_COARSE_AT_MOST: Final = 2


def table(summary: Mapping[str, Any], manifest: Mapping[str, Any], report_path: Path) -> RenderableType:
    """What `fanlab run` prints last. Every text is a `Text`, so that a name such as `[bold]` is shown as it is."""
    parts = outcome(summary, manifest)
    parts += [Text(""), _figures(summary)]
    if summary["ledger"]["lost"]:
        _, _, by_node, _ = losstables.losses(summary)
        beside = Grid.grid(padding=(0, 3))
        beside.add_row(Group(*_section("Lost at, because of", _kinds(summary))), Group(*_section("By node", by_node)))
        parts.append(beside)
        parts += [Text(f"Coarse: {sentence}", style="dim") for sentence in losstables.coarse(summary)[:_COARSE_AT_MOST]]
    parts += _section("Duplicates by cause", losstables.duplicates(summary))
    parts += _section("By fault", _by_fault(summary))
    parts += [Text(""), Text.assemble("Report  ", (text.clean(report_path, 1000), "bold"))]
    parts += [*_story_of_one(summary, report_path), Text("")]
    return Group(*parts)


def outcome(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[RenderableType]:
    """The gates, those that failed first, then the verdict and its reasons."""
    verdict = facts.verdict(summary, manifest)
    tone = _STYLES[verdict.tone]
    headline = Text.assemble(
        (f" {verdict.word.upper()} ", f"bold reverse {tone}"),
        "  ",
        (facts.name(summary, manifest), "bold"),
        f"  {verdict.line}",
    )
    gates = tables.gates(summary)
    failed_first = sorted(gates.rows, key=lambda row: row[0].tone != "bad")
    parts = _section("Gates", replace(gates, rows=tuple(failed_first)))
    parts += [Text(""), headline]
    if verdict.partial:
        parts.append(Text(f"PARTIAL: {verdict.partial}", style="yellow"))
    parts += [Text(f"  • {reason}") for reason in verdict.reasons[:_REASONS_AT_MOST]]
    if (more := len(verdict.reasons) - _REASONS_AT_MOST) > 0:
        parts.append(Text(f"  … and {more} more reasons in the report", style="dim"))
    return parts


def laid_out(data: tables.Table) -> RenderableType:
    """Any table, whole, with its title."""
    return Group(*_section(data.title, data, rows_at_most=len(data.rows)))


def _figures(summary: Mapping[str, Any]) -> Grid:
    """The key figures, three columns each: name, value, what it is of."""
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(style="dim", overflow="fold")
    for figure in facts.key_figures(summary):
        grid.add_row(Text(figure.label), Text(figure.value, style=f"bold {_STYLES[figure.tone]}"), Text(figure.note))
    return grid


def _kinds(summary: Mapping[str, Any]) -> tables.Table:
    """What was lost at which hop, from which cause, as narrow as can be."""
    rows = tuple(
        (
            tables.Cell(words.hop(kind["hop"])),
            tables.Cell(text.label(kind["cause"]), "bad" if kind["cause"] == "unexplained" else ""),
            tables.Cell(text.count(kind["lost"])),
        )
        for kind in summary["loss"]["by_hop_and_cause"]
    )
    return tables.Table("", (("Hop", False), ("Cause", False), ("Lost", True)), rows)


def _story_of_one(summary: Mapping[str, Any], report_path: Path) -> list[RenderableType]:
    """The command that tells of a loss of the kind that is most, in two lines that a shell takes as they are."""
    most = max(summary["loss"]["by_hop_and_cause"], key=lambda kind: int(kind["lost"]), default=None)
    if most is None:
        return []
    run = shlex.quote(text.clean(report_path.parent, 1000))
    options = f"--client {most['example']['client']} --seq {most['example']['seq']}"
    return [Text.assemble("A loss  ", (f"fanlab explain {run} \\", "bold")), Text(f"          {options}", style="bold")]


def _by_fault(summary: Mapping[str, Any]) -> tables.Table:
    """Predicted and measured losses with the recovery, one line per fault."""
    recovery = summary["recovery_ms"].get("by_fault") or {}
    rows = []
    for loss in summary["loss"]["by_fault"]:
        block = recovery.get(loss["fault"]) or {"clients": 0}
        back = text.ms(block.get("all_back"))
        never = block.get("never_back")
        rows.append(
            (
                tables.Cell(text.clean(loss["fault"], 60)),
                tables.Cell(text.count(loss["measured"])),
                tables.Cell(text.count(loss["predicted"]), "muted"),
                tables.Cell(text.count(block["clients"])),
                tables.Cell(f"{text.count(never)} never" if never else back, "bad" if never else ""),
            )
        )
    columns = (("Fault", False), ("Lost", True), ("Predicted", True), ("Clients hit", True), ("All back", True))
    return tables.Table("By fault", columns, tuple(rows))


def _section(title: str, data: tables.Table, *, rows_at_most: int = _ROWS_AT_MOST) -> list[RenderableType]:
    """A heading and a table; nothing at all where the table has no rows."""
    if not data.rows:
        return []
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim", border_style="dim")
    for label, numeric in data.columns:
        grid.add_column(Text(label), justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    for row in data.rows[:rows_at_most]:
        grid.add_row(*(Text(cell.text, style=_STYLES[cell.tone]) for cell in row))
    parts: list[RenderableType] = [Text(""), Text(title, style="bold"), grid]
    if (more := len(data.rows) - rows_at_most) > 0:
        parts.append(Text(f"… and {more} more in the report", style="dim"))
    return parts
